"""Everything random is a function of the seed and of what it is drawn for."""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


def key(*what: object) -> int:
    """64 bits that stand for `what`, such as (seed, "evidence", layer, neuron, sign, candidate)."""
    text = "\x1f".join(map(str, what))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(*what: object) -> np.random.Generator:
    """A generator of its own for `what`: independent of every other and of the order of use."""
    return np.random.Generator(np.random.Philox(key(*what)))


def uniforms(rows: np.ndarray, columns: int, *what: object) -> np.ndarray:
    """Uniform numbers in [0, 1), float64 (len(rows), columns), a function of (what, row number, column) alone.

    SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators") over a counter,
    so that a neuron's numbers are the same whichever other rows are asked for.
    """
    golden, m1, m2 = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
    with np.errstate(over="ignore"):
        counter = rows.astype(np.uint64)[:, None] * np.uint64(columns) + np.arange(columns, dtype=np.uint64)
        z: NDArray[np.uint64] = (np.uint64(key(*what)) + (counter + np.uint64(1)) * golden).astype(np.uint64)
        for shift, factor in ((30, m1), (27, m2)):
            z = (z ^ (z >> np.uint64(shift))) * factor
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
