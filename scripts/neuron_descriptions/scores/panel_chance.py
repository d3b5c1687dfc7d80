"""Chance on the panel, without a simulator: all descriptions were simulated on the same sequences, so each one's
predictions can be correlated with every feature's activations; so can those of the empty one and of lists of tokens.

G descriptions, N tokens of the shared sequences.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from neuron_descriptions.common.signs import one_side
from neuron_descriptions.common.storage import read_tables, write_table
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.scores.chance import EMPTY, NULL_KINDS, OTHER, TOKENS
from neuron_descriptions.scores.formulas import best_of_weights, finite, share_below
from neuron_descriptions.scores.natural import shared_order
from neuron_descriptions.scores.sampling import Array
from neuron_descriptions.scores.tables import COMPARED, NATURAL, SHARED, SHARED_NULLS


def standardized(values_XN: Array) -> Array:
    """Rows of mean 0 and length 1, so that products of two are Pearson correlations; NaN where a row is constant."""
    centred = values_XN - values_XN.mean(1, keepdims=True)
    length = np.sqrt((centred**2).sum(1, keepdims=True))
    varies = np.ptp(values_XN, axis=1, keepdims=True) > 0
    return np.where(varies, centred / np.where(varies, length, 1.0), np.nan)


def chance(own: Array, nulls_2G: Array, n: int) -> tuple[float | None, float | None]:
    """(mean of what the best of n nulls gets, share of such choices that `own` lies above in %).

    own (2,) and nulls_2G: scores on two halves of the shared sequences. The best of n is chosen on one half and
    compared on the other, and the other way round, since it would flatter itself on what it was chosen by.
    """
    marks, shares = [], []
    for here, there in ((0, 1), (1, 0)):
        weights = best_of_weights(nulls_2G[there], n)
        known = np.isfinite(nulls_2G[here])
        if weights[known].sum() > 0:
            marks.append(float(weights[known] @ nulls_2G[here][known] / weights[known].sum()))
        if np.isfinite(own[here]):
            shares.append(share_below(float(own[here]), nulls_2G[here], weights))
    return (float(np.mean(marks)) if marks else None), (100 * float(np.mean(shares)) if shares else None)


class Comparison:
    """The shared sequences of a layer's features, and the nulls."""

    def __init__(self, panel: Panel, layer: int, sequences: int, nulls: list[dict[str, Any]], seed: int):
        """sequences: how many are shared; nulls: rows of SHARED_NULLS, of all kinds."""
        self.panel, self.layer = panel, layer
        shared_Q = shared_order(len(panel.sequences), seed)[:sequences]
        starts = np.concatenate([[0], np.cumsum(panel.lengths)])
        self.columns_N = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in shared_Q])
        self.second_N = np.repeat(np.arange(len(shared_Q)) % 2, panel.lengths[shared_Q]).astype(bool)
        self.null_of = [(row["layer"], row["neuron"]) for row in nulls]
        self.kind_G = np.array([row["kind"] for row in nulls], object)
        null_GN = np.array([row["simulated"] for row in nulls], float).reshape(len(nulls), len(self.columns_N))
        self.null_GN, *self.null_halves = (standardized(null_GN[:, part]) for part in self._parts())

    def row(self, neuron: int, sign: str, simulated: list[float], n: int) -> dict[str, Any]:
        """Figures of COMPARED. n: distinct candidates that the description was chosen of."""
        predicted_1N = np.array(simulated, float)[None]
        true_1N = self._acts(neuron, sign)
        other_G = np.array([who != (self.layer, neuron) for who in self.null_of], bool)
        whole_N, *halves_N = (standardized(true_1N[:, part])[0] for part in self._parts())
        nulls_G = (self.null_GN @ whole_N)[other_G]
        own_2 = np.array([
            (standardized(predicted_1N[:, part]) @ half_N)[0] for part, half_N in zip(self._parts()[1:], halves_N)
        ])  # fmt: skip
        nulls_2G = np.array([(null_GN @ half_N)[other_G] for null_GN, half_N in zip(self.null_halves, halves_N)])
        means: dict[str, float] = {}
        compared: list[tuple[float | None, float | None]] = []
        for kind in NULL_KINDS:
            of_kind = (self.kind_G[other_G] == kind) & np.isfinite(nulls_G)
            if of_kind.any():
                means[kind] = float(nulls_G[of_kind].mean())
                compared.append(chance(own_2, nulls_2G[:, of_kind], n))
        marks, shares = ([value for value in side if value is not None] for side in zip(*compared, (None, None)))
        return {
            "panel_score": finite((standardized(predicted_1N) @ whole_N)[0]),
            "panel_null_score": means.get(OTHER),
            "panel_null_tokens_score": means.get(TOKENS),
            "panel_null_empty_score": means.get(EMPTY),
            "panel_best_null_score": max(marks, default=None),
            "panel_null_percentile": min(shares, default=None),
            "n_panel_nulls": int(np.isfinite(nulls_G).sum()),
        }

    def _parts(self) -> tuple[NDArray[np.bool_], ...]:
        """Tokens of the shared sequences: all, of every other sequence, of those between."""
        return np.ones_like(self.second_N), ~self.second_N, self.second_N

    def _acts(self, neuron: int, sign: str) -> Array:
        """One side's activations (1, N) on the shared sequences."""
        return one_side(self.panel.acts(self.layer, [neuron])[:, self.columns_N].astype(float), sign)


def compare_natural(
    layer: int,
    tables: dict[str, list[str]],
    null_neurons: dict[int, list[int]],
    panel: dict[str, str],
    sequences: int,
    seed: int,
    output: str,
) -> None:
    """Write COMPARED of a layer.

    tables: scores (NATURAL) and shared (SHARED) of the layer, nulls (SHARED, of null_neurons, and others), apart
    (SHARED_NULLS, of the other kinds); null_neurons: layer -> neurons whose descriptions are nulls; panel: corpus,
    acts; sequences: how many are shared at most.
    """
    shared = {(r["neuron"], r["sign"]): r["simulated"] for r in read_tables(tables["shared"], SHARED).to_pylist()}
    pool = read_tables(tables["nulls"], SHARED).to_pylist()
    nulls = [row | {"kind": OTHER} for row in pool if row["neuron"] in null_neurons.get(row["layer"], ())]
    nulls += read_tables(tables["apart"], SHARED_NULLS).to_pylist()
    comparison = Comparison(Panel(panel["corpus"], [panel["acts"]]), layer, sequences, nulls, seed)
    rows = [
        row | comparison.row(row["neuron"], row["sign"], shared[row["neuron"], row["sign"]], row["n_tried"])
        for row in read_tables(tables["scores"], NATURAL).to_pylist()
    ]
    write_table(pa.Table.from_pylist(rows, schema=COMPARED), output)
