"""What the pages show of a neuron, as plain data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from neuron_descriptions.atlas.building import (
    ON_PANEL,
    Beside,
    Key,
    atlas_rows,
    by_sign,
    gather_nulls,
    list_shown,
    read_natural,
)
from neuron_descriptions.atlas.further import Added
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.signs import turned
from neuron_descriptions.common.storage import Row, read_table, read_tables
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS, TAILS, quantile_column
from neuron_descriptions.concepts.execution import ConceptList, read_list
from neuron_descriptions.concepts.predicates import Reader
from neuron_descriptions.concepts.vocabulary import read_vocabulary
from neuron_descriptions.concepts.wording import sentence
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.exemplars import Exemplar, ExemplarStore
from neuron_descriptions.harvest.tables import STATISTICS
from neuron_descriptions.models.loading import load_tokenizer, token_strings
from neuron_descriptions.output_side.judged import OUTPUT_SCORES
from neuron_descriptions.output_side.scaled import OUTPUT_SCALED
from neuron_descriptions.output_side.tables import OUTPUT_SIDE
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.panel.tables import NEIGHBOURS, NEURON_TYPES
from neuron_descriptions.scores.output_tokens_tables import OUTPUT_TOKENS
from neuron_descriptions.scores.tables import CONCEPT_SCORES, SCORES, SIMULATIONS

BINS = 24  # of a feature's histogram
JUDGED = (
    "description_r", "auc", "auc_low", "auc_high", "auc_null", "auc_percentile", "reads_r", "reads_percentile",
    "gate_positive",
)  # fmt: skip


class Details:
    """What the pages show of a chunk's neurons, as plain data."""

    @classmethod
    def of_job(cls, neurons: list[int], given: Mapping[str, Any], n_exemplars: int) -> "Details":
        """Those of a rule's input: `subject`, the corpus by split, and the tables."""
        return cls(neurons, {split: given[split] for split in SPLITS}, given, given["subject"], n_exemplars)

    def __init__(
        self,
        neurons: list[int],
        corpus: dict[str, str],
        tables: Mapping[str, Any],
        subject_folder: str,
        n_exemplars: int,
    ):
        """tables: descriptions -> file; exemplars, statistics -> files; where the run has these, scores, simulations,
        natural, concepts (direct scores), rules (the words that these know), types, output_side, output_scores,
        output_scaled, output_tokens, neighbours, panel_test and panel_test_acts (text and activations) -> file;
        scorers, pooled (scores, whose nulls stand for each neuron's own) -> files."""
        self.neurons, self.n_exemplars = neurons, n_exemplars
        self.added = Added(tables.get("scorers") or [])
        self.tokenizer = load_tokenizer(subject_folder)
        only: list[tuple[str, str, object]] = [("neuron", "in", neurons)]
        self.statistics = read_tables(tables["statistics"], STATISTICS, only).to_pylist()
        descriptions = read_table(tables["descriptions"], DESCRIPTIONS, only)
        scores = read_table(tables["scores"], SCORES, only) if tables.get("scores") else unscored(descriptions)
        self.candidates, self.scores = by_sign(descriptions), by_sign(scores)
        path = tables.get("simulations")
        predicted = read_table(path, SIMULATIONS, only) if path else SIMULATIONS.empty_table()
        self.exemplars = ExemplarStore(
            tables["exemplars"], corpus, [*only, ("rank", "<", n_exemplars)], beside=predicted
        )
        self.simulations: dict[Key, list[tuple[Exemplar, list[float]]]] = {}
        for exemplar, values in zip(self.exemplars.join(predicted), predicted["simulated"].to_pylist()):
            key = exemplar.layer, exemplar.neuron, exemplar.sign
            self.simulations.setdefault(key, []).append((exemplar, values))
        natural = read_natural([tables["natural"]] if tables.get("natural") else [], only)
        direct, types = (
            read_table(tables[name], schema, only) if tables.get(name) else None
            for name, schema in (("concepts", CONCEPT_SCORES), ("types", NEURON_TYPES))
        )
        self.lists = {} if direct is None else by_sign(direct)
        self.reader = Reader(read_vocabulary(tables["rules"])) if self.lists else None
        statistics = pa.Table.from_pylist(self.statistics, schema=STATISTICS)
        pools = gather_nulls(tables.get("pooled") or [])
        rows = atlas_rows(descriptions, scores, statistics, Beside(natural, direct, types, pools))
        self.rows = {(r["layer"], r["neuron"], r["sign"]): r for r in rows}
        written = read_table(tables["output_side"], OUTPUT_SIDE, only).to_pylist() if tables.get("output_side") else []
        self.written = {r["neuron"]: r for r in written}
        judged = tables.get("output_scores") or []
        self.judged = by_sign(read_tables(judged, OUTPUT_SCORES, only)) if judged else {}
        scaled = tables.get("output_scaled") or []
        self.scaled = by_sign(read_tables(scaled, OUTPUT_SCALED, only)) if scaled else {}
        path = tables.get("output_tokens")
        self.explained = by_sign(read_table(path, OUTPUT_TOKENS, only)) if path else {}
        self.neighbours: dict[int, list[Row]] = {}
        if tables.get("neighbours"):
            for row in read_table(tables["neighbours"], NEIGHBOURS, only).to_pylist():
                self.neighbours.setdefault(row["neuron"], []).append(row)
        self.histograms = _histograms(neurons, tables)
        self.tokens = {
            split: {i: token_strings(self.tokenizer, text.evidence) for i, text in texts.items()}
            for split, texts in self.exemplars.texts.items()
        }

    def neuron(self, layer: int, neuron: int) -> dict[str, Any]:
        """A neuron's object as pages/atlas.js reads it."""
        return {
            "layer": layer,
            "neuron": neuron,
            "statistics": {r["split"]: _statistics(r) for r in self.statistics if r["neuron"] == neuron},
            "signs": {sign: self._sign((layer, neuron, sign)) for sign in SIGNS},
            **({"writes": self._writes(layer, neuron)} if neuron in self.written else {}),
            # Triples of layer, neuron and correlation, the nearest first.
            **({"neighbours": [_neighbour(r) for r in self.neighbours[neuron]]} if neuron in self.neighbours else {}),
            **({"histogram": self.histograms[neuron]} if neuron in self.histograms else {}),
        }

    def _writes(self, layer: int, neuron: int) -> dict[str, Any]:
        row = self.written[neuron]
        found: dict[str, Any] = {
            end: list(zip(row[f"{end}_tokens"], map(rounded, row[f"{end}_effects"]))) for end in ("top", "bottom")
        }
        found |= {name: rounded(row[name]) for name in ("std", "skew", "kurtosis")}
        judged = {sign: row for sign in SIGNS for row in self.judged.get((layer, neuron, sign), [])}
        if judged:
            plain = ("description", "agreement", "n_firing", "n_documents")
            found["judged"] = {
                sign: {name: row[name] for name in plain} | {name: rounded(row[name]) for name in JUDGED}
                for sign, row in judged.items()
            }
        explained = {sign: row for sign in SIGNS for row in self.explained.get((layer, neuron, sign), [])}
        if explained:
            found["explained"] = {sign: _explained(row) for sign, row in explained.items()}
        scaled = {sign: row for sign in SIGNS for row in self.scaled.get((layer, neuron, sign), []) if row["up_tokens"]}
        if scaled:
            found["scaled"] = {sign: _scaled(row) for sign, row in scaled.items()}
        return found

    def _sign(self, key: Key) -> dict[str, Any]:
        # Of descriptions from elsewhere a neuron may have those of one sign alone.
        row = self.rows.get(key) or dict.fromkeys(ATLAS.names) | {"status": "no_description"}
        scores = self.scores.get(key, [])
        by_split = {(r["candidate"], r["split"]): r for r in scores if r["kind"] == "candidate"}
        best = next((r["candidate"] for r in scores if r["chosen"]), None)
        numbers = (
            *ON_PANEL, "score_contrast", "score_contrast_low", "score_contrast_high", "null_score",
            "null_tokens_score", "null_empty_score", "null_percentile", "best_null_score", "best_null_percentile",
            "token_baseline_contrast", "spearman", "average_precision", "r2", "abs_dev_explained", "published_score",
            "published_score_test", "selection_score", "direct_score", "direct_score_contrast", "gate_positive",
        )  # fmt: skip
        listed = list_shown(self.lists.get(key, []), row["description"])
        parts = None if listed is None else read_list(listed["parts"])
        half = max(1, self.n_exemplars // 2)
        return {
            "status": row["status"],
            "best": best,
            **{name: rounded(row[name]) for name in numbers},
            **{
                name: row[name]
                for name in ("chance", "chance_failed", "n_nulls", "n_top", "n_middle", "n_random", "type")
            },
            "concepts": None if listed is None or parts is None else _said(listed["sentence"], parts, key[2]),
            **self._further(key),
            "candidates": [
                {
                    "candidate": c["candidate"],
                    "description": c["description"],
                    "status": c["status"],
                    "explainer": c["explainer"],
                    "exemplar_ranks": c["exemplar_ranks"],
                    "selection_score": rounded(by_split.get((c["candidate"], "valid"), {}).get("correlation")),
                    "published_score": rounded(by_split.get((c["candidate"], "valid"), {}).get("published_score")),
                    "score": rounded(by_split.get((c["candidate"], "test"), {}).get("correlation")),
                }
                for c in self.candidates.get(key, [])
            ],
            "exemplars": [
                {
                    **self._sequence(e, parts),
                    "peak": rounded(e.peak),
                    **({} if e.gate is None else {"gate": rounded(e.gate)}),
                }
                for e in self.exemplars.of(*key)
                if e.rank < (self.n_exemplars if (e.split, e.kind) == ("train", "top") else half)
            ],
            "simulated": [
                {**self._sequence(e, parts), "simulated": [rounded(v) for v in simulated]}
                for e, simulated in self.simulations.get(key, [])
                if e.split == "test"
            ],
        }

    def _further(self, key: Key) -> dict[str, Any]:
        """Pairs of a heading and a value, of further scores; nothing where there are none."""
        if not self.added.columns:
            return {}
        values = self.added.values(dict(zip(("layer", "neuron", "sign"), key)))
        shown = {name: rounded(value) if isinstance(value, float) else value for name, value in values.items()}
        return {"further": [[column.heading, shown[name]] for name, column in self.added.columns.items()]}

    def _sequence(self, exemplar: Exemplar, parts: ConceptList | None) -> dict[str, Any]:
        tokens = self.tokens[exemplar.split][exemplar.seq_id]
        shown = {name: getattr(exemplar, name) for name in ("split", "kind", "rank", "seq_id")}
        activations = [rounded(v) for v in exemplar.activations.tolist()]
        fires = [] if parts is None or self.reader is None else parts.deciding(self.reader.held(tokens))
        return {
            **shown,
            "source": exemplar.text.source,
            "tokens": tokens,
            "activations": activations,
            # Only where one predicts: [token, part], so that pages stay small.
            **({"fires": [[t, part] for t, part in enumerate(fires) if part >= 0]} if parts is not None else {}),
        }


def unscored(descriptions: pa.Table) -> pa.Table:
    """Rows of SCORES before there are any: of each side the first description, chosen for now, without a number."""
    rows = []
    for (layer, neuron, sign), candidates in by_sign(descriptions).items():
        first = next((c for c in candidates if c["status"] == "ok"), None)
        who = {"layer": layer, "neuron": neuron, "sign": sign, "kind": "candidate", "chosen": True}
        if first is not None:
            said = {name: first[name] for name in ("candidate", "description")}
            rows += [who | said | {"split": split} for split in ("valid", "test")]
    return pa.Table.from_pylist(rows, schema=SCORES)


def _explained(row: Row) -> dict[str, Any]:
    """A row of what an explainer says of the output side as a page shows it."""
    numbers = ("auc", "auc_low", "auc_high", "null_auc", "null_percentile")
    return {name: row[name] for name in ("words", "status", "n_held_out")} | {n: rounded(row[n]) for n in numbers}


def _scaled(row: dict[str, Any]) -> dict[str, Any]:
    """A row of OUTPUT_SCALED as a page shows it."""
    ends = {
        end: {
            "tokens": list(zip(row[f"{end}_tokens"], map(rounded, row[f"{end}_changes"]))),
            "effect": rounded(row[f"{end}_effect"]),
        }
        for end in ("up", "down")
    }
    return {**ends, **{name: row[name] for name in ("n_places", "n_others", "factor")}}


def _said(text: str, found: ConceptList, sign: str) -> dict[str, Any]:
    """A list of concepts as a page shows it: its parts in words, each with the activation that it predicts, signed."""
    parts = [{"words": sentence([part]), "weight": rounded(turned(part.weight, sign))} for part in found.said]
    return {"sentence": text, "parts": parts, "base": rounded(turned(found.base, sign))}


def rounded(value: float | None) -> float | None:
    """Three digits are what a page shows."""
    return None if value is None else float(f"{value:.3g}")


def _neighbour(row: Row) -> tuple[int, int, float | None]:
    return row["neighbour_layer"], row["neighbour"], rounded(row["correlation"])


def _histograms(neurons: list[int], tables: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """How often each neuron's activation on the panel falls between its least and largest there, in BINS equal
    steps; nothing where there is no panel."""
    if not tables.get("panel_test_acts"):
        return {}
    panel = Panel(tables["panel_test"], [tables["panel_test_acts"]])
    acts_IN = panel.acts(panel.layers[0], neurons)
    found = {}
    for neuron, acts_N in zip(neurons, acts_IN):
        counts, edges = np.histogram(acts_N, BINS)
        found[neuron] = {"from": rounded(float(edges[0])), "to": rounded(float(edges[-1])), "counts": counts.tolist()}
    return found


def _statistics(row: Row) -> dict[str, Any]:
    shown = {name: rounded(row[name]) for name in ("mean", "std", "min", "max")}
    # Shares of the tokens that are at least one token, and what they lie beyond: [share, low, high].
    tails = [
        [tail, *(rounded(row[quantile_column(tail, sign)]) for sign in ("negative", "positive"))]
        for tail in TAILS
        if row["tokens"] and tail * row["tokens"] >= 1
    ]
    return {"tokens": row["tokens"], **shown, "tails": tails}
