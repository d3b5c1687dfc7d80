"""Feature sources: which numbers of a model are described. MLP neurons are one; others are classes with the same
members, listed in opening.py, and no later stage needs to know.

B sequences of a batch, T tokens, I features of a layer, D whatever a module reads or writes.
"""

from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Literal, Protocol

from torch import Tensor, nn


@dataclass(slots=True, frozen=True)
class Tap:
    """Where a layer's features are read: what goes into a module, or what comes out of it."""

    module: nn.Module
    side: Literal["input", "output"]


class FeatureSource(Protocol):
    """What the harvest asks of a kind of feature."""

    @property
    def one_sided(self) -> bool:
        """Whether no feature is ever negative: then there is nothing of the negative sign, and 0 is silence."""

    def taps(self, model: nn.Module) -> list[Tap]:
        """One tap per layer, in the order of the forward pass. Raises ValueError where the model has none."""

    def features(self, layer: int, seen_BTD: Tensor) -> Tensor:
        """Features (B, T, I), signed, from what the layer's tap saw and in its dtype; a token's depend on that token
        alone, but for those that read tokens instead of activations. Raises ValueError where the tap's D is not what
        the features are made for."""


@dataclass(slots=True, frozen=True)
class MlpNeurons:
    """MLP neurons: what a layer's down projection reads, `act(gate) * up` or `act(up)`."""

    n_layers: int
    n_neurons: int
    module: str | None = None  # such as "model.layers.{layer}.mlp.down_proj"; None: found by its shape
    one_sided: bool = False

    def taps(self, model: nn.Module) -> list[Tap]:
        """Each layer's down projection, its input."""
        projections = down_projections(model, self.n_layers, self.n_neurons, self.module)
        return [Tap(projection, "input") for projection in projections]

    def features(self, layer: int, seen_BTD: Tensor) -> Tensor:
        """What the down projection reads, as it is."""
        return seen_BTD


def down_projections(model: nn.Module, n_layers: int, n_neurons: int, pattern: str | None = None) -> list[nn.Module]:
    """Each layer's MLP down projection, whose input is the neurons' activations.

    Found in the model's stack of layers by its shape, (neurons) -> (hidden); where an attention projection has the
    same shape, by its company: an MLP's down projection shares its parent with one or two up projections and with
    nothing else. Or by name, where `pattern` is given. Raises ValueError that lists what was seen.
    """
    if pattern is not None:
        return [_named(model, pattern.format(layer=layer), n_neurons) for layer in range(n_layers)]
    return [_down_projection(block, layer, n_neurons) for layer, block in enumerate(layer_stack(model, n_layers))]


def layer_stack(model: nn.Module, n_layers: int) -> nn.ModuleList:
    """The model's stack of so many layers. Raises ValueError that lists what stacks there are."""
    stacks = {n: m for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) > 1}
    # Of several stacks of that depth, the one beside the token embedding: a vision tower may be as deep.
    beside = _token_embedding(model)
    fitting = sorted((n for n, m in stacks.items() if len(m) == n_layers), key=lambda n: -_shared_parts(n, beside))
    stack = stacks[fitting[0]] if fitting else None
    if stack is None:
        lengths = ", ".join(f"{name}: {len(m)}" for name, m in stacks.items()) or "none"
        raise ValueError(f"the model has no stack of {n_layers} layers (stacks: {lengths}); correct subject.layers")
    return stack


def _token_embedding(model: nn.Module) -> str:
    """Its name; empty where the model does not tell."""
    try:
        embedding = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        return ""
    return next((name for name, module in model.named_modules() if module is embedding), "")


def _shared_parts(name: str, other: str) -> int:
    """Parts of a module's name that are another's too, from the first on."""
    pairs = zip(name.split("."), other.split("."))
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _down_projection(block: nn.Module, layer: int, n_neurons: int) -> nn.Module:
    shapes = {name: shape for name, module in block.named_modules() if (shape := projection_shape(module))}
    inputs = {shape[0] for shape in shapes.values()}
    hidden = inputs - {n_neurons} or inputs  # a layer whose MLP is as wide as its residual stream has one width only
    fits = [name for name, (reads, writes) in shapes.items() if reads == n_neurons and writes in hidden]
    if len(fits) > 1:
        fits = [name for name in fits if _in_mlp(name, shapes, n_neurons)]
    experts = [name for name, weights in block.named_parameters() if weights.ndim == 3 and "conv" not in name]
    if len(fits) != 1 and experts:
        raise ValueError(
            f"layer {layer} is a mixture of experts ({experts[0]} has {block.get_parameter(experts[0]).shape[0]} of"
            " them): neurons of experts, which read only some of the tokens, are not supported; take a dense model"
        )
    if len(fits) == 1 and any(
        isinstance(m, nn.Conv1d) for m in block.get_submodule(fits[0].rpartition(".")[0]).children()
    ):
        raise ValueError(f"layer {layer} is a state-space layer ({fits[0]}): it has no MLP neurons to describe")
    if len(fits) != 1:
        seen = ", ".join(f"{name} {reads}->{writes}" for name, (reads, writes) in shapes.items()) or "no projection"
        raise ValueError(
            f"layer {layer} has {len(fits)} modules that could be the down projection of {n_neurons} neurons."
            f" Seen: {seen}. Correct subject.neurons_per_layer, or name the module, with {{layer}} for the layer's"
            " number, as subject.module"
        )
    return block.get_submodule(fits[0])


def _in_mlp(name: str, shapes: dict[str, tuple[int, int]], n_neurons: int) -> bool:
    parent = name.rpartition(".")[0]
    siblings = [shape for other, shape in shapes.items() if other != name and other.rpartition(".")[0] == parent]
    up = (shapes[name][1], n_neurons)
    return siblings in ([up], [up, up], [(up[0], 2 * up[1])])


def _named(model: nn.Module, name: str, n_neurons: int) -> nn.Module:
    module = submodule(model, name)
    if module is not None:
        shape = projection_shape(module)
        if not shape or shape[0] != n_neurons:
            raise ValueError(f"subject.module: {name} has shape {shape}, not {n_neurons} inputs")
        return module
    seen = ", ".join(
        f"{n} {s[0]}->{s[1]}" for n, m in model.named_modules() if (s := projection_shape(m)) and ".0." in f".{n}"
    )
    raise ValueError(f"subject.module: the model has no module {name}; layer 0 has {seen}")


def submodule(model: nn.Module, name: str) -> nn.Module | None:
    """A module by its name as in the full model, which also holds without its head, where the first part is missing;
    None where there is none."""
    for candidate in (name, name.partition(".")[2]):
        with suppress(AttributeError):
            if candidate:
                return model.get_submodule(candidate)
    return None


def projection_shape(module: nn.Module) -> tuple[int, int] | None:
    """(inputs, outputs) of a projection: torch's Linear, or GPT-2's Conv1D with its transposed weight."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D":
        inputs, outputs = module.get_parameter("weight").shape
        return inputs, outputs
    return None
