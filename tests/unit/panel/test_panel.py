"""The panel's text is nobody else's; its activations are those of a plain forward pass, however they were made; what
does not belong together is told."""

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open

from conftest import tiny_config
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.common.streams import generator
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.corpus.building import Cut, Mixture, document_fingerprint, shares
from neuron_descriptions.corpus.tables import CORPUS, DOCUMENTS
from neuron_descriptions.features.neurons import MlpNeurons
from neuron_descriptions.harvest.batches import read_batches
from neuron_descriptions.harvest.forward import run_layers
from neuron_descriptions.harvest.passes import Passes
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.models.loading import load_model
from neuron_descriptions.panel import harvesting
from neuron_descriptions.panel.harvesting import Dense, check_room, harvest_panel
from neuron_descriptions.panel.reading import NO_TOKEN, Panel
from neuron_descriptions.panel.tables import PANELS
from neuron_descriptions.panel.texts import build_panel
from neuron_descriptions.panel.types import type_neurons
from planted_panels import two_panels, write_panel

LAYERS, BATCH, TOKENS = (1, 3), 8, 900
NEURONS = {1: list(range(0, 1536, 5)), 3: [0, 699, 1535]}
RATIOS = {name: spec.ratio for name, spec in load_config(tiny_config()).corpus.sources.items()}


def build(corpus, smollm2, folder, tokens=TOKENS, seed=0, seq_len=48):
    """Panels of what the session's corpus leaves; by panel, table."""
    documents = {name: str(Path(corpus["train"]).parent / f"{name}.parquet") for name in RATIOS}
    outputs = {panel: str(folder / f"{panel}.parquet") for panel in PANELS}
    build_panel(Mixture(documents, RATIOS, smollm2, Cut(seq_len), seed), list(corpus.values()), tokens, outputs)
    return outputs


@pytest.fixture(scope="module")
def panels(corpus, smollm2, tmp_path_factory):
    return build(corpus, smollm2, tmp_path_factory.mktemp("panels"))


def harvest(smollm2, corpus, folder, layers=LAYERS, at_once=2, seed=0, batch_size=BATCH):
    outputs = {layer: str(folder / f"layer-{layer}.safetensors") for layer in layers}
    subject = Subject(smollm2, 30, 1536, None, "bfloat16")
    neurons = {layer: NEURONS[layer] for layer in layers}
    harvest_panel(subject, corpus, neurons, seed, Passes(batch_size, at_once, 2), outputs)
    return outputs


@pytest.fixture(scope="module")
def harvested(smollm2, panels, tmp_path_factory):
    return harvest(smollm2, panels["panel"], tmp_path_factory.mktemp("acts"))


# --- text ---


def test_a_panel_has_its_tokens_by_source_and_nobody_elses_documents(corpus, panels):
    tables = {name: read_table(path, CORPUS) for name, path in {**corpus, **panels}.items()}
    documents = {name: set(table["document"].to_pylist()) for name, table in tables.items()}
    assert all(documents[panel].isdisjoint(documents[other]) for panel in PANELS for other in tables if other != panel)
    texts = {name: read_table(Path(corpus["train"]).parent / f"{name}.parquet", DOCUMENTS) for name in RATIOS}
    known = {document_fingerprint(row["text"] or row["messages"]) for t in texts.values() for row in t.to_pylist()}
    for panel in PANELS:
        rows = tables[panel].to_pylist()
        assert [row["seq_id"] for row in rows] == list(range(len(rows)))
        assert documents[panel] <= known
        assert all(len(row["input_ids"]) <= 48 for row in rows)
        for source, share in shares(TOKENS, RATIOS).items():
            lengths = [len(row["input_ids"]) - row["prefix_len"] for row in rows if row["source"] == source]
            assert share <= sum(lengths) < share + max(lengths)
    evidence = [tuple(r["input_ids"][r["prefix_len"] :]) for panel in PANELS for r in tables[panel].to_pylist()]
    assert len(set(evidence)) == len(evidence)


def test_another_seed_has_another_panel_and_the_same_one_the_same_bytes(corpus, smollm2, panels, tmp_path):
    again, other = (build(corpus, smollm2, tmp_path / str(seed), seed=seed) for seed in (0, 1))
    for panel in PANELS:
        assert Path(again[panel]).read_bytes() == Path(panels[panel]).read_bytes()
        assert Path(other[panel]).read_bytes() != Path(panels[panel]).read_bytes()


def test_a_panel_larger_than_its_text_says_how_much_there_is(corpus, smollm2, tmp_path):
    with pytest.raises(
        ValueError, match=r"panel\.tokens: 10,000,000 need .* of corpus\.sources\.\w+ for panel"
    ) as error:
        build(corpus, smollm2, tmp_path, tokens=10_000_000)
    fewer = int(str(error.value).split("panel.tokens to ")[1].split(", ")[0].replace(",", ""))
    assert not list(tmp_path.glob("*"))
    build(corpus, smollm2, tmp_path, tokens=fewer)  # the advice holds


# --- activations ---


@pytest.fixture(scope="module")
def brute(smollm2, panels):
    """By layer, activations (N, 1536) of the whole model with its head, in batches of the same sequences."""
    model = load_model(smollm2, "bfloat16", head=True, threads=2)
    seen: dict = {}
    for layer in LAYERS:
        model.model.layers[layer].mlp.down_proj.register_forward_hook(
            lambda module, args, output, layer=layer: seen.__setitem__(layer, args[0].float().numpy())
        )
    rows = pq.read_table(panels["panel"]).to_pylist()
    kept: dict = {layer: [] for layer in LAYERS}
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        width = max(len(row["input_ids"]) for row in batch)
        with torch.inference_mode():
            model(torch.tensor([row["input_ids"] + [0] * (width - len(row["input_ids"])) for row in batch]))
        for layer in LAYERS:
            kept[layer] += [a[r["prefix_len"] : len(r["input_ids"])] for a, r in zip(seen[layer], batch)]
    return {layer: np.concatenate(kept[layer]) for layer in LAYERS}


def test_activations_are_those_of_a_plain_forward_pass(smollm2, panels, harvested, brute):
    panel = Panel(panels["panel"], harvested.values(), smollm2)
    assert panel.layers == list(LAYERS)
    for layer in LAYERS:
        assert panel.neurons(layer) == NEURONS[layer]
        acts_IN = panel.acts(layer)
        assert acts_IN.dtype == np.float32 and acts_IN.shape == (len(NEURONS[layer]), panel.tokens)
        assert np.array_equal(acts_IN, brute[layer][:, NEURONS[layer]].T)
    some = [1500, 0, 5, 10, 40]  # in the order that is asked for
    assert np.array_equal(panel.acts(1, some), brute[1][:, some].T)
    assert panel.acts(1, []).shape == (0, panel.tokens)


def test_a_feature_is_one_row_that_is_read_alone(panels, harvested, brute):
    with safe_open(harvested[1], "pt") as file:
        rows = file.get_slice("acts")
        assert rows.get_shape() == [len(NEURONS[1]), len(brute[1])]
        assert rows.get_dtype() == "BF16"
        assert np.array_equal(rows[3:4].float().numpy()[0], brute[1][:, NEURONS[1][3]])


def test_layers_of_a_pass_and_jobs_change_no_byte(smollm2, panels, harvested, tmp_path):
    singly = harvest(smollm2, panels["panel"], tmp_path / "singly", at_once=1)
    alone = harvest(smollm2, panels["panel"], tmp_path / "alone", layers=(3,))
    for layer in LAYERS:
        assert Path(singly[layer]).read_bytes() == Path(harvested[layer]).read_bytes()
    assert Path(alone[3]).read_bytes() == Path(harvested[3]).read_bytes()


def test_the_order_of_batches_and_the_shard_that_runs_them_change_nothing(smollm2, panels, brute):
    model = load_model(smollm2, "bfloat16", head=False, threads=2)
    source = MlpNeurons(30, 1536)
    rows = pq.read_table(panels["panel"]).to_pylist()
    start_B = np.cumsum([0] + [len(row["input_ids"]) - row["prefix_len"] for row in rows])
    longest = max(len(row["input_ids"]) - row["prefix_len"] for row in rows)
    batches = list(read_batches(panels["panel"], 0, len(rows), BATCH, longest))
    dense = Dense(source, {3: NEURONS[3]}, start_B, "bfloat16")
    order = generator("order").permutation(len(batches))
    taps = {3: source.taps(model)[3]}
    for shard in (order[:3], order[3:]):
        run_layers(model, taps, [batches[i] for i in shard], dense.take)
    assert np.array_equal(dense.acts_IN[3].float().numpy(), brute[3][:, NEURONS[3]].T)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_an_activation_that_is_not_finite_is_an_error(panels, odd):
    batch = next(read_batches(panels["panel"], 0, 2, 2, 48))
    lengths = batch.valid_BE.sum(1) if batch.valid_BE is not None else torch.tensor([48, 48])
    seen_BTD = torch.zeros(*batch.input_ids_BT.shape, 4)
    dense = Dense(MlpNeurons(1, 4), {0: [1, 2]}, np.concatenate([[0], lengths.cumsum(0).numpy()]), "float32")
    seen_BTD[:, :, 3] = odd  # of no kept feature
    dense.take(0, seen_BTD, batch)
    seen_BTD[1, :, 2] = odd
    with pytest.raises(ValueError, match="layer 0 has activations that are not finite in float32"):
        dense.take(0, seen_BTD, batch)


def test_tokens_are_those_of_the_table(smollm2, tokenizer, panels):
    panel = Panel(panels["panel"], subject=smollm2)
    rows = pq.read_table(panels["panel"]).to_pylist()
    flat = [(b, i, row) for b, row in enumerate(rows) for i in range(row["prefix_len"], len(row["input_ids"]))]
    assert panel.tokens == len(flat)
    assert panel.ids_N.tolist() == [row["input_ids"][i] for _, i, row in flat]
    assert panel.previous_N.tolist() == [row["input_ids"][i - 1] if i else NO_TOKEN for _, i, row in flat]
    assert panel.position_N.tolist() == [i for _, i, _ in flat]
    assert panel.sequence_N.tolist() == [b for b, _, _ in flat]
    assert [len(strings) for strings in panel.strings] == [len(text.evidence) for text in panel.sequences]
    told = 0
    for text, strings in zip(panel.sequences, panel.strings):
        whole = tokenizer.decode(text.input_ids, clean_up_tokenization_spaces=False)
        if "\N{REPLACEMENT CHARACTER}" not in whole:  # no character is cut
            assert whole.endswith("".join(strings)) and "".join(strings)
            told += 1
    assert told > 10


# --- what does not belong together ---


def test_activations_of_another_panel_subject_or_seed_are_refused(smollm2, panels, harvested, tmp_path):
    with pytest.raises(ValueError, match="belongs to another panel than"):
        Panel(panels["panel_test"], harvested.values())
    other = shutil.copytree(smollm2, tmp_path / "other", copy_function=os.link)
    config = other / "config.json"
    text = config.read_text()
    config.unlink()
    config.write_text(text.replace("{", '{"another": 1,', 1))
    with pytest.raises(ValueError, match="has the activations of another model than"):
        Panel(panels["panel"], harvested.values(), str(other))
    with pytest.raises(ValueError, match="was made with the seed 0, not 7; delete it and run again"):
        harvest(smollm2, panels["panel"], tmp_path, seed=7)
    with pytest.raises(ValueError, match="layer 2 is not in the panel"):
        Panel(panels["panel"], harvested.values()).acts(2)
    with pytest.raises(ValueError, match="layer 3, neuron 1 is not in the panel"):
        Panel(panels["panel"], harvested.values()).acts(3, [0, 1])


def test_a_split_of_the_corpus_is_no_panel(smollm2, corpus, tmp_path):
    with pytest.raises(ValueError, match="was made with the seed none"):
        harvest(smollm2, corpus["test"], tmp_path)


def test_panels_of_different_subjects_are_not_compared(tmp_path):
    panels = two_panels(tmp_path, lambda rows, random: np.ones((1, sum(len(i) - p for p, i in rows))), 5)
    test = Panel(panels["panel_test"][0])
    rows = [(text.prefix_len, text.input_ids) for text in test.sequences]
    acts = np.ones((1, test.tokens))
    _, panels_test = write_panel(tmp_path, "panel_test", rows, acts, subject="another")
    files = {"panel": panels["panel"][1], "panel_test": panels_test}
    with pytest.raises(ValueError, match="not of the same subject, seed and neurons"):
        type_neurons({panel: pair[0] for panel, pair in panels.items()}, files, 2, str(tmp_path / "types.parquet"))


@pytest.mark.parametrize("what", ["flipped", "cut"])
def test_a_damaged_file_is_named(smollm2, panels, harvested, tmp_path, what):
    damaged = tmp_path / "layer-3.safetensors"
    shutil.copyfile(harvested[3], damaged)
    with safe_open(damaged, "pt") as file:
        row = file.get_slice("acts")[1:2].contiguous().view(torch.uint8).numpy().tobytes()
    content = bytearray(damaged.read_bytes())
    place = content.index(row) + 11
    content[place] ^= 4
    damaged.write_bytes(content if what == "flipped" else content[: len(content) // 2])
    with pytest.raises(ValueError, match=f"{damaged} is not a readable panel .*delete it and run again"):
        Panel(panels["panel"], [str(damaged)]).acts(3, [699])
    if what == "flipped":
        Panel(panels["panel"], [str(damaged)]).acts(3, [0, 1535])  # other rows are whole


def test_no_room_is_told_before_any_work(smollm2, panels, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"of main memory are free: lower exemplars\.layers_per_job or panel\.tokens"):
        check_room(10**18, 1, {0: str(tmp_path / "new/layer-0")})
    with pytest.raises(ValueError, match=r"of disk are free at .*layer-0: make room, or lower panel.tokens"):
        check_room(1, 10**18, {0: str(tmp_path / "new/layer-0")})
    monkeypatch.setattr(Subject, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    monkeypatch.setattr(harvesting.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(ValueError, match="of disk are free"):
        harvest(smollm2, panels["panel"], tmp_path)
