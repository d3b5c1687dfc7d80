"""Stored activations of a finished run, held against the subject once more: a part of its recheck.

B sequences of a batch, T tokens, D width of the residual stream, I neurons of a layer.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from neuron_descriptions.atlas.agreement import Recheck
from neuron_descriptions.common.logs import progress
from neuron_descriptions.common.signs import turned
from neuron_descriptions.common.storage import read_tables
from neuron_descriptions.common.streams import generator
from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.harvest.batches import Batch, make_batch
from neuron_descriptions.harvest.exemplars import Exemplar, ExemplarStore
from neuron_descriptions.harvest.forward import run_layers
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.harvest.tables import STATISTICS

# What other batches and processors may change: the largest difference in a sequence over the largest activation in it,
# or the neuron's standard deviation where that is larger.
ACTIVATIONS = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}
EXACT = 1e-6  # of what is computed from stored numbers alone
BATCH = 8
Tables = Mapping[str, Any]  # name -> files of one layer: exemplars, statistics, written, descriptions, ...; splits


def check_activations(
    recheck: Recheck,
    neurons: dict[int, list[int]],
    tables: dict[int, Tables],
    subject: Subject,
    threads: int,
    seed: int,
) -> None:
    """Of every neuron, sign, split and kind one stored sequence, drawn at random, runs through the subject again, not
    in the batch that it was harvested in; and the peak that is stored beside it is that of the stored numbers."""
    drawn = [one for layer in neurons for one in _drawn_exemplars(tables[layer], layer, neurons[layer], seed)]
    model = subject.load(threads)
    source = subject.source()
    taps, found = source.taps(model), {}
    batches = []
    for first in range(0, len(drawn), BATCH):
        texts = [exemplar.text for exemplar, _ in drawn[first : first + BATCH]]
        prefixes = np.array([text.prefix_len for text in texts])
        longest = max(len(text.evidence) for text in texts)
        batches.append(make_batch(first, [text.input_ids for text in texts], prefixes, longest))

    def take(layer: int, seen_BTD: Any, batch: Batch) -> None:
        acts_BTI = source.features(layer, seen_BTD)
        for b, (e, _) in enumerate(drawn[batch.first : batch.first + len(batch.input_ids_BT)]):
            if e.layer == layer:
                own = slice(e.text.prefix_len, len(e.text.input_ids))
                found[batch.first + b] = acts_BTI[b, own, e.neuron].float().cpu().numpy()

    run_layers(model, {layer: taps[layer] for layer in neurons}, progress(iter(batches), len(batches), "batches"), take)
    for number, (e, std) in enumerate(drawn):
        row, where = who(e.layer, e.neuron, e.sign), f"{e.split}, {e.kind} {e.rank}, sequence {e.seq_id}"
        stored = e.activations.astype(float)
        scale = max(float(np.abs(stored).max()), std or 0.0, 1e-9)
        recheck.arrays("activations", row, where, (stored, found[number]), scale, ACTIVATIONS[subject.dtype])
        peak = turned(float(e.turned().max()), e.sign)
        recheck.number("peak of the stored activations", row, where, e.peak, peak, EXACT)


def who(layer: int, neuron: int, sign: str) -> dict[str, Any]:
    """What names the row that a difference is of."""
    return {"layer": layer, "neuron": neuron, "sign": sign}


def _drawn_exemplars(tables: Tables, layer: int, neurons: list[int], seed: int) -> list[tuple[Exemplar, float | None]]:
    """One of each neuron, sign, split and kind, with the neuron's standard deviation."""
    only: list[tuple[str, str, object]] = [("neuron", "in", neurons)]
    train = read_tables(tables["statistics"], STATISTICS, [*only, ("split", "=", "train")]).to_pylist()
    std = {row["neuron"]: row["std"] for row in train}
    groups: dict[tuple[int, str, str, str], list[Exemplar]] = {}
    for e in ExemplarStore(tables["exemplars"], {split: tables[split] for split in SPLITS}, only):
        groups.setdefault((e.neuron, e.sign, e.split, e.kind), []).append(e)
    return [
        (group[int(generator(seed, "recheck", layer, *key).integers(len(group)))], std.get(key[0]))
        for key, group in sorted(groups.items())
    ]
