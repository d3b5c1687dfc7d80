"""Discrimination: is a description about this feature, or as much about others of its layer?

Its predictions, on the very sequences that the score is made of, are set against other features' activations there.

I features, Q sequences that were simulated, N their tokens.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.common.signs import one_side
from neuron_descriptions.common.streams import uniforms
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.scores.formulas import Sequences, share_below
from neuron_descriptions.scores.sampling import Array, Sample

OTHERS = 99  # features that a description's own is told from


def weighted_correlations(predicted_N: Array, true_IN: Array, weights_N: Array) -> Array:
    """Pearson correlation of predictions with each feature, (I,), each token counted by its weight; 0 where either does
    not vary: what predicts nothing is equally near to all."""
    share_N = weights_N / weights_N.sum()
    predicted_N = predicted_N - share_N @ predicted_N
    true_IN = true_IN - (true_IN @ share_N)[:, None]
    own, other_I = share_N @ predicted_N**2, true_IN**2 @ share_N
    scale_I = np.sqrt(own * other_I)
    varies_I = scale_I > 1e-12
    found: Array = np.divide(true_IN @ (share_N * predicted_N), scale_I, out=np.zeros(len(true_IN)), where=varies_I)
    return found


class Others:
    """The features of a panel, of which some are drawn for each feature to be told from."""

    def __init__(self, panel: Panel, seed: int):
        self.panel, self.seed = panel, seed
        self.starts = np.concatenate([[0], np.cumsum(panel.lengths)])

    def drawn(self, layer: int, neuron: int) -> NDArray[np.int64]:
        """Up to OTHERS features of the layer beside a neuron, in order: those with the smallest random numbers for
        it."""
        there = np.array([other for other in self.panel.neurons(layer) if other != neuron], np.int64)
        number = uniforms(there, 1, self.seed, "discrimination", layer, neuron)[:, 0] if len(there) else there
        return np.sort(there[np.argsort(number, kind="stable")[:OTHERS]])

    def figures(
        self, layer: int, neuron: int, sign: str, predicted: Sequences, places_Q: NDArray[np.int64], sample: Sample
    ) -> dict[str, Any]:
        """`discrimination` and `n_discriminated` of NATURAL. predicted: on the panel's sequences at places_Q, which
        stand for the text as `sample` says."""
        others = self.drawn(layer, neuron)
        if not len(others):
            return {"discrimination": None, "n_discriminated": 0}
        columns_N = np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in places_Q])
        weights_N = np.repeat(sample.weights_Q, self.panel.lengths[places_Q])
        acts_IN = self.panel.acts(layer, [neuron, *others.tolist()])[:, columns_N].astype(float)
        found_I = weighted_correlations(np.concatenate(predicted), one_side(acts_IN, sign), weights_N)
        return {
            "discrimination": 100 * share_below(float(found_I[0]), found_I[1:]),
            "n_discriminated": len(others),
        }
