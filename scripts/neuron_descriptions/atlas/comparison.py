"""Runs side by side: what their explainers and simulators score, and which differences that resolves, as a page of the
docs."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.atlas.building import standing
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.storage import read_table, whole
from neuron_descriptions.common.streams import generator

Interval = tuple[float, float, float]  # mean, low, high
Place = tuple[int, int]  # layer, neuron
DRAWS = 2000
NATURAL = (
    "score", "panel_null_score", "panel_best_null_score", "token_baseline_score", "bigram_baseline_score",
    "discrimination", "beats_panel_null",
)  # fmt: skip
CONTRAST = (
    "score_contrast", "null_score", "best_null_score", "token_baseline_contrast", "above_null", "beats_chance",
)  # fmt: skip
DIFFERENCES = ("score", "score_contrast", "beats_panel_null")
SENTENCES = ("score", "score_contrast")


@dataclass(slots=True, frozen=True)
class Run:
    """A finished run's rows with status ok, by layer, neuron and sign; `above_null` and `beats_panel_null` are added to
    the atlas's columns."""

    name: str
    subject: str
    explainer: str
    simulator: str
    features: str
    """What is described: two runs have the same features if this and the subject are the same."""
    rows: dict[tuple[int, int, str], dict[str, Any]]

    def known(self, column: str) -> dict[tuple[int, int, str], float]:
        """The rows' values, of those that have one."""
        return {key: float(row[column]) for key, row in self.rows.items() if row[column] is not None}

    def mean(self, column: str) -> Interval:
        """Over rows that have a value, with the interval of `mean_over_neurons`."""
        values = self.known(column)
        return mean_over_neurons(list(values.values()), [key[:2] for key in values])


@dataclass(slots=True, frozen=True)
class Difference:
    """What one run has above another: the mean, its interval, and the rows behind it."""

    first: str
    second: str
    column: str
    interval: Interval
    rows: int
    paired: bool

    @property
    def resolved(self) -> bool:
        """Whether the interval excludes 0."""
        _, low, high = self.interval
        return low > 0 or high < 0


def means_over_neurons(
    values: Sequence[float | None], neurons: Sequence[Place], stream: str = "comparison"
) -> tuple[float, NDArray[np.float64]]:
    """(mean of a value per row, its means (DRAWS,) in resamples of neurons, whose two signs are not independent: Efron
    1979). neurons: which each row is of; stream: names the draws. Rows whose value is None are left out; without
    others, NaN and no draws."""
    known = np.array(values, float)
    chosen = np.isfinite(known)
    if not chosen.any():
        return np.nan, np.zeros(0)
    number = {place: i for i, place in enumerate(sorted(set(neurons)))}
    at = np.array([number[place] for place in neurons])
    drawn = generator(0, stream).multinomial(len(number), np.full(len(number), 1 / len(number)), DRAWS)
    weights = drawn[:, at[chosen]]  # a neuron drawn twice counts twice
    full = weights.sum(1) > 0
    return float(known[chosen].mean()), weights[full] @ known[chosen] / weights[full].sum(1)


def mean_over_neurons(values: Sequence[float | None], neurons: Sequence[Place]) -> Interval:
    """Mean of a value per row, and its 95 % interval: see `means_over_neurons`. All NaN without a value."""
    return _interval(*means_over_neurons(values, neurons))


def _interval(mean: float, draws: NDArray[np.float64]) -> Interval:
    if not len(draws):
        return (np.nan,) * 3
    low, high = np.quantile(draws, (0.025, 0.975))
    return mean, float(low), float(high)


def _beats_on_panel(row: dict[str, Any]) -> float | None:
    """Whether the score on text as it comes passes the strict measure of the contrast score, against the panel's nulls;
    None without these. A row has many sequences there, where the contrast of a comparison has few."""
    if row["score"] is None or row["panel_null_percentile"] is None:
        return None
    share = row["panel_null_percentile"] / 100
    return float(standing(row["score"], row["score_low"], row["panel_best_null_score"], share)[0] == "beats chance")


def read_run(folder: str) -> Run:
    """A run by its results. Raises ValueError where no row has status ok."""
    rows = read_table(f"{folder}/atlas/atlas.parquet", ATLAS, [("status", "==", "ok")], ATLAS.names).to_pylist()
    if not rows:
        raise ValueError(f"{folder}: no row has status ok, so there is nothing to compare")
    config = json.loads(Path(folder, "atlas", "provenance.json").read_text())["config"]
    for row in rows:
        row["above_null"] = None if row["null_score"] is None else float(row["score_contrast"] > row["null_score"])
        row["beats_panel_null"] = _beats_on_panel(row)
    return Run(
        Path(folder).name.removeprefix("comparison-"),
        config["subject"]["model"],
        ", ".join(sorted({row["explainer"] for row in rows})),
        f"{rows[0]['simulator']} ({config['scores']['simulator']['kind']})",
        json.dumps(config.get("features"), sort_keys=True),
        {(row["layer"], row["neuron"], row["sign"]): row for row in rows},
    )


def difference(first: Run, second: Run, column: str) -> Difference | None:
    """What `first` has above `second`. Runs of the same features are compared row by row, where both have a value, so
    that what makes one easy or hard counts in neither; of others, such as another subject's, the means are compared.
    None where they have nothing in common."""
    one, other = first.known(column), second.known(column)
    if paired := (first.subject, first.features) == (second.subject, second.features):
        both = [key for key in one if key in other]
        found = mean_over_neurons([one[key] - other[key] for key in both], [key[:2] for key in both])
        rows = len(both)
    else:
        (mean, draws), (below, others) = (
            means_over_neurons(list(of.values()), [key[:2] for key in of], name)
            for of, name in ((one, "comparison"), (other, "other subject"))
        )
        n = min(len(draws), len(others))  # resamples without any value are left out
        found, rows = _interval(mean - below, draws[:n] - others[:n]), min(len(one), len(other))
    return Difference(first.name, second.name, column, found, rows, paired) if rows else None


def told(differences: list[Difference], column: str) -> str:
    """Which differences of a column are resolved, in words."""
    of_column = [d for d in differences if d.column == column]
    resolved = sorted((d for d in of_column if d.resolved), key=lambda d: -abs(d.interval[0]))
    halves = [(d.interval[2] - d.interval[1]) / 2 for d in of_column]
    said = f"Of {len(of_column)} differences of the {_words(column)}, {len(resolved)} are resolved"
    said += f": {'; '.join(map(_above, resolved))}." if resolved else "."
    if not halves:
        return said
    others = [f"{d.first} and {d.second}" for d in of_column if not d.resolved]
    return (
        said
        + (f" Not told apart: {'; '.join(others)}." if others else "")
        + f" Half an interval is {min(halves):.3f} to {max(halves):.3f} (median {median(halves):.3f}): smaller"
        " differences are not resolved."
    )


def _above(d: Difference) -> str:
    mean, low, high = d.interval
    names, sign = ((d.first, d.second), 1) if mean > 0 else ((d.second, d.first), -1)
    low, high = sorted((sign * low, sign * high))
    return f"{names[0]} above {names[1]} by {abs(mean):.3f} [{low:.3f}, {high:.3f}]"


def write_comparison(folders: list[str], output: str) -> None:
    """Write the page of some runs as Markdown. Raises ValueError as `read_run` does."""
    runs = [read_run(folder) for folder in folders]
    pairs = [
        found
        for one, other in combinations(runs, 2)
        for column in DIFFERENCES
        if (found := difference(one, other, column)) is not None
    ]
    text = [
        "# Explainers and simulators, compared",
        "",
        "Generated by `make table`; do not edit. Means over a run's rows (a neuron and sign each) with status ok; in"
        " brackets 95 % intervals (bootstrap over neurons). No simulator was trained on any of these neurons.",
        "",
        *_table(("run", "subject", "explainer", "simulator", "rows", "contrast sequences", "sequences on the panel"),
                map(_made, runs)),
        "",
        "## Which differences are resolved",
        "",
        *(line for column in SENTENCES for line in (told(pairs, column), "")),
        "A difference is resolved if its interval excludes 0. Runs of one subject are compared row by row, on rows that"
        " both have scored; the random subject's neurons are others, so means are compared. Each interval stands for"
        " itself: of twenty without a difference one excludes 0 by chance.",
        "",
        *_table(("first", "second", "rows", "compared", *map(_words, DIFFERENCES)), _paired(pairs)),
        "",
        "## Text as it comes",
        "",
        "*Score*: correlation over the whole panel, estimated; all rows share the drawn sequences, whose luck is in no"
        " interval here; what it does to two runs alike cancels in their difference. *Panel null*: what other neurons'"
        " descriptions get on the shared sequences; *best*: the best of as many as there are candidates. *Token* and"
        " *bigram baseline*: look-ups learnt from all tokens of the other panel, the ceiling of a list of tokens."
        " *Discrimination*: other neurons of the layer that the description matches less, in %. *Beats panel null*: the"
        " share of rows whose interval lies above 0 and the best panel null, and whose predictions lie above 95 % of"
        " the panel's nulls of each kind.",
        "",
        *_table(("run", *map(_words, NATURAL)), _means(runs, NATURAL)),
        "",
        "## The contrast of few sequences",
        "",
        "*Null*: other neurons' descriptions, pooled by layer and sign; *best*: chosen among as many of them as there"
        " are candidates. *Token baseline*: look-up from the exemplars alone. *Above null*: the share of rows that"
        " score higher than the mean of their nulls; *beats chance*: of those that pass the strict measure"
        " (docs/concepts/scores.md), coarsely where a row has few sequences. *Prompted*: the simulator is the model as"
        " it is.",
        "",
        *_table(("run", *map(_words, CONTRAST)), _means(runs, CONTRAST)),
        "",
    ]  # fmt: skip
    with whole(output) as part:
        part.write_text("\n".join(text))


def _made(run: Run) -> list[str]:
    rows = list(run.rows.values())
    contrast = [row["n_top"] + row["n_middle"] + row["n_random"] for row in rows]
    panel = [row["n_sequences"] for row in rows if row["n_sequences"] is not None]
    numbers = [f"{np.mean(of):.1f}" if of else "" for of in (contrast, panel)]
    return [run.name, run.subject, run.explainer, run.simulator, str(len(rows)), *numbers]


def _means(runs: list[Run], columns: Sequence[str]) -> list[list[str]]:
    return [[run.name, *(_shown(run.mean(column), column) for column in columns)] for run in runs]


def _paired(pairs: list[Difference]) -> list[list[str]]:
    lines: dict[tuple[str, str], list[str]] = {}
    for d in pairs:
        compared = "row by row" if d.paired else "means"
        mean, low, high = d.interval
        bold = "**" if d.resolved else ""
        lines.setdefault((d.first, d.second), [d.first, d.second, str(d.rows), compared]).append(
            f"{bold}{mean:.3f} [{low:.3f}, {high:.3f}]{bold}"
        )
    return list(lines.values())


def _words(column: str) -> str:
    named = {"score_contrast": "contrast score", "panel_best_null_score": "best panel null"}
    return named.get(column, column.replace("_score", "").replace("_", " "))


def _shown(found: Interval, column: str) -> str:
    if np.isnan(found[0]):
        return ""
    return ("{:.0f} [{:.0f}, {:.0f}]" if column == "discrimination" else "{:.2f} [{:.2f}, {:.2f}]").format(*found)


def _table(header: Sequence[str], rows: Any) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


if __name__ == "__main__":
    write_comparison(sys.argv[2:], sys.argv[1])
