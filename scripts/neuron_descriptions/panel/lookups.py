"""Look-ups: what a table of tokens, of pairs or of positions tells of a feature, without a model.

Fitted on one panel, judged on another: a look-up of all train tokens would be larger than a disk for a large model.

I features, N tokens of the panel that look-ups are fitted on, M tokens of the one that they are judged on, C distinct
contexts (such as tokens) of the latter, S sequences of it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from neuron_descriptions.panel.reading import Panel

Array = NDArray[np.float64]
Acts = NDArray[np.float32]

# Tokens that the prior of a look-up counts as: a context seen n times is read as n / (n + PRIOR) of what it showed.
PRIOR = 1.0


@dataclass(slots=True, frozen=True)
class Contexts:
    """What a look-up goes by: each token's context, by number (C,)."""

    fit_CN: csr_array  # 1 where a token of the one panel has that context
    test_CM: csr_array  # ... of the other
    seen_C: Acts  # tokens of the one panel with that context
    count_C: Acts  # ... of the other
    code_M: NDArray[np.int64]

    @classmethod
    def of(cls, fit_N: NDArray[np.int64], test_M: NDArray[np.int64]) -> "Contexts":
        """From any number for the context of each token; those that the judging panel lacks are left out."""
        distinct_C, code_M = np.unique(test_M, return_inverse=True)
        code_N = np.searchsorted(distinct_C, fit_N)
        there_N = distinct_C[np.minimum(code_N, len(distinct_C) - 1)] == fit_N
        fit_CN = _one_hot(code_N[there_N], np.flatnonzero(there_N), (len(distinct_C), len(fit_N)))
        test_CM = _one_hot(code_M, np.arange(len(test_M)), (len(distinct_C), len(test_M)))
        return cls(fit_CN, test_CM, fit_CN.sum(1), test_CM.sum(1), code_M)

    def table(self, acts_NI: Acts, prior_CI: Acts | float = 0.0) -> Acts:
        """Expected activation of each context (C, I): the mean of what was seen, with a prior that counts as PRIOR
        tokens (the posterior mean of a normal distribution's centre)."""
        mean_CI: Acts = (self.fit_CN @ acts_NI + PRIOR * prior_CI) / (self.seen_C[:, None] + np.float32(PRIOR))
        return mean_CI

    def correlation(self, table_CI: Acts, acts_MI: Acts) -> Array:
        """Correlation (I,) of what a table says of each token with the activations, whose mean is 0; NaN where either
        is constant. From sums over contexts: no prediction is made for each token."""
        sums_I = np.stack([
            _sum(self.count_C[:, None] * table_CI),
            _sum(self.count_C[:, None] * table_CI**2),
            _sum(table_CI * (self.test_CM @ acts_MI)),
        ])  # fmt: skip
        return _correlation(len(self.code_M), sums_I[0], _sum(acts_MI), sums_I[1], _sum(acts_MI**2), sums_I[2])


class Lookups:
    """The look-ups of two panels, for any features."""

    def __init__(self, fit: Panel, test: Panel):
        """fit: what look-ups are fitted on; test: what they are judged on."""
        self.token = Contexts.of(fit.ids_N, test.ids_N)
        self.previous = Contexts.of(fit.previous_N, test.previous_N)
        self.position = Contexts.of(fit.position_N, test.position_N)
        width = 1 + max(fit.ids_N.max(), test.ids_N.max())
        self.bigram = Contexts.of(*((panel.previous_N + 1) * width + panel.ids_N for panel in (fit, test)))
        pairs_C = np.zeros(len(self.bigram.count_C), dtype=np.int64)
        pairs_C[self.bigram.code_M] = self.token.code_M
        self.token_of_pair_C = pairs_C
        self.sequence_SM = _one_hot(test.sequence_N, np.arange(test.tokens), (len(test.sequences), test.tokens))

    def predictions(self, fit_IN: Acts) -> dict[str, Acts]:
        """What the token's and the pair's look-ups say at each token of the judging panel (I, M), by name: `token`,
        `bigram`; as `correlations` has them."""
        mean_I1 = fit_IN.mean(1, dtype=np.float64, keepdims=True).astype(np.float32)
        fit_NI = np.ascontiguousarray((fit_IN - mean_I1).T)
        token_CI = self.token.table(fit_NI)
        pair_CI = self.bigram.table(fit_NI, token_CI[self.token_of_pair_C])
        return {
            "token": token_CI[self.token.code_M].T + mean_I1,
            "bigram": pair_CI[self.bigram.code_M].T + mean_I1,
        }

    def correlations(self, fit_IN: Acts, test_IM: Acts) -> dict[str, Array]:
        """Held-out correlations (I,) of features with their look-ups, by name; NaN where one is not defined.

        r_token, r_previous, r_position: with the mean activation at the same token, after the same token, at the same
        position. r_bigram: at the same pair of tokens, backed off to the token. r_sequence: of what the token's look-up
        leaves, with the mean of that over the sequence's other tokens. Each feature's are those that it has alone.
        """
        mean_I = fit_IN.mean(1, dtype=np.float64).astype(np.float32)
        fit_NI = np.ascontiguousarray((fit_IN - mean_I[:, None]).T)
        test_MI = np.ascontiguousarray((test_IM - mean_I[:, None]).T)
        centred_MI = test_MI - (_sum(test_MI) / len(test_MI)).astype(np.float32)
        token_CI = self.token.table(fit_NI)
        tables = {
            "r_token": (self.token, token_CI),
            "r_bigram": (self.bigram, self.bigram.table(fit_NI, token_CI[self.token_of_pair_C])),
            "r_previous": (self.previous, self.previous.table(fit_NI)),
            "r_position": (self.position, self.position.table(fit_NI)),
        }
        found = {name: contexts.correlation(table_CI, centred_MI) for name, (contexts, table_CI) in tables.items()}
        test_MI -= token_CI[self.token.code_M]
        return found | {"r_sequence": self._sequence(test_MI)}

    def _sequence(self, rest_MI: Acts) -> Array:
        """Correlation (I,) of each token's value with the mean of its sequence's others; sequences of one token are
        left out.

        From the sums s and the squares q of a sequence's t tokens: the mean of the others is (s - x) / (t - 1), so that
        over a sequence it sums to s, its squares to ((t - 2) s^2 + q) / (t - 1)^2, its products with x to
        (s^2 - q) / (t - 1).
        """
        length_S = self.sequence_SM.sum(1).astype(np.float64)
        several_S = length_S > 1
        t = length_S[several_S, None]
        s = (self.sequence_SM @ rest_MI)[several_S].astype(np.float64)
        q = (self.sequence_SM @ rest_MI**2)[several_S].astype(np.float64)
        others, products = ((t - 2) * s**2 + q) / (t - 1) ** 2, (s**2 - q) / (t - 1)
        return _correlation(t.sum(), _sum(s), _sum(s), _sum(q), _sum(others), _sum(products))


def _one_hot(rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]) -> csr_array:
    return csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)


def _sum(values_XI: Acts | Array) -> Array:
    """Sums of columns, row after row; numpy would sum a single column in another order."""
    columns = values_XI.shape[1]
    total: Array = np.broadcast_to(values_XI, (len(values_XI), max(columns, 2))).sum(0, dtype=np.float64)
    return total[:columns]


def _correlation(n: float, p: Array, t: Array, pp: Array, tt: Array, pt: Array) -> Array:
    """Pearson's, from sums; NaN where either side's spread is zero but for rounding."""
    spread_p, spread_t = n * pp - p**2, n * tt - t**2
    varies = (spread_p > 1e-9 * n * pp) & (spread_t > 1e-9 * n * tt)
    return np.where(varies, n * pt - p * t, np.nan) / np.sqrt(np.where(varies, spread_p * spread_t, 1.0))
