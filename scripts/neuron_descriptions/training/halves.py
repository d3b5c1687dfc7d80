"""A model whose last layers alone learn, in two halves: what the frozen half gives of an input is computed once.

B inputs of a batch, S tokens of an input, H hidden units, V outputs.
"""

import copy
from typing import Any

import torch
from torch import Tensor


class _Reached(Exception):
    """The frozen half has ended."""


class Halves:
    """A causal model as a frozen half, and one that learns: its last blocks and its head."""

    def __init__(self, model: Any, last: int):
        """model: with a head, as transformers has it; last: blocks of the half that learns. Raises ValueError where the
        model's blocks do not stand in one list."""
        body = getattr(model, model.base_model_prefix)
        count = model.config.get_text_config(decoder=True).num_hidden_layers
        named = [
            name for name, m in body.named_children() if isinstance(m, torch.nn.ModuleList) and len(m) == count > last
        ]
        if len(named) != 1:
            raise ValueError(f"a model of the kind {model.config.model_type} has no one list of its layers")
        self.model, self.first = model, getattr(body, named[0])[count - last]
        # The same modules, in models that share them.
        part, self.learning = copy.copy(body), copy.copy(model)
        part._modules = dict(body._modules) | {named[0]: getattr(body, named[0])[count - last :]}
        self.learning._modules = dict(model._modules) | {model.base_model_prefix: part}

    @torch.no_grad()
    def frozen(self, ids: list[int]) -> Tensor:
        """States (S, H) that the half that learns begins with, of one input: so they do not depend on other inputs."""
        found: list[Tensor] = []

        def reached(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            found.append(args[0] if args else kwargs["hidden_states"])
            raise _Reached

        hook = self.first.register_forward_pre_hook(reached, with_kwargs=True)
        try:
            self.model(input_ids=torch.tensor([ids], device=self.model.device), use_cache=False)
        except _Reached:
            pass
        finally:
            hook.remove()
        return found[0][0].detach()

    def logits(self, states: list[Tensor]) -> Tensor:
        """Logits (B, S, V) of inputs whose states `frozen` gave; those of the padding, on the right, mean nothing."""
        states_BSH = torch.nn.utils.rnn.pad_sequence(states, batch_first=True)
        logits_BSV: Tensor = self.learning(inputs_embeds=states_BSH, use_cache=False).logits
        return logits_BSV

    @torch.no_grad()
    def agree(self, ids: list[int]) -> bool:
        """Whether both halves, one after the other, give what the model gives: not so where it treats embeddings, or
        layers by their number, in a way of its own."""
        whole = self.model(input_ids=torch.tensor([ids], device=self.model.device), use_cache=False).logits.float()
        halves = self.logits([self.frozen(ids)]).float()
        return bool((whole - halves).abs().max() <= 0.01 * whole.abs().max())
