"""Hook points in plain terms: where in a layer the residual stream, an MLP or attention is read, in any architecture.

What attention and MLP add to the residual stream is not told by names, which every family has its own of, but by
numbers: a short text runs through the model, and the modules are taken whose outputs add up to what the layer writes.

T tokens, D width of the residual stream.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neuron_descriptions.features.neurons import (
    Tap,
    down_projections,
    layer_stack,
    projection_shape,
    submodule,
)

TRIAL = [[1, 2, 3]]  # ids that every vocabulary has
# Of the sum of the terms' sizes: how far sums may be apart, in steps of the dtype.
STEPS = 4


def find_taps(model: nn.Module, n_layers: int, n_neurons: int, hook: str, module: str | None = None) -> list[Tap]:
    """The tap of a hook point in every layer. hook: one of config/features.py's HOOKS, or `<module>:<side>` with
    `{layer}` for the layer's number; n_neurons, module: as `down_projections` takes them.

    Raises ValueError where a layer has no such place, and says why.
    """
    if ":" in hook:
        return [_named(model, hook.replace("{layer}", str(layer))) for layer in range(n_layers)]
    blocks = list(layer_stack(model, n_layers))
    if hook in ("residual_in", "residual_out"):
        return [Tap(block, "input" if hook == "residual_in" else "output") for block in blocks]
    downs = down_projections(model, n_layers, n_neurons, module)
    if hook == "mlp_in":
        return [Tap(_up_projection(block, down, layer), "input")
                for layer, (block, down) in enumerate(zip(blocks, downs))]  # fmt: skip
    recorded = _run(model, blocks)
    return [_Layer(number, block, down, calls).tap(hook)
            for number, (block, down, calls) in enumerate(zip(blocks, downs, recorded))]  # fmt: skip


def _named(model: nn.Module, place: str) -> Tap:
    name, _, side = place.rpartition(":")
    module = submodule(model, name)
    if module is None:
        first = [n for n, _ in model.named_modules() if ".0." in f".{n}."]
        raise ValueError(f"features.hook: the model has no module {name}; layer 0 has {', '.join(first)}")
    return Tap(module, "input" if side == "input" else "output")


def _up_projection(block: nn.Module, down: nn.Module, layer: int) -> nn.Module:
    """The first of the projections that an MLP's input goes into: they share their parent with the down projection."""
    names: dict[nn.Module, str] = {module: name for name, module in block.named_modules()}
    parent, (n_neurons, width) = names[down].rpartition(".")[0], projection_shape(down) or (0, 0)
    for module, name in names.items():
        if name.rpartition(".")[0] == parent and projection_shape(module) in (
            (width, n_neurons),
            (width, 2 * n_neurons),
        ):
            return module
    raise ValueError(
        f"layer {layer} has no projection of the MLP beside {names[down]} that reads {width} numbers: name a module and"
        " its side as features.hook"
    )


# --- a trial -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Call:
    """A module's run in the trial: what it read and wrote, (T, width), as it was then."""

    module: nn.Module
    read_TD: Tensor
    wrote_TD: Tensor


@torch.inference_mode()
def _run(model: nn.Module, blocks: list[nn.Module]) -> list[list[_Call]]:
    """Calls of every block's modules, the block's own the last one, in the order in which they ended."""
    recorded: list[list[_Call]] = [[] for _ in blocks]
    rows = len(TRIAL[0])

    def copied(value: Any) -> Tensor | None:
        value = value[0] if isinstance(value, tuple) and value else value
        if not isinstance(value, Tensor) or value.numel() % rows or value.ndim < 2:
            return None
        return value.detach().reshape(rows, -1).clone()  # some layers add up in place

    def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, layer: int) -> None:
        read_TD, wrote_TD = copied(args or kwargs.get("hidden_states")), copied(out)
        if read_TD is not None and wrote_TD is not None:
            recorded[layer].append(_Call(module, read_TD, wrote_TD))

    handles = [
        module.register_forward_hook(
            lambda module, args, kwargs, out, layer=layer: record(module, args, kwargs, out, layer), with_kwargs=True
        )
        for layer, block in enumerate(blocks)
        for module in block.modules()
    ]
    try:
        device = next(model.parameters()).device
        model(input_ids=torch.tensor(TRIAL, device=device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return recorded


@dataclass(slots=True)
class _Layer:
    """A layer, and what its modules did in the trial."""

    number: int
    block: nn.Module
    down: nn.Module
    calls: list[_Call]

    def tap(self, hook: str) -> Tap:
        """The place of residual_mid, mlp_out, attention_out or attention_z. Raises ValueError where it has none."""
        attention, mlp, after = self._parts()
        if hook == "residual_mid":
            if after is None:
                raise ValueError(
                    f"layer {self.number}: features.hook is residual_mid, but attention and MLP of this model work side"
                    " by side: there is nothing between them; take residual_in or residual_out"
                )
            return Tap(after.module, "input")
        if hook == "mlp_out":
            return Tap(mlp.module, "output")
        return Tap(attention.module, "output") if hook == "attention_out" else self._attention_z(attention)

    def _parts(self) -> tuple[_Call, _Call, _Call | None]:
        """What attention adds, what the MLP adds, and the first to read what is between them, if there is that."""
        whole, inner = self.calls[-1], self.calls[:-1]
        before_TD, after_TD = whole.read_TD, whole.wrote_TD
        terms = [call for call in inner if call.wrote_TD.shape == before_TD.shape and bool(call.wrote_TD.any())]
        of_mlp = self._of_mlp(terms)
        others = [call for call in terms if not any(call is one for one in of_mlp)]
        readers = [c for c in inner if c.read_TD.shape == before_TD.shape and not torch.equal(c.read_TD, before_TD)]
        found: list[tuple[float, int, tuple[_Call, _Call, _Call | None]]] = []
        for mlp in of_mlp:
            for reader in readers:
                if (apart := _apart(after_TD, reader.read_TD, mlp.wrote_TD)) <= STEPS:
                    for call in others:
                        if (one := _apart(reader.read_TD, before_TD, call.wrote_TD)) <= STEPS:
                            found.append((apart + one, len(found), (call, mlp, reader)))
        for mlp in of_mlp if not found else []:
            for call in others:
                if (one := _apart(after_TD, before_TD, call.wrote_TD, mlp.wrote_TD)) <= STEPS:
                    found.append((one, len(found), (call, mlp, None)))
        if not found or whole.module is not self.block:
            raise ValueError(
                f"layer {self.number}: no modules were found whose outputs add up to what the layer writes, so nothing"
                " tells where attention and MLP meet the residual stream; name a module and its side as features.hook"
            )
        return min(found, key=lambda one: one[:2])[2]

    def _of_mlp(self, terms: list[_Call]) -> list[_Call]:
        """Of some calls the down projection's, and those of modules that only pass its output on, such as a norm."""
        found: list[_Call] = []
        for call in terms:
            passes = any(torch.equal(call.read_TD, one.wrote_TD) for one in found)
            if call.module is self.down or passes or any(module is self.down for module in call.module.modules()):
                found.append(call)
        return found

    def _attention_z(self, attention: _Call) -> Tap:
        """The input of attention's output projection: the last one to end before what attention adds is there."""
        until = next(i for i, call in enumerate(self.calls) if call is attention)
        width = attention.wrote_TD.shape[1]
        for call in reversed(self.calls[: until + 1]):
            shape = projection_shape(call.module)
            if shape and shape[1] == width and call.module is not self.down:
                return Tap(call.module, "input")
        raise ValueError(f"layer {self.number}: no output projection of attention was found; name it as features.hook")


def _apart(sum_TD: Tensor, *terms: Tensor) -> float:
    """How far terms are from adding up: the largest difference, in steps of the dtype at the terms' own size."""
    term_XTD = torch.stack(terms).float()
    steps_TD = torch.finfo(sum_TD.dtype).eps * term_XTD.abs().sum(0) + torch.finfo(torch.float32).tiny
    return float(((sum_TD.float() - term_XTD.sum(0)).abs() / steps_TD).max())
