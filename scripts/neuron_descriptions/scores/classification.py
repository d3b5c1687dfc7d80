"""How well answers tell active passages from silent ones.

P passages.
"""

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.scores.formulas import Array, average_precision

NAN = float("nan")
WITH_INTERVAL = ("average_precision", "balanced_accuracy", "f1")


def detected(chance_P: Array, active_P: NDArray[np.bool_]) -> dict[str, float]:
    """Balanced accuracy, F1, precision and recall of the answers (yes from a chance of 0.5 on), and average precision
    of their order. NaN where one is undefined: balanced accuracy and average precision without an active or without a
    silent passage, F1 without any yes and any active one.

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
    }


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


def precision_interval(
    chance_P: Array, active_P: NDArray[np.bool_], resamples: int, confidence: float, random: np.random.Generator
) -> tuple[float, float]:
    """Bootstrap interval of the average precision: see `intervals`."""
    return intervals(chance_P, active_P, resamples, confidence, random)["average_precision"]
