"""Lists of concepts on real neurons, found and executed: time, direct scores, and how many sentences pass a mechanical
rule of length and scraps (wording.readable), which is no person's judgment."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common import build
from conftest import ROOT
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.concepts.evidence import TextTable, exemplars_of
from neuron_descriptions.concepts.execution import ConceptList
from neuron_descriptions.concepts.predicates import Reader
from neuron_descriptions.concepts.search import find_list
from neuron_descriptions.concepts.vocabulary import read_vocabulary
from neuron_descriptions.concepts.wording import readable
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.descriptions.concepts import FITS
from neuron_descriptions.models.loading import load_tokenizer, token_strings
from neuron_descriptions.scores.concepts import direct_score

LAYERS, NEURONS, TRAIN, TEST, TOP, PANEL = (5, 15, 25), 34, 1280, 320, 40, 400
OFFSET = {"train": 0, "valid": TRAIN, "test": 2 * TRAIN}  # of a split's sequences among all


class Found(NamedTuple):
    """The lists that were found for one side of a neuron, by what they are fitted on, and what it does on each sequence
    of test."""

    layer: int
    lists: dict[str, ConceptList]
    seconds: dict[str, float]
    predicted: dict[str, list[np.ndarray]]
    true: list[np.ndarray]


def found_lists(scratch: Path) -> tuple[float, Iterator[Found]]:
    """(seconds that the table of predicates takes, lists of both signs of NEURONS neurons of LAYERS), on the demo's
    texts: `contrast`, fitted on the TOP train sequences and PANEL others; `natural`, on all train text."""
    folder, corpus = build(scratch, seq_len=64, train=TRAIN, test=TEST)
    tokenizer = load_tokenizer(folder)
    texts = {}
    for split, path in corpus.items():
        for row in read_table(path, CORPUS).to_pylist():
            texts[OFFSET[split] + row["seq_id"]] = token_strings(tokenizer, row["input_ids"][row["prefix_len"] :])
    activations = {split: _dense(folder, path) for split, path in corpus.items()}
    start = time.process_time()
    reader = Reader(read_vocabulary(str(ROOT / "config/concepts/lists.yaml")))
    table = TextTable(texts, reader)
    table_seconds = time.process_time() - start
    held = {i: reader.held(texts[i]) for i in texts if i >= OFFSET["test"]}

    def lists() -> Iterator[Found]:
        for layer in LAYERS:
            for neuron in np.random.default_rng(layer).permutation(1536)[-NEURONS:].tolist():
                for direction in (1, -1):
                    yield _found(layer, table, held, {
                        split: {
                            OFFSET[split] + i: np.maximum(direction * a[:, neuron], 0)
                            for i, a in enumerate(activations[split][layer])
                        }
                        for split in corpus
                    })  # fmt: skip

    return table_seconds, lists()


def _found(layer: int, table: TextTable, held: dict[int, list], acts: dict[str, dict[int, np.ndarray]]) -> Found:
    top = {split: sorted(a, key=lambda i, a=a: -a[i].max()) for split, a in acts.items()}
    some = {*top["train"][:TOP], *sorted(acts["train"])[:PANEL]}
    chosen = {*top["valid"][:10], *sorted(acts["valid"])[:10]}
    valid = exemplars_of(table, {i: acts["valid"][i] for i in chosen})
    lists, seconds = {}, {}
    for fit, ids in (("contrast", some), ("natural", acts["train"])):
        train = exemplars_of(table, {i: acts["train"][i] for i in ids})
        start = time.process_time()
        lists[fit] = find_list(table, train, valid, FITS[fit].settings)
        seconds[fit] = time.process_time() - start
    test = sorted(acts["test"])
    predicted = {fit: [found.predict_held(held[i]) for i in test] for fit, found in lists.items()}
    return Found(layer, lists, seconds, predicted, [acts["test"][i] for i in test])


def measure(scratch: Path) -> dict[str, float]:
    """Figures of those lists, scored on test: all of it, and a contrast of its 5 top and 4 other sequences."""
    table_seconds, lists = found_lists(scratch)
    rows = [(found, *(_scores(found, fit) for fit in FITS)) for found in lists]
    figures = {"neuron_signs": len(rows), "seconds_of_the_table": table_seconds}
    for number, fit in enumerate(FITS, start=1):
        ending = "" if fit == "contrast" else f"_fitted_on_{fit}"
        of_fit = [found.lists[fit] for found, *_ in rows]
        natural, contrast = np.array([row[number] for row in rows], float).T
        figures |= {
            f"seconds_per_1000_neurons{ending}": 2000 * sum(found.seconds[fit] for found, *_ in rows) / len(rows),
            f"direct_score_natural{ending}": natural.mean(),
            f"direct_score_contrast{ending}": contrast.mean(),
            f"readable_share{ending}": np.mean([readable(list(of.parts)) for of in of_fit]),
            f"words{ending}": np.mean([len(of.sentence.split()) for of in of_fit]),
        }
        for layer in LAYERS:
            of_layer = [found.layer == layer for found, *_ in rows]
            figures[f"direct_score_natural{ending}_layer_{layer}"] = natural[of_layer].mean()
    return figures


def _scores(found: Found, fit: str) -> tuple[float, float]:
    """(on all test text, on the contrast)"""
    top = sorted(range(len(found.true)), key=lambda i: -found.true[i].max())[:5]
    contrast = [*top, *[i for i in range(len(found.true)) if i not in top][:4]]
    natural, contrasted = (
        direct_score(*(np.concatenate([side[i] for i in ids]) for side in (found.predicted[fit], found.true))) or 0.0
        for ids in (range(len(found.true)), contrast)
    )
    return natural, contrasted


def _dense(folder: str, corpus: str) -> dict[int, list[np.ndarray]]:
    """Activations of each sequence (T, neurons), by layer."""
    from neuron_descriptions.corpus.reading import corpus_facts
    from neuron_descriptions.features.neurons import MlpNeurons
    from neuron_descriptions.harvest.batches import read_batches
    from neuron_descriptions.harvest.forward import run_layers
    from neuron_descriptions.models.loading import load_model

    model = load_model(folder, "bfloat16", head=False, threads=1)
    source, facts = MlpNeurons(30, 1536, None), corpus_facts(corpus)
    found: dict[int, list[np.ndarray]] = {layer: [] for layer in LAYERS}

    def take(layer, seen, batch):
        acts = source.features(layer, seen).flatten(0, 1).index_select(0, batch.evidence_N)
        acts = acts.view(len(batch.input_ids_BT), -1, acts.shape[1]).float().numpy()
        lengths = [acts.shape[1]] * len(acts) if batch.valid_BE is None else batch.valid_BE.sum(1).tolist()
        found[layer] += [acts[b, :length].copy() for b, length in enumerate(lengths)]

    taps = source.taps(model)
    batches = read_batches(corpus, 0, facts.sequences, 16, facts.longest)
    run_layers(model, {layer: taps[layer] for layer in LAYERS}, batches, take)
    return found
