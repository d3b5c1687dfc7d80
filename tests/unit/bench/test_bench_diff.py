"""`make bench SECTIONS=diff` at small size: a neuron that a LoRA turned into another is ranked first."""

import sys

import numpy as np
import pyarrow as pa
import torch
from transformers import LlamaConfig, LlamaModel

from conftest import ROOT
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.features.neurons import MlpNeurons
from planted_panels import VOCABULARY, sentences

sys.path.insert(0, str(ROOT / "tests/bench"))

import diff


def test_a_neuron_that_a_lora_changed_is_ranked_first_and_nothing_else_is_called_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(diff, "FIRST", 0)  # no strings of tokens, which need a tokenizer
    torch.manual_seed(0)
    model = LlamaModel(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=32, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2
        )
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)  # so that neurons are not linear in what they read
    corpora = {}
    for seed, split in enumerate(("train", "test")):
        rows = sentences(np.random.default_rng(seed), 40)
        lengths = [len(ids) - prefix for prefix, ids in rows]
        facts = {"tokenizer": "none", "tokens": str(sum(lengths)), "longest": str(max(lengths)), "seed": "0"}
        table = [{"seq_id": i, "source": "drawn", "document": i, "prefix_len": p, "input_ids": ids}
                 for i, (p, ids) in enumerate(rows)]  # fmt: skip
        corpora[split] = str(tmp_path / f"{split}.parquet")
        write_table(pa.Table.from_pylist(table, schema=CORPUS.with_metadata(facts)), corpora[split])
    source = MlpNeurons(2, 96)
    neurons = {layer: list(range(96)) for layer in range(2)}
    reader = diff.Reader(model, source, dict(enumerate(source.taps(model))), corpora["test"], neurons)
    weights = {name: p.clone() for name, p in model.named_parameters()}
    (row, kinds), (second, _) = diff.planted(reader, [(0, 5, 60), (1, 7, 8)], corpora["train"], tmp_path, "")
    assert row["rank"] == second["rank"] == 1 and row["kind"] == "meaning" and row["change"] > 0.5
    assert kinds["meaning"] < 10, kinds
    assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())  # taken away again
