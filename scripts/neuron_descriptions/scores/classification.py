"""How well answers tell active passages from silent ones.

P passages.
"""

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.scores.formulas import average_precision
from neuron_descriptions.scores.sampling import Array, weighted_auc

NAN = float("nan")
WITH_INTERVAL = ("average_precision", "auc", "balanced_accuracy", "f1")


def detected(chance_P: Array, active_P: NDArray[np.bool_]) -> dict[str, float]:
    """Balanced accuracy, F1, precision and recall of the answers (yes from a chance of 0.5 on), and average precision
    and AUC of their order. NaN where one is undefined: F1 without any yes and any active one, all others without an
    active or without a silent passage.

    The answers' metrics are those of Delphi's detection scorer: with hits, misses, false alarms and rejections,
    balanced accuracy is (hits / active + rejections / silent) / 2, and F1 is 2 hits / (2 hits + misses + false alarms).
    """
    said = chance_P >= 0.5
    hits, misses = int((said & active_P).sum()), int((~said & active_P).sum())
    alarms, rejections = int((said & ~active_P).sum()), int((~said & ~active_P).sum())

    def share(part: int, whole: int) -> float:
        return part / whole if whole else NAN

    return {
        "balanced_accuracy": (share(hits, hits + misses) + share(rejections, rejections + alarms)) / 2,
        "f1": share(2 * hits, 2 * hits + misses + alarms),
        "precision": share(hits, hits + alarms),
        "recall": share(hits, hits + misses),
        "average_precision": average_precision(chance_P, active_P),
        "auc": weighted_auc(chance_P, active_P, np.ones(len(active_P))),
    }


def precision_by_chance(chance_P: Array, active_P: NDArray[np.bool_]) -> float:
    """Mean average precision of these chances over all orders of the passages: what they get if they know nothing of
    which are active. The share of active ones where all chances are equal, and more the more of them differ and the
    fewer passages there are. NaN without an active or without a silent one.

    With k of P active, of the n with a chance that is not below some value the m with that very one hold, on average,
    m k / P active ones, and their precision is that of n: the mean of the product is m k / P (1 + (n - 1) (k - 1) /
    (P - 1)) / n. Without equal chances it is the expectation in Bestgen 2015, "Exact expected average precision of the
    random baseline for system evaluation".
    """
    P, k = len(active_P), int(active_P.sum())
    if not 0 < k < P:
        return NAN
    m = np.unique(chance_P, return_counts=True)[1][::-1]
    n = m.cumsum()
    return float((m / P * (1 + (n - 1) * (k - 1) / (P - 1)) / n).sum())


def intervals(
    chance_P: Array, active_P: NDArray[np.bool_], resamples: int, confidence: float, random: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Bootstrap intervals of WITH_INTERVAL: percentiles over resamples of the passages, active and silent ones apart,
    since their numbers are by design. (NaN, NaN) where they are undefined."""
    groups = [np.flatnonzero(active_P), np.flatnonzero(~active_P)]
    if not all(map(len, groups)):
        return dict.fromkeys(WITH_INTERVAL, (NAN, NAN))
    rows = (np.concatenate([random.choice(group, len(group)) for group in groups]) for _ in range(resamples))
    found = [detected(chance_P[drawn], active_P[drawn]) for drawn in rows]
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    quantiles = {name: np.quantile([one[name] for one in found], ends).tolist() for name in WITH_INTERVAL}
    return {name: (low, high) for name, (low, high) in quantiles.items()}
