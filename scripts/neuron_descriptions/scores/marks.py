"""Marks of fuzzing: at the tokens where the neuron is active, or at as many others.

T tokens of a passage.
"""

from math import ceil

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.common.streams import generator
from neuron_descriptions.scores.sampling import Array

Marks = NDArray[np.bool_]


def active_tokens(activations_T: Array, threshold: float) -> Marks:
    """Tokens, (T,), at or above a share of the passage's peak on the side that is described (activations_T: of that
    side, not negative): Delphi's sparse features are 0 elsewhere, neurons are not."""
    peak = activations_T.max(initial=0.0)
    marked_T: Marks = (activations_T >= threshold * peak) & (activations_T > 0)
    return marked_T


def usual_count(right: list[Marks]) -> int:
    """How many tokens wrong marks stand at: as many as right ones do on average, rounded up."""
    return ceil(float(np.mean([marks_T.sum() for marks_T in right])))


def wrong_marks(active_T: Marks, count: int, *who: object) -> Marks | None:
    """Up to `count` marks, drawn among the tokens that are not active; None where all are. who: seed, layer, neuron,
    sign, split and sequence: the same marks for every scorer."""
    open_ones = np.flatnonzero(~active_T)
    if not len(open_ones):
        return None
    marks_T = np.zeros(len(active_T), bool)
    seed, *where = who
    marks_T[generator(seed, "fuzzing", *where).permutation(open_ones)[:count]] = True
    return marks_T
