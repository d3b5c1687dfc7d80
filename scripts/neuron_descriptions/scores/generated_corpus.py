"""The texts of all descriptions as one corpus, and how far every feature goes on them, in one pass of the subject.

B sequences of a batch, T tokens, D whatever a tap sees, E evidence tokens, I features of a layer, S shared texts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.storage import read_table, read_tables, write_table
from neuron_descriptions.common.streams import key
from neuron_descriptions.corpus.building import Cut, Window, about_tokens, write_sequences
from neuron_descriptions.corpus.reading import corpus_facts
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.corpus.templates import Template
from neuron_descriptions.features.neurons import FeatureSource
from neuron_descriptions.harvest.batches import Batch, read_batches
from neuron_descriptions.harvest.forward import check_architecture, not_finite, run_layers, try_out
from neuron_descriptions.harvest.passes import Passes
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.models.loading import load_tokenizer
from neuron_descriptions.scores.generated_tables import GENERATED, PEAKS, fingerprint

_SPARE = 2  # a feature's own two sides are none of its others


def texts_of(row: Mapping[str, Any]) -> list[str]:
    """Texts of a row of GENERATED, of both kinds."""
    return [*row["fits"], *row["others"]]


def gather_texts(
    parts: list[str], model_folder: str, source: str, cut: Cut, others: int, seed: int, outputs: dict[str, str]
) -> None:
    """Write `corpus` (every text once, as the subject reads it, longer ones cut, in an order of their own) and `others`
    (GENERATED: descriptions drawn for all features to be tried on) of `outputs`.

    parts: tables of GENERATED; source: name of the scorer; others: descriptions wanted beside a feature's own. Raises
    ValueError where the subject's template leaves no room for a text.
    """
    rows = [row for row in read_tables(parts, GENERATED).to_pylist() if row["status"] == "ok"]
    rows.sort(key=lambda row: key(seed, "generated", row["layer"], row["neuron"], row["sign"]))
    shared = rows[: others + _SPARE] if others else []
    write_table(pa.Table.from_pylist(shared, schema=GENERATED), outputs["others"])
    tokenizer = load_tokenizer(model_folder)
    template = Template(tokenizer, cut.chat_prefix)
    room = cut.seq_len - len(template.prose_prefix)
    if room < 4:
        raise ValueError(
            f"corpus.seq_len {cut.seq_len} leaves {max(room, 0)} tokens after the template's prefix; raise it"
        )
    texts = {fingerprint(text): text for row in rows for text in texts_of(row)}
    windows = [
        (source, Window(0, number, template.prose_prefix, template.prose(text)[:room]))
        for number, text in sorted(texts.items())
    ]
    if windows:
        write_sequences(windows, about_tokens(tokenizer), outputs["corpus"])
    else:
        facts = about_tokens(tokenizer) | {"tokens": "0", "longest": "0"}
        write_table(CORPUS.with_metadata(facts).empty_table(), outputs["corpus"])
    logger.info("%d texts of %d descriptions, %d of them shared", len(texts), len(rows), len(shared))


@dataclass(slots=True)
class Peaks:
    """How far some layers' features go on texts: all of them on those that are shared, each on its own."""

    source: FeatureSource
    dtype: str
    neurons: dict[int, list[int]]  # by layer
    documents: list[int]  # fingerprint of every sequence
    shared: dict[int, int]  # fingerprint -> place among the S
    owners: dict[tuple[int, int], list[int]]  # layer, fingerprint -> places of the features that it was written for
    ends_2SI: dict[int, NDArray[np.float32]] = field(default_factory=dict)  # by layer: highest, lowest
    own: dict[int, dict[tuple[int, int], tuple[float, float]]] = field(default_factory=dict)  # by layer: feature, text

    def take(self, layer: int, seen_BTD: Tensor, batch: Batch) -> None:
        """Take in what a layer's tap saw of a batch. Raises ValueError where an activation is not finite."""
        acts_BTI = self.source.features(layer, seen_BTD)
        places_N = batch.to(acts_BTI.device).evidence_N  # beyond a text's end its last token's, which changes no end
        acts_BEI = acts_BTI.flatten(0, 1).index_select(0, places_N).unflatten(0, (len(batch.input_ids_BT), -1))
        highest_BI, lowest_BI = (
            found[:, self.neurons[layer]].float().cpu().numpy() for found in (acts_BEI.amax(1), acts_BEI.amin(1))
        )
        if not (np.isfinite(highest_BI).all() and np.isfinite(lowest_BI).all()):
            raise ValueError(not_finite(layer, self.dtype))
        if layer not in self.ends_2SI:
            self.ends_2SI[layer] = np.zeros((2, len(self.shared), len(self.neurons[layer])), np.float32)
        for b in range(len(highest_BI)):
            text = self.documents[batch.first + b]
            if (place := self.shared.get(text)) is not None:
                self.ends_2SI[layer][:, place] = highest_BI[b], lowest_BI[b]
            for i in self.owners.get((layer, text), ()):
                ends = float(highest_BI[b, i]), float(lowest_BI[b, i])
                self.own.setdefault(layer, {})[i, text] = ends

    def table(self, layer: int) -> pa.Table:
        """PEAKS of a layer, its features in order."""
        rows, texts = [], list(self.shared)
        own: dict[int, dict[int, tuple[float, float]]] = {}
        for (i, text), ends in self.own.get(layer, {}).items():
            if text not in self.shared:
                own.setdefault(i, {})[text] = ends
        none = np.zeros((2, 0, len(self.neurons[layer])), np.float32)
        for i, neuron in enumerate(self.neurons[layer]):
            highest, lowest = self.ends_2SI.get(layer, none)[:, :, i].tolist()
            more = sorted(own.get(i, {}).items())
            rows.append({
                "layer": layer, "neuron": neuron, "text": texts + [text for text, _ in more],
                "highest": highest + [ends[0] for _, ends in more], "lowest": lowest + [ends[1] for _, ends in more],
            })  # fmt: skip
        return pa.Table.from_pylist(rows, schema=PEAKS)


def run_texts(
    subject: Subject,
    inputs: dict[str, Any],
    neurons: dict[int, list[int]],
    passes: Passes,
    outputs: dict[int, str],
) -> None:
    """Run all texts through the subject, once for all features of a pass's layers, and write PEAKS of each layer.

    inputs: corpus, texts (tables of GENERATED), others; neurons, outputs: by layer. Raises ValueError where
    the model is not what the config says, or an activation is not finite.
    """
    check_architecture(subject.folder, subject.n_layers, subject.module)
    source, facts = subject.source(), corpus_facts(inputs["corpus"])
    table = read_table(inputs["corpus"], CORPUS)
    found = read_table(inputs["others"], GENERATED).to_pylist()
    shared = sorted({fingerprint(text) for row in found for text in texts_of(row)})
    owners: dict[tuple[int, int], list[int]] = {}
    place = {(layer, neuron): i for layer, indices in neurons.items() for i, neuron in enumerate(indices)}
    for row in read_tables(inputs["texts"], GENERATED).to_pylist():
        if row["status"] == "ok" and (i := place.get((row["layer"], row["neuron"]))) is not None:
            for text in texts_of(row):
                owners.setdefault((row["layer"], fingerprint(text)), []).append(i)
    peaks = Peaks(
        source, subject.dtype, neurons, table["document"].to_pylist(), {t: i for i, t in enumerate(shared)}, owners
    )
    if facts.sequences:
        model = subject.load(passes.threads)
        taps = source.taps(model)
        example = max(table["input_ids"].to_pylist(), key=len)
        wanted = {layer: taps[layer] for layer in neurons}
        share = try_out(model, source, wanted, example, subject.dtype)
    for some in passes.over(neurons):
        if facts.sequences:
            batches = progress(
                read_batches(inputs["corpus"], 0, facts.sequences, passes.batch_size, facts.longest, share),
                facts.sequences,
                "texts",
                size=lambda batch: len(batch.input_ids_BT),
            )
            run_layers(model, {layer: taps[layer] for layer in some}, batches, peaks.take)
        for layer in some:
            write_table(peaks.table(layer), outputs[layer])
        peaks.ends_2SI.clear()
        peaks.own.clear()
    logger.info("%d texts, %d features", facts.sequences, sum(map(len, neurons.values())))
