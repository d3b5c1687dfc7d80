"""How well answers tell active passages from silent ones.

P passages.
"""

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.scores.formulas import Array, average_precision

NAN = float("nan")


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


def precision_interval(
    chance_P: Array, active_P: NDArray[np.bool_], resamples: int, confidence: float, random: np.random.Generator
) -> tuple[float, float]:
    """Bootstrap interval of the average precision: percentiles over resamples of the passages, active and silent ones
    apart, since their numbers are by design. (NaN, NaN) where it is undefined."""
    groups = [np.flatnonzero(active_P), np.flatnonzero(~active_P)]
    if not all(map(len, groups)):
        return NAN, NAN
    found = []
    for _ in range(resamples):
        rows = np.concatenate([random.choice(group, len(group)) for group in groups])
        found.append(average_precision(chance_P[rows], active_P[rows]))
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
