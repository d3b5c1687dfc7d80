"""The atlas: one table of all neurons and signs."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from neuron_descriptions.atlas.further import Added
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.storage import read_table, read_tables, whole, write_table
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.tables import STATISTICS
from neuron_descriptions.scores.formulas import best_of_weights, choose, share_below
from neuron_descriptions.scores.tables import SCORES

Key = tuple[int, int, str]  # layer, neuron, sign
# What a row says about chance.
CHANCE = (
    "null_score", "null_percentile", "best_null_score", "best_null_percentile", "chance", "chance_failed",
    "beats_chance",
)  # fmt: skip


def atlas_rows(descriptions: pa.Table, scores: pa.Table, statistics: pa.Table) -> list[dict[str, Any]]:
    """Rows of ATLAS for everything in a chunk's tables, by layer, neuron and sign."""
    candidates, scored = by_sign(descriptions), by_sign(scores)
    ranges = {(r["layer"], r["neuron"]): r for r in statistics.to_pylist() if r["split"] == "train"}
    return [
        _atlas_row(key, group, scored.get(key, []), ranges[key[:2]])
        for key, group in sorted(candidates.items(), key=_order)
    ]


def _order(item: tuple[Key, Any]) -> tuple[int, int, int]:
    layer, neuron, sign = item[0]
    return layer, neuron, SIGNS.index(sign)  # type: ignore[arg-type]


def by_sign(table: pa.Table) -> dict[Key, list[dict]]:
    """A table's rows, by layer, neuron and sign."""
    groups: dict[Key, list[dict]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["layer"], row["neuron"], row["sign"]), []).append(row)
    return groups


def _atlas_row(key: Key, candidates: list[dict], scores: list[dict], train: dict) -> dict[str, Any]:
    layer, neuron, sign = key
    chosen = {row["split"]: row for row in scores if row["chosen"]}
    valid, test = chosen.get("valid", {}), chosen.get("test", {})
    described = [c for c in candidates if c["status"] == "ok"]
    if all(c["status"] == "no_activation" for c in candidates):
        status = "no_activation"
    elif not described:
        status = "no_description"
    elif test.get("correlation") is None:
        status = "no_score"
    else:
        status = "ok"

    baseline = next((r for r in scores if r["kind"] == "token_baseline" and r["split"] == "test"), {})
    return {
        "layer": layer,
        "neuron": neuron,
        "sign": sign,
        "description": valid.get("description"),
        "score": test.get("correlation"),
        "score_low": test.get("correlation_low"),
        "score_high": test.get("correlation_high"),
        **_chance(test, scores),
        "token_baseline_score": baseline.get("correlation"),
        **{name: test.get(name) for name in ("spearman", "average_precision", "r2", "abs_dev_explained")},
        **_published(scores),
        "selection_score": valid.get("correlation"),
        "n_candidates": len(described),
        "n_nulls": sum(r["kind"] == "null" and r["split"] == "test" for r in scores),
        **{name: test.get(name) for name in ("n_top", "n_middle", "n_random")},
        "peak": train["max"] if sign == "positive" else train["min"],
        "explainer": {c["candidate"]: c["explainer"] for c in candidates}.get(
            valid.get("candidate"), candidates[0]["explainer"]
        ),
        "simulator": valid.get("simulator"),
        "status": status,
    }


def _published(scores: list[dict]) -> dict[str, float | None]:
    """As published: the best of the candidates, reported on the split that it was chosen on; and the same on test."""
    rows = {(r["candidate"], r["split"]): r["published_score"] for r in scores if r["kind"] == "candidate"}
    on_valid = {candidate: value for (candidate, split), value in rows.items() if split == "valid"}
    best = choose({candidate: float("nan") if value is None else value for candidate, value in on_valid.items()})
    if best is None:
        return {"published_score": None, "published_score_test": None}
    return {"published_score": on_valid[best], "published_score_test": rows.get((best, "test"))}


def _chance(test: dict, scores: list[dict]) -> dict[str, Any]:
    """What the nulls got, and where the score stands among them: among all, and among the best of as many as there are
    distinct candidates, chosen on valid as the candidate was."""
    nulls: dict[str, dict[str, float]] = {}
    for row in scores:
        if row["kind"] == "null":
            value = float("nan") if row["correlation"] is None else row["correlation"]
            nulls.setdefault(row["description"], {})[row["split"]] = value
    on_test = np.array([n["test"] for n in nulls.values()])
    known = np.isfinite(on_test)
    if not known.any():
        return dict.fromkeys(CHANCE)
    n = len({r["description"] for r in scores if r["kind"] == "candidate"})
    weights = best_of_weights([r.get("valid", float("nan")) for r in nulls.values()], n)
    score = test.get("correlation")
    below, best_below = (None if score is None else share_below(score, on_test, w) for w in (None, weights))
    best = weights[known] @ on_test[known] / weights[known].sum() if weights[known].any() else None
    low = test.get("correlation_low")
    state, failed = (None, None) if score is None else standing(score, low, best, best_below)
    return {
        "null_score": float(on_test[known].mean()),
        "null_percentile": None if below is None else 100 * below,
        "best_null_score": None if best is None else float(best),
        "best_null_percentile": None if best_below is None else 100 * best_below,
        "chance": state,
        "chance_failed": failed,
        "beats_chance": None if state is None else state == "beats chance",
    }


def standing(
    score: float, low: float | None, best_null: float | None, best_below: float | None
) -> tuple[str, str | None]:
    """Where a score stands: "beats chance", "not shown" or "at chance"; and which conditions failed, of "interval" and
    "rank".

    low: of the score's interval; best_null: mean of what the nulls get that are chosen as the candidate was;
    best_below: share of them that the score lies above. It beats chance above 95 % of them, its interval clear of their
    mean and of 0. Of descriptions at chance about n in n + N pass the rank, for n candidates and N nulls: the interval
    is there for small N. At chance is a score that is not even above that mean: the mark that the pages draw.
    """
    mark = max(0.0, best_null or 0.0)
    failed = [] if low is not None and low > mark else ["interval"]
    failed += [] if best_below is not None and best_below >= 0.95 else ["rank"]
    if not failed:
        return "beats chance", None
    return "not shown" if score > mark else "at chance", ", ".join(failed)


def build_atlas(
    descriptions: list[str], scores: list[str], statistics: list[str], output: str, scorers: list[str] | None = None
) -> None:
    """Write the atlas of all chunks; descriptions and scores name the same chunks in the same order; statistics: of
    their neurons, or of more; scorers: tables of further scores, which bring columns."""
    rows: list[dict] = []
    train = read_tables(statistics, STATISTICS, [("split", "==", "train")])
    files = list(zip(descriptions, scores))
    for d, s in progress(files, len(files), "chunks"):
        described = read_table(d, DESCRIPTIONS)
        of_layer = pc.equal(train["layer"], described["layer"][0])
        of_chunk = pc.is_in(train["neuron"], described["neuron"].combine_chunks())
        rows += atlas_rows(described, read_table(s, SCORES), train.filter(pc.and_(of_layer, of_chunk)))
    added = Added(scorers or [])
    rows = [row | added.values(row) for row in rows]
    write_table(pa.Table.from_pylist(rows, schema=added.schema()), output)
    statuses = [row["chance"] or row["status"] for row in rows]
    logger.info(
        "%d rows: %s",
        len(rows),
        ", ".join(f"{s} {statuses.count(s)}" for s in sorted(set(statuses))),
    )


def write_given_scores(scores: list[str], output: str) -> None:
    """Write the scores of descriptions from elsewhere as CSV, a row each. The null is of single descriptions: none of
    them was chosen."""
    columns = ["description", "simulator", "spearman", "average_precision", "r2", "abs_dev_explained"]
    rows: list[dict] = []
    for path in scores:
        for key, group in by_sign(read_table(path, SCORES)).items():
            baseline = next(r["correlation"] for r in group if r["kind"] == "token_baseline" and r["split"] == "test")
            nulls = [r for r in group if r["kind"] == "null"]
            for test in (r for r in group if r["kind"] == "candidate" and r["split"] == "test"):
                chance = _chance(test, [test, *nulls])
                rows.append(
                    dict(zip(("layer", "neuron", "sign"), key))
                    | {"score": test["correlation"], "score_low": test["correlation_low"]}
                    | {"score_high": test["correlation_high"], **{name: test[name] for name in columns}}
                    | {
                        name: chance[name]
                        for name in ("null_score", "null_percentile", "chance", "chance_failed", "beats_chance")
                    }
                    | {"token_baseline_score": baseline, "published_score_test": test["published_score"]}
                    | {name: test[name] for name in ("n_top", "n_middle", "n_random")}
                )
    schema = pa.schema([field for field in ATLAS if field.name in rows[0]]) if rows else ATLAS
    with whole(output) as part:
        pa.csv.write_csv(pa.Table.from_pylist(rows, schema=schema), part)
