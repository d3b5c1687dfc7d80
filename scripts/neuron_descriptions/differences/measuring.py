"""How much a feature's activations on the same text differ between two subjects.

A correlation passes over scale and shift, so 1 minus it is a change of what a feature responds to; the ratio of
standard deviations is a change of scale. How sure either is, groups of documents tell: left out one after the other
(the jackknife, Efron and Stein 1981), and as two halves.

I features, N tokens, G groups of documents, X the six sums of a group: tokens, x, y, xx, yy, xy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from neuron_descriptions.common.streams import key

Array = NDArray[np.float64]
Acts = NDArray[np.float32]

GROUPS = 20  # of documents; so many shares of the text are left out in turn
CONFIDENCE = 0.95
# What counts as a changed meaning: a correlation below 0.95 even at the interval's upper end; as a changed scale: a
# quarter more or less than the layer's usual one.
LEAST, SCALED = 0.05, 1.25
NOISE = 0.99  # quantile, over a layer's features
_CLOSEST = 1 - 1e-9  # correlations beyond this are 1 but for rounding


def deal(documents: list[int]) -> NDArray[np.int64]:
    """Group (n,) of each sequence, by its document: documents go in an order of their own to the group that has the
    fewest sequences yet, so that groups are alike in size. GROUPS groups, or one for each document where there are
    fewer. Raises ValueError where there are fewer than two documents."""
    distinct, counts = np.unique(np.array(documents, np.int64), return_counts=True)
    if len(distinct) < 2:
        raise ValueError(f"the panel is of {len(distinct)} document; two runs are compared on at least two")
    held = np.zeros(min(GROUPS, len(distinct)), np.int64)
    group: dict[int, int] = {}
    for place in sorted(range(len(distinct)), key=lambda i: key("groups of documents", int(distinct[i]))):
        group[int(distinct[place])] = smallest = int(held.argmin())
        held[smallest] += counts[place]
    return np.array([group[document] for document in documents], np.int64)


def sums_of(before_IN: Acts, after_IN: Acts, group_N: NDArray[np.int64]) -> Array:
    """Sums over each group's tokens (X, I, G), of activations less their own means, float64. Each feature's are those
    that it has alone."""
    order = np.argsort(group_N, kind="stable")
    starts = np.flatnonzero(np.diff(group_N[order], prepend=-1))
    x_IN, y_IN = (
        (acts - acts.mean(1, dtype=np.float64, keepdims=True).astype(np.float32))[:, order].astype(np.float64)
        for acts in (before_IN, after_IN)
    )
    tokens_G = np.diff(np.append(starts, len(order))).astype(np.float64)
    terms = (x_IN, y_IN, x_IN**2, y_IN**2, x_IN * y_IN)
    sums = [np.add.reduceat(term, starts, axis=1) for term in terms]
    return np.stack([np.broadcast_to(tokens_G, sums[0].shape), *sums])


@dataclass(slots=True, frozen=True)
class Moments:
    """Of x and y: correlation and standard deviations; NaN where one does not vary."""

    r: Array
    std_x: Array
    std_y: Array

    @classmethod
    def of(cls, sums: Array) -> "Moments":
        """From sums (X, ...); what each is of, is as its shape says."""
        n, x, y, xx, yy, xy = sums
        with np.errstate(invalid="ignore", divide="ignore"):
            spreads = [(of_2 / n, of_2 / n - (of / n) ** 2) for of_2, of in ((xx, x), (yy, y))]
            std_x, std_y = (np.sqrt(np.where(var > 1e-9 * square, var, np.nan)) for square, var in spreads)
            r = np.clip((xy / n - x * y / n**2) / (std_x * std_y), -1, 1)
        return cls(r, std_x, std_y)


def compare(before_IN: Acts, after_IN: Acts, group_N: NDArray[np.int64]) -> dict[str, Array]:
    """Columns (I,) of DIFFERENCES that a feature has by itself: change, scale and shift, intervals of the first two,
    the change of either half of the documents; and whether it `varies_before` and `varies_after`. group_N: of each
    token's document, 0 to G - 1. NaN where a feature is constant before or after; an interval is NaN also where leaving
    out a group makes it so."""
    sums_XIG = sums_of(before_IN, after_IN, group_N)
    whole_XI = sums_XIG.sum(2)
    whole = Moments.of(whole_XI)
    without = Moments.of(whole_XI[:, :, None] - sums_XIG)
    halves = [1 - Moments.of(sums_XIG[:, :, first::2].sum(2)).r for first in (0, 1)]
    with np.errstate(invalid="ignore", divide="ignore"):
        # On the scale of Fisher's z, where an interval is as wide on both sides.
        z_low, z_high = _interval(_z(whole.r), _z(without.r))
        low, high = _interval(np.log(whole.std_y / whole.std_x), np.log(without.std_y / without.std_x))
        means = [acts.mean(1, dtype=np.float64) for acts in (before_IN, after_IN)]
        return {
            "change": 1 - whole.r,
            "change_low": np.maximum(1 - np.tanh(z_high), 0.0),
            "change_high": 1 - np.tanh(z_low),
            "change_first": halves[0],
            "change_second": halves[1],
            "scale": whole.std_y / whole.std_x,
            "scale_low": np.exp(low),
            "scale_high": np.exp(high),
            "shift": (means[1] - means[0]) / whole.std_x,
            "varies_before": np.isfinite(whole.std_x),
            "varies_after": np.isfinite(whole.std_y),
        }


def judge(found: dict[str, Array]) -> dict[str, np.ndarray]:
    """Of a layer's features (I,): `usual`, `noise` and `kind` (see DIFFERENCES).

    A meaning counts as changed where even the interval's lower end is above LEAST and above the layer's usual change by
    more than its noise: a fine-tuned model's features all drift. So does a scale that is wholly beyond a quarter more
    or less than the layer's usual one, of a feature whose meaning is the same.
    """
    before_I, after_I = (found[f"varies_{when}"].astype(bool) for when in ("before", "after"))
    silent_I = ~np.isfinite(found["change_low"])
    heard = {name: values[~silent_I] for name, values in found.items()}
    some = bool((~silent_I).any())
    usual = float(np.median(heard["change"])) if some else float("nan")
    apart = np.abs(heard["change_first"] - heard["change_second"])
    apart = apart[np.isfinite(apart)]
    noise = float(np.quantile(apart, NOISE)) if len(apart) else float("nan")
    scale = float(np.median(heard["scale"])) if some else float("nan")
    with np.errstate(invalid="ignore"):
        meaning_I = found["change_low"] > max(LEAST, usual + noise)
        scaled_I = (found["scale_low"] > SCALED * scale) | (found["scale_high"] < scale / SCALED)
    of_all = [(before_I & ~after_I, "gone"), (after_I & ~before_I, "new"), (silent_I, "silent"), (meaning_I, "meaning"),
              (scaled_I, "scale")]  # fmt: skip
    kind_I = np.select([where for where, _ in of_all], [kind for _, kind in of_all], "same")
    shape = silent_I.shape
    return {"kind": kind_I, "usual": np.full(shape, usual), "noise": np.full(shape, noise)}


def _z(r: Array) -> Array:
    return np.arctanh(np.clip(r, -_CLOSEST, _CLOSEST))


def _interval(whole_I: Array, without_IG: Array) -> tuple[Array, Array]:
    """Interval of a figure by the jackknife over groups, whose Student's t has one degree of freedom less."""
    groups = without_IG.shape[1]
    spread_I = ((without_IG - without_IG.mean(1, keepdims=True)) ** 2).sum(1)
    half_I = t.ppf((1 + CONFIDENCE) / 2, groups - 1) * np.sqrt(spread_I * (groups - 1) / groups)
    return whole_I - half_I, whole_I + half_I
