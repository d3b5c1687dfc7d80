"""Which part of a list decides on which token while it is found, and what a part would explain that stood before all
others: what is special is often seen only after what is general, and must be read first.

N tokens of a feature's exemplars, M predicates that are worth a look (survivors), C parts.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from neuron_descriptions.concepts.evidence import Exemplars, Floats
from neuron_descriptions.concepts.survivors import Survivors
from neuron_descriptions.concepts.wording import Part


class Deciding:
    """The parts of a list in the order that they are read, and the tokens on which each decides. Their means are drawn
    towards that of the tokens on which none does by so many tokens: shrink."""

    def __init__(self, found: Survivors, train: Exemplars, shrink: float):
        self.train, self.shrink = train, shrink
        self.known, self.favour_M, self.least_M = found.known, found.favour_M, found.least_M
        self.tokens_M, self.weight_M, self.summed_M = found.sums_XM.copy()  # of all tokens: none is taken yet
        self.holds_NM = sparse.csr_matrix(found.holds_NM, dtype=float)
        self.by_N = np.zeros(len(train.acts_N), np.int64)  # 0: no part
        self.taken = 0
        self.order: list[tuple[int, Part]] = []

    def add(self, part: Part, rows: NDArray[np.int64], first: bool) -> None:
        """Read a part before all others, or after them. rows: the tokens on which it decides then."""
        self.taken += 1
        self.by_N[rows] = self.taken
        self.order.insert(0 if first else len(self.order), (self.taken, part))

    def gains(self) -> Floats:
        """What each survivor would explain that decided before all parts, float64 (M,): the squared errors of the
        list so far on its tokens less those of its own mean; 0 where it is not stronger than they predict."""
        now_N = self._means()[self.by_N]
        weight_N = self.train.weight_N
        sums = np.stack([weight_N * now_N, weight_N * now_N * self.train.acts_N, weight_N * now_N**2]) @ self.holds_NM
        now_M, now_by_acts_M, now_squared_M = np.asarray(sums)
        weight_M = np.maximum(self.weight_M, 1e-12)
        mean_M = (self.summed_M + self.shrink * now_M / weight_M) / (weight_M + self.shrink)
        gains_M = now_squared_M - 2 * now_by_acts_M + 2 * mean_M * self.summed_M - mean_M**2 * weight_M
        fits_M = (mean_M * weight_M > now_M) & (self.tokens_M > self.least_M - 0.5)
        heads = {part.head for _, part in self.order if part.narrowed is None}
        fits_M &= np.array([predicate not in heads for predicate in self.known], bool)
        return np.where(fits_M, gains_M, 0.0) * self.favour_M

    def parts(self) -> list[Part]:
        """The parts that decide on any token, with the means that they predict."""
        means_C, seen = self._means(), set(np.unique(self.by_N).tolist())
        return [replace(part, weight=float(means_C[number])) for number, part in self.order if number in seen]

    def _means(self) -> Floats:
        """Of the tokens that no part decides on, then of each part's, in the order in which they were added."""
        weight_N, size = self.train.weight_N, self.taken + 1
        weight_C = np.bincount(self.by_N, weights=weight_N, minlength=size)
        summed_C = np.bincount(self.by_N, weights=weight_N * self.train.acts_N, minlength=size)
        rest = summed_C[0] / weight_C[0] if weight_C[0] > 0 else 0.0
        means_C: Floats = (summed_C + self.shrink * rest) / np.maximum(weight_C + self.shrink, 1e-12)
        means_C[0] = rest
        return means_C
