"""Panels of text that is drawn, and of activations that are planted; a small model that reads such text."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from neuron_descriptions.common.provenance import file_digest
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.panel.harvesting import write_layer
from neuron_descriptions.panel.tables import PANELS

VOCABULARY = 60


def gated_model():
    """A Llama of two layers with weights at random, large enough that its predictions differ."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY + 1, hidden_size=16, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=2, tie_word_embeddings=False,
        )
    ).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def sentences(random: np.random.Generator, n: int, length: int = 40) -> list[tuple[int, list[int]]]:
    """(prefix length, token ids) of sequences: few tokens are frequent, as in language."""
    weights = 1 / np.arange(1, VOCABULARY + 1)
    found = []
    for i in range(n):
        ids = random.choice(VOCABULARY, size=length - i % 7, p=weights / weights.sum()).tolist()
        found.append((int(i % 3), ids))
    return found


def write_panel(
    folder: Path, panel: str, rows: list[tuple[int, list[int]]], acts_IN: np.ndarray, layer: int = 2, **about: str
) -> tuple[str, str]:
    """(table, activations) of a panel whose features are numbered from 10 on."""
    evidence = [len(ids) - prefix for prefix, ids in rows]
    metadata = {"tokenizer": "none", "tokens": str(sum(evidence)), "longest": str(max(evidence)), "seed": "0"}
    columns = [{"seq_id": i, "source": "drawn", "document": i, "prefix_len": p, "input_ids": ids}
               for i, (p, ids) in enumerate(rows)]  # fmt: skip
    corpus, acts = str(folder / f"{panel}.parquet"), str(folder / panel / f"layer-{layer}.safetensors")
    write_table(pa.Table.from_pylist(columns, schema=CORPUS.with_metadata(metadata)), corpus)
    made_of = {"corpus": file_digest(corpus), "subject": "planted", "seed": "0"} | about
    neurons = list(range(10, 10 + len(acts_IN)))
    write_layer(layer, torch.from_numpy(np.ascontiguousarray(acts_IN, dtype=np.float32)), neurons, made_of, acts)
    return corpus, acts


def two_panels(folder: Path, plant, sequences: int = 80) -> dict[str, tuple[str, str]]:
    """By panel, table and activations; plant: from (rows, random) to activations (I, N)."""
    found = {}
    for number, panel in enumerate(PANELS):
        random = np.random.default_rng(number)
        rows = sentences(random, sequences)
        found[panel] = write_panel(folder, panel, rows, plant(rows, random))
    return found
