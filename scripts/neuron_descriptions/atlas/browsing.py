"""The rows of the atlas as its page browses them: columns of numbers, a packed script for each layer, and the first
screen, which the page shows before these are there."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from neuron_descriptions.atlas.packing import pack
from neuron_descriptions.atlas.words import Words

# Scores are kept in ten-thousandths, shares (in %) in hundredths, densities (logarithms) in thousandths, in 16 bits;
# NONE: null.
FACTORS = dict.fromkeys(
    (
        "score", "score_low", "score_high", "panel_null_score", "panel_best_null_score", "token_baseline_score",
        "score_contrast", "score_contrast_low", "score_contrast_high", "null_score", "best_null_score",
        "token_baseline_contrast", "direct_score", "direct_score_contrast",
    ),
    10_000,
) | {"null_percentile": 100, "best_null_percentile": 100, "log_density": 1000}  # fmt: skip
WORDS = ("sign", "status", "chance", "chance_failed", "type", "explainer")
NONE = -32768
NO_ORDER = 0xFFFFFFFF
FIRST_ROWS = 100  # of a page of the table


def ranked_by(table: pa.Table) -> str:
    """The column whose best rows come first: without a simulator there is no score but that of concepts' own words."""
    return "score" if "score" in table.schema.names else "direct_score"


def description_order(descriptions: Sequence[str | None]) -> np.ndarray:
    """Place of each description among all, without regard to case: uint32; NO_ORDER where there is none."""
    lower = [None if text is None else text.lower() for text in descriptions]
    places = {text: i for i, text in enumerate(sorted({text for text in lower if text}))}
    return np.array([places.get(text, NO_ORDER) if text else NO_ORDER for text in lower], np.uint32)


def pack_rows(rows: pa.Table, order: np.ndarray, parts: list[str], vocabulary: Words) -> bytes:
    """Pack a layer's rows of the atlas, in its order. order: their `description_order` among all rows; parts: of each
    row, where its neuron's details are; vocabulary: of the descriptions of all rows."""
    rows = _with_all_columns(rows)
    encoded = [vocabulary.encode(text) for text in rows["description"].to_pylist()]
    arrays = {
        "neuron": _narrow(rows["neuron"].to_numpy()),
        "order": order.astype(np.uint32),
        # One more than there are rows: a description is from its own to the next.
        "at": np.cumsum([0, *map(len, encoded)]).astype(np.uint32),
        "peak": np.array([np.nan if v is None else float(f"{v:.3g}") for v in rows["peak"].to_pylist()], np.float32),
    }
    for name, factor in FACTORS.items():
        values = _floats(rows[name])
        arrays[name] = np.where(np.isnan(values), NONE, np.round(np.nan_to_num(values) * factor)).astype(np.int16)
    words: dict[str, list[Any]] = {}
    for name, values in (*((name, rows[name].to_pylist()) for name in WORDS), ("part", parts)):
        words[name] = sorted(set(values), key=lambda value: (value is None, value))
        place = {value: i for i, value in enumerate(words[name])}
        arrays[name] = np.array([place[value] for value in values], np.min_scalar_type(len(place)))
    arrays["codes"] = np.frombuffer(b"".join(encoded), np.uint8)
    return pack({"words": words, "factors": FACTORS}, arrays)


def first_screen(table: pa.Table, parts: Sequence[str]) -> dict[str, Any]:
    """What the page shows of an atlas at first, as its own `viewOf` (pages/search.js) makes it of all rows: the best by
    score, and sums over all. parts: as in `pack_rows`, of all rows."""
    ranked = ranked_by(table)
    table = _with_all_columns(table)
    kept = {name: _kept(table[name], factor) for name, factor in FACTORS.items()}
    score, null = kept["score"], kept["panel_best_null_score"]
    rank = kept[ranked]
    best = np.argsort(np.where(np.isnan(rank), np.inf, -rank), kind="stable")[:FIRST_ROWS].tolist()
    marks = (score, kept["score_low"], np.where(np.isnan(null), kept["panel_null_score"], null))
    least = min(
        (float(np.nanmin(v)) for v in (*marks, kept["token_baseline_score"]) if not np.isnan(v).all()), default=0.0
    )
    both = ~np.isnan(score) & ~np.isnan(kept["token_baseline_score"])
    chance = Counter(value for value in table["chance"].to_pylist() if value)
    plain = table.select(["layer", "neuron", "sign", "description", "peak", *WORDS[1:]])
    rows = plain.take(best).to_pylist()
    for row, i in zip(rows, best):
        row |= {name: None if math.isnan(values[i]) else float(values[i]) for name, values in kept.items()}
        row["peak"] = None if row["peak"] is None else float(f"{row['peak']:.3g}")
        row["part"] = parts[i]
    return {
        "total": len(table),
        "found": len(table),
        "from": 0,
        "rows": rows,
        "described": table["status"].to_pylist().count("ok"),
        "medians": {name: _median(kept[name]) for name in (ranked, f"{ranked}_contrast")},
        "chance": [chance[name] for name in ("beats chance", "not shown", "at chance")],
        "above": [int((both & (score > kept["token_baseline_score"])).sum()), int(both.sum())],
        "axis": 0 if least >= 0 else -0.5 if least >= -0.5 else -1,
        "typed": table["type"].null_count < len(table),
        "directed": bool((~np.isnan(kept["direct_score"])).any()),
        "dense": bool((~np.isnan(kept["log_density"])).any()),
        "sources": sorted(set(table["explainer"].to_pylist()) - {None}),
    }


def _with_all_columns(table: pa.Table) -> pa.Table:
    """An atlas with nulls for the columns that it has not, since nothing was simulated."""
    for name in (*FACTORS, *WORDS):
        if name not in table.schema.names:
            table = table.append_column(name, pa.nulls(len(table), pa.string() if name in WORDS else pa.float64()))
    return table


def _narrow(values: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 on in no more bytes than they need."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers; NaN for null."""
    numbers: np.ndarray = column.cast(pa.float64()).to_numpy()
    return numbers


def _kept(column: pa.ChunkedArray, factor: int) -> np.ndarray:
    """Numbers as rows keep them."""
    return np.round(_floats(column) * factor) / factor


def _median(values: np.ndarray) -> list[float | int | None]:
    """(median, how many there are)."""
    known = values[~np.isnan(values)]
    return [float(np.median(known)) if len(known) else None, len(known)]
