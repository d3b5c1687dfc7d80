"""Two subjects' activations on one panel compared: a table of all features, a list of those whose meaning changed, a
configuration that describes these anew, and a report.

I features, N tokens.
"""

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.storage import read_table, whole, write_table
from neuron_descriptions.corpus.reading import corpus_facts
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.differences.measuring import compare, deal, judge
from neuron_descriptions.differences.tables import DIFFERENCES, KINDS
from neuron_descriptions.models.loading import load_tokenizer, token_strings, tokenizer_fingerprint
from neuron_descriptions.panel.reading import Panel

BLOCK = 1024  # features at a time, which bounds memory
TOKENS = 5  # shown of a listed feature
PRIOR = 1.0  # tokens of the mean activation that a token's own mean is drawn towards (as of look-ups)


@dataclass(slots=True, frozen=True)
class Read:
    """A panel as one subject read it."""

    name: str  # of the run or model
    corpus: str  # the panel's table
    files: dict[int, str]  # layer -> activations


def check_tokenizer(corpus: str, folder: str) -> None:
    """Raises ValueError where a model's tokenizer is another than the one that a panel was cut with."""
    if tokenizer_fingerprint(load_tokenizer(folder)) != corpus_facts(corpus).tokenizer:
        raise ValueError(
            f"{folder} has another tokenizer than the one that {corpus} was cut with: its features are not read on the"
            " same tokens; name a model of the same tokenizer"
        )


def check_same(before: Read, after: Read) -> None:
    """Raises ValueError that names both where two panels are not the same: other tokenizers, seeds or texts, or the
    activations of other layers or features."""
    tables = [read_table(one.corpus, CORPUS) for one in (before, after)]
    both = f"{before.corpus} and {after.corpus}"
    one, other = (corpus_facts(read.corpus).tokenizer for read in (before, after))
    if one != other:
        raise ValueError(
            f"{both} were cut with different tokenizers: {before.name} and {after.name} cannot be compared on them"
        )
    seeds = [(table.schema.metadata or {}).get(b"seed", b"none").decode() for table in tables]
    if seeds[0] != seeds[1]:
        raise ValueError(f"{both} were made with the seeds {seeds[0]} and {seeds[1]}: set the same `seed` in both runs")
    if not tables[0].equals(tables[1]):
        raise ValueError(
            f"{both} are not of the same text ({len(tables[0])} and {len(tables[1])} sequences): make `corpus` and"
            " `panel` of both runs agree"
        )
    if before.files.keys() != after.files.keys():
        layers = [", ".join(map(str, sorted(read.files))) for read in (before, after)]
        raise ValueError(f"{before.name} has the layers {layers[0]}, {after.name} has {layers[1]}: name the same")


def _opened(before: Read, after: Read, layer: int) -> tuple[Panel, Panel]:
    """Both panels with a layer's activations. Raises ValueError where these are of different features."""
    panels = Panel(before.corpus, [before.files[layer]]), Panel(after.corpus, [after.files[layer]])
    if panels[0].neurons(layer) != panels[1].neurons(layer):
        counts = [len(panel.neurons(layer)) for panel in panels]
        raise ValueError(
            f"{before.files[layer]} and {after.files[layer]} are of different features ({counts[0]} and {counts[1]}):"
            f" keep the same of layer {layer} in {before.name} and {after.name}"
        )
    return panels


def compare_panels(
    before: Read, after: Read, subject: str, listed: int, describing: dict[str, Any], outputs: dict[str, str]
) -> None:
    """Compare every feature of the run with itself in the other subject, and write `table` (DIFFERENCES), `neurons`
    (a CSV as `neurons.file` takes it: the features of changed meaning, the most changed, `listed` at most), `anew` (a
    configuration to put behind the run's, which describes these alone anew) and `report`.

    subject: folder whose tokenizer the panel was cut with; describing: what that configuration says besides. Raises
    ValueError as `check_same` does.
    """
    check_same(before, after)
    for layer in before.files:
        _opened(before, after, layer)
    panel = read_table(before.corpus, CORPUS, columns=["document"])
    group_S = deal(panel["document"].to_pylist())
    parts = [
        _compare_layer(*_opened(before, after, layer), layer, group_S)
        for layer in progress(before.files, len(before.files), "layers")
    ]
    columns: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((columns["neuron"], columns["layer"], -np.nan_to_num(columns["change_low"], nan=-1.0)))
    columns = {name: values[order] for name, values in columns.items()}
    columns["rank"] = np.arange(1, len(order) + 1)
    changed = np.flatnonzero(columns["kind"] == "meaning")[:listed]
    features = [(int(columns["layer"][i]), int(columns["neuron"][i])) for i in changed]
    shown = _strongest(before, after, subject, features)
    for number, name in enumerate(("tokens_before", "tokens_after")):
        said = {int(place): pair[number] for place, pair in zip(changed, shown)}
        columns[name] = [said.get(place) for place in range(len(order))]
    table = pa.table(
        {field.name: pa.array(columns[field.name], field.type, from_pandas=True) for field in DIFFERENCES},
        schema=DIFFERENCES,
    )
    write_table(table, outputs["table"])
    rows = table.take(changed).to_pylist() if len(changed) else []
    with whole(outputs["neurons"]) as part:
        part.write_text(_csv([(row["layer"], row["neuron"]) for row in rows]))
    with whole(outputs["anew"]) as part:
        head = "# Put this behind the configuration of the run, or of the other run: it describes these alone.\n"
        part.write_text(head + yaml.safe_dump(describing, sort_keys=False))
    with whole(outputs["report"]) as part:
        part.write_text(report(before.name, after.name, table, rows))
    logger.info("%d features, %d of changed meaning, %d listed", len(order), (columns["kind"] == "meaning").sum(),
                len(changed))  # fmt: skip


def _compare_layer(before: Panel, after: Panel, layer: int, group_S: np.ndarray) -> dict[str, np.ndarray]:
    """Columns (I,) of a layer's features."""
    neurons, group_N = before.neurons(layer), group_S[before.sequence_N]
    blocks = [neurons[first : first + BLOCK] for first in range(0, len(neurons), BLOCK)]
    found = [compare(before.acts(layer, block), after.acts(layer, block), group_N) for block in blocks]
    columns: dict[str, Any] = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    return columns | judge(columns) | {"layer": np.full(len(neurons), layer), "neuron": np.array(neurons)}


def _strongest(
    before: Read, after: Read, subject: str, features: list[tuple[int, int]]
) -> list[tuple[list[str], list[str]]]:
    """Of each feature the tokens of the strongest mean activation, either way from its mean, before and after."""
    if not features:
        return []
    tokenizer = load_tokenizer(subject)
    found = []
    for layer, neuron in features:
        said = []
        for panel in _opened(before, after, layer):
            acts_N = panel.acts(layer, [neuron])[0].astype(np.float64)
            distinct, place_N, counts = np.unique(panel.ids_N, return_inverse=True, return_counts=True)
            means = np.bincount(place_N, acts_N - acts_N.mean()) / (counts + PRIOR)
            best = distinct[np.argsort(-np.abs(means), kind="stable")[:TOKENS]]
            said.append([token_strings(tokenizer, [int(i)])[0] for i in best])
        found.append((said[0], said[1]))
    return found


def _csv(pairs: list[tuple[int, int]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("layer", "neuron"), *sorted(pairs)])
    return text.getvalue()


def report(before: str, after: str, table: pa.Table, listed: list[dict[str, Any]]) -> str:
    """A page of Markdown: how many features changed in which way, by layer, and the listed ones."""
    frame = table.to_pandas()
    lines = [f"# {before} and {after}", "", "Of each layer: features by what changed; the median change (1 - r), and"]
    lines += ["what 99 % of its features' changes on two halves of the documents differ by less than.", ""]
    lines += [_row(["layer", *KINDS, "usual", "noise"]), _row(["---"] * (len(KINDS) + 3))]
    for layer, of_layer in frame.groupby("layer"):
        counts = of_layer["kind"].value_counts()
        figures = [f"{of_layer[name].iloc[0]:.4f}" for name in ("usual", "noise")]
        lines.append(_row([layer, *(int(counts.get(kind, 0)) for kind in KINDS), *figures]))
    lines += ["", "Features of changed meaning, the most changed first:", ""]
    lines += [_row(["layer", "feature", "change (95 %)", "scale", "strongest tokens before", "after"])]
    lines += [_row(["---"] * 6)]
    for row in listed:
        change = f"{row['change']:.2f} ({row['change_low']:.2f} to {row['change_high']:.2f})"
        tokens = [" ".join(map(_code, row[f"tokens_{when}"])) for when in ("before", "after")]
        lines.append(_row([row["layer"], row["neuron"], change, f"{row['scale']:.2f}", *tokens]))
    return "\n".join([*lines, *([] if listed else [_row(["none"] + [""] * 5)]), ""])


def _code(token: str) -> str:
    shown = token.replace("\n", "⏎").replace("`", "´").replace("|", "¦")
    return f"`{shown}`"


def _row(cells: list[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"
