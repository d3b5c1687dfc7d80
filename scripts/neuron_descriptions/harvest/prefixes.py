"""What all sequences of a batch begin with (a chat template's system turn) is read once.

P tokens that are shared, T tokens of a sequence beyond them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from neuron_descriptions.harvest.batches import Batch
from neuron_descriptions.models.prefixes import (
    KeysAndValues,
    empty_cache,
    goes_on_from_keys_and_values,
    gone_on_from,
    keys_and_values,
)

if TYPE_CHECKING:
    from transformers import DynamicCache


def can_share(model: nn.Module) -> bool:
    """Whether a model can go on from a prefix, as far as its class says, and rounds as if it read it again: a
    processor's attention does so in bfloat16 alone, elsewhere it adds up in an order that depends on where a sequence
    begins."""
    weight = next(model.parameters())
    reorders = weight.device.type == "cpu" and weight.dtype != torch.bfloat16
    return goes_on_from_keys_and_values(model) and not reorders


class Prefixes:
    """Keys and values of the prefixes that batches share, each computed once."""

    def __init__(self, model: nn.Module, run: Callable[[Tensor, Any], None]):
        """run: reads ids (1, T) into a cache."""
        self.config, self.run = model.config, run
        self.kept: dict[tuple[int, ...], KeysAndValues] = {}

    def read(self, batch: Batch) -> "DynamicCache":
        """A cache in which all sequences of a batch have their shared tokens. Raises WindowError where the model keeps
        fewer."""
        prefix = tuple(batch.shared_P.tolist())
        if prefix not in self.kept:
            self.kept[prefix] = self._computed(batch)
        return gone_on_from(self.config, [self.kept[prefix]], [0] * len(batch.input_ids_BT))

    def _computed(self, batch: Batch) -> KeysAndValues:
        """As in a pass over a whole sequence: a shorter one is rounded otherwise by a processor's attention."""
        cache = empty_cache(self.config)
        ids_T = torch.cat([batch.shared_P, batch.input_ids_BT[0]])
        self.run(ids_T[None], cache)
        return keys_and_values(cache, len(ids_T), len(batch.shared_P))
