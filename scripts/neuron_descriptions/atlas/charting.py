"""What the charts of a whole atlas show, as numbers: their size depends on the layers, never on the rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from neuron_descriptions.panel.tables import TYPES

Floats = NDArray[np.float64]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
STEP = 0.05  # of the histogram and of description against look-up
DIGITS = 4


@dataclass(slots=True, frozen=True)
class Series:
    """One of the numbers that rows are compared by."""

    name: str
    """own, chance or ceiling"""
    label: str
    values: Floats
    """of each row; NaN: none"""


def series_of(table: pa.Table) -> tuple[str, list[Series]]:
    """(what is drawn, its series) of an atlas: the score beside chance and what look-ups get, on text as it comes; the
    contrast score where chance is known of that alone; without a simulator the direct score."""
    column = {name: _numbers(table, name) for name in table.schema.names if pa.types.is_floating(table[name].type)}
    chance = "descriptions that are not the neuron's, chosen alike"
    if "score" not in column:
        own, tokens = column["direct_score_contrast"], column["token_baseline_contrast"]
        return "direct score, contrast", [
            Series("own", "concepts, by their own predictions", own),
            Series("ceiling", "token baseline", tokens),
        ]
    on_panel = column["panel_best_null_score"]
    if np.isnan(on_panel).all():
        return "contrast score", [
            Series("own", "description", column["score_contrast"]),
            Series("chance", chance, column["best_null_score"]),
            Series("ceiling", "token baseline", column["token_baseline_contrast"]),
        ]
    # fmax: of two look-ups the better one, or the one that there is.
    ceiling = np.fmax(column["token_baseline_score"], column["bigram_baseline_score"])
    return "score", [
        Series("own", "description", column["score"]),
        Series("chance", chance, on_panel),
        Series("ceiling", "better of the token and bigram baselines", ceiling),
    ]


def charts(table: pa.Table, accounts: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Aggregates of an atlas's rows as the pages draw them; plain data.

    accounts: rows of ACCOUNTS. A band is QUANTILES and how many rows have a number; counts of the histogram and of
    description against look-up are of bins of STEP from `low` on, what lies below or above is in the first or last.
    """
    layer = table["layer"].to_numpy()
    layers = np.unique(layer)
    name, series = series_of(table)
    own = series[0].values
    lows = [float(np.nanmin(s.values)) for s in series if not np.isnan(s.values).all()]
    low = -1.0 if min(lows, default=0) < -0.5 else -0.5 if min(lows, default=0) < -STEP else 0.0
    found: dict[str, Any] = {
        "name": name,
        "layers": layers.tolist(),
        "bands": [
            {"name": s.name, "label": s.label, "layers": [_band(s.values[layer == one]) for one in layers]}
            for s in series
        ],
        "histogram": {
            "low": low,
            "series": [{"name": s.name, "label": s.label, "counts": _histogram(s.values, low)} for s in series],
        },
        "against": {"low": low, "label": series[-1].label, "counts": _against(own, series[-1].values, low)},
    }
    types = table["type"].to_pylist() if "type" in table.schema.names else []
    if any(types):
        place = {one: i for i, one in enumerate(TYPES)}
        numbers = np.array([place.get(one, -1) for one in types])
        counts = [np.bincount(numbers[(layer == one) & (numbers >= 0)], minlength=len(TYPES)) for one in layers]
        found["types"] = {"names": list(TYPES), "layers": [one.tolist() for one in counts]}
    spent = {row["layer"]: row for row in accounts if row["layer"] is not None and row["answers"]}
    if spent:
        priced = all(row["cost"] is not None for row in spent.values())
        amount = [
            None if row is None else row["cost"] if priced else row["prompt_tokens"] + row["completion_tokens"]
            for row in (spent.get(one) for one in layers.tolist())
        ]
        found["cost"] = {"unit": "dollars" if priced else "tokens", "layers": amount}
    return found


def _numbers(table: pa.Table, name: str) -> Floats:
    numbers: Floats = table[name].cast(pa.float64()).to_numpy()
    return numbers


def _band(values: Floats) -> list[float | int] | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    return [*(round(float(q), DIGITS) for q in np.quantile(known, QUANTILES)), len(known)]


def _places(values: Floats, low: float) -> NDArray[np.int64]:
    """Bin of each value."""
    bins = round((1 - low) / STEP)
    return np.clip(np.floor((values - low) / STEP + 1e-9), 0, bins - 1).astype(np.int64)


def _histogram(values: Floats, low: float) -> list[int]:
    bins = round((1 - low) / STEP)
    counts: list[int] = np.bincount(_places(values[~np.isnan(values)], low), minlength=bins).tolist()
    return counts


def _against(own: Floats, other: Floats, low: float) -> list[list[int]]:
    """Rows by bin of the one (lists) and of the other (in each)."""
    bins, both = round((1 - low) / STEP), ~np.isnan(own) & ~np.isnan(other)
    places = _places(own[both], low) * bins + _places(other[both], low)
    return np.bincount(places, minlength=bins * bins).reshape(bins, bins).tolist()
