"""What all sequences of a batch begin with (a chat template's system turn) is read once.

P tokens that are shared, T tokens of a sequence beyond them.
"""

from collections.abc import Callable
from functools import lru_cache
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


LENGTHS = 32  # of the lengths that batches have, how many prefixes are kept at most


def can_share(model: nn.Module) -> bool:
    """Whether a model can go on from a prefix, as far as its class says. On a processor in bfloat16 alone, where a sum
    in another order changes no more than its own rounding does: in another dtype results are those of whole sequences
    to the bit, which a comparison can ask for."""
    weight = next(model.parameters())
    exact = weight.device.type == "cpu" and weight.dtype != torch.bfloat16
    return goes_on_from_keys_and_values(model) and not exact


def prefix_reader(model: nn.Module, run: Callable[[Tensor, Any], None]) -> Callable[[Batch], "DynamicCache"]:
    """What makes the cache in which all sequences of a batch have their shared tokens; it raises WindowError where the
    model keeps fewer.

    run: reads ids (1, T) into a cache.
    """
    device = next(model.parameters()).device

    @lru_cache(LENGTHS)
    def computed(prefix: tuple[int, ...], more: int) -> KeysAndValues:
        """As in a pass over a sequence that is `more` tokens longer. How long one is decides how its first tokens are
        rounded: so it is the batch's own length, and never that of the batch which happens to come first in a shard."""
        cache = empty_cache(model.config)
        ids_T = torch.tensor([*prefix, *prefix[-1:] * more], device=device)
        run(ids_T[None], cache)
        return keys_and_values(cache, len(ids_T), len(prefix))

    def read(batch: Batch) -> "DynamicCache":
        B, T = batch.input_ids_BT.shape
        return gone_on_from(model.config, [computed(tuple(batch.shared_P.tolist()), T)], [0] * B)

    return read
