"""Every further scorer, opened for a job: the list that a new one is entered in.

A scorer is a class of the protocol `Scorer`, with a section of its own in config/scorers.py and an entry here. Its
module is imported when it is opened, so that no job depends on another scorer. Its columns reach the atlas, the pages
and docs/reference/scorers.md through its table.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from neuron_descriptions.common.logs import progress
from neuron_descriptions.common.storage import Row, read_table, write_table
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.scores.columns import Column, scorer_schema
from neuron_descriptions.scores.tables import SCORES

Details = tuple[tuple[str, pa.DataType], ...]


@dataclass(slots=True, frozen=True)
class Job:
    """What a scorer is opened for."""

    name: str
    """The scorer's, in the configuration."""
    section: Any
    """Its section of config/scorers.py."""
    numbers: Scores
    """The config's `scores`, of which its top, middle, bootstrap and confidence count here."""
    neurons: Sequence[int]
    layer: int
    inputs: Mapping[str, Any]
    """Files by name: those of the rule."""
    requests: str
    """Folder of what clients were asked."""
    part: str
    """Whose requests these are, such as scorers/detection/layer-3/chunk-0."""
    code: str
    """Stands for the code that makes the answers."""
    seed: int
    threads: int


@dataclass(slots=True, frozen=True)
class Described:
    """A neuron and sign: its candidates (rows of DESCRIPTIONS, with a description, none twice), and which of them the
    simulation chose, if there was one."""

    layer: int
    neuron: int
    sign: str
    candidates: list[Row]
    chosen: int | None


class Scorer(Protocol):
    """Scores descriptions."""

    columns: ClassVar[tuple[Column, ...]]  # of its table that the atlas shows
    details: ClassVar[Details]  # of its table alone

    @classmethod
    def open(cls, job: Job) -> AbstractContextManager["Scorer"]:
        """It, ready to score."""

    def score(self, described: Described) -> Row:
        """`candidate` that was scored, `status` ("ok", or why there is no score), and values of `columns` and
        `details`; what is left out is null."""


def _collisions() -> type[Scorer]:
    from neuron_descriptions.scores.collisions import CollisionsScorer

    return CollisionsScorer


def _detection() -> type[Scorer]:
    from neuron_descriptions.scores.detection import DetectionScorer

    return DetectionScorer


def _fuzzing() -> type[Scorer]:
    from neuron_descriptions.scores.fuzzing import FuzzingScorer

    return FuzzingScorer


def _generated() -> type[Scorer]:
    from neuron_descriptions.scores.generated import GeneratedScorer

    return GeneratedScorer


def _simulated_detection() -> type[Scorer]:
    from neuron_descriptions.scores.simulated_detection import SimulatedDetectionScorer

    return SimulatedDetectionScorer


def _simulated_fuzzing() -> type[Scorer]:
    from neuron_descriptions.scores.simulated_fuzzing import SimulatedFuzzingScorer

    return SimulatedFuzzingScorer


# The key `kind` of the section -> its class.
SCORERS: dict[str, Callable[[], type[Scorer]]] = {
    "collisions": _collisions,
    "detection": _detection,
    "fuzzing": _fuzzing,
    "generated": _generated,
    "simulated_detection": _simulated_detection,
    "simulated_fuzzing": _simulated_fuzzing,
}


def run_scorer(job: Job, output: str) -> None:
    """Score the neurons of a part that have rows in the descriptions' table and write the scorer's table. inputs of the
    job: descriptions, and scores where there was a simulation."""
    kind = SCORERS[job.section.kind]()
    rows: list[Row] = []
    with kind.open(job) as scorer:
        found = list(read_described(job.inputs, job.layer, job.neurons))
        for described in progress(iter(found), len(found), "neuron signs"):
            who = {"layer": described.layer, "neuron": described.neuron, "sign": described.sign}
            row = scorer.score(described) if described.candidates else {"status": "no_description"}
            texts = {c["candidate"]: c["description"] for c in described.candidates}
            rows.append(who | row | {"description": texts.get(row.get("candidate"))})
    schema = scorer_schema(job.name, kind.columns, kind.details)
    write_table(pa.Table.from_pylist(rows, schema=schema), output)


def read_described(inputs: Mapping[str, Any], layer: int, neurons: Sequence[int]) -> Iterator[Described]:
    """What was said of a layer's neurons, in their order. inputs: descriptions, and scores, whose chosen descriptions
    count, where there are some."""
    only: list[tuple[str, str, object]] = [("neuron", "in", list(neurons))]
    candidates: dict[tuple[int, str], list[Row]] = {}
    for row in read_table(inputs["descriptions"], DESCRIPTIONS, only).to_pylist():
        kept = candidates.setdefault((row["neuron"], row["sign"]), [])
        if row["status"] == "ok" and row["description"] not in {other["description"] for other in kept}:
            kept.append(row)
    chosen: dict[tuple[int, str], str] = {}
    if inputs.get("scores"):
        for row in read_table(inputs["scores"], SCORES, only).to_pylist():
            if row["chosen"] and row["split"] == "test":
                chosen[row["neuron"], row["sign"]] = row["description"]
    for neuron in neurons:
        for sign in SIGNS:
            if (neuron, sign) in candidates:
                group = candidates[neuron, sign]
                text = chosen.get((neuron, sign))
                of_text = next((c["candidate"] for c in group if c["description"] == text), None)
                yield Described(layer, neuron, sign, group, of_text)


def documentation() -> str:
    """docs/reference/scorers.md: the columns of every scorer."""
    lines = [
        "# Columns of further scorers",
        "",
        "Generated from scripts/neuron_descriptions/scores/ by `make docs`; do not edit.",
        "",
        "A scorer of `scores.scorers` adds these columns to the atlas, each with the scorer's name before its own, as"
        " `detection_average_precision`. Its table, `results/<run>/scorers/<name>/`, has them without that name, with"
        " which description was scored and a `status`.",
    ]
    for kind, load in SCORERS.items():
        lines += ["", f"## `{kind}`", "", "| column | type | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{c.name}` | {c.type} | {c.words} |" for c in load().columns]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    (Path(__file__).parents[3] / "docs" / "reference" / "scorers.md").write_text(documentation())
