"""Scores: how well predicted activations match the real ones, and what they must beat.

C candidates, Q sequences, V variables of a token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neuron_descriptions.scores import sampling
from neuron_descriptions.scores.sampling import UNDEFINED, WIDER, Array, Bootstrap, Estimate, Sample, estimate, moments

Sequences = list[Array]  # one array of tokens per sequence

# The race of candidates: sequences before the first are dropped, growth from round to round, and how many standard
# errors behind the best one a candidate is dropped.
FIRST, GROWTH, SURE = 6, 1.25, 2.0


def finite(value: float) -> float | None:
    """A number as tables keep it: None where it is not defined."""
    return float(value) if np.isfinite(value) else None


def correlation(predicted: ArrayLike, true: ArrayLike) -> float:
    """Signed Pearson correlation; NaN where either is constant or empty."""
    p, t = np.asarray(predicted, float), np.asarray(true, float)
    if len(p) < 2 or np.ptp(p) == 0 or np.ptp(t) == 0:
        return float("nan")
    return float(np.corrcoef(p, t)[0, 1])


def spearman(predicted: ArrayLike, true: ArrayLike) -> float:
    """Rank correlation: Pearson's of the ranks, equal values sharing their mean rank; NaN where either is constant."""
    return correlation(_ranks(predicted), _ranks(true))


def _ranks(values: ArrayLike) -> Array:
    _, place, counts = np.unique(np.asarray(values, float), return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[place]


def average_precision(predicted: ArrayLike, active: NDArray[np.bool_]) -> float:
    """Mean precision over the active tokens as predictions fall: sum (R_n - R_n-1) P_n over distinct predictions, so
    that equal ones have no order (the step-wise area under the precision-recall curve; its chance level is the share
    of active tokens). NaN where no token is active, or all are."""
    p = np.asarray(predicted, float)
    if not 0 < active.sum() < len(active):
        return float("nan")
    order = np.argsort(-p, kind="stable")
    last = np.append(np.diff(p[order]) != 0, True)  # of equal predictions
    hits = active[order].cumsum()[last]
    precision = hits / (np.flatnonzero(last) + 1)
    return float((np.diff(hits, prepend=0) * precision).sum() / active.sum())


def bootstrap_interval(
    predicted: Sequences,
    true: Sequences,
    bootstrap: Bootstrap,
    strata: ArrayLike | None = None,
) -> tuple[float, float]:
    """Bootstrap interval of the correlation over the sequences, drawn again within their strata, whose numbers are
    fixed; (NaN, NaN) where there is none, as of one sequence. strata: int (Q,); None: they are all alike."""
    stratum_Q = np.zeros(len(true), np.int64) if strata is None else np.asarray(strata, np.int64)
    sample = Sample(stratum_Q, np.full(stratum_Q.max(initial=0) + 1, np.inf))
    found = estimate(sampling.correlation, moments(predicted, true), sample, bootstrap)
    return found.low, found.high


def linear_fit(predicted: ArrayLike, true: ArrayLike) -> Callable[[Array], Array]:
    """Least-squares line from predicted to true values; the mean where the predictions are constant."""
    p, t = np.asarray(predicted, float), np.asarray(true, float)
    if not len(p):
        return lambda values: np.full(len(values), np.nan)
    slope = ((p - p.mean()) * (t - t.mean())).mean() / p.var() if np.ptp(p) > 0 else 0.0
    return lambda values: t.mean() + slope * (values - p.mean())


def published_score(predicted: ArrayLike, true: ArrayLike) -> float:
    """The score as the published pipeline computes it: the correlation after a linear fit to the very values it is
    then compared with, so that it cannot be negative.

    Of the values given, that is: the published pipeline gives it the chat template's prefix too (30 of 95 tokens of
    Llama-3.1's), this workflow the evidence alone. On four neurons of SmolLM2 the two lay up to 0.06 apart: 0.752,
    0.402, 0.082 and 0.329 without the prefix, 0.694, 0.376, 0.082 and 0.306 with it.
    """
    return correlation(linear_fit(predicted, true)(np.asarray(predicted, float)), true)


def r2(predicted: Array, true: Array) -> float:
    """Share of the squared deviation from the mean that is explained: 1 - sum (t - p)^2 / sum (t - mean)^2."""
    return float(1 - ((true - predicted) ** 2).sum() / ((true - true.mean()) ** 2).sum())


def abs_dev_explained(predicted: Array, true: Array) -> float:
    """Share of the absolute deviation from the median that is explained: 1 - sum |t - p| / sum |t - median|."""
    return float(1 - np.abs(true - predicted).sum() / np.abs(true - np.median(true)).sum())


# --- chance ------------------------------------------------------------------------------------------


def best_of_weights(valid: ArrayLike, n: int) -> Array:
    """How often each of N nulls is the one chosen on valid among n of them drawn at random, without replacement;
    float (N,), sums to 1. valid: their selection scores; NaN never wins, ties go to the first, as in `choose`.

    The null in place i of the N by score is the best of C(N - i - 1, n - 1) of the C(N, n) draws. Where n > N, of all.
    """
    scores = np.asarray(valid, float)
    total = len(scores)
    n = min(n, total)
    order = np.argsort(-np.where(np.isfinite(scores), scores, -np.inf), kind="stable")
    weights = np.zeros(total)
    weights[order] = [comb(total - place - 1, n - 1) / comb(total, n) for place in range(total)]
    return weights


def share_below(score: float, nulls: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Share of the nulls, by weight, that lie below the score, half of those equal to it counted; a null without a
    number lies below every score. NaN without nulls."""
    values = np.nan_to_num(np.asarray(nulls, float), nan=-np.inf)
    w = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    return float((w * ((values < score) + (values == score) / 2)).sum() / w.sum()) if w.sum() else float("nan")


# --- all of them -------------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Match:
    """How predicted activations match true ones."""

    correlation: float
    low: float
    high: float
    natural: Estimate
    spearman: float
    average_precision: float
    published_score: float
    r2: float
    abs_dev_explained: float
    n_sequences: int
    n_tokens: int


def match(
    predicted: Sequences,
    true: Sequences,
    bootstrap: Bootstrap,
    fit: Callable[[Array], Array] | None = None,
    active: float = float("inf"),
    published: Sequence[bool] | None = None,
    strata: ArrayLike | None = None,
    whole: Sample | None = None,
) -> Match:
    """Compare predictions with truth, sequences concatenated.

    fit: linear fit made elsewhere, behind R2 and the explained absolute deviation; both NaN without it.
    active: activation from which a token counts as active, behind the average precision.
    published: per sequence, whether the published score is made on it; all by default.
    strata: per sequence, the kind that it was drawn as.
    whole: what the sequences stand for, of which the correlation is estimated; a stratum without population is left
    out.
    """
    p, t = np.concatenate(predicted), np.concatenate(true)
    kept = [i for i, keep in enumerate(published or [True] * len(true)) if keep]
    r = correlation(p, t)
    undefined = (float("nan"), float("nan"))
    low, high = bootstrap_interval(predicted, true, bootstrap, strata) if np.isfinite(r) else undefined
    fitted = fit(p) if fit is not None and np.ptp(t) > 0 else None
    return Match(
        correlation=r,
        low=low,
        high=high,
        natural=UNDEFINED
        if whole is None
        else estimate(sampling.correlation, moments(predicted, true), whole, bootstrap, WIDER),
        spearman=spearman(p, t),
        average_precision=average_precision(p, (t >= active) & (t > 0)),
        published_score=published_score(*(np.concatenate([[], *(s[i] for i in kept)]) for s in (predicted, true))),
        r2=float("nan") if fitted is None else r2(fitted, t),
        abs_dev_explained=float("nan") if fitted is None else abs_dev_explained(fitted, t),
        n_sequences=len(true),
        n_tokens=len(t),
    )


def choose(scores: dict[int, float]) -> int | None:
    """The key of the best score: NaN never wins, ties go to the lowest key; None where no score is a number."""
    numbers = {key: score for key, score in scores.items() if np.isfinite(score)}
    return min(numbers, key=lambda key: (-numbers[key], key)) if numbers else None


def still_racing(predicted: list[Sequences], true: Sequences, total: int) -> NDArray[np.bool_]:
    """Which of several predictions of the first sequences may still match all `total` of them best, bool (C,): those
    whose correlation lies less than SURE standard errors of the difference below the best one's.

    The standard error is the jackknife's over sequences (Efron and Stein 1981), times the square root of the share of
    the sequences that is still to come: without these there is no error. A race as in Maron and Moore 1994, "Hoeffding
    races"; the error of the paired difference, not a bound for each, decides, as in Moore and Lee 1994.
    """
    moments_CQVV = np.array([moments(p, true) for p in predicted])
    # What is undefined never wins.
    scores_C = np.nan_to_num(sampling.correlation(moments_CQVV.sum(1)), nan=-1.0)
    without_CQ = np.nan_to_num(sampling.correlation(moments_CQVV.sum(1, keepdims=True) - moments_CQVV), nan=-1.0)
    best = int(np.argmax(scores_C))
    behind_CQ = without_CQ[best] - without_CQ
    seen = len(true)
    error_C = np.sqrt((seen - 1) * behind_CQ.var(1) * (1 - seen / total))
    racing_C: NDArray[np.bool_] = scores_C[best] - scores_C <= SURE * error_C
    return racing_C


class TokenBaseline:
    """Predicts each token's mean activation on the train split: what a description must beat.

    The mean is estimated from the stored exemplars: the top sequences stand for themselves, each random one for an
    equal part of the other sequences (a stratified Horvitz-Thompson estimate). One silent occurrence is added to
    every token, so that a token seen once in a top sequence is not taken for certain.
    """

    def __init__(
        self,
        top: list[tuple[list[int], Array]],
        others: list[tuple[list[int], Array]],
        sequences: int,
    ):
        """top, others: (token ids, activations of this side, not negative) per sequence; sequences: of the split."""
        totals: dict[int, float] = {}
        counts: dict[int, float] = {}
        weight = (sequences - len(top)) / len(others) if others else 0.0
        for rows, w in ((top, 1.0), (others, weight)):
            for ids, activations in rows:
                for token, activation in zip(ids, activations):
                    totals[token] = totals.get(token, 0.0) + w * float(activation)
                    counts[token] = counts.get(token, 0.0) + w
        self.means = {token: total / (counts[token] + 1) for token, total in totals.items()}

    def predict(self, ids: list[int]) -> Array:
        """Mean train activation of each token; 0 for one never seen."""
        return np.array([self.means.get(token, 0.0) for token in ids])
