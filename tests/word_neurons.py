"""Neurons that fire on a word, and a tiny model to train on them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from neuron_descriptions.common.storage import write_table
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.harvest.tables import EXEMPLARS
from neuron_descriptions.models.loading import token_strings, tokenizer_fingerprint

WORDS = ("march", "war", "people", "the", "ships", "and", "money", "peace", "river", "of")
NEURONS, SEQUENCES = 40, 48


def tiny_base(folder: Path, tokenizer: Any) -> str:
    """A model folder: two layers of random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def word_neurons(folder: Path, tokenizer: Any) -> tuple[list[str], dict[str, str]]:
    """(exemplar tables, split -> corpus): neuron n fires on the word n % 10, the negative sign on the next one."""
    random = np.random.default_rng(0)
    corpus, rows = {}, []
    for split in ("train", "valid"):
        texts = [" ".join(random.choice(WORDS, 12)) for _ in range(SEQUENCES)]
        ids = [tokenizer(text)["input_ids"] for text in texts]
        table = [
            {"seq_id": i, "source": "words", "document": i, "prefix_len": 1, "input_ids": row}
            for i, row in enumerate(ids)
        ]
        corpus[split] = str(folder / f"{split}.parquet")
        facts = {"tokens": "1", "longest": "99", "tokenizer": tokenizer_fingerprint(tokenizer)}
        write_table(pa.Table.from_pylist(table, schema=CORPUS.with_metadata(facts)), corpus[split])
        words = [[t.strip() for t in token_strings(tokenizer, row[1:])] for row in ids]
        for neuron in range(NEURONS):
            for which, sign in enumerate(SIGNS):
                turn, word = (1, -1)[which], WORDS[(neuron + which) % len(WORDS)]
                acts = [turn * np.array([3.0 * (w == word) + 0.1 for w in row]) for row in words]
                best = sorted(range(SEQUENCES), key=lambda i: -turn * acts[i].max() if turn > 0 else acts[i].min())
                for kind, chosen in (("top", best[:8]), ("random", [40, 41, 42])):
                    rows += [
                        {
                            "split": split, "layer": 0, "neuron": neuron, "sign": sign, "kind": kind, "rank": rank,
                            "seq_id": i, "peak": turn * (turn * acts[i]).max(), "activations": acts[i].tolist(),
                        }
                        for rank, i in enumerate(chosen)
                    ]  # fmt: skip
    rows.sort(key=lambda row: row["neuron"])
    (folder / "layer-0").mkdir()
    path = str(folder / "layer-0/chunk-0.parquet")
    write_table(pa.Table.from_pylist(rows, schema=EXEMPLARS), path)
    return [path], corpus
