"""The atlas: one table of all neurons and signs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from neuron_descriptions.atlas.further import Added
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.storage import Row, read_footer, read_table, read_tables, whole, write_table
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.concepts.wording import NO_PATTERN
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.tables import STATISTICS, gate_column
from neuron_descriptions.panel.tables import NEURON_TYPES
from neuron_descriptions.scores.chance import EMPTY, NULL_KINDS, OTHER, TOKENS
from neuron_descriptions.scores.formulas import best_of_weights, choose, share_below
from neuron_descriptions.scores.tables import COMPARED, CONCEPT_SCORES, NATURAL, SCORES

Key = tuple[int, int, str]  # layer, neuron, sign
Pools = dict[tuple[int, str], list[Row]]  # layer, sign -> nulls' rows of SCORES
# What a row says of text as it comes.
ON_PANEL = (
    "score", "score_low", "score_high", "panel_null_score", "panel_null_tokens_score", "panel_null_empty_score",
    "panel_best_null_score", "panel_null_percentile",
    "discrimination", "token_baseline_score", "bigram_baseline_score", "share_of_baseline", "gain", "gain_low",
    "gain_high", "sequence_auc", "n_sequences",
)  # fmt: skip
# What a row says about chance.
CHANCE = (
    "null_score", "null_tokens_score", "null_empty_score", "null_percentile", "best_null_score",
    "best_null_percentile", "chance", "chance_failed", "beats_chance", "n_nulls",
)  # fmt: skip


@dataclass(slots=True, frozen=True)
class Beside:
    """Tables that not every run has, of the same neurons or more."""

    natural: pa.Table | None = None
    """COMPARED, or NATURAL of neurons that nothing was compared with."""
    concepts: pa.Table | None = None
    """CONCEPT_SCORES."""
    types: pa.Table | None = None
    """NEURON_TYPES."""
    pools: Pools = field(default_factory=dict)
    """Nulls that stand for each neuron's own."""


def atlas_rows(
    descriptions: pa.Table,
    scores: pa.Table,
    statistics: pa.Table,
    beside: Beside | None = None,
) -> list[dict[str, Any]]:
    """Rows of ATLAS for everything in a chunk's tables, by layer, neuron and sign."""
    beside = beside or Beside()
    candidates, scored = by_sign(descriptions), by_sign(scores)
    lists = {} if beside.concepts is None else by_sign(beside.concepts)
    typed = {} if beside.types is None else {key: rows[0]["type"] for key, rows in by_sign(beside.types).items()}
    ranges = {(r["layer"], r["neuron"]): r for r in statistics.to_pylist() if r["split"] == "train"}
    on_panel = by_sign(beside.natural) if beside.natural is not None else {}
    rows = []
    for key, group in sorted(candidates.items(), key=_order):
        natural = next(iter(on_panel.get(key, [])), None)
        pool = beside.pools.get((key[0], key[2]))
        row = _atlas_row(key, group, scored.get(key, []), ranges[key[:2]], natural, pool)
        direct = list_shown(lists.get(key, []), row["description"]) or {}
        found = {name: direct.get(name) for name in ("direct_score", "direct_score_contrast")}
        rows.append({name: (row | found | {"type": typed.get(key)})[name] for name in ATLAS.names})
    return rows


def list_shown(lists: list[Row], description: str | None) -> Row | None:
    """Of a feature's lists of concepts (rows of CONCEPT_SCORES) the one that says its description, or else the longest;
    None where no concept fits."""
    found = sorted((r for r in lists if r["sentence"] != NO_PATTERN), key=lambda row: row["candidate"])
    return next((r for r in found if r["sentence"] == description), found[0] if found else None)


def _order(item: tuple[Key, Any]) -> tuple[int, int, int]:
    layer, neuron, sign = item[0]
    return layer, neuron, SIGNS.index(sign)


def by_sign(table: pa.Table) -> dict[Key, list[Row]]:
    """A table's rows, by layer, neuron and sign."""
    groups: dict[Key, list[Row]] = {}
    for row in table.to_pylist():
        groups.setdefault((row["layer"], row["neuron"], row["sign"]), []).append(row)
    return groups


def read_natural(files: list[str], filters: list[tuple[str, str, object]] | None = None) -> pa.Table | None:
    """Tables of scores on text as it comes: of whole layers, compared with chance, or of one neuron. None: no file."""
    if not files:
        return None
    compared = set(COMPARED.names) <= set(read_footer(files[0]).schema.names)
    return read_tables(files, COMPARED if compared else NATURAL, filters)


def gather_nulls(scores: list[str]) -> Pools:
    """The nulls of all neurons of a layer and sign."""
    pools: Pools = {}
    for path in scores:
        for row in read_table(path, SCORES, [("kind", "=", "null")]).to_pylist():
            pools.setdefault((row["layer"], row["sign"]), []).append(row)
    return pools


def _atlas_row(
    key: Key, candidates: list[Row], scores: list[Row], train: Row, natural: Row | None, pool: list[Row] | None
) -> dict[str, Any]:
    layer, neuron, sign = key
    chosen = {row["split"]: row for row in scores if row["chosen"]}
    valid, test = chosen.get("valid", {}), chosen.get("test", {})
    described = [c for c in candidates if c["status"] == "ok"]
    if all(c["status"] == "no_activation" for c in candidates):
        status = "no_activation"
    elif all(c["status"] == "few_firings" for c in candidates):
        status = "few_firings"
    elif not described:
        status = "no_description"
    elif test.get("correlation") is None and (test.get("simulator") is not None or not chosen):
        status = "no_score"
    else:
        status = "ok"

    baseline = next((r for r in scores if r["kind"] == "token_baseline" and r["split"] == "test"), {})
    return {
        "layer": layer,
        "neuron": neuron,
        "sign": sign,
        "description": valid.get("description"),
        **_natural(test, baseline, natural),
        "score_contrast": test.get("correlation"),
        "score_contrast_low": test.get("correlation_low"),
        "score_contrast_high": test.get("correlation_high"),
        **_chance(test, scores, pool),
        "token_baseline_contrast": baseline.get("correlation"),
        **{name: test.get(name) for name in ("spearman", "average_precision", "r2", "abs_dev_explained")},
        **_published(scores),
        "selection_score": valid.get("correlation"),
        "n_candidates": len(described),
        **{name: test.get(name) for name in ("n_top", "n_middle", "n_random")},
        "peak": train["max"] if sign == "positive" else train["min"],
        "log_density": train["log_density"],
        "gate_positive": None if (above := train[gate_column(sign)]) is None else 100 * above,
        "explainer": {c["candidate"]: c["explainer"] for c in candidates}.get(
            valid.get("candidate"), candidates[0]["explainer"]
        ),
        "simulator": valid.get("simulator"),
        "status": status,
    }


def _natural(test: Row, baseline: Row, natural: Row | None) -> dict[str, Any]:
    """Scores on text as it comes: those made on the panel; without one, estimates from the scored sequences."""
    if natural is not None:
        return {name: natural.get(name) for name in ON_PANEL}
    found = {"score": test.get("natural"), "score_low": test.get("natural_low"), "score_high": test.get("natural_high")}
    return dict.fromkeys(ON_PANEL) | found | {"token_baseline_score": baseline.get("natural")}


def _published(scores: list[Row]) -> dict[str, float | None]:
    """As published: the best of the candidates, reported on the split that it was chosen on; and the same on test."""
    rows = {(r["candidate"], r["split"]): r["published_score"] for r in scores if r["kind"] == "candidate"}
    on_valid = {candidate: value for (candidate, split), value in rows.items() if split == "valid"}
    best = choose({candidate: float("nan") if value is None else value for candidate, value in on_valid.items()})
    if best is None:
        return {"published_score": None, "published_score_test": None}
    return {"published_score": on_valid[best], "published_score_test": rows.get((best, "test"))}


def _chance(test: Row, scores: list[Row], pool: list[Row] | None = None) -> dict[str, Any]:
    """What the nulls got, and where the score stands among them: among all of a kind, and among the best of as many as
    there are distinct candidates, chosen on valid as the candidate was. Each kind is compared with by itself, and the
    score has to pass the hardest: nulls that are easy to beat must not hide others.

    pool: nulls of all neurons of the layer and sign, instead of the row's own.
    """
    nulls: dict[str, dict[tuple[int, str], dict[str, float]]] = {kind: {} for kind in NULL_KINDS}
    for row in pool or scores:
        if row["kind"] == "null":
            value = float("nan") if row["correlation"] is None else row["correlation"]
            nulls[row["null_kind"]].setdefault((row["neuron"], row["description"]), {})[row["split"]] = value
    n = len({r["description"] for r in scores if r["kind"] == "candidate"})
    score, low = test.get("correlation"), test.get("correlation_low")
    found = {}
    for kind, of_kind in nulls.items():
        # There is one empty description: nobody chooses it.
        among = _among(score, list(of_kind.values()), 1 if kind == EMPTY else n) if n else None
        if among is not None:
            found[kind] = among
    number = sum(among.number for among in found.values())
    if not found:  # without a candidate there is nothing to compare, though a pool has nulls
        return dict.fromkeys(CHANCE) | {"n_nulls": number}
    best = max((among.best for among in found.values() if among.best is not None), default=None)
    below, best_below = (
        None if score is None else min(getattr(among, name) for among in found.values())
        for name in ("below", "best_below")
    )
    state, failed = (None, None) if score is None else standing(score, low, best, best_below)
    means = {kind: found[kind].mean if kind in found else None for kind in NULL_KINDS}
    return {
        "null_score": means[OTHER],
        "null_tokens_score": means[TOKENS],
        "null_empty_score": means[EMPTY],
        "null_percentile": None if below is None else 100 * below,
        "best_null_score": best,
        "best_null_percentile": None if best_below is None else 100 * best_below,
        "chance": state,
        "chance_failed": failed,
        "beats_chance": None if state is None else state == "beats chance",
        "n_nulls": number,
    }


@dataclass(slots=True, frozen=True)
class _Among:
    """Where a score stands among nulls of a kind."""

    number: int
    mean: float
    best: float | None
    """Mean of what the chosen ones get."""
    below: float
    """Share of the nulls that the score lies above."""
    best_below: float
    """Share of the choices that it does."""


def _among(score: float | None, nulls: list[dict[str, float]], n: int) -> _Among | None:
    """nulls: by split what each got; n: of how many the best is chosen. None where no null has a number."""
    if n > 1:  # a pool has nulls of rows with one candidate, too, and these have no valid to be chosen on
        nulls = [of for of in nulls if "valid" in of] or nulls
    on_test = np.array([splits["test"] for splits in nulls])
    known = np.isfinite(on_test)
    if not known.any():
        return None
    weights = best_of_weights([splits.get("valid", float("nan")) for splits in nulls], n)
    best = float(weights[known] @ on_test[known] / weights[known].sum()) if weights[known].any() else None
    shares = [float("nan") if score is None else share_below(score, on_test, w) for w in (None, weights)]
    return _Among(len(nulls), float(on_test[known].mean()), best, *shares)


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
    tables: Mapping[str, Sequence[str]], output: str, pool_nulls: bool = False, simulated: bool = True
) -> None:
    """Write the atlas of all chunks.

    tables: descriptions and scores, of the same chunks in the same order; statistics of their neurons, or of more; and
    where the run has these: natural (scores on text as it comes, of whole layers), concepts (their direct scores, of
    the same chunks), types (as statistics) and scorers (further scores, which bring columns). pool_nulls: compare with
    the nulls of all neurons of the layer and sign; simulated: whether the run has a simulator: without one, columns
    that need it are left out.
    """
    rows: list[Row] = []
    scores = list(tables["scores"])
    train = read_tables(list(tables["statistics"]), STATISTICS, [("split", "==", "train")])
    typed = read_tables(list(tables["types"]), NEURON_TYPES) if tables.get("types") else None
    on_panel, pools = read_natural(list(tables.get("natural", ()))), gather_nulls(scores) if pool_nulls else {}
    files = list(zip(tables["descriptions"], scores, tables.get("concepts") or [""] * len(scores)))
    for d, s, c in progress(files, len(files), "chunks"):
        described = read_table(d, DESCRIPTIONS)
        beside = Beside(
            natural=_of_chunk(on_panel, described) if on_panel is not None else None,
            pools=pools,
            concepts=read_table(c, CONCEPT_SCORES) if c else None,
            types=_of_chunk(typed, described) if typed is not None else None,
        )
        rows += atlas_rows(described, read_table(s, SCORES), _of_chunk(train, described), beside)
    added = Added(list(tables.get("scorers", ())))
    rows = [row | added.values(row) for row in rows]
    write_table(pa.Table.from_pylist(rows, schema=added.schema(simulated)), output)
    statuses = [row["chance"] or row["status"] for row in rows]
    logger.info(
        "%d rows: %s",
        len(rows),
        ", ".join(f"{s} {statuses.count(s)}" for s in sorted(set(statuses))),
    )


def _of_chunk(table: pa.Table, described: pa.Table) -> pa.Table:
    of_layer = pc.equal(table["layer"], described["layer"][0])
    return table.filter(pc.and_(of_layer, pc.is_in(table["neuron"], described["neuron"].combine_chunks())))


def write_given_scores(scores: list[str], output: str) -> None:
    """Write the scores of descriptions from elsewhere as CSV, a row each. The null is of single descriptions: none of
    them was chosen."""
    columns = ["description", "simulator", "spearman", "average_precision", "r2", "abs_dev_explained"]
    rows: list[Row] = []
    for path in scores:
        for key, group in by_sign(read_table(path, SCORES)).items():
            baseline = next(r for r in group if r["kind"] == "token_baseline" and r["split"] == "test")
            nulls = [r for r in group if r["kind"] == "null"]
            for test in (r for r in group if r["kind"] == "candidate" and r["split"] == "test"):
                chance = _chance(test, [test, *nulls])
                rows.append(
                    dict(zip(("layer", "neuron", "sign"), key))
                    | {"score": test["natural"], "score_low": test["natural_low"], "score_high": test["natural_high"]}
                    | {"score_contrast": test["correlation"], "score_contrast_low": test["correlation_low"]}
                    | {"score_contrast_high": test["correlation_high"], **{name: test[name] for name in columns}}
                    | {
                        name: chance[name]
                        for name in (
                            "null_score",
                            "null_tokens_score",
                            "null_empty_score",
                            "null_percentile",
                            "chance",
                            "chance_failed",
                            "beats_chance",
                        )
                    }
                    | {"token_baseline_score": baseline["natural"], "token_baseline_contrast": baseline["correlation"]}
                    | {"published_score_test": test["published_score"]}
                    | {name: test[name] for name in ("n_top", "n_middle", "n_random")}
                )
    schema = pa.schema([field for field in ATLAS if field.name in rows[0]]) if rows else ATLAS
    with whole(output) as part:
        pa.csv.write_csv(pa.Table.from_pylist(rows, schema=schema), part)
