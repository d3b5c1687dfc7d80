"""The forward pass: one serves every wanted layer, and ends at the deepest.

P tokens that all sequences of a batch begin with, B sequences of a batch, T tokens, D whatever a tap sees, I features.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuron_descriptions.common.logs import logger
from neuron_descriptions.features.neurons import FeatureSource, Tap
from neuron_descriptions.harvest.batches import Batch, make_batch
from neuron_descriptions.harvest.prefixes import can_share, prefix_reader
from neuron_descriptions.models.loading import check_folder
from neuron_descriptions.models.subjects import check_subject


def check_architecture(folder: str, n_layers: int, module: str | None = None) -> None:
    """Raises ValueError where the config's number of layers is not the model's, or its architecture is not one whose
    MLPs can be read: known before it is loaded."""
    from transformers import AutoConfig

    check_folder(folder)
    check_subject(folder, n_layers, module=module)
    text = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).get_text_config()
    if text.num_hidden_layers != n_layers:
        raise ValueError(f"subject.layers is {n_layers}, but {folder} has {text.num_hidden_layers} layers; correct it")


# What rounding may change of a layer's features, relative to the largest: on a GPU in half precision 0.03 is usual.
SAME = 0.2


class _Stop(Exception):
    """Ends a forward pass after the deepest wanted layer."""


@torch.inference_mode()
def run_layers(
    model: nn.Module, taps: dict[int, Tap], batches: Iterable[Batch], take: Callable[[int, Tensor, Batch], None]
) -> int:
    """Run the model up to its deepest tap of `taps` (by layer) and hand what each one sees, (B, T, D), to `take`,
    once per batch. Returns how many tokens the model has read, padding included."""
    deepest, device = max(taps), next(model.parameters()).device
    current: Batch | None = None  # None while a prefix is read
    tokens = 0

    def run(ids_BT: Tensor, cache: Any, batch: Batch | None = None) -> None:
        nonlocal tokens, current
        tokens, current = tokens + ids_BT.numel(), batch
        past = {} if cache is None else {"past_key_values": cache}  # which some models have no name for
        with suppress(_Stop):
            model(input_ids=ids_BT, use_cache=cache is not None, **past)

    def seen(layer: int, seen_D: Tensor) -> None:
        if current is not None:
            take(layer, by_sequence(layer, seen_D, current), current)
        if layer == deepest:
            raise _Stop

    def by_sequence(layer: int, seen_D: Tensor, batch: Batch) -> Tensor:
        B, T = batch.input_ids_BT.shape
        if seen_D.shape[:2] != (B, T):  # some families lay sequences end to end
            if seen_D.numel() != B * T * seen_D.shape[-1]:
                raise ValueError(
                    f"layer {layer}: the module whose input is read sees a tensor of shape {tuple(seen_D.shape)}, not"
                    f" one row for each of {B} x {T} tokens; name another one as subject.module"
                )
            seen_D = seen_D.reshape(B, T, -1)
        return seen_D

    handles = []
    for layer, tap in taps.items():
        if tap.side == "input":
            hook = tap.module.register_forward_pre_hook(
                lambda module, args, named, layer=layer: seen(layer, args[0] if args else named["hidden_states"]),
                with_kwargs=True,
            )
        else:
            hook = tap.module.register_forward_hook(
                lambda module, args, out, layer=layer: seen(layer, out[0] if isinstance(out, tuple) else out)
            )
        handles.append(hook)
    read_prefix = prefix_reader(model, run)
    try:
        for batch in batches:
            here = batch.to(device)  # once, not for every layer
            run(here.input_ids_BT, read_prefix(here) if len(here.shared_P) else None, here)
    finally:
        for handle in handles:
            handle.remove()
    return tokens


def may_share(model: nn.Module, source: FeatureSource, taps: dict[int, Tap], ids: list[int]) -> bool:
    """Whether the model can read what all sequences of a batch begin with once for all of them: it goes on from keys
    and values alone, and features come out the same; on a GPU, where batches change how it rounds, nearly so.

    ids: a sequence, of which one half is taken for the prefix.
    """
    half = len(ids) // 2
    if not (half and can_share(model)):
        return False
    found: list[Tensor] = []

    def take(layer: int, seen_BTD: Tensor, batch: Batch) -> None:
        if not seen_BTD.is_floating_point():
            raise ValueError("features are read off the tokens themselves, all of them")
        found.append(source.features(layer, seen_BTD)[0, -1].float())

    try:
        for share in (False, True):
            run_layers(model, taps, [make_batch(0, [ids], np.array([half]), len(ids) - half, share)], take)
    except Exception as error:  # a model of another make may refuse in any way; then it is read as any other
        logger.info("sequences are read whole: the model does not go on from a prefix (%s)", repr(error)[:200])
        return False
    whole, parts = found[: len(taps)], found[len(taps) :]
    return all((a_I - b_I).abs().max() <= SAME * a_I.abs().max() for a_I, b_I in zip(whole, parts))


def try_out(model: nn.Module, source: FeatureSource, taps: dict[int, Tap], ids: list[int], dtype: str) -> bool:
    """Run the model over two sequences of two tokens, which differ in the second, before it works for hours; whether it
    may share a prefix, as `may_share` says.

    ids: at least two tokens. Raises ValueError where a tap sees anything but one row for each token, its features are
    not finite, or a token's depend on later ones.
    """
    first, second = ids[:2]
    other = first if first != second else first - 1 if first else 1
    calls: Counter[int] = Counter()

    def take(layer: int, seen_BTD: Tensor, batch: Batch) -> None:
        calls[layer] += 1
        acts_BTI = source.features(layer, seen_BTD).float()
        if not acts_BTI.isfinite().all():
            raise ValueError(not_finite(layer, dtype))
        one_I, other_I = acts_BTI[:, 0]
        # Where tokens are read themselves, and no activations, they tell nothing of the model.
        if seen_BTD.is_floating_point() and (one_I - other_I).abs().max() > 0.05 * one_I.abs().max():
            raise ValueError(
                f"layer {layer}: what a token activates depends on the tokens after it, as in a model that fills in"
                " masked words; take a causal language model"
            )

    run_layers(model, taps, [make_batch(0, [[first, second], [first, other]], np.zeros(2, dtype=int), 2)], take)
    if odd := [layer for layer in taps if calls[layer] != 1]:
        raise ValueError(
            f"layer {odd[0]}: the module that is read runs {calls[odd[0]]} times in a forward pass, not once; name"
            " another one as subject.module"
        )
    return may_share(model, source, taps, ids)


def not_finite(layer: int, dtype: str) -> str:
    """What is said of a layer whose activations overflow, and what to do."""
    advice = (
        "its range ends at 65,504: set subject.dtype: bfloat16 or float32"
        if dtype == "float16"
        else "the model's weights may be damaged, or be meant for another dtype"
    )
    return f"layer {layer} has activations that are not finite in {dtype}; {advice}"
