"""Generation: a model writes texts that should drive the feature, by its description alone; do they?

As CoSy (Kopf et al. 2024, "CoSy: Evaluating Textual Explanations of Neurons") and FADE (Puri et al. 2025, "FADE: Why
Bad Descriptions Happen to Good Features") do, whose names the figures have. Control are texts of other features'
descriptions, by the same writer, of the same manner (CoSy and FADE's clarity take natural data); FADE's responsiveness
and purity are of natural texts that a model has rated, here of texts written to be the one or the other.

K texts, D descriptions of other features.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.storage import Row, read_table
from neuron_descriptions.common.streams import generator
from neuron_descriptions.scores.columns import Column
from neuron_descriptions.scores.formulas import average_precision, share_below
from neuron_descriptions.scores.generated_tables import GENERATED, PEAKS, fingerprint
from neuron_descriptions.scores.opening import Described, Details, Job
from neuron_descriptions.scores.sampling import Array
from neuron_descriptions.scores.writer_prompts import plain

NOT_GENERATED = "not_generated"


def auc(fits_K: Array, others: Sequence[Array]) -> float:
    """Chance that a text that should drive the feature goes further than another one, equal ones by half (CoSy's AUC).
    others: groups of texts. NaN without either."""
    wins_KD, counts_D = _wins(fits_K, others)
    return float(wins_KD.sum() / (len(fits_K) * counts_D.sum())) if wins_KD.size and counts_D.sum() else float("nan")


def auc_interval(
    fits_K: Array, others: Sequence[Array], resamples: int, confidence: float, random: np.random.Generator
) -> tuple[float, float]:
    """Bootstrap interval of it: texts that fit and groups of the others are drawn again, each apart, since texts of one
    description are not independent. (NaN, NaN) where it is undefined."""
    wins_KD, counts_D = _wins(fits_K, others)
    if not wins_KD.size or not counts_D.sum():
        return float("nan"), float("nan")
    K, D = wins_KD.shape
    times_RK = random.multinomial(K, np.full(K, 1 / K), resamples)
    times_RD = random.multinomial(D, np.full(D, 1 / D), resamples)
    found_R = np.einsum("rk,kd,rd->r", times_RK, wins_KD, times_RD) / (K * (times_RD @ counts_D))
    low, high = np.quantile(found_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _wins(fits_K: Array, others: Sequence[Array]) -> tuple[Array, Array]:
    """(K, D) texts of a group that each text lies above, half of those equal to it counted; (D,) sizes."""
    groups = [group for group in others if len(group)]
    wins = [((fits_K[:, None] > g).sum(1) + (fits_K[:, None] == g).sum(1) / 2) for g in groups]
    return np.array(wins, float).reshape(len(groups), len(fits_K)).T, np.array([len(g) for g in groups], float)


def aligned(fits_K: Array, others_K: Array) -> tuple[float, float]:
    """(responsiveness, purity) of FADE: the Gini coefficient, 2 AUC - 1, and the average precision of texts that should
    drive the feature among those that should not. FADE takes the coefficient's size, whatever its direction, and turns
    the other with it: here a feature's side is known, so that a description that is the wrong way round scores below
    0."""
    active_K = np.concatenate([np.ones(len(fits_K), bool), np.zeros(len(others_K), bool)])
    return 2 * auc(fits_K, [others_K]) - 1, average_precision(np.concatenate([fits_K, others_K]), active_K)


class GeneratedScorer:
    """Reads how far the feature goes, on the side that is described, at its highest token of each text."""

    columns: ClassVar[tuple[Column, ...]] = (
        Column("auc", pa.float64(), "AUC", "How well the neuron tells texts written to its description from texts"
                    " written to others': the chance that one of the former drives it further (CoSy's AUC). By chance"
                    " 0.5."),
        Column("auc_low", pa.float64(), "interval from", "Lower end of the AUC's interval (bootstrap over texts, and"
                    " over the descriptions of the others)."),
        Column("auc_high", pa.float64(), "interval to", "Upper end of that interval."),
        Column("responsiveness", pa.float64(), "responsiveness", "How well it tells texts that should drive it from"
                    " texts that should not, both written to its description: 2 AUC - 1 (FADE's responsiveness, with"
                    " its sign). By chance 0."),
        Column("responsiveness_low", pa.float64(), "responsiveness from", "Lower end of its interval (bootstrap over"
                    " texts)."),
        Column("responsiveness_high", pa.float64(), "responsiveness to", "Upper end of that interval."),
        Column("purity", pa.float64(), "purity", "Average precision of the former among both, as its activation falls"
                    " (FADE's purity). By chance, their share."),
        Column("null_auc", pa.float64(), "null", "The mean AUC of texts written to other neurons' descriptions, on this"
                    " neuron."),
        Column("null_responsiveness", pa.float64(), "null, responsiveness", "Their mean responsiveness on it."),
        Column("null_purity", pa.float64(), "null, purity", "Their mean purity on it."),
        Column("null_percentile", pa.float64(), "above nulls", "Share of those descriptions, in %, above whose AUC this"
                    " one lies."),
        Column("n_fits", pa.int16(), "texts that fit", "Texts that should drive it."),
        Column("n_others", pa.int16(), "texts that do not", "Texts that should not."),
        Column("n_nulls", pa.int16(), "other descriptions", "Descriptions of other neurons, each with texts of both"
                    " kinds."),
    )  # fmt: skip
    # Every text with the neuron's peak on it, on the side that is described.
    details: ClassVar[Details] = (
        ("texts", pa.list_(pa.struct([("text", pa.string()), ("fits", pa.bool_()), ("peak", pa.float32())]))),
    )

    def __init__(self, job: Job, texts: list[Row], others: list[Row], peaks: list[Row]):
        """texts, others: rows of GENERATED, of the part and of descriptions that all share; peaks: of PEAKS."""
        self.job, self.others = job, others
        self.texts = {(row["neuron"], row["sign"]): row for row in texts}
        self.peaks = {row["neuron"]: row for row in peaks}

    @classmethod
    @contextmanager
    def open(cls, job: Job) -> Iterator["GeneratedScorer"]:
        """See Scorer. inputs: texts, others, peaks; a neuron alone, before any run, has none."""
        only: list[tuple[str, str, object]] = [("neuron", "in", list(job.neurons))]
        if not job.inputs.get("peaks"):
            yield cls(job, [], [], [])
            return
        texts = read_table(job.inputs["texts"], GENERATED, only).to_pylist()
        others = read_table(job.inputs["others"], GENERATED).to_pylist()
        yield cls(job, texts, others, read_table(job.inputs["peaks"], PEAKS, only).to_pylist())

    def score(self, described: Described) -> Row:
        """See Scorer."""
        own, peaks = self.texts.get((described.neuron, described.sign)), self.peaks.get(described.neuron)
        candidate = min(c["candidate"] for c in described.candidates) if described.chosen is None else described.chosen
        row: Row = {"candidate": candidate}
        if own is None or peaks is None:
            return row | {"status": NOT_GENERATED}
        if own["status"] != "ok":
            return row | {"status": own["status"]}
        strength = _strengths(peaks, described.sign)
        fits_K, others_K = (_values(own[kind], strength) for kind in ("fits", "others"))
        mine = {fingerprint(text) for kind in ("fits", "others") for text in own[kind]}
        beside = self._beside(described, own["description"])
        groups = [{fingerprint(t) for kind in ("fits", "others") for t in other[kind]} - mine for other in beside]
        control = [np.array([strength[text] for text in sorted(group)], float) for group in groups]
        random = generator(self.job.seed, "generated", described.layer, described.neuron, described.sign)
        numbers = self.job.numbers.bootstrap, self.job.numbers.confidence, random
        responsiveness, purity = aligned(fits_K, others_K)
        low, high = (2 * end - 1 for end in auc_interval(fits_K, [np.array([v]) for v in others_K], *numbers))
        figures = {
            "auc": auc(fits_K, control),
            **dict(zip(("auc_low", "auc_high"), auc_interval(fits_K, control, *numbers))),
            "responsiveness": responsiveness,
            "responsiveness_low": low,
            "responsiveness_high": high,
            "purity": purity,
        }
        figures |= self._nulls(beside, control, strength, figures["auc"])
        kept = [{"text": text, "fits": kind == "fits", "peak": strength[fingerprint(text)]}
                for kind in ("fits", "others") for text in own[kind]]  # fmt: skip
        return row | {
            **{name: value if np.isfinite(value) else None for name, value in figures.items()},
            "status": "ok",
            "n_fits": len(fits_K),
            "n_others": len(others_K),
            "n_nulls": len(beside),
            "texts": kept,
        }

    def _beside(self, described: Described, description: str) -> list[Row]:
        """Descriptions of other features, none that says the same."""
        found = [
            other
            for other in self.others
            if (other["layer"], other["neuron"]) != (described.layer, described.neuron)
            and plain(other["description"]) != plain(description)
        ]
        return found[: self.job.section.others]

    def _nulls(
        self, beside: list[Row], control: list[Array], strength: Mapping[int, float], own: float
    ) -> dict[str, float]:
        """What texts of the others get on this feature, each against the texts of the rest."""
        found = []
        for place, other in enumerate(beside):
            fits_K, others_K = (_values(other[kind], strength) for kind in ("fits", "others"))
            rest = [group for number, group in enumerate(control) if number != place]
            found.append((auc(fits_K, rest), *aligned(fits_K, others_K)))
        names, above = ("null_auc", "null_responsiveness", "null_purity"), float("nan")
        nulls = [value for value, *_ in found if np.isfinite(value)]
        if nulls and np.isfinite(own):
            above = 100 * share_below(own, nulls)
        means = [float(np.mean([v for v in values if np.isfinite(v)] or [np.nan])) for values in zip(*found)]
        return dict(zip(names, means or [float("nan")] * len(names))) | {"null_percentile": above}


def _strengths(peaks: Row, sign: str) -> dict[int, float]:
    """Text -> how far the feature goes on it, on one side; below 0 where it never gets there."""
    ends = peaks["highest"] if sign == "positive" else [-value for value in peaks["lowest"]]
    return dict(zip(peaks["text"], ends))


def _values(texts: Sequence[str], strength: Mapping[int, float]) -> Array:
    return np.array([strength[fingerprint(text)] for text in texts], float)
