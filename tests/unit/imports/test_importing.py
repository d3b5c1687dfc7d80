"""Imported exemplars are the published ones, exactly; what is damaged or foreign is refused by name."""

import json
import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from conftest import ROOT, demo_config
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.common.stores import Folder
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS, TAILS, quantile_column, tail_rank
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.corpus.reading import corpus_facts, read_texts
from neuron_descriptions.descriptions.evidence import EvidenceFiles, Prompting, prepare
from neuron_descriptions.descriptions.prompts import read_explainer_template
from neuron_descriptions.harvest.tables import EXEMPLARS, STATISTICS
from neuron_descriptions.imports import arrays
from neuron_descriptions.imports import published as importing
from neuron_descriptions.imports.arrays import ranges
from neuron_descriptions.imports.listing import Wanted, list_exemplars
from neuron_descriptions.imports.published import import_exemplars, sequence_ids
from neuron_descriptions.scores.evidence import Evidence
from published_folder import write_published

LAYER, WIDTH, NEURONS, K, RANDOM, SEQ_LEN = 3, 12, [1, 4, 5, 6, 11], 6, 3, 40


@pytest.fixture(scope="module")
def harvested(corpus, tmp_path_factory):
    """Exemplars as a harvest gives them, of made-up activations on real text; and all tokens' activations."""
    rng = np.random.default_rng(0)
    rows, everything = [], {}
    for split in SPLITS:
        n = corpus_facts(corpus[split]).sequences
        texts = read_texts(corpus[split], set(range(n)))
        for neuron in NEURONS:
            acts = [rng.standard_normal(len(texts[i].evidence)).astype(np.float32) ** 3 for i in range(n)]
            if neuron == 6:
                acts = [np.abs(a) for a in acts]  # nothing on the negative side
            everything[split, neuron] = acts
            for sign, kind in product(SIGNS, ("top", "random")):
                direction = 1 if sign == "positive" else -1
                peaks = np.array([(direction * a).max() for a in acts])
                chosen = np.arange(n) if kind == "top" else rng.permutation(n)[:RANDOM]
                chosen = chosen[np.argsort(-peaks[chosen], kind="stable")][: K if kind == "top" else RANDOM]
                for rank, i in enumerate(chosen):
                    who = {"split": split, "layer": LAYER, "neuron": neuron, "sign": sign, "kind": kind, "rank": rank}
                    rows.append(who | {"seq_id": i, "peak": direction * peaks[i], "activations": acts[i]})
    order = np.argsort([row["neuron"] for row in rows], kind="stable")
    path = tmp_path_factory.mktemp("harvested") / "exemplars.parquet"
    pq.write_table(pa.Table.from_pylist([rows[i] for i in order], schema=EXEMPLARS), path)
    return path, everything


@pytest.fixture(scope="module")
def published(harvested, corpus, tokenizer, tmp_path_factory) -> Path:
    """The same in the published layout. Tests that change it copy it first."""
    folder = tmp_path_factory.mktemp("published") / "folder"
    write_published([harvested[0]], corpus, folder, WIDTH, SEQ_LEN, tokenizer.pad_token_id)
    return folder


WANTED = Wanted(WIDTH, None, K, RANDOM, SEQ_LEN)


def listed(folder: Path, subject: str, output: Path, **settings) -> str:
    list_exemplars(folder, LAYER, replace(WANTED, **settings), subject, str(output))
    return str(output)


class Imported:
    """What an import wrote."""

    def __init__(self, folder: Path, subject: str, output: Path, neurons=NEURONS, **settings):
        self.corpus = {split: str(output / f"{split}.parquet") for split in SPLITS}
        output.mkdir(exist_ok=True)
        listing = str(output / "listing.json")
        if not Path(listing).exists():
            listed(folder, subject, Path(listing), **settings)
        import_exemplars(
            folder, listing, LAYER, neurons, self.corpus,
            str(output / "exemplars.parquet"), str(output / "statistics.parquet"),
        )  # fmt: skip
        self.exemplars = read_table(output / "exemplars.parquet", EXEMPLARS)
        self.statistics = read_table(output / "statistics.parquet", STATISTICS)

    def texts(self, split: str):
        rows = self.exemplars.to_pylist()
        return read_texts(self.corpus[split], {row["seq_id"] for row in rows if row["split"] == split})


@pytest.fixture(scope="module")
def imported(published, smollm2, tmp_path_factory) -> Imported:
    return Imported(published, smollm2, tmp_path_factory.mktemp("imported"))


# --- what comes out ----------------------------------------------------------------------------------


def test_import_returns_exactly_the_exemplars_that_were_published(harvested, imported, corpus):
    expected = read_table(harvested[0], EXEMPLARS)
    assert imported.exemplars.drop_columns("seq_id") == expected.drop_columns("seq_id")
    for split in SPLITS:
        theirs = read_texts(corpus[split], set(expected["seq_id"].to_pylist()) & set(range(40)))
        ours = imported.texts(split)
        same = {}
        for row, found in zip(expected.to_pylist(), imported.exemplars.to_pylist()):
            if row["split"] == split and row["seq_id"] in theirs:
                assert ours[found["seq_id"]] == theirs[row["seq_id"]]  # source, tokens, length of the prefix
                assert same.setdefault(row["seq_id"], found["seq_id"]) == found["seq_id"]
        assert len(set(same.values())) == len(same) > K


def test_corpus_tables_hold_each_sequence_once_and_the_facts_of_the_split(imported, corpus):
    for split in SPLITS:
        found, whole = corpus_facts(imported.corpus[split]), corpus_facts(corpus[split])
        assert (found.sequences, found.tokens, found.tokenizer) == (whole.sequences, whole.tokens, whole.tokenizer)
        ids = pq.read_table(imported.corpus[split])["seq_id"].to_pylist()
        assert ids == sorted(set(ids)) and min(ids) >= 0 and max(ids) < 2**53


def test_statistics_are_exact_where_the_arrays_tell_and_null_where_not(harvested, imported, monkeypatch):
    for row in imported.statistics.to_pylist():
        tokens = np.concatenate(harvested[1][row["split"], row["neuron"]])
        assert row["tokens"] == len(tokens)
        assert (row["mean"], row["std"]) == (None, None)
        assert (row["min"], row["max"]) == (tokens.min(), tokens.max())
        for tail in TAILS:  # of so few tokens all are the extreme
            assert row[quantile_column(tail, "positive")] == tokens.max()
            assert row[quantile_column(tail, "negative")] == tokens.min()


@pytest.mark.parametrize("tails", [(1e-3, 2e-3, 3e-3, 4e-3, 0.3)])
def test_deeper_quantiles_are_the_tokens_own_as_far_as_they_are_known(
    harvested, published, smollm2, tmp_path, monkeypatch, tails
):
    monkeypatch.setattr(importing, "TAILS", tails)
    monkeypatch.setattr(
        importing, "quantile_column", lambda tail, sign: quantile_column(TAILS[tails.index(tail)], sign)
    )
    known = 0
    for row in Imported(published, smollm2, tmp_path / "out").statistics.to_pylist():
        for sign, direction in (("positive", 1), ("negative", -1)):
            acts = harvested[1][row["split"], row["neuron"]]
            tokens = np.sort(np.concatenate([-direction * a for a in acts]))
            kept = np.sort([(-direction * a).min() for a in acts])[K - 1]  # the last that was kept
            for name, tail in zip(TAILS, tails):
                value = tokens[tail_rank(len(tokens), tail) - 1]
                expected = None if value > kept else -direction * value
                if expected is not None and tail_rank(len(tokens), tail) > 1:
                    expected = direction * min(max(direction * expected, 0), -tokens[0])
                assert row[quantile_column(name, sign)] == expected
                known += expected is not None and tail_rank(len(tokens), tail) > 1
            assert row[quantile_column(TAILS[-1], sign)] is None
    assert known > 20


def test_one_neuron_alone_and_any_part_equal_the_whole(imported, published, smollm2, tmp_path):
    for part in ([5], [1, 11], [4, 5, 6]):
        found = Imported(published, smollm2, tmp_path / str(part[0]), part)
        rows = pa.compute.is_in(imported.exemplars["neuron"], pa.array(part, pa.int32()))
        assert found.exemplars == imported.exemplars.filter(rows)
        for split in SPLITS:
            assert found.texts(split).items() <= imported.texts(split).items()
        rows = pa.compute.is_in(imported.statistics["neuron"], pa.array(part, pa.int32()))
        assert found.statistics == imported.statistics.filter(rows)


def test_published_order_does_not_decide_ranks(imported, published, smollm2, tmp_path):
    """A published peak may lie on the prefix, which is no evidence here: ranks are by the evidence's peak."""
    folder = shutil.copytree(published, tmp_path / "folder")
    for name in ("seq_acts", "seq_ids", "dataset_ids"):
        path = folder / f"train/layer{LAYER}/max_{name}.npy"
        np.save(path, np.load(path)[:, ::-1].copy())
    assert Imported(folder, smollm2, tmp_path / "out").exemplars == imported.exemplars


def test_what_peaks_on_the_prefix_leaves_the_statistics_unknown(published, smollm2, tokenizer, tmp_path):
    folder = shutil.copytree(published, tmp_path / "folder")
    path = folder / f"train/layer{LAYER}/max_seq_acts.npy"
    acts = np.load(path)
    real = np.load(folder / f"train/layer{LAYER}/max_seq_ids.npy") != 2
    acts[np.arange(WIDTH)[:, None], np.arange(K), real.argmax(2)] = 99  # on the first token of the template
    np.save(path, acts)
    found = Imported(folder, smollm2, tmp_path / "out")
    for row in found.statistics.to_pylist():
        assert (row["max"] is None) == (row["split"] == "train")
        assert row["min"] is not None
    assert max(found.exemplars["peak"].to_pylist()) < 99

    files = [[str(tmp_path / f"out/{name}.parquet")] for name in ("exemplars", "statistics")]
    evidence = Evidence(*files, found.corpus, NEURONS)
    assert evidence.active(1, "positive") == float("inf") > evidence.active(1, "negative")
    settings = load_config(demo_config()).descriptions.model_copy(update={"concept_candidates": 0})
    template = read_explainer_template(str(ROOT / "config/prompts/short.yaml"), settings.few_shot, True)
    candidates = prepare(
        NEURONS, LAYER, EvidenceFiles(found.corpus["train"], *files), Prompting(tokenizer, template), settings, seed=0
    )
    shown = [c.prompt.messages[-1]["content"] for c in candidates if c.sign == "positive" and c.prompt]
    assert len(shown) == len(NEURONS) * settings.candidates and all("{{" in text for text in shown)


def test_tables_of_several_parts_are_read_as_one(published, smollm2, tmp_path, imported):
    parts = [Imported(published, smollm2, tmp_path / name, neurons) for name, neurons in (("a", [1, 4]), ("b", [11]))]
    files = [[str(tmp_path / part / f"{name}.parquet") for part in "ab"] for name in ("exemplars", "statistics")]
    both = Evidence(*files, {split: [part.corpus[split] for part in parts] for split in SPLITS}, [1, 4, 11])
    whole = Path(imported.corpus["train"]).parent
    one = Evidence([str(whole / "exemplars.parquet")], [str(whole / "statistics.parquet")], imported.corpus, [1, 4, 11])
    for split, neuron, sign in product(SPLITS, (1, 4, 11), SIGNS):
        found, expected = (e.scored(split, neuron, sign, 3, 0, 2) for e in (both, one))
        assert [(s.seq_id, s.text, s.activations.tolist()) for s in found] == [
            (s.seq_id, s.text, s.activations.tolist()) for s in expected
        ]


def test_without_random_splits(imported, published, smollm2, tmp_path):
    folder = shutil.copytree(published, tmp_path / "folder")
    for split in SPLITS:
        shutil.rmtree(folder / f"random_{split}")
    with pytest.raises(ValueError, match=r"random_\w+/layer3/m\w+_seq_acts.npy does not exist; .* exemplars.random"):
        listed(folder, smollm2, tmp_path / "listing.json")
    found = Imported(folder, smollm2, tmp_path / "out", n_random=0)
    assert found.exemplars == imported.exemplars.filter(pa.compute.equal(imported.exemplars["kind"], "top"))


def test_arrays_saved_as_permuted_tensors_are_read(published, smollm2, tmp_path, imported):
    """Torch's way from tensors with the neurons last to files; the fixture says the same with numpy."""
    folder = shutil.copytree(published, tmp_path / "folder")
    orders = {}
    for path in sorted(folder.glob("*/layer*/*_*s.npy")):
        array = np.load(path)
        if "random" in str(path):
            continue
        if array.ndim == 3:
            kept = torch.tensor(array).permute(1, 2, 0).contiguous()
            view = kept.permute(2, 0, 1)
        else:
            kept = torch.tensor(array).permute(1, 0).contiguous()
            view = kept.permute(1, 0)
        view = view.float() if "acts" in path.name else view.int()
        np.save(path, view.cpu().numpy())
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            orders[path.name.partition("_")[2]] = np.lib.format.read_array_header_1_0(file)[1]
    assert orders == {"acts.npy": True, "dataset_ids.npy": True, "seq_acts.npy": False, "seq_ids.npy": False}
    assert Imported(folder, smollm2, tmp_path / "out").exemplars == imported.exemplars


@pytest.mark.parametrize("request_bytes", [16 << 20, 300])
@pytest.mark.parametrize("part", [NEURONS, [5], [1, 11]], ids=len)
def test_any_array_may_be_in_fortran_order(published, smollm2, tmp_path, imported, monkeypatch, request_bytes, part):
    monkeypatch.setattr(arrays, "REQUEST", request_bytes)
    folder = shutil.copytree(published, tmp_path / "folder")
    for path in folder.glob("*/layer*/*_*s.npy"):
        np.save(path, np.asfortranarray(np.load(path)))
    found = Imported(folder, smollm2, tmp_path / "out", part)
    rows = pa.compute.is_in(imported.exemplars["neuron"], pa.array(part, pa.int32()))
    assert found.exemplars == imported.exemplars.filter(rows)


# --- what is fetched ---------------------------------------------------------------------------------


def test_ranges_cover_the_neurons_and_nothing_else(monkeypatch):
    monkeypatch.setattr(arrays, "REQUEST", 25)
    source = np.random.default_rng(0).bytes(100 * 10)
    for neurons in ([0], [99], list(range(100)), [3, 4, 5, 9, 10, 50]):
        buffer = bytearray(len(neurons) * 10)
        for first, at, size in ranges(neurons, 10):
            assert size <= 25
            buffer[at : at + size] = source[first : first + size]
        assert bytes(buffer) == b"".join(source[i * 10 : i * 10 + 10] for i in neurons)
        assert sum(size for _, _, size in ranges(neurons, 10)) == len(buffer)


def test_seq_ids_tell_sequences_apart_and_know_equal_ones():
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 50, (5000, 8), dtype=np.int32)
    start = rng.integers(0, 5, 5000)
    ids[np.arange(8) < start[:, None]] = 2
    salt = rng.integers(0, 2, 5000).astype(np.uint64)
    found = sequence_ids(ids, start, salt)
    content = {(tuple(row[s:]), int(t)): i for row, s, t, i in zip(ids.tolist(), start, salt, found.tolist())}
    assert len(set(content.values())) == len(content)
    padded = np.concatenate([np.full((5000, 4), 9, np.int32), ids], 1)  # a longer window, the same sequences
    assert (sequence_ids(padded, start + 4, salt) == found).all()
    zeros = np.zeros((3, 8), np.int32)
    assert len(set(sequence_ids(zeros, np.array([0, 1, 2]), np.zeros(3, np.uint64)))) == 3


# --- what is refused ---------------------------------------------------------------------------------


def replaced(array: str, change):
    """An edit of one array of a folder."""

    def edit(folder: Path):
        path = folder / array
        change(path)

    return edit


def saved(make):
    return lambda path: np.save(path, make(np.load(path)), allow_pickle=True)


def cut(n):
    return lambda path: path.write_bytes(path.read_bytes()[:n])


def config(**changes):
    def edit(folder: Path):
        path = folder / "exemplar_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


A = f"valid/layer{LAYER}/min_seq_acts.npy"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (replaced(A, Path.unlink), f"{A} does not exist; fetch all splits of this layer"),
        (replaced(A, cut(-4)), f"{A} has 11644 bytes, not 11648: it is truncated or damaged; fetch it anew"),
        (replaced(A, cut(60)), f"{A} is not a .npy array, or its beginning is damaged"),
        (replaced(A, cut(0)), f"{A} is not a .npy array"),
        (replaced(A, lambda p: p.write_bytes(b"PK" + p.read_bytes()[2:])), f"{A} is not a .npy array"),
        (replaced(A, saved(lambda a: a.astype(object))), f"{A} holds pickled Python objects, which are never loaded"),
        (replaced(A, saved(lambda a: a.astype(np.float16))), f"{A} holds <f2 values, not <f4; export it anew"),
        (replaced(A, saved(lambda a: a[:, :5])), r"has shape \(12, 5, 40\), not \(12, 6, 40\): correct subject"),
        (replaced(f"test/layer{LAYER}/step.txt", lambda p: p.write_text("many")), "step.txt does not hold a number"),
        (replaced(f"test/layer{LAYER}/step.txt", Path.unlink), "step.txt does not exist; fetch all splits"),
        (replaced("exemplar_config.json", Path.unlink), "exemplar_config.json does not exist; correct the place"),
        (replaced("exemplar_config.json", cut(30)), "exemplar_config.json is not JSON"),
        (config(k=7, seq_len=41), "exemplars.k is 6, theirs 7; exemplars.seq_len is 40, theirs 41; set theirs"),
        (config(rand_seqs=10), "exemplars.random is 3, theirs 10; set theirs"),
        (config(activation_type="SAE_RES"), "exemplars of SAE_RES features, not of MLP neurons"),
        (config(hf_dataset_configs=3), "exemplar_config.json is not an exemplar configuration"),
        (config(hf_model_id="owner/other"), "the exemplars are those of owner/other, the subject is hub/Smol"),
    ],
)
def test_what_cannot_be_listed_is_named_with_a_remedy(published, smollm2, tmp_path, edit, message):
    folder = shutil.copytree(published, tmp_path / "folder")
    edit(folder)
    with pytest.raises(ValueError, match=message):
        listed(folder, smollm2, tmp_path / "listing.json", model="hub/SmolLM2-135M-Instruct")
    assert not (tmp_path / "listing.json").exists()


def test_a_renamed_repository_is_the_same_model(published, smollm2, tmp_path):
    folder = shutil.copytree(published, tmp_path / "folder")
    config(hf_model_id="meta-llama/Meta-Llama-3.1-8B-Instruct")(folder)
    listed(folder, smollm2, tmp_path / "listing.json", model="meta-llama/Llama-3.1-8B-Instruct")


def test_a_pickle_is_never_loaded(published, smollm2, tmp_path):
    """Neither where an array should be nor beside the arrays."""

    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    folder = shutil.copytree(published, tmp_path / "folder")
    bomb = np.array([Bomb()], dtype=object)
    np.save(folder / f"layer{LAYER}_act_percs.npy", bomb, allow_pickle=True)
    listed(folder, smollm2, tmp_path / "listing.json")
    np.save(folder / A, bomb, allow_pickle=True)
    with pytest.raises(ValueError, match="never loaded"):
        listed(folder, smollm2, tmp_path / "listing.json")
    assert not (tmp_path / "exploded").exists()


IDS = f"train/layer{LAYER}/max_seq_ids.npy"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (replaced(IDS, saved(lambda a: a + 60_000)), f"{IDS} has token ids from .* name the subject"),
        (replaced(IDS, saved(lambda a: a * 0 + 2)), f"{IDS} has a sequence that is all padding"),
        (
            replaced(f"train/layer{LAYER}/max_dataset_ids.npy", saved(lambda a: a + 3)),
            "exemplar_config.json has 3 data",
        ),
        (replaced(f"train/layer{LAYER}/max_seq_acts.npy", saved(lambda a: a * np.nan)), "not finite where tokens are"),
    ],
)
def test_impossible_values_are_named(published, smollm2, tmp_path, edit, message):
    folder = shutil.copytree(published, tmp_path / "folder")
    edit(folder)
    with pytest.raises(ValueError, match=message):
        Imported(folder, smollm2, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["listing.json"]


def test_another_padding_token_is_noticed_and_can_be_named(harvested, corpus, smollm2, tmp_path, imported):
    folder = tmp_path / "folder"
    write_published([harvested[0]], corpus, folder, WIDTH, SEQ_LEN, pad_id=0)
    with pytest.raises(ValueError, match=r"another token than 2, set exemplars\.pad_id"):
        Imported(folder, smollm2, tmp_path / "wrong")
    assert Imported(folder, smollm2, tmp_path / "right", pad_id=0).exemplars == imported.exemplars


def test_another_chat_template_is_noticed(published, smollm2, tmp_path):
    """Else its constant beginning would be taken for evidence."""
    subject = Path(shutil.copytree(smollm2, tmp_path / "subject", ignore=shutil.ignore_patterns("*.safetensors")))
    template = subject / "chat_template.jinja"
    text = template.read_text()
    assert "helpful AI assistant" in text
    template.write_text(text.replace("helpful AI assistant", "terse machine"))
    with pytest.raises(
        ValueError, match=r"begins with the same \d+ tokens, the chat template .* accounts for \d+ of them"
    ):
        Imported(published, str(subject), tmp_path / "out")


def test_an_array_that_changed_after_the_listing_is_an_error(published, smollm2, tmp_path):
    folder = shutil.copytree(published, tmp_path / "folder")
    (tmp_path / "out").mkdir()
    listed(folder, smollm2, tmp_path / "out/listing.json")
    np.save(folder / A, np.load(folder / A) * 2)
    with pytest.raises(ValueError, match=rf"{A} has changed since it was listed; delete .*listing.json and run again"):
        Imported(folder, smollm2, tmp_path / "out")
    assert Folder(folder).name(A).endswith(A)
