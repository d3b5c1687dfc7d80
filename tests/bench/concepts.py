"""Lists of concepts on real neurons, found and executed: time, direct scores, and how many sentences pass a mechanical
rule of length and scraps (wording.readable), which is no person's judgment."""

import time
from pathlib import Path

import numpy as np

from common import build
from conftest import ROOT

LAYERS, NEURONS, TRAIN, TOP, PANEL = (5, 15, 25), 34, 1280, 40, 400


def measure(scratch: Path) -> dict[str, float]:
    """Figures of both signs of NEURONS neurons of LAYERS, on the demo's texts: fitted on the TOP train sequences and
    PANEL others, cut on valid, scored on test (all of it, and a contrast of its 5 top and 4 other sequences)."""
    from neuron_descriptions.common.storage import read_table
    from neuron_descriptions.concepts.evidence import TextTable, exemplars_of
    from neuron_descriptions.concepts.predicates import Reader
    from neuron_descriptions.concepts.search import find_list
    from neuron_descriptions.concepts.vocabulary import read_vocabulary
    from neuron_descriptions.concepts.wording import readable
    from neuron_descriptions.corpus.tables import CORPUS
    from neuron_descriptions.models.loading import load_tokenizer, token_strings
    from neuron_descriptions.scores.concepts import direct_score

    folder, corpus = build(scratch, seq_len=64, train=TRAIN)
    tokenizer = load_tokenizer(folder)
    texts, offset = {}, {"train": 0, "valid": TRAIN, "test": 2 * TRAIN}
    for split, path in corpus.items():
        for row in read_table(path, CORPUS).to_pylist():
            texts[offset[split] + row["seq_id"]] = token_strings(tokenizer, row["input_ids"][row["prefix_len"] :])
    activations = {split: _dense(folder, path) for split, path in corpus.items()}
    start = time.process_time()
    reader = Reader(read_vocabulary(str(ROOT / "config/concepts/lists.yaml")))
    table = TextTable(texts, reader)
    table_seconds, found_seconds, rows = time.process_time() - start, 0.0, []
    held = {i: reader.held(texts[i]) for i in texts if i >= offset["test"]}
    for layer in LAYERS:
        for neuron in np.random.default_rng(layer).permutation(1536)[:NEURONS].tolist():
            for direction in (1, -1):
                acts = {
                    split: {
                        offset[split] + i: np.maximum(direction * a[:, neuron], 0)
                        for i, a in enumerate(activations[split][layer])
                    }
                    for split in corpus
                }
                top = {split: sorted(a, key=lambda i, a=a: -a[i].max()) for split, a in acts.items()}
                chosen = {*top["train"][:TOP], *sorted(acts["train"])[:PANEL]}
                train = exemplars_of(table, {i: acts["train"][i] for i in chosen})
                chosen = {*top["valid"][:10], *sorted(acts["valid"])[:10]}
                valid = exemplars_of(table, {i: acts["valid"][i] for i in chosen})
                start = time.process_time()
                found = find_list(table, train, valid)
                found_seconds += time.process_time() - start
                scores = []
                others = [i for i in sorted(acts["test"]) if i not in top["test"][:5]][:4]
                for ids in (sorted(acts["test"]), [*top["test"][:5], *others]):
                    predicted = np.concatenate([found.predict_held(held[i]) for i in ids])
                    scores.append(direct_score(predicted, np.concatenate([acts["test"][i] for i in ids])) or 0.0)
                rows.append((*scores, readable(list(found.parts))))
    natural, contrast, share = np.array(rows, float).mean(0)
    return {
        "neuron_signs": len(rows),
        "seconds_of_the_table": table_seconds,
        "seconds_per_1000_neurons": 2000 * found_seconds / len(rows),
        "direct_score_natural": natural,
        "direct_score_contrast": contrast,
        "readable_share": share,
    }


def _dense(folder: str, corpus: str) -> dict[int, list[np.ndarray]]:
    """Activations of each sequence (T, neurons), by layer."""
    from neuron_descriptions.corpus.reading import corpus_facts
    from neuron_descriptions.features.neurons import MlpNeurons
    from neuron_descriptions.harvest.forward import read_batches, run_layers
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
