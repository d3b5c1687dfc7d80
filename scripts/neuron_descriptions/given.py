"""Descriptions from elsewhere, a person's or another project's: a CSV of layer, neuron, sign, description."""

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa

from .records import DESCRIPTIONS, SIGNS
from .storage import write_table

COLUMNS = ("layer", "neuron", "sign", "description")
_SIGNS: dict[str, str] = {sign: sign for sign in SIGNS} | {"+": "positive", "-": "negative"}


def read_given(path: str, layers: int, neurons_per_layer: int) -> list[dict[str, Any]]:
    """The file's rows, in its order; several may be of one neuron and sign. layers, neurons_per_layer: the subject's.

    Raises ValueError that names the file and the line.
    """
    if not Path(path).is_file():
        raise ValueError(f"scores.descriptions: {path} does not exist")
    rows = []
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if missing := set(COLUMNS) - set(reader.fieldnames or ()):
            raise ValueError(f"{path}: the first line names no column {', '.join(sorted(missing))}")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            try:
                layer, neuron = int(row["layer"]), int(row["neuron"])
            except (TypeError, ValueError):
                raise ValueError(f"{where}: layer and neuron must be whole numbers") from None
            if not (0 <= layer < layers and 0 <= neuron < neurons_per_layer):
                raise ValueError(
                    f"{where}: layer {layer}, neuron {neuron} is out of range; the subject has layers"
                    f" 0..{layers - 1} of neurons 0..{neurons_per_layer - 1}"
                )
            if row["sign"] not in _SIGNS:
                raise ValueError(f"{where}: sign is {row['sign']!r}; write positive or negative, or + or -")
            if not (row["description"] or "").strip():
                raise ValueError(f"{where}: the description is empty")
            rows.append(
                {
                    "layer": layer,
                    "neuron": neuron,
                    "sign": _SIGNS[row["sign"]],
                    "description": row["description"].strip(),
                }
            )
    if not rows:
        raise ValueError(f"{path} holds no descriptions")
    return rows


def write_given(given: list[dict[str, Any]], source: str, output: str) -> None:
    """Write rows of one layer as candidates, numbered per neuron and sign in their order. source: stands where an
    explainer's name would."""
    counts: dict[tuple[int, str], int] = {}
    rows = []
    for row in given:
        place = row["neuron"], row["sign"]
        counts[place] = number = counts.get(place, -1) + 1
        rows.append({**row, "candidate": number, "explainer": source, "exemplar_ranks": [], "status": "ok"})
    write_table(pa.Table.from_pylist(rows, schema=DESCRIPTIONS), output)
