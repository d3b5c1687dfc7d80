"""Keys and values of tokens that many sequences begin with: computed once, and gone on from.

P tokens of a prefix, B sequences that go on, H heads, K numbers of a head.
"""

import inspect
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:  # loaded with the first model: jobs without one need not wait for it
    from transformers import DynamicCache, PreTrainedConfig

# Of each layer that was run: its number, (1, H, P, K) and (1, H, P, K).
KeysAndValues = list[tuple[int, Tensor, Tensor]]


class WindowError(ValueError):
    """A model's cache does not keep all tokens that were read, as a sliding window's does not."""


def goes_on_from_keys_and_values(model: nn.Module) -> bool:
    """Whether a model can go on from the keys and values of tokens that it has read, as far as its class says."""
    stateful = getattr(model, "_is_stateful", False)  # so transformers calls recurrent ones
    return not stateful and "past_key_values" in inspect.signature(model.forward).parameters


def empty_cache(config: "PreTrainedConfig") -> "DynamicCache":
    """One for a model of this config."""
    from transformers import DynamicCache

    return DynamicCache(config=config)


def keys_and_values(cache: "DynamicCache", read: int, size: int) -> KeysAndValues:
    """Those of the first `size` of `read` tokens, in the cache of one sequence. Raises WindowError where fewer are
    kept."""
    ran = [(number, layer) for number, layer in enumerate(cache.layers) if layer.get_seq_length()]
    if any(layer.keys.shape[-2] < read for _, layer in ran):
        raise WindowError
    return [(number, layer.keys[:, :, :size], layer.values[:, :, :size]) for number, layer in ran]


def gone_on_from(config: "PreTrainedConfig", prefixes: list[KeysAndValues], which_B: list[int]) -> "DynamicCache":
    """A cache for B sequences that go on from prefixes of one length: sequence b from number which_B[b]."""
    cache = empty_cache(config)
    for of_layer in zip(*prefixes):
        numbers, keys, values = zip(*of_layer)
        cache.update(torch.cat(keys)[which_B], torch.cat(values)[which_B], numbers[0])
    return cache
