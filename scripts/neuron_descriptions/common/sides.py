"""Rows by what they are about. A module of its own, so that only what groups rows depends on it."""

from typing import Any

import pyarrow as pa


def by_side(table: pa.Table) -> dict[tuple[int, str], list[dict[str, Any]]]:
    """A layer's rows by neuron and sign, each group in the table's order."""
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["neuron"], row["sign"]), []).append(row)
    return groups
