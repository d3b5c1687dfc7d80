"""The two sides of a feature. Stored activations are signed; whoever looks at one side turns them, so that strong is
large. A module of its own, so that only what turns activations depends on it."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.common.vocabulary import SIGNS

Signed = TypeVar("Signed", float, NDArray[np.float32], NDArray[np.float64])


def direction(sign: str) -> int:
    """1 of the positive side, -1 of the negative one."""
    return 1 if sign == "positive" else -1


def other_side(sign: str) -> str:
    """The opposite sign."""
    return SIGNS[1] if sign == SIGNS[0] else SIGNS[0]


def turned(values: Signed, sign: str) -> Signed:
    """A signed number, or an array of them, with this side upwards: strong is large."""
    return values if sign == "positive" else -values


def one_side(activations: NDArray[np.float64], sign: str) -> NDArray[np.float64]:
    """The positive part of signed activations, or the negative part's size."""
    return np.maximum(turned(activations, sign), 0)
