"""Features that are silent nearly everywhere: from the harvest of a converted dictionary to what is described."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from safetensors.torch import save_file
from test_features import FAMILIES, LAYERS, NEURONS
from transformers import AutoModel

from neuron_descriptions.common.storage import write_table
from neuron_descriptions.config.descriptions import Descriptions
from neuron_descriptions.config.features import AutoencoderFeatures, Features, MlpNeuronFeatures
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.descriptions.evidence import EvidenceFiles, Prompting, ladder, prepare
from neuron_descriptions.features.converting import convert_dictionary
from neuron_descriptions.features.opening import SOURCES, SourceJob, open_source
from neuron_descriptions.harvest.fired import drawn_keys
from neuron_descriptions.harvest.keys import decode_keys
from neuron_descriptions.harvest.merging import merge
from neuron_descriptions.harvest.passes import Passes
from neuron_descriptions.harvest.shard import Shard, harvest
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.panel.harvesting import harvest_panel
from neuron_descriptions.run.memory import Keep
from neuron_descriptions.scores.evidence import Evidence
from neuron_descriptions.scores.simulation import Scorer

LATENTS, LAYER, SEQUENCES, K = 24, 1, 60, 8
KEEP = {"top": K, "middle": 3, "random": 4}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny model, a corpus table of random tokens, and a top-k dictionary, converted."""
    folder = tmp_path_factory.mktemp("sparse")
    name, settings, _ = FAMILIES["llama"]
    torch.manual_seed(0)
    AutoModel.from_config(getattr(transformers, name)(**settings)).save_pretrained(folder / "model")
    rng = np.random.default_rng(0)
    rows = [
        {"seq_id": i, "input_ids": rng.integers(3, 300, 8 + i % 5).tolist(), "prefix_len": i % 2, "source": "random",
         "document": i}
        for i in range(SEQUENCES)
    ]  # fmt: skip
    tokens = sum(len(row["input_ids"]) - row["prefix_len"] for row in rows)
    schema = CORPUS.with_metadata(
        {"sequences": str(SEQUENCES), "tokens": str(tokens), "longest": "12", "tokenizer": "", "seed": "0"}
    )
    known = [{field.name: row.get(field.name) for field in CORPUS} for row in rows]
    write_table(pa.Table.from_pylist(known, schema=schema), str(folder / "corpus.parquet"))
    torch.manual_seed(1)
    weight = torch.randn(LATENTS, 32)
    # The later, the rarer; the last never.
    bias = torch.cat([torch.linspace(1, -1, LATENTS // 2), torch.linspace(-5, -60, LATENTS // 2)])
    save_file({"encoder.weight": weight, "encoder.bias": bias, "W_dec": weight.clone(), "b_dec": torch.zeros(32)},
              sparsify(folder) / "sae.safetensors")  # fmt: skip
    convert_dictionary(str(sparsify(folder)), LAYER, section(folder), ["model"], str(folder / "latents.safetensors"))
    return folder


def sparsify(folder: Path) -> Path:
    place = folder / f"layers.{LAYER}"
    place.mkdir(exist_ok=True)
    (place / "cfg.json").write_text('{"activation": "topk", "k": 4, "d_in": 32, "transcode": false}')
    return place


def section(folder: Path) -> AutoencoderFeatures:
    return AutoencoderFeatures(kind="autoencoder", path=str(folder), count=LATENTS, hook="residual_out")


def harvested(folder: Path, shards: int, output: Path) -> tuple[str, str]:
    """Tables of exemplars and statistics of all latents."""
    files, corpus = [], str(folder / "corpus.parquet")
    for shard in range(shards):
        files.append(str(output / f"{shards}-{shard}.safetensors"))
        harvest(
            Subject(str(folder / "model"), LAYERS, NEURONS, None, "float32", features=section(folder),
                    dictionaries={LAYER: str(folder / "latents.safetensors")}),
            corpus, Shard("train", shard, shards, 8, 0), {LAYER: list(range(LATENTS))}, Keep(**KEEP), 1, files[-1],
        )  # fmt: skip
    tables = str(output / f"exemplars-{shards}.parquet"), str(output / f"statistics-{shards}.parquet")
    merge({"train": files}, {"train": corpus}, LAYER, list(range(LATENTS)), slice(0, LATENTS), 0, *tables)
    return tables


@pytest.fixture(scope="module")
def tables(folder) -> tuple[str, str]:
    return harvested(folder, 1, folder)


@pytest.fixture(scope="module")
def latents(folder) -> list[np.ndarray]:
    """Every sequence's latents by the formula, on the residual stream that transformers gives: (evidence tokens, S)."""
    from safetensors.torch import load_file

    held = load_file(sparsify(folder) / "sae.safetensors")
    model = AutoModel.from_pretrained(folder / "model").eval()
    found = []
    for row in pq.read_table(folder / "corpus.parquet").to_pylist():
        with torch.inference_mode():
            states = model(torch.tensor([row["input_ids"]]), output_hidden_states=True).hidden_states[LAYER + 1][0]
        acts = (states @ held["encoder.weight"].T + held["encoder.bias"]).relu()
        best = acts.topk(4, dim=1)
        found.append(torch.zeros_like(acts).scatter_(1, best.indices, best.values)[row["prefix_len"] :].numpy())
    return found


def test_top_sequences_are_those_that_fire_and_no_others(tables, latents):
    table = pq.read_table(tables[0]).to_pandas()
    top = table[table.kind == "top"]
    assert set(top.sign) == {"positive"} and (top.peak > 0).all()
    fires = 0
    for latent in range(LATENTS):
        peaks = np.array([acts[:, latent].max() for acts in latents])
        order = np.argsort(-peaks, kind="stable")
        order = order[peaks[order] > 0][:K]
        fires += len(order) < K
        rows = top[top.neuron == latent].sort_values("rank")
        assert rows.seq_id.tolist() == order.tolist()
        np.testing.assert_allclose(rows.peak, peaks[order], rtol=1e-4)
        for row in rows.itertuples():
            np.testing.assert_allclose(row.activations, latents[row.seq_id][:, latent], rtol=1e-4, atol=1e-5)
    assert fires >= 3  # some fire in fewer sequences than are kept, or in none
    assert set(table.sign) == {"positive"}  # there is no other side, of random sequences neither
    assert (table[table.kind == "random"].groupby("neuron").size() == KEEP["random"]).all()


def test_the_middle_is_a_random_draw_of_the_sequences_that_fire(tables, latents):
    table = pq.read_table(tables[0]).to_pandas()
    short, drawn = 0, []
    for latent in range(LATENTS):
        fires = [i for i, acts in enumerate(latents) if acts[:, latent].max() > 0]
        keys = {i: int(drawn_keys(torch.tensor(i), torch.tensor(latent), "fired", 0, "train", LAYER)) for i in fires}
        of_latent = table[table.neuron == latent]
        top = set(of_latent[of_latent.kind == "top"].seq_id)
        expected = set(sorted(fires, key=lambda i: -keys[i])[: KEEP["middle"]]) - top
        rows = of_latent[of_latent.kind == "middle"].sort_values("rank")
        assert set(rows.seq_id) == expected
        assert (rows.peak > 0).all() and (np.diff(rows.peak) <= 0).all()
        for row in rows.itertuples():
            np.testing.assert_allclose(row.activations, latents[row.seq_id][:, latent], rtol=1e-4, atol=1e-5)
        short += len(fires) <= K
        drawn += list(expected)
    assert short and len(drawn) > 8 and len(set(drawn)) > 5


def test_statistics_say_how_often_a_latent_fires(tables, latents):
    table = pq.read_table(tables[1]).to_pandas().set_index("neuron")
    tokens = sum(map(len, latents))
    for latent in range(LATENTS):
        acts = np.concatenate(latents)[:, latent]
        row, fires = table.loc[latent], int((acts > 0).sum())
        assert (row.firings, row.firing_rate) == (fires, fires / tokens)
        assert row.firing_sequences == sum(one[:, latent].max() > 0 for one in latents)
        assert np.isnan(row.log_density) if not fires else row.log_density == np.log10(fires / tokens)
        assert row["lower_1e-4"] == pytest.approx(acts.min(), rel=1e-4)  # 0, but for one that always fires
        assert row["upper_1e-4"] == pytest.approx(acts.max(), rel=1e-4)
    assert (table.firings == 0).any() and (table.firings > 20).any()


def test_the_draw_is_uniform_and_a_function_of_feature_and_sequence_alone():
    from neuron_descriptions.common.streams import key

    def in_python(seq_id, feature, *what):
        """SplitMix64 in whole numbers."""
        z = (key(*what) + ((feature << 32) + seq_id + 1) * 0x9E3779B97F4A7C15) % 2**64
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z = (z ^ (z >> shift)) * factor % 2**64
        return ((z ^ (z >> 31)) >> 33) << 32 | (2**32 - 1 - seq_id)

    seq_ids, features = torch.arange(4000), torch.arange(50)[:, None]
    found = drawn_keys(seq_ids, features, "fired", 7)
    assert found.min() >= 0
    for seq_id, feature in ((0, 0), (3999, 49), (17, 3)):
        assert int(found[feature, seq_id]) == in_python(seq_id, feature, "fired", 7)
    assert torch.equal(decode_keys(found)[1], seq_ids.expand_as(found))
    chosen = torch.zeros(4000).index_add_(0, found.topk(400, dim=1).indices.flatten(), torch.ones(50 * 400))
    assert chosen.mean() == 5 and 4 < chosen.var() < 5  # binomial: 50 draws of 1 in 10


def test_shards_change_no_byte(folder, tables, tmp_path):
    for one, other in zip(tables, harvested(folder, 3, tmp_path)):
        assert Path(one).read_bytes() == Path(other).read_bytes()


def test_the_panel_holds_the_same_numbers(folder, latents, tmp_path):
    from safetensors.torch import load_file

    subject = Subject(str(folder / "model"), LAYERS, NEURONS, None, "float32", features=section(folder),
                      dictionaries={LAYER: str(folder / "latents.safetensors")})  # fmt: skip
    output = {LAYER: str(tmp_path / "panel.safetensors")}
    harvest_panel(subject, str(folder / "corpus.parquet"), {LAYER: [2, 5]}, 0, Passes(8, 1), output)
    expected = np.concatenate(latents)[:, [2, 5]].T
    np.testing.assert_allclose(load_file(output[LAYER])["acts"], expected, rtol=1e-4, atol=1e-5)


def test_what_never_fires_is_not_described_and_does_no_harm(folder, tables):
    from types import SimpleNamespace

    settings = Descriptions(token_candidates=1, pool=K, evidence_min=1, evidence_max=K)
    fires = set(pq.read_table(tables[0], filters=[("kind", "=", "top")])["neuron"].to_pylist())
    silent = [latent for latent in range(LATENTS) if latent not in fires]
    assert silent
    asked = Prompting(None, SimpleNamespace(examples=(), wanted=()))
    found = prepare(
        silent, LAYER, EvidenceFiles(str(folder / "corpus.parquet"), [tables[0]], [tables[1]]), asked, settings, 0
    )
    assert [(c.sign, c.status, c.prompt) for c in found] == [
        (sign, "no_activation", None) for _ in silent for sign in ("positive", "negative")
    ]
    rare = int(pq.read_table(tables[1]).to_pandas().query("firings > 0").sort_values("firings").neuron.iloc[0])
    files = EvidenceFiles(str(folder / "corpus.parquet"), [tables[0]], [tables[1]], min_firings=10_000)
    said = prepare([rare], LAYER, files, asked, settings, 0)
    assert [(c.sign, c.status, c.prompt) for c in said] == [
        ("positive", "few_firings", None), ("negative", "no_activation", None)
    ]  # fmt: skip
    corpus = {"train": str(folder / "corpus.parquet")}
    evidence = Evidence([tables[0]], [tables[1]], corpus, silent)
    for sign in ("positive", "negative"):
        baseline = evidence.token_baseline(silent[0], sign, SEQUENCES)
        assert not evidence.get("train", silent[0], sign, "top") and not baseline.predict([5, 6]).any()


def test_a_side_without_sequences_has_no_score(folder, tables):
    """As of the negative side of what is never negative, described or not."""
    splits = ("train", "valid", "test")
    evidence = Evidence([tables[0]], [tables[1]], dict.fromkeys(splits, str(folder / "corpus.parquet")), [0])
    scorer = Scorer(None, "none", evidence, None, Scores(simulator=None), dict.fromkeys(splits, SEQUENCES), 0)
    said = [{"candidate": 0, "description": "the word river", "status": "ok"}]
    assert scorer.score(LAYER, 0, "negative", said) == scorer.score(LAYER, 0, "negative", []) == ([], [])


def test_highlights_of_what_can_be_silent_begin_at_a_share_of_its_maximum(tables, latents):
    for row in pq.read_table(tables[1]).to_pylist():
        highest = max(one[:, row["neuron"]].max() for one in latents)
        assert ladder(row, "positive") == [pytest.approx(0.3 * highest, rel=1e-4)]
    neuron = {"firings": None, "max": 9.0} | {f"upper_1e-{n}": 1.0 + n for n in range(4, 9)}
    assert ladder(neuron, "positive") == [9.0, 8.0, 7.0, 6.0, 5.0]


def test_every_kind_of_the_configuration_is_in_the_list_and_the_other_way_round():
    from typing import get_args

    kinds = {tag.tag for form in get_args(get_args(Features)[0]) for tag in get_args(form)[1:]}
    assert kinds == set(SOURCES)
    assert open_source(SourceJob(MlpNeuronFeatures(), LAYERS, NEURONS)).one_sided is False
