"""Features that follow known rules of the text, planted where real ones are looked for: what a run says of them can be
held against the rules. Of the subject they read its tokens alone.

B sequences of a batch, T tokens, I features of a layer.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from neuron_descriptions.common.streams import generator
from neuron_descriptions.features.neurons import Tap
from neuron_descriptions.features.planted_rules import Planted, rules, without_rule

PAD = 0  # which batches end with
SPREAD, NOISE = 0.15, 0.05  # of a rule's strengths; of the background
RARE, LEAST = 0.03, 0.2  # of features without a rule: share of the tokens on which one fires, and how weakly


class PlantedSource:
    """Features that follow the rules there are, then some that follow none. Each fires as its rule says, varied, over a
    background that varies around 0; one without a rule fires on tokens that are drawn. What is drawn is a function of
    the layer and the sequence."""

    one_sided = False

    def __init__(self, n_layers: int, count: int, strings: Callable[[Sequence[int]], list[str]]):
        """count: features in a layer; strings: what each token of a sequence adds to the text."""
        known = rules()[:count]
        self.planted: list[Planted] = [*known, *without_rule(count - len(known))]
        self._n_layers, self.strings = n_layers, strings
        self._dtype = torch.float32

    def taps(self, model: nn.Module) -> list[Tap]:
        """The token embedding's input, which is the tokens' ids, for every layer."""
        embedding = model.get_input_embeddings()  # type: ignore[operator]
        self._dtype = embedding.weight.dtype
        return [Tap(embedding, "input")] * self._n_layers

    def features(self, layer: int, seen_BT: Tensor) -> Tensor:
        """In the embedding's dtype. A token's depend on the words around it too, as a rule says; on padding nothing
        does."""
        acts_BTI = np.stack([self.acts(layer, ids) for ids in seen_BT.tolist()])
        return torch.from_numpy(acts_BTI).to(seen_BT.device, self._dtype)

    def truth(self, ids: Sequence[int]) -> NDArray[np.float64]:
        """What the rules say of a sequence, (T, I), 0 where a feature is silent."""
        tokens = self.strings(ids)
        return np.stack([feature.truth(tokens) for feature in self.planted], axis=1)

    def acts(self, layer: int, ids: Sequence[int]) -> NDArray[np.float64]:
        """Activations of a layer's features at a sequence's tokens, (T, I); 0 at padding."""
        length = max((i for i, token in enumerate(ids, 1) if token != PAD), default=0)
        acts_TI = np.zeros((len(ids), len(self.planted)))
        if length:
            random, shape = generator("planted", layer, *ids[:length]), (length, len(self.planted))
            spread_TI, noise_TI = random.standard_normal((2, *shape))
            fires_TI, how_TI = random.random((2, *shape))
            drawn_TI = (fires_TI < RARE) * (LEAST + (1 - LEAST) * how_TI)
            without_I = [feature.strength is None for feature in self.planted]
            strong_TI = np.where(without_I, drawn_TI, self.truth(ids[:length]))
            acts_TI[:length] = strong_TI * np.maximum(1 + SPREAD * spread_TI, 0.1) + NOISE * noise_TI
        return acts_TI
