"""The gates of gated MLPs: of a neuron `act(gate) * up` the number `gate`, before its activation function.

Which projection writes the gates is not told by names, which every family has its own of, but by numbers: a short text
runs through the model, and the one is taken whose output, through the MLP's activation function and times another
one's, is what the down projection read.

I neurons of a layer, N tokens of a batch one after the other.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from neuron_descriptions.features.neurons import down_projections, projection_shape

TRIAL = [[1, 2, 3]]  # ids that every vocabulary has
# How far a product may be from what was read, in steps of the dtype.
STEPS = 4


class NoGateError(ValueError):
    """A layer's MLP has no gate that is found."""


@dataclass(slots=True, frozen=True)
class Gate:
    """Where a layer's gates are written: by a module, or as a part of what it writes."""

    module: nn.Module
    first: int
    n_neurons: int

    def of(self, wrote: Tensor) -> Tensor:
        """Gates (N, I) in what the module wrote."""
        return wrote.reshape(-1, wrote.shape[-1])[:, self.first : self.first + self.n_neurons]


@dataclass(slots=True)
class Gates:
    """Gates of some layers, of the batch that is running. A context: inside it, modules are watched."""

    layers: dict[int, Gate]
    _wrote: dict[int, Tensor] = field(default_factory=dict)
    _watching: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "Gates":
        for layer, gate in self.layers.items():
            handle = gate.module.register_forward_hook(
                lambda module, args, out, layer=layer: self._wrote.__setitem__(layer, out)
            )
            self._watching.callback(handle.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._watching.close()
        self._wrote.clear()

    def take(self, layer: int) -> Tensor:
        """Gates (N, I) of a layer, once after its gate projection ran."""
        return self.layers[layer].of(self._wrote.pop(layer))


def find_gates(
    model: nn.Module, layers: Iterable[int], n_layers: int, n_neurons: int, module: str | None = None
) -> Gates:
    """The gates of some layers. n_layers, n_neurons, module: as `down_projections` takes them, and raises. Raises
    NoGateError where a layer's MLP has no gate, or none is found."""
    downs = down_projections(model, n_layers, n_neurons, module)
    names = {module: name for name, module in model.named_modules()}
    parents = {layer: model.get_submodule(names[downs[layer]].rpartition(".")[0]) for layer in layers}
    beside = {layer: _beside(parent, downs[layer], n_neurons) for layer, parent in parents.items()}
    read, wrote = _run(model, {layer: downs[layer] for layer in parents}, beside)
    return Gates(
        {
            layer: _gate(layer, parent, read[layer], [(one, wrote[one]) for one in beside[layer] if one in wrote])
            for layer, parent in parents.items()
        }
    )


def _beside(parent: nn.Module, down: nn.Module, n_neurons: int) -> list[nn.Module]:
    """Projections beside the down projection that write a number for each neuron, or two."""
    return [
        one
        for one in parent.children()
        if one is not down and (projection_shape(one) or (0, 0))[1] in (n_neurons, 2 * n_neurons)
    ]


@torch.inference_mode()
def _run(
    model: nn.Module, downs: dict[int, nn.Module], beside: dict[int, list[nn.Module]]
) -> tuple[dict[int, Tensor], dict[nn.Module, Tensor]]:
    """What down projections read in a trial (N, I), by layer, and what the ones beside them wrote."""
    read: dict[int, Tensor] = {}
    wrote: dict[nn.Module, Tensor] = {}
    rows = len(TRIAL[0])
    with ExitStack() as watching:
        for layer, down in downs.items():
            hook = down.register_forward_pre_hook(
                lambda module, args, layer=layer: read.__setitem__(layer, args[0].reshape(rows, -1).clone())
            )
            watching.callback(hook.remove)
            for one in beside[layer]:
                kept = one.register_forward_hook(
                    lambda module, args, out: wrote.__setitem__(module, out.reshape(rows, -1).clone())
                )
                watching.callback(kept.remove)
        device = next(model.parameters()).device
        model(input_ids=torch.tensor(TRIAL, device=device), use_cache=False)
    return read, wrote


def _gate(layer: int, parent: nn.Module, read_NI: Tensor, wrote: list[tuple[nn.Module, Tensor]]) -> Gate:
    """The one among what projections wrote, in halves where it is twice as wide. Raises NoGateError where there is not
    exactly one."""
    n = read_NI.shape[1]
    places = [Gate(module, first, n) for module, wrote_N in wrote for first in range(0, wrote_N.shape[1], n)]
    terms = [(place, place.of(dict(wrote)[place.module])) for place in places]
    functions = [one for one in parent.children() if not list(one.parameters())]
    found = {
        gate
        for gate, gate_NI in terms
        for other, up_NI in terms
        for function in functions
        if other != gate and _same(function(gate_NI) * up_NI, read_NI)
    }
    if len(found) != 1:
        raise NoGateError(
            f"layer {layer}: {'no' if not found else 'more than one'} projection of its {type(parent).__name__} is the"
            " gate of its neurons (act(gate) * up is what the down projection reads): set exemplars.gates: false"
        )
    return found.pop()


def _same(product_NI: Tensor, read_NI: Tensor) -> bool:
    steps_NI = STEPS * torch.finfo(read_NI.dtype).eps * read_NI.float().abs() + torch.finfo(torch.float32).tiny
    return bool(((product_NI.float() - read_NI.float()).abs() <= steps_NI).all())
