"""The predicates that are worth a look for a feature, and what each explains of its activations.

N tokens of a feature's exemplars, P predicates, M of them that are worth a look (survivors).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.concepts.evidence import Exemplars, Floats, TextTable
from neuron_descriptions.concepts.predicates import CONTEXTS, KINDS, Predicate

# How gladly a kind is taken, as a part or to narrow one down: what its gain is multiplied by. Plain and general kinds
# come before scraps of words.
FAVOUR = {
    "word": 1.1, "family": 0.95, "list": 1.0, "place": 1.0, "mark": 1.05, "digits": 0.95, "ending": 0.9,
    "beginning": 0.85, "piece": 0.9, "after": 0.95, "following": 0.95, "in": 0.95, "about": 0.9,
}  # fmt: skip
# Tokens that a part must be true of; other kinds 3.
LEAST = {
    "word": 2, "piece": 2, "after": 3, "following": 4, "list": 3, "place": 4, "ending": 5, "beginning": 5, "in": 12,
    "about": 12,
}  # fmt: skip
_LEAST = np.array([LEAST.get(kind, 3) for kind in KINDS])
_FAVOUR = np.array([FAVOUR[kind] for kind in KINDS])
_CONTEXT = np.array([kind in CONTEXTS for kind in KINDS])


@dataclass(slots=True)
class Survivors:
    """The predicates that are worth a look, where they are true among a feature's tokens, and their sums over the open
    tokens, which no part took yet."""

    known: list[Predicate]
    holds_NM: NDArray[np.bool_]
    favour_M: Floats
    least_M: Floats
    context_M: NDArray[np.bool_]
    rank_M: NDArray[np.int64]  # the simpler kind first, then as TextTable.known
    sums_XM: Floats  # tokens, weights, weighted activations

    def sums(self, train: Exemplars, rows: NDArray[np.int64], some: NDArray[np.int64] | None = None) -> Floats:
        """Tokens, weights and weighted activations over some of the tokens, of each survivor (3, M) or of some."""
        weight_X = train.weight_N[rows]
        holds = self.holds_NM[rows] if some is None else self.holds_NM[rows[:, None], some]
        return np.stack([np.ones(len(rows)), weight_X, weight_X * train.acts_N[rows]]) @ holds


def find_survivors(table: TextTable, train: Exemplars, shrink: float, heads: int, contexts: int) -> Survivors:
    """So many heads and contexts, by what each predicate explains on its own. shrink: see `gains_of`."""
    part = table.holds_AP[train.rows_N]
    size = len(table.known)
    token = np.repeat(np.arange(len(train.rows_N)), np.diff(part.indptr))
    tokens_P = np.bincount(part.indices, minlength=size).astype(float)
    count_P = np.bincount(part.indices, weights=train.weight_N[token], minlength=size).astype(float)
    summed_P = np.bincount(part.indices, weights=(train.weight_N * train.acts_N)[token], minlength=size).astype(float)
    gain_P = gains_of(count_P, summed_P, float(train.weight_N.sum()), float(train.weight_N @ train.acts_N), shrink)
    kind_P = table.kind_P
    least_P, favour_P, context_P = _LEAST[kind_P], _FAVOUR[kind_P], _CONTEXT[kind_P]
    gain_P = np.where(tokens_P >= np.minimum(least_P, 3), gain_P * favour_P, 0.0)
    rounded_P = rounded(gain_P)
    chosen: list[int] = []
    for wanted_P, count in ((~context_P, heads), (context_P, contexts)):
        order = np.flatnonzero(wanted_P & (rounded_P > 0))
        # Equal gains: as TextTable.known sorts them; so other texts of the chunk change nothing.
        best = order[np.lexsort((order, -rounded_P[order]))][:count]
        chosen += best.tolist()
    chosen.sort()
    known = [table.known[i] for i in chosen]
    column_P = np.full(size, -1)
    column_P[chosen] = np.arange(len(chosen))
    holds_NM = np.zeros((len(train.rows_N), len(chosen)), dtype=bool)
    column = column_P[part.indices]
    holds_NM[token[column >= 0], column[column >= 0]] = True
    sums_XM = np.stack([tokens_P[chosen], count_P[chosen], summed_P[chosen]])
    rank_M = kind_P[chosen] * size + np.array(chosen, np.int64)
    least_M = least_P[chosen].astype(float)
    return Survivors(known, holds_NM, favour_P[chosen], least_M, context_P[chosen], rank_M, sums_XM)


def rounded(gains: Floats) -> Floats:
    """Gains to nine digits of the largest: sums differ in the last bits by how they are added up."""
    largest = gains.max(initial=0.0)
    return np.round(gains / largest, 9) if largest > 0 else np.zeros_like(gains)


def gains_of(count: Floats, summed: Floats, total: float, total_sum: float, shrink: float) -> Floats:
    """What a part of these counts and sums explains; 0 where it is not stronger than the rest."""
    mean = total_sum / total
    shrunk = (summed + shrink * mean) / (count + shrink)
    gains = count * (shrunk - mean) ** 2 * total / np.maximum(total - count, 1e-9)
    return np.where((shrunk > mean) & (count > 0) & (count < total), gains, 0.0)
