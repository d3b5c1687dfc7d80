"""The atlas: one table of all neurons and signs, and pages that open from disk without a network."""

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from .logs import logger, progress
from .models import load_tokenizer, token_strings
from .records import (
    ACCOUNTS,
    ATLAS,
    DESCRIPTIONS,
    EXEMPLARS,
    SCORES,
    SIGNS,
    SIMULATIONS,
    STATISTICS,
)
from .scoring import best_of_weights, choose, share_below
from .sequences import corpus_facts, read_texts
from .storage import read_table, read_tables, whole, write_table

PAGES = Path(__file__).parent / "pages"
Key = tuple[int, int, str]  # layer, neuron, sign


# --- the table ---------------------------------------------------------------------------------------


def atlas_rows(descriptions: pa.Table, scores: pa.Table, statistics: pa.Table) -> list[dict[str, Any]]:
    """Rows of ATLAS for everything in a chunk's tables, by layer, neuron and sign."""
    candidates, scored = _group(descriptions), _group(scores)
    ranges = {(r["layer"], r["neuron"]): r for r in statistics.to_pylist() if r["split"] == "train"}
    return [
        _atlas_row(key, group, scored.get(key, []), ranges[key[:2]])
        for key, group in sorted(candidates.items(), key=_order)
    ]


def _order(item: tuple[Key, Any]) -> tuple[int, int, int]:
    layer, neuron, sign = item[0]
    return layer, neuron, SIGNS.index(sign)  # type: ignore[arg-type]


def _group(table: pa.Table) -> dict[Key, list[dict]]:
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
        names = ("null_score", "null_percentile", "best_null_score", "best_null_percentile", "beats_chance")
        return dict.fromkeys(names)
    n = len({r["description"] for r in scores if r["kind"] == "candidate"})
    weights = best_of_weights([r.get("valid", float("nan")) for r in nulls.values()], n)
    score = test.get("correlation")
    below, best_below = (None if score is None else share_below(score, on_test, w) for w in (None, weights))
    best = weights[known] @ on_test[known] / weights[known].sum() if weights[known].any() else None
    return {
        "null_score": float(on_test[known].mean()),
        "null_percentile": None if below is None else 100 * below,
        "best_null_score": None if best is None else float(best),
        "best_null_percentile": None if best_below is None else 100 * best_below,
        "beats_chance": None if score is None else beats_chance(best_below, test["correlation_low"], best),
    }


def beats_chance(best_below: float | None, low: float | None, best_null: float | None) -> bool:
    """Whether a score is more than chance gives: above 95 % of the best-of-n null and above 0, its interval clear of
    the mean of that null. Of descriptions at chance about n in n + N pass the first condition, for n candidates and N
    nulls: the second is there for small N."""
    clear = low is not None and low > max(0.0, best_null or 0.0)
    return bool(clear and best_below is not None and best_below >= 0.95)


def build_atlas(descriptions: list[str], scores: list[str], statistics: list[str], output: str) -> None:
    """Write the atlas of all chunks; descriptions and scores name the same chunks in the same order; statistics: of
    their neurons, or of more."""
    rows: list[dict] = []
    train = read_tables(statistics, STATISTICS, [("split", "==", "train")])
    files = list(zip(descriptions, scores))
    for d, s in progress(files, len(files), "chunks"):
        described = read_table(d, DESCRIPTIONS)
        of_layer = pc.equal(train["layer"], described["layer"][0])
        of_chunk = pc.is_in(train["neuron"], described["neuron"].combine_chunks())
        rows += atlas_rows(described, read_table(s, SCORES), train.filter(pc.and_(of_layer, of_chunk)))
    write_table(pa.Table.from_pylist(rows, schema=ATLAS), output)
    statuses = [row["status"] for row in rows]
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
        for key, group in _group(read_table(path, SCORES)).items():
            baseline = next(r["correlation"] for r in group if r["kind"] == "token_baseline" and r["split"] == "test")
            nulls = [r for r in group if r["kind"] == "null"]
            for test in (r for r in group if r["kind"] == "candidate" and r["split"] == "test"):
                chance = _chance(test, [test, *nulls])
                rows.append(
                    dict(zip(("layer", "neuron", "sign"), key))
                    | {"score": test["correlation"], "score_low": test["correlation_low"]}
                    | {"score_high": test["correlation_high"], **{name: test[name] for name in columns}}
                    | {name: chance[name] for name in ("null_score", "null_percentile", "beats_chance")}
                    | {"token_baseline_score": baseline, "published_score_test": test["published_score"]}
                    | {name: test[name] for name in ("n_top", "n_middle", "n_random")}
                )
    schema = pa.schema([field for field in ATLAS if field.name in rows[0]]) if rows else ATLAS
    with whole(output) as part:
        pa.csv.write_csv(pa.Table.from_pylist(rows, schema=schema), part)


# --- one neuron --------------------------------------------------------------------------------------


class Details:
    """What the pages show of a chunk's neurons, as plain data."""

    def __init__(
        self,
        neurons: list[int],
        corpus: dict[str, str],
        tables: Mapping[str, Any],
        subject_folder: str,
        n_exemplars: int,
    ):
        """tables: descriptions, scores, simulations -> file; exemplars, statistics -> files."""
        self.neurons, self.n_exemplars = neurons, n_exemplars
        self.tokenizer = load_tokenizer(subject_folder)
        only: list[tuple[str, str, object]] = [("neuron", "in", neurons)]
        shown = [*only, ("rank", "<", n_exemplars)]
        self.statistics = read_tables(tables["statistics"], STATISTICS, only).to_pylist()
        descriptions = read_table(tables["descriptions"], DESCRIPTIONS, only)
        scores = read_table(tables["scores"], SCORES, only)
        self.candidates, self.scores = _group(descriptions), _group(scores)
        self.exemplars = _group(read_tables(tables["exemplars"], EXEMPLARS, shown))
        self.simulations = _group(read_table(tables["simulations"], SIMULATIONS, only))
        rows = atlas_rows(
            descriptions,
            scores,
            pa.Table.from_pylist(self.statistics, schema=STATISTICS),
        )
        self.rows = {(r["layer"], r["neuron"], r["sign"]): r for r in rows}
        self.texts = {split: self._texts(split, path) for split, path in corpus.items()}

    def _texts(self, split: str, path: str) -> dict[int, tuple[str, list[str]]]:
        """Source and token strings of the sequences shown."""
        groups = [*self.exemplars.values(), *self.simulations.values()]
        texts = read_texts(
            path,
            {r["seq_id"] for group in groups for r in group if r["split"] == split},
        )
        return {i: (text.source, token_strings(self.tokenizer, text.evidence)) for i, text in texts.items()}

    def neuron(self, layer: int, neuron: int) -> dict[str, Any]:
        """A neuron's object as pages/atlas.js reads it."""
        return {
            "layer": layer,
            "neuron": neuron,
            "statistics": {r["split"]: _statistics(r) for r in self.statistics if r["neuron"] == neuron},
            "signs": {sign: self._sign((layer, neuron, sign)) for sign in SIGNS},
        }

    def _sign(self, key: Key) -> dict[str, Any]:
        row, scores = self.rows[key], self.scores.get(key, [])
        by_split = {(r["candidate"], r["split"]): r for r in scores if r["kind"] == "candidate"}
        best = next((r["candidate"] for r in scores if r["chosen"]), None)
        numbers = (
            "score", "score_low", "score_high", "null_score", "null_percentile", "best_null_score",
            "best_null_percentile", "token_baseline_score", "spearman", "average_precision", "r2", "abs_dev_explained",
            "published_score", "published_score_test", "selection_score",
        )  # fmt: skip
        half = max(1, self.n_exemplars // 2)
        return {
            "status": row["status"],
            "best": best,
            **{name: _rounded(row[name]) for name in numbers},
            **{name: row[name] for name in ("beats_chance", "n_nulls", "n_top", "n_middle", "n_random")},
            "candidates": [
                {
                    "candidate": c["candidate"],
                    "description": c["description"],
                    "status": c["status"],
                    "explainer": c["explainer"],
                    "exemplar_ranks": c["exemplar_ranks"],
                    "selection_score": _rounded(by_split.get((c["candidate"], "valid"), {}).get("correlation")),
                    "published_score": _rounded(by_split.get((c["candidate"], "valid"), {}).get("published_score")),
                    "score": _rounded(by_split.get((c["candidate"], "test"), {}).get("correlation")),
                }
                for c in self.candidates[key]
            ],
            "exemplars": [
                {**self._sequence(r), "peak": _rounded(r["peak"])}
                for r in self.exemplars[key]
                if r["rank"] < (self.n_exemplars if (r["split"], r["kind"]) == ("train", "top") else half)
            ],
            "simulated": [
                {
                    **self._sequence(r),
                    "simulated": [_rounded(v) for v in r["simulated"]],
                }
                for r in self.simulations.get(key, [])
                if r["split"] == "test"
            ],
        }

    def _sequence(self, row: dict) -> dict[str, Any]:
        source, tokens = self.texts[row["split"]][row["seq_id"]]
        shown = {name: row[name] for name in ("split", "kind", "rank", "seq_id")}
        activations = [_rounded(v) for v in row["activations"]]
        return {**shown, "source": source, "tokens": tokens, "activations": activations}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def _statistics(row: dict) -> dict[str, Any]:
    shown = {name: _rounded(row[name]) for name in ("mean", "std", "min", "max")}
    quantiles = {
        "q1e-4_low": _rounded(row["lower_1e-4"]),
        "q1e-4_high": _rounded(row["upper_1e-4"]),
    }
    return {"tokens": row["tokens"], **shown, **quantiles}


# --- pages -------------------------------------------------------------------------------------------


def write_details(layer: int, details: Details, output: str) -> None:
    """Write a chunk's neurons as a script that the atlas page loads."""
    neurons = [details.neuron(layer, neuron) for neuron in details.neurons]
    with whole(output) as part:
        part.write_text(f"atlasDetails({_json(neurons)});\n")


def write_neuron_page(about: dict[str, str], layer: int, details: Details, output: str) -> None:
    """Write the page of one neuron, all in one file. about: run, subject, explainer, simulator."""
    neuron = details.neurons[0]
    data = {"kind": "neuron", **about, "neuron": details.neuron(layer, neuron)}
    _write_page(f"Layer {layer}, neuron {neuron} of {about['subject']}", data, output)


def write_atlas_page(
    about: dict[str, str],
    corpus: dict[str, str],
    atlas: str,
    parts: dict[int, list[str]],
    chunk_size: int,
    accounts: str,
    rows: list[str],
    output: str,
) -> None:
    """Write the atlas page and the rows that it loads, one file per layer.

    parts: layer -> names of its chunks, of chunk_size neurons; accounts: the run's, of which the page shows the sum;
    rows: one output per layer, in their order.
    """
    table = read_table(atlas, ATLAS)
    shown = [
        name
        for name in ATLAS.names
        if name not in ("layer", "explainer", "simulator")
    ]  # fmt: skip
    layers = []
    for (layer, names), file in zip(parts.items(), rows):
        of_layer = table.filter(pa.compute.equal(table["layer"], layer))
        columns: dict[str, list] = {name: of_layer[name].to_pylist() for name in shown}
        for name in (n for n in shown if pa.types.is_floating(ATLAS.field(n).type)):
            columns[name] = [_rounded(value) for value in columns[name]]
        columns["part"] = [names[i // (chunk_size * len(SIGNS))] for i in range(len(of_layer))]
        with whole(file) as part:
            part.write_text(f"atlasRows({layer}, {_json(columns)});\n")
        layers.append({"layer": layer, "rows": f"rows/{Path(file).name}", "n_rows": len(of_layer)})
    facts = {split: corpus_facts(path) for split, path in corpus.items()}
    splits = {split: {"sequences": f.sequences, "tokens": f.tokens} for split, f in facts.items()}
    account = next(row for row in read_table(accounts, ACCOUNTS).to_pylist() if row["layer"] is None)
    data = {"kind": "atlas", **about, "splits": splits, "layers": layers, "accounting": account}
    _write_page(
        f"{about['run']}: what the neurons of {about['subject']} respond to",
        data,
        output,
    )


def _json(data: Any) -> str:
    # No "<": a text with "</script>" or "<!--" would end or swallow the script that it stands in.
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _write_page(title: str, data: dict[str, Any], output: str) -> None:
    import jinja2

    template = jinja2.Template((PAGES / "atlas.html").read_text())
    page = template.render(
        title=html.escape(title),
        css=(PAGES / "atlas.css").read_text(),
        js=(PAGES / "atlas.js").read_text(),
        data=_json(data),
    )
    with whole(output) as part:
        part.write_text(page)
