"""A finished run as exports read it: its features one after the other, the tables of one chunk in memory at a time."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from neuron_descriptions.atlas.building import Key, by_sign
from neuron_descriptions.atlas.further import read_atlas, with_all_columns
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.logs import progress
from neuron_descriptions.common.signs import turned
from neuron_descriptions.common.storage import Row, read_table
from neuron_descriptions.common.vocabulary import TAILS, quantile_column
from neuron_descriptions.corpus.reading import CorpusTexts
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.exemplars import KINDS, Exemplar, ExemplarStore
from neuron_descriptions.harvest.tables import STATISTICS
from neuron_descriptions.models.loading import load_tokenizer, token_strings
from neuron_descriptions.output_side.judged import OUTPUT_SCORES
from neuron_descriptions.output_side.tables import OUTPUT_SIDE
from neuron_descriptions.scores.output_tokens_tables import OUTPUT_TOKENS
from neuron_descriptions.scores.tables import SCORES

# A row of every export: the atlas's columns between what the run was made with and where the description comes from.
ROW = pa.schema(
    [
        ("run", pa.string()),
        ("seed", pa.int64()),
        ("subject", pa.string()),
        ("subject_revision", pa.string()),
        *ATLAS,
        ("candidate", pa.int16()),  # the chosen one's number
        ("prompt_sha256", pa.string()),  # null: no model was asked
        ("explainer_revision", pa.string()),  # null: another run's explainer, or no model
        ("simulator_revision", pa.string()),
        # What is said of the tokens that it makes more likely, by search and by an explainer; null: not asked.
        ("output_concepts", pa.string()),
        ("output_words", pa.string()),
        ("output_words_auc", pa.float64()),
        ("output_words_auc_low", pa.float64()),
        ("output_words_auc_high", pa.float64()),
        ("output_words_null_auc", pa.float64()),
    ]
)
BINS = 50
T = TypeVar("T")


def blocks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Items in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block


@dataclass(slots=True, frozen=True)
class Example:
    """A sequence of the train text, in the order of its tokens; strong is large, whatever the sign."""

    kind: str
    """top, middle or random"""
    rank: int
    seq_id: int
    source: str
    tokens: list[str]
    activations: np.ndarray
    """(T,), float32."""
    gate: float | None
    """At the peak, not turned; None where the run keeps no gates."""

    def rounded(self) -> list[float]:
        """The activations in five digits of the strongest one."""
        strongest = float(np.abs(self.activations).max(initial=0))
        digits = 5 - int(np.ceil(np.log10(strongest))) if strongest > 0 else 0
        found: list[float] = np.round(self.activations.astype(np.float64), digits).tolist()
        return found


@dataclass(slots=True, frozen=True)
class Described:
    """A neuron and sign with what the run has of it."""

    layer: int
    neuron: int
    sign: str
    row: dict[str, Any]
    """Columns of ROW."""
    examples: list[Example]
    """Those that are shown: top ones, then middle and random ones."""
    quantiles: list[float]
    """Of the train text's activations, ascending; strong is large."""
    peak: float
    """The strongest activation of this sign; 0 where there is none."""
    density: float | None
    """Share of tokens of the random sequences that are active; None: the run has none."""
    histogram: list[int]
    """BINS counts of those tokens' activations, from 0 to `peak`; empty where there are none."""
    promoted: list[tuple[str, float]]
    """Tokens that this sign makes more likely, with effects, the largest first; empty where that was not asked."""
    suppressed: list[tuple[str, float]]
    """Those that it makes less likely, the smallest effect first."""

    def edges(self) -> np.ndarray:
        """Edges of the histogram's bins, (BINS + 1,)."""
        return np.linspace(0, self.peak, BINS + 1)


@lru_cache(maxsize=3)
def _corpus(path: str) -> CorpusTexts:
    """A corpus table that stays in memory: every chunk asks for some of its rows."""
    return CorpusTexts(path)


@dataclass(slots=True, frozen=True)
class _Part:
    """Tables of a part's evidence."""

    neurons: frozenset[int]
    exemplars: str
    statistics: str
    corpus: str


class FinishedRun:
    """A run's files, read feature by feature."""

    def __init__(self, files: Mapping[str, Any], about: dict[str, Any], n_exemplars: int):
        """files: atlas, subject (a model's folder) -> one; descriptions, scores -> those of the same chunks in the same
        order; exemplars, statistics -> likewise, of the same neurons or more; train -> the text's table, or one for
        each of the exemplars'; output_side, where it is asked -> a table for each layer; output_scores,
        output_tokens -> tables of what is said of it. about: run, seed, layers, neurons_per_layer, and subject,
        explainer, simulator, each with name and revision; n_exemplars: top ones of each sign, and half as many middle
        and random ones.

        Raises ValueError where a table cannot be read.
        """
        self.files, self.about, self.n_exemplars = files, about, n_exemplars
        self.tokenizer = load_tokenizer(files["subject"])
        self.chunks = list(zip(files["descriptions"], files["scores"], strict=True))
        self.atlas = with_all_columns(read_atlas(files["atlas"])[0])
        train = files["train"]
        texts = [train] * len(files["exemplars"]) if isinstance(train, str) else train
        written = [read_table(path, OUTPUT_SIDE) for path in files.get("output_side") or ()]
        self.written = {(row["layer"], row["neuron"]): row for table in written for row in table.to_pylist()}
        named = [
            row for path in files.get("output_scores") or () for row in read_table(path, OUTPUT_SCORES).to_pylist()
        ]
        self.named: dict[Key, str] = {(r["layer"], r["neuron"], r["sign"]): r["description"] for r in named}
        judged = [
            row for path in files.get("output_tokens") or () for row in read_table(path, OUTPUT_TOKENS).to_pylist()
        ]
        self.judged: dict[Key, Row] = {(r["layer"], r["neuron"], r["sign"]): r for r in judged}
        self.parts: dict[int, list[_Part]] = {}
        for exemplars, statistics, text in zip(files["exemplars"], files["statistics"], texts, strict=True):
            named = read_table(statistics, STATISTICS, columns=["layer", "neuron"])
            part = _Part(frozenset(named["neuron"].to_pylist()), exemplars, statistics, text)
            for layer in set(named["layer"].to_pylist()):
                self.parts.setdefault(layer, []).append(part)

    def features(self) -> Iterator[Described]:
        """Every neuron and sign of the atlas, by layer, neuron and sign.

        Raises ValueError where the run is not finished: a row without its description's table, or a described neuron
        without exemplars.
        """
        rows = {(r["layer"], r["neuron"], r["sign"]): r for r in self.atlas.to_pylist()}
        for described, scored in progress(self.chunks, len(self.chunks), "chunks"):
            candidates = by_sign(read_table(described, DESCRIPTIONS))
            scores = by_sign(read_table(scored, SCORES))
            if missing := [key for key in candidates if key not in rows]:
                raise ValueError(
                    f"{self.files['atlas']} lacks {_name(missing[0])}, which {described} has: the run is not finished,"
                    " or one of them is of another run; run `snakemake` and export again"
                )
            evidence = self._evidence(candidates)
            for key in candidates:
                yield self._described(rows.pop(key), candidates[key], scores.get(key, []), *evidence[key])
        if rows:
            raise ValueError(
                f"no table of descriptions has {_name(next(iter(rows)))}, which stands in {self.files['atlas']}: the"
                " run is not finished; run `snakemake` and export again"
            )

    def _evidence(self, keys: dict[Key, list[dict[str, Any]]]) -> dict[Key, tuple[dict[str, Any], list[Exemplar]]]:
        """Train statistics and exemplars of a chunk's neurons; keys: their candidates. Raises ValueError where
        there are none of a neuron that has something to describe."""
        found: dict[Key, tuple[dict[str, Any], list[Exemplar]]] = {}
        for layer in {key[0] for key in keys}:
            wanted = {key[1] for key in keys if key[0] == layer}
            for part in self.parts.get(layer, []):
                if not wanted & part.neurons:
                    continue
                only: list[tuple[str, str, object]] = [
                    ("layer", "=", layer), ("neuron", "in", sorted(wanted & part.neurons)), ("split", "=", "train"),
                ]  # fmt: skip
                exemplars = ExemplarStore([part.exemplars], {"train": _corpus(part.corpus)}, only)
                statistics = {r["neuron"]: r for r in read_table(part.statistics, STATISTICS, only).to_pylist()}
                for key in (key for key in keys if key[0] == layer and key[1] in statistics):
                    found[key] = statistics[key[1]], exemplars.of(*key)
        for key, candidates in keys.items():
            silent = all(candidate["status"] == "no_activation" for candidate in candidates)
            if key not in found or not (found[key][1] or silent):
                raise ValueError(
                    f"{_name(key)} is described, but the run has no exemplars of it: these were deleted, or are those"
                    " of another run (`evidence`); make them again with `snakemake`, then export"
                )
        return found

    def _described(
        self, row: Row, candidates: list[Row], scores: list[Row], train: Row, exemplars: list[Exemplar]
    ) -> Described:
        by_kind = {kind: [e for e in exemplars if e.kind == kind] for kind in KINDS}
        half = max(1, self.n_exemplars // 2)
        shown = [e for e in by_kind["top"] if e.rank < self.n_exemplars]
        shown += [e for kind in ("middle", "random") for e in by_kind[kind] if e.rank < half]
        peak = max(0.0, turned(row["peak"] or 0.0, row["sign"])) + 0.0
        ordinary = np.concatenate([np.empty(0), *(e.turned() for e in by_kind["random"])]).astype(np.float32)
        active = ordinary[ordinary > 0]
        quantiles = [train[quantile_column(tail, row["sign"])] for tail in TAILS]
        promoted, suppressed = self._ends(row)
        return Described(
            layer=row["layer"],
            neuron=row["neuron"],
            sign=row["sign"],
            row=self._row(row, candidates, scores),
            examples=[self._example(e) for e in shown],
            quantiles=sorted(turned(value, row["sign"]) + 0.0 for value in quantiles if value is not None),
            peak=peak,
            density=len(active) / len(ordinary) if len(ordinary) else None,
            histogram=np.histogram(active, BINS, (0, peak))[0].tolist() if len(active) and peak else [],
            promoted=promoted,
            suppressed=suppressed,
        )

    def _ends(self, row: Row) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
        """Tokens that a sign makes more and less likely: a negative activation turns the two ends around."""
        written = self.written.get((row["layer"], row["neuron"]))
        if written is None:
            return [], []
        top, bottom = (list(zip(written[f"{end}_tokens"], written[f"{end}_effects"])) for end in ("top", "bottom"))
        if row["sign"] == "positive":
            return top, bottom
        return [(token, -effect) for token, effect in bottom], [(token, -effect) for token, effect in top]

    def _row(self, row: Row, candidates: list[Row], scores: list[Row]) -> dict[str, Any]:
        best = next((r["candidate"] for r in scores if r["chosen"]), None)
        chosen = next((c for c in candidates if c["candidate"] == best), {})
        about = self.about
        asked = row["explainer"] == about["explainer"]["name"]
        key = row["layer"], row["neuron"], row["sign"]
        said = self.judged.get(key, {})
        facts = {
            **row,
            "run": about["run"],
            "seed": about["seed"],
            "subject": about["subject"]["name"],
            "subject_revision": about["subject"]["revision"],
            "candidate": best,
            "prompt_sha256": chosen.get("prompt_sha256"),
            "explainer_revision": about["explainer"]["revision"] if asked else None,
            "simulator_revision": about["simulator"]["revision"],
            "output_concepts": self.named.get(key),
            "output_words": said.get("words"),
            **{f"output_words_{name}": said.get(name) for name in ("auc", "auc_low", "auc_high", "null_auc")},
        }
        return {name: facts[name] for name in ROW.names}

    def _example(self, exemplar: Exemplar) -> Example:
        return Example(
            kind=exemplar.kind,
            rank=exemplar.rank,
            seq_id=exemplar.seq_id,
            source=exemplar.text.source,
            tokens=token_strings(self.tokenizer, exemplar.text.evidence),
            activations=exemplar.turned().astype(np.float32) + np.float32(0),  # +0 for -0
            gate=exemplar.gate,
        )


def _name(key: Key) -> str:
    return f"layer {key[0]}, neuron {key[1]}, {key[2]}"
