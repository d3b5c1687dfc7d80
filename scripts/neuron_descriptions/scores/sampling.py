"""Scores over all of a text, estimated from the sequences of it that were simulated.

Where a feature is strongest, there its variance lies: those sequences are a stratum that is simulated whole. Of the
others a few are drawn. A sequence counts as many times as it stands for others (Horvitz and Thompson 1952, "A
generalization of sampling without replacement from a finite universe"), so that the estimate is of the text, not of the
mixture that was simulated.

Q sequences that are simulated, H strata, R resamples, V variables of a token (1, predicted, true, and what else is
controlled for).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]  # of moments (..., V, V)

# Text where a description is wrong is rare, so that few draws seldom show it: percentiles alone cover too seldom
# (docs/benchmarks.md). Intervals of the whole text are this much wider.
WIDER = 1.25


@dataclass(slots=True, frozen=True)
class Bootstrap:
    """How an interval is made."""

    resamples: int
    confidence: float
    random: np.random.Generator


@dataclass(slots=True, frozen=True)
class Sample:
    """Which sequences were simulated, and what they stand for."""

    stratum_Q: NDArray[np.int64]
    population_H: Array
    """Sequences of the text in each stratum; infinite where they stand for themselves alone."""

    @property
    def counts_H(self) -> NDArray[np.int64]:
        """Sequences simulated of each stratum."""
        return np.bincount(self.stratum_Q, minlength=len(self.population_H))

    @property
    def weights_Q(self) -> Array:
        """How many sequences of the text each one stands for."""
        counts_H = self.counts_H
        each_H = np.where(np.isfinite(self.population_H), self.population_H / np.maximum(counts_H, 1), 1.0)
        return each_H[self.stratum_Q]

    @property
    def drawn_H(self) -> NDArray[np.int64]:
        """Of the strata that are not simulated whole, sequences of each one where there are several."""
        counts_H = self.counts_H
        return counts_H[(counts_H < self.population_H) & (counts_H > 1)]

    @property
    def represents_all(self) -> bool:
        """Whether each stratum that the text has anything in has been drawn from."""
        return bool(np.all((self.counts_H > 0) | (self.population_H == 0)))

    def resampled(self, resamples: int, random: np.random.Generator) -> Array:
        """Weights (R, Q) of bootstrap samples: the rescaled bootstrap for strata drawn without replacement (Rao and Wu
        1988, "Resampling inference with complex survey data", section 4). Of the n of a stratum, n - 1 are drawn again
        with replacement, and weights shrink towards their own by the root of the share that was not simulated; one
        sequence alone, or a whole stratum, stays."""
        weights_RQ = np.repeat(self.weights_Q[None], resamples, 0)
        for stratum, (n, population) in enumerate(zip(self.counts_H, self.population_H)):
            if n < 2 or n >= population:
                continue
            draws = random.integers(n, size=(resamples, n - 1)) + n * np.arange(resamples)[:, None]
            times_RQ = np.bincount(draws.ravel(), minlength=resamples * n).reshape(resamples, n)
            shrinks = np.sqrt(1 - n / population)
            weights_RQ[:, self.stratum_Q == stratum] *= 1 + shrinks * (times_RQ * n / (n - 1) - 1)
        return weights_RQ

    def tail(self, confidence: float) -> float:
        """Share of resamples beyond each end of an interval. Expanded percentiles (Hesterberg 2015, "What Teachers
        Should Know About the Bootstrap", section 4.2): with few sequences plain ones are too narrow; these give the t
        interval of a mean. Each stratum that was drawn from takes a degree of freedom."""
        tail = (1 - confidence) / 2
        n, free = int(self.drawn_H.sum()), int((self.drawn_H - 1).sum())
        return float(ndtr(np.sqrt(n / free) * stdtrit(free, tail))) if free else tail


def moments(*variables: Sequence[Array]) -> Array:
    """Sums of products of a token's variables, the first being 1, over each sequence; (Q, V, V). variables: predicted,
    true, ...: per sequence an array of tokens."""
    rows = [np.stack([np.ones(len(of_one[0])), *of_one]) for of_one in zip(*variables)]
    return np.array([row_VT @ row_VT.T for row_VT in rows]).reshape(len(rows), len(variables) + 1, len(variables) + 1)


def _spread(moments_VV: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Covariances (..., V - 1, V - 1), and which variables vary (..., V - 1): spread that is rounding is none."""
    n = moments_VV[..., :1, :1]
    sums = moments_VV[..., :1, 1:]
    products = moments_VV[..., 1:, 1:]
    spread = n * products - np.swapaxes(sums, -1, -2) * sums
    own, scale = (np.diagonal(m, axis1=-2, axis2=-1) for m in (spread, n * products))
    return spread, own > 1e-12 * np.abs(scale)


def correlation(moments_VV: Array) -> Array:
    """Signed Pearson correlation of the first two variables; NaN where either does not vary."""
    spread, varies = _spread(moments_VV)
    both = varies[..., 0] & varies[..., 1]
    scale = np.sqrt(np.where(both, spread[..., 0, 0] * spread[..., 1, 1], 1.0))
    return np.where(both, spread[..., 0, 1] / scale, np.nan)


def partial_correlation(moments_VV: Array) -> Array:
    """Correlation of what the further variables leave, linearly, of the first two (Pearson's partial correlation); NaN
    where they leave nothing of either. Variables that do not vary, or say the same twice, control for nothing more."""
    spread, varies = _spread(moments_VV)
    scale = np.sqrt(np.where(varies, np.diagonal(spread, axis1=-2, axis2=-1), 1.0))
    r = np.where(varies[..., :, None] & varies[..., None, :], spread, 0.0) / (scale[..., :, None] * scale[..., None, :])
    first, more = r[..., :2, 2:], r[..., 2:, 2:]
    left = r[..., :2, :2] - first @ np.linalg.pinv(more, rcond=1e-9, hermitian=True) @ np.swapaxes(first, -1, -2)
    own = np.diagonal(left, axis1=-2, axis2=-1)
    something = (own > 1e-9).all(-1)
    return np.where(something, left[..., 0, 1] / np.sqrt(np.where(something, own.prod(-1), 1.0)), np.nan)


@dataclass(slots=True, frozen=True)
class Estimate:
    """A statistic of the whole text, and its interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


UNDEFINED = Estimate(float("nan"), float("nan"), float("nan"))


def estimate(
    statistic: Statistic,
    moments_QVV: Array,
    sample: Sample,
    bootstrap: Bootstrap,
    wider: float = 1.0,
) -> Estimate:
    """A statistic over the text that a sample was drawn from, with a bootstrap interval over sequences: tokens of one
    are not independent.

    A resample in which the statistic is not defined says nothing and is passed over. Not defined where a stratum has
    nothing to stand for it; without an interval where of no stratum two were drawn. wider: factor on both sides of the
    value, see WIDER.
    """
    if not len(moments_QVV) or not sample.represents_all:
        return UNDEFINED
    value = float(statistic(np.tensordot(sample.weights_Q, moments_QVV, 1)))
    if not np.isfinite(value):
        return UNDEFINED
    if (sample.counts_H >= sample.population_H).all():
        return Estimate(value, value, value)
    found_R = statistic(np.tensordot(sample.resampled(bootstrap.resamples, bootstrap.random), moments_QVV, 1))
    if not len(sample.drawn_H):
        return Estimate(value, float("nan"), float("nan"))
    return _percentiles(value, found_R, sample.tail(bootstrap.confidence), wider)


@dataclass(slots=True, frozen=True)
class Rest:
    """The sequences of a text that were not simulated, where some others were drawn and a model expects the rest."""

    expected_VV: Array
    """Sums of products of their variables, as the model expects them."""
    count: int
    missed_DVV: Array
    """Of each drawn one, what the model misses when it does not know it."""
    unseen_KVV: Array
    """What it may miss that no draw has shown."""
    weight: float
    """Drawn sequences that these count as, together."""


def assisted(statistic: Statistic, seen_VV: Array, rest: Rest, bootstrap: Bootstrap, wider: float = 1.0) -> Estimate:
    """A statistic over the text: of what was simulated (sums, (V, V)), what a model expects of the rest, and what it
    misses there, as the drawn ones show: the difference estimator (Sarndal, Swensson and Wretman 1992, "Model Assisted
    Survey Sampling", section 6.3), which is right on average however wrong the model is.

    Each resample completes the text: in a sequence that was not simulated the model misses what it does in one of those
    drawn, or what none has shown. This is the Polya posterior (Ghosh and Meeden 1997, "Bayesian Methods for Finite
    Population Sampling", chapter 2), started with the unseen ones. Its spread about the value, by Student's t, is the
    interval: its percentiles are too seldom above. Not defined where nothing was drawn; without an interval for one.
    """
    drawn, known_VV = len(rest.missed_DVV), seen_VV + rest.expected_VV
    if rest.count and not drawn:
        return UNDEFINED
    missed_VV = rest.missed_DVV.mean(0) if rest.count else np.zeros_like(seen_VV)
    value = float(np.clip(statistic(known_VV + rest.count * missed_VV), -1, 1))
    if not np.isfinite(value):
        return UNDEFINED
    if not rest.count:
        return Estimate(value, value, value)
    if drawn < 2:
        return Estimate(value, float("nan"), float("nan"))
    kinds_K = np.full(len(rest.unseen_KVV), rest.weight / max(len(rest.unseen_KVV), 1))
    shares_RK = bootstrap.random.dirichlet([*np.ones(drawn), *kinds_K], bootstrap.resamples)
    times_RK = bootstrap.random.multinomial(rest.count, shares_RK)
    found_R = statistic(known_VV + np.tensordot(times_RK, np.concatenate([rest.missed_DVV, rest.unseen_KVV]), 1))
    found_R = np.clip(found_R[np.isfinite(found_R)], -1, 1)
    if not len(found_R):
        return Estimate(value, float("nan"), float("nan"))
    quantile = -stdtrit(drawn - 1, (1 - bootstrap.confidence) / 2)
    reach = float(wider * quantile * np.sqrt(((found_R - value) ** 2).mean()))
    return Estimate(value, max(value - reach, -1.0), min(value + reach, 1.0))


def _percentiles(value: float, found_R: Array, tail: float, wider: float) -> Estimate:
    """The interval of resamples, its ends moved from the value by a factor; resamples without a number are left out."""
    found_R = found_R[np.isfinite(found_R)]
    if not len(found_R):
        return Estimate(value, float("nan"), float("nan"))
    low, high = value + wider * (np.quantile(found_R, [tail, 1 - tail]) - value)
    return Estimate(value, float(max(min(low, value), -1)), float(min(max(high, value), 1)))


def weighted_auc(scores: ArrayLike, positive: NDArray[np.bool_], weights: Array) -> float:
    """Chance that a positive one scores above another one, each counted by its weight, equal scores by half (the area
    under the ROC curve). NaN where either kind is missing."""
    values, group = np.unique(np.asarray(scores, float), return_inverse=True)
    yes, no = (np.bincount(group, weights * mask, minlength=len(values)) for mask in (positive, ~positive))
    if not yes.sum() or not no.sum():
        return float("nan")
    return float((yes * (no.cumsum() - no / 2)).sum() / (yes.sum() * no.sum()))
