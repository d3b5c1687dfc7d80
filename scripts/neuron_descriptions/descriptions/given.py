"""Descriptions from elsewhere, a person's or another project's: a CSV of layer, neuron, sign, description."""

from pathlib import Path
from typing import Any
from unicodedata import category

import pyarrow as pa

from neuron_descriptions.common.storage import write_table
from neuron_descriptions.common.user_files import read_csv, whole_number
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.descriptions.tables import DESCRIPTIONS

COLUMNS = ("layer", "neuron", "sign", "description")
LONGEST = 10_000  # characters of a description
_SIGNS: dict[str, str] = {sign: sign for sign in SIGNS} | {"+": "positive", "-": "negative"}


def says_something(text: object) -> bool:
    """Whether anything is left of a description without white space, marks of width 0 and control characters."""
    return text is not None and any(category(character)[0] not in "ZC" for character in str(text))


def read_given(
    path: str, layers: int, neurons_per_layer: int, key: str = "scores.descriptions"
) -> list[dict[str, Any]]:
    """The file's rows, in its order; several may be of one neuron and sign. layers, neurons_per_layer: the subject's;
    key: what names the file in the configuration.

    Raises ValueError that names the key, the file and the line.
    """
    if not Path(path).exists():
        raise ValueError(f"{key}: {path} does not exist")
    if path.endswith((".json", ".jsonl", ".gz")):
        raise ValueError(
            f"{key}: {path} is no CSV; an export of Neuronpedia or Transluce becomes one by `python -m"
            " neuron_descriptions.descriptions.foreign` (docs/how-to/score-others-descriptions.md)"
        )
    rows = []
    for where, row in read_csv(path, key, COLUMNS):
        layer, neuron = (whole_number(row, name, where) for name in ("layer", "neuron"))
        if not (0 <= layer < layers and 0 <= neuron < neurons_per_layer):
            raise ValueError(
                f"{where}: layer {layer}, neuron {neuron} is out of range; the subject has layers"
                f" 0..{layers - 1} of neurons 0..{neurons_per_layer - 1}"
            )
        if row["sign"] not in _SIGNS:
            raise ValueError(f"{where}: sign is {row['sign']!r}; write positive or negative, or + or -")
        if not says_something(row["description"]):
            raise ValueError(f"{where}: the description is empty")
        if len(row["description"]) > LONGEST:
            raise ValueError(f"{where}: the description has more than {LONGEST:,} characters; shorten it")
        rows.append(
            {
                "layer": layer,
                "neuron": neuron,
                "sign": _SIGNS[row["sign"]],
                "description": row["description"].strip(),
            }
        )
    if not rows:
        raise ValueError(f"{key}: {path} holds no descriptions")
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
