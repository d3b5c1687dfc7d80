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
from neuron_descriptions.config.features import Features
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.descriptions.asking import prepare
from neuron_descriptions.features.converting import convert_dictionary
from neuron_descriptions.features.opening import SOURCES, SourceJob, open_source
from neuron_descriptions.harvest.merging import merge
from neuron_descriptions.harvest.shard import harvest
from neuron_descriptions.panel.harvesting import Subject, harvest_panel
from neuron_descriptions.scores.simulation import Evidence

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
    bias = torch.linspace(0, -60, LATENTS)  # the later, the rarer; the last never
    save_file({"encoder.weight": weight, "encoder.bias": bias, "W_dec": weight.clone(), "b_dec": torch.zeros(32)},
              sparsify(folder) / "sae.safetensors")  # fmt: skip
    convert_dictionary(str(sparsify(folder)), LAYER, section(folder), ["model"], str(folder / "latents.safetensors"))
    return folder


def sparsify(folder: Path) -> Path:
    place = folder / f"layers.{LAYER}"
    place.mkdir(exist_ok=True)
    (place / "cfg.json").write_text('{"activation": "topk", "k": 4, "d_in": 32, "transcode": false}')
    return place


def section(folder: Path) -> dict:
    return {"kind": "autoencoder", "path": str(folder), "count": LATENTS, "hook": "residual_out", "format": "auto",
            "made_at": None, "made_for": None}  # fmt: skip


def harvested(folder: Path, shards: int, output: Path) -> tuple[str, str]:
    """Tables of exemplars and statistics of all latents."""
    files, corpus = [], str(folder / "corpus.parquet")
    for shard in range(shards):
        files.append(str(output / f"{shards}-{shard}.safetensors"))
        harvest(
            str(folder / "model"), corpus, "train", {LAYER: list(range(LATENTS))}, LAYERS, NEURONS, None, "float32",
            KEEP, shard, shards, 8, 0, 1, files[-1], features=section(folder),
            dictionaries={LAYER: str(folder / "latents.safetensors")},
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
    assert (table[table.kind == "random"].groupby(["neuron", "sign"]).size() == KEEP["random"]).all()


def test_shards_change_no_byte(folder, tables, tmp_path):
    for one, other in zip(tables, harvested(folder, 3, tmp_path)):
        assert Path(one).read_bytes() == Path(other).read_bytes()


def test_the_panel_holds_the_same_numbers(folder, latents, tmp_path):
    from safetensors.torch import load_file

    subject = Subject(str(folder / "model"), LAYERS, NEURONS, None, "float32", features=section(folder),
                      dictionaries={LAYER: str(folder / "latents.safetensors")})  # fmt: skip
    output = {LAYER: str(tmp_path / "panel.safetensors")}
    harvest_panel(subject, str(folder / "corpus.parquet"), {LAYER: [2, 5]}, 8, 0, 1, 1, output)
    expected = np.concatenate(latents)[:, [2, 5]].T
    np.testing.assert_allclose(load_file(output[LAYER])["acts"], expected, rtol=1e-4, atol=1e-5)


def test_what_never_fires_is_not_described_and_does_no_harm(folder, tables):
    from types import SimpleNamespace

    settings = {"few_shot": {"order": "fixed", "place": "none", "count": 0}, "pool": K, "candidates": 1,
                "token_candidates": 0, "concept_candidates": 0, "min_highlights": 1, "near_misses": 0,
                "evidence_min": 1, "evidence_max": K}  # fmt: skip
    fires = set(pq.read_table(tables[0], filters=[("kind", "=", "top")])["neuron"].to_pylist())
    silent = [latent for latent in range(LATENTS) if latent not in fires]
    assert silent
    found = prepare(silent, LAYER, str(folder / "corpus.parquet"), [tables[0]], [tables[1]], None,
                    SimpleNamespace(examples=()), settings, 0)  # fmt: skip
    assert [(c.sign, c.status, c.prompt) for c in found] == [
        (sign, "no_activation", None) for _ in silent for sign in ("positive", "negative")
    ]
    corpus = {"train": str(folder / "corpus.parquet")}
    evidence = Evidence([tables[0]], [tables[1]], corpus, silent)
    for sign in ("positive", "negative"):
        baseline = evidence.token_baseline(silent[0], sign, SEQUENCES)
        assert not evidence.get("train", silent[0], sign, "top") and not baseline.predict([5, 6]).any()


def test_every_kind_of_the_configuration_is_in_the_list_and_the_other_way_round():
    from typing import get_args

    kinds = {tag.tag for form in get_args(get_args(Features)[0]) for tag in get_args(form)[1:]}
    assert kinds == set(SOURCES)
    assert open_source(SourceJob({"kind": "mlp_neurons"}, LAYERS, NEURONS)).one_sided is False
