"""Which score agrees best with reading, and how scores agree with each other, as a page of the docs.

`python -m neuron_descriptions.atlas.readings docs/demo-reading.csv results/demo/atlas/atlas.parquet --output page.md`

A reading says of descriptions whether they fit (`fits`, `partly`, `wrong`); it was made without the scores. G rows that
have a grade, D bootstrap draws.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv

from neuron_descriptions.atlas.further import read_atlas
from neuron_descriptions.common.storage import read_table, read_tables, whole
from neuron_descriptions.common.streams import generator
from neuron_descriptions.common.user_files import read_csv, whole_number
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.scores.formulas import spearman
from neuron_descriptions.scores.sampling import Array, weighted_auc
from neuron_descriptions.scores.tables import CONCEPT_SCORES
from neuron_descriptions.scores.tables import SCORES as SCORED

GRADES = {"wrong": 0, "partly": 1, "fits": 2}
DRAWS, LEVEL = 1000, 0.95
# Of the atlas: what scores a description, then what needs none, which a score should beat.
SCORES = (
    "score", "score_contrast", "discrimination", "gain", "sequence_auc", "spearman", "average_precision", "r2",
    "abs_dev_explained", "published_score", "selection_score", "direct_score", "direct_score_contrast",
    "token_baseline_score", "token_baseline_contrast",
)  # fmt: skip
# Ends of columns of further scorers that score a description.
FURTHER = ("_average_precision", "_balanced_accuracy", "_auc", "_responsiveness", "_purity")
# Of a description that is no list of concepts, the direct score is another description's.
OF_CONCEPTS = ("direct_score", "direct_score_contrast")
Key = tuple[int, int, str, str]  # layer, neuron, sign, description


class Interval(NamedTuple):
    """A figure with its 95 % interval (bootstrap over neurons, whose two signs are not independent), and its rows."""

    value: float
    low: float
    high: float
    rows: int

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "–"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def read_grades(path: str) -> dict[Key, int]:
    """A reading: CSV of layer, neuron, sign, description and reading (one of GRADES). Raises ValueError that names file
    and line."""
    found: dict[Key, int] = {}
    for where, row in read_csv(path, "readings", ("layer", "neuron", "sign", "description", "reading")):
        if row["reading"] not in GRADES:
            raise ValueError(f"{where}: reading is {row['reading']!r}; it is one of {', '.join(GRADES)}")
        layer, neuron = (whole_number(row, name, where) for name in ("layer", "neuron"))
        found[layer, neuron, row["sign"], row["description"].strip()] = GRADES[row["reading"]]
    if not found:
        raise ValueError(f"{path} holds no reading")
    return found


def graded(grades: dict[Key, int], table: pa.Table) -> list[dict[str, Any]]:
    """Rows of an atlas, or of scores of given descriptions, whose very description was read, with their `grade`."""
    rows = []
    for row in table.to_pylist():
        key = row["layer"], row["neuron"], row["sign"], (row["description"] or "").strip()
        if key in grades:
            rows.append(row | {"grade": grades[key]})
    return rows


def candidates_of(run: Path) -> pa.Table:
    """All candidates of a finished run, each description once, with `selection_score` (the simulator's contrast score
    on valid, by which the run chooses) and direct scores (of concepts' own words). Raises ValueError where the folder
    holds no run."""
    files = {name: sorted(map(str, run.glob(f"{name}/layer-*/chunk-*.parquet"))) for name in ("descriptions", "scores")}
    if not all(files.values()):
        raise ValueError(f"{run} is no folder of a finished run: it has no descriptions and scores")
    direct: dict[Key, dict[str, Any]] = {}
    for path in sorted(map(str, run.glob("concepts/layer-*/chunk-*.parquet"))):
        for row in read_table(path, CONCEPT_SCORES).to_pylist():
            direct[row["layer"], row["neuron"], row["sign"], row["sentence"]] = row
    on_valid = [("kind", "==", "candidate"), ("split", "==", "valid")]
    scored = {
        (r["layer"], r["neuron"], r["sign"], r["candidate"]): r["correlation"]
        for r in read_tables(files["scores"], SCORED, on_valid).to_pylist()
    }
    rows: dict[Key, dict[str, Any]] = {}
    for row in read_tables(files["descriptions"], DESCRIPTIONS, [("status", "==", "ok")]).to_pylist():
        who = row["layer"], row["neuron"], row["sign"]
        key = *who, row["description"]
        found = {"selection_score": scored.get((*who, row["candidate"])), "explainer": row["explainer"]}
        found |= {name: direct.get(key, {}).get(name) for name in OF_CONCEPTS}
        rows.setdefault(key, dict(zip(("layer", "neuron", "sign", "description"), key)) | found)
    return pa.Table.from_pylist(list(rows.values()))


def values_of(rows: Sequence[dict[str, Any]], name: str) -> Array:
    """A score of each row, (G,); NaN where it has none, or one of another description."""
    other = name in OF_CONCEPTS
    found = [None if other and row.get("explainer") != "concepts" else row.get(name) for row in rows]
    return np.array([np.nan if value is None else value for value in found], float)


def interval(statistic: Callable[..., float], rows: Sequence[dict[str, Any]], *values: Array) -> Interval:
    """A statistic of the rows where all values are known, and its interval. Draws in which it is undefined are passed
    over."""
    known = np.flatnonzero(np.all([np.isfinite(v) for v in values], axis=0))
    neurons = [(rows[i]["layer"], rows[i]["neuron"]) for i in known.tolist()]
    groups = [known[np.array([n == one for n in neurons])] for one in sorted(set(neurons))]
    if len(groups) < 3:
        return Interval(np.nan, np.nan, np.nan, len(known))
    random, drawn = generator(0, "readings"), []
    for _ in range(DRAWS):
        places = np.concatenate([groups[i] for i in random.integers(len(groups), size=len(groups))])
        drawn.append(statistic(*(v[places] for v in values)))
    finite = np.array(drawn)[np.isfinite(drawn)]
    value = statistic(*(v[known] for v in values))
    if not len(finite):
        return Interval(value, np.nan, np.nan, len(known))
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), len(known))


def auc(scores: Array, grades: Array) -> float:
    """Chance that a description that fits, at least partly, scores above a wrong one; NaN without either."""
    return weighted_auc(scores, grades >= GRADES["partly"], np.ones(len(scores)))


def agreement(
    rows: Sequence[dict[str, Any]], names: Sequence[str]
) -> list[tuple[str, Interval, Interval, list[float]]]:
    """Of each score: its name, Spearman correlation with the grade, AUC, and mean of each of GRADES; those that agree
    best first."""
    grades = np.array([row["grade"] for row in rows], float)
    found = []
    for name in names:
        scores = values_of(rows, name)
        means = [
            float(np.nanmean(s)) if np.isfinite(s := scores[grades == g]).any() else np.nan for g in GRADES.values()
        ]
        found.append((name, interval(spearman, rows, scores, grades), interval(auc, rows, scores, grades), means))
    return sorted(found, key=lambda one: -np.nan_to_num(one[1].value, nan=-2.0))


def names_in(table: pa.Table) -> list[str]:
    """Scores that a table has: those of SCORES, and what further scorers are judged by."""
    further = [n for n in table.schema.names if n.endswith(FURTHER) and n not in SCORES and "_null_" not in n]
    return [n for n in (*SCORES, *further) if n in table.schema.names]


def read_scores(path: str) -> pa.Table:
    """An atlas.parquet, a scores.csv of given descriptions, or all candidates of a run's folder."""
    if Path(path).is_dir():
        return candidates_of(Path(path))
    return pa.csv.read_csv(path) if path.endswith(".csv") else read_atlas(path)[0]


def page(path: str, tables: Sequence[str], note: str = "") -> str:
    """The page: for each table of scores how these agree with the reading, and with each other. note: what stands above
    them. Raises ValueError where none of a table's descriptions was read."""
    grades = read_grades(path)
    lines = [
        "# How scores agree with reading, and with each other",
        "",
        f"Generated by `python -m neuron_descriptions.atlas.readings` from the reading `{path}`: {len(grades)}"
        " descriptions, each read as fitting, partly fitting or wrong, without scores. Spearman: rank correlation of"
        " score and reading. AUC: the chance that a description that fits at least partly scores above a wrong one; 0.5"
        f" by chance. In brackets 95 % intervals (bootstrap over neurons, {DRAWS:,} draws). Direct scores: of rows that"
        " are lists of concepts. A row is one description whose words are those that were read.",
        *(["", f"*{note}*"] if note else []),
    ]
    for name in tables:
        table = read_scores(name)
        rows, names = graded(grades, table), names_in(table)
        if not rows:
            raise ValueError(f"{name}: none of its descriptions stands in {path}")
        counts = ", ".join(f"{sum(r['grade'] == g for r in rows)} {word}" for word, g in reversed(GRADES.items()))
        lines += ["", f"## `{name}`", "", f"{len(rows)} of {len(grades)} descriptions read: {counts}.", ""]
        lines += ["| score | rows | Spearman with the reading | AUC | mean: fits, partly, wrong |", "|" + " --- |" * 5]
        found = agreement(rows, names)
        for column, rho, area, means in found:
            said = ", ".join(f"{mean:.2f}" if np.isfinite(mean) else "–" for mean in reversed(means))
            lines.append(f"| `{column}` | {rho.rows} | {rho} | {area} | {said} |")
        kept = [column for column, rho, *_ in found if np.isfinite(rho.value)]
        lines += ["", "Spearman of the scores with each other:", "", "| | " + " | ".join(f"`{n}`" for n in kept) + " |"]
        lines.append("|" + " --- |" * (len(kept) + 1))
        for number, one in enumerate(kept):
            pairs = [(values_of(rows, one), values_of(rows, two)) for two in kept[:number]]
            cells = [str(interval(spearman, rows, *pair)) for pair in pairs] + ["1"] + [""] * (len(kept) - number - 1)
            lines.append(f"| `{one}` | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main(arguments: list[str] | None = None) -> None:
    """The command; ends with a message where a file is not what it should be."""
    parser = argparse.ArgumentParser(description="How scores agree with a reading of their descriptions.")
    parser.add_argument("readings", help="CSV of layer, neuron, sign, description, reading")
    tables = "an atlas.parquet, a scores.csv of given descriptions, or a run's folder"
    parser.add_argument("tables", nargs="+", help=tables)
    parser.add_argument("--output", required=True, help="the page that is written")
    parser.add_argument("--note", default="", help="words that stand above the tables: date, machine, who read")
    given = parser.parse_args(arguments)
    try:
        text = page(given.readings, given.tables, given.note)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    with whole(given.output) as part:
        part.write_text(text)


if __name__ == "__main__":
    main()
