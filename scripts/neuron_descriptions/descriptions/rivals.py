"""Candidates of several runs put together: explainers that compete."""

import pyarrow as pa

from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.descriptions.tables import DESCRIPTIONS


def gather_candidates(own: str, rivals: dict[str, str], neurons: list[int], output: str) -> None:
    """Write a part's candidates, the run's own first, then its rivals', numbered on; a rival's explainer is named with
    its run. rivals: run -> its table of descriptions. Raises ValueError where a rival lacks one of the neurons."""
    only: list[tuple[str, str, object]] = [("neuron", "in", neurons)]  # a table may be of a whole chunk
    rows = read_table(own, DESCRIPTIONS, only).to_pylist()
    for run, path in rivals.items():
        theirs = read_table(path, DESCRIPTIONS, only).to_pylist()
        if missing := set(neurons) - {row["neuron"] for row in theirs}:
            raise ValueError(
                f"descriptions.rivals: {path} has no neuron {min(missing)}; rivals describe the same neurons"
            )
        first = 1 + max(row["candidate"] for row in rows)
        rows += [
            row | {"candidate": first + row["candidate"], "explainer": f"{row['explainer']} ({run})"} for row in theirs
        ]
    rows.sort(key=lambda row: (row["neuron"], SIGNS.index(row["sign"])))  # stable: candidates follow
    write_table(pa.Table.from_pylist(rows, schema=DESCRIPTIONS), output)
