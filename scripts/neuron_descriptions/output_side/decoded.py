"""What features that are no neurons write, as `written` says it of neurons: latents by their decoder rows, directions
by the least change of what is read that raises the feature by 1, heads' projections on directions likewise.

Where a dictionary reads and writes is told by numbers, as in features/hooks.py: a short text runs through the model,
and a module that the configuration names is at the known place where the same numbers were seen.

T tokens, D the residual stream, X whatever a place holds, F features asked for, S features of a layer, H heads, C
numbers of a head, I neurons of a layer.
"""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import torch
from torch import Tensor, nn

from neuron_descriptions.config.features import (
    HOOKS,
    DirectionFeatures,
    HeadFeatures,
    MlpNeuronFeatures,
    PlantedFeatures,
    TranscoderFeatures,
)
from neuron_descriptions.features.decoders import MLP_MODULE, least_changes, read_decoder
from neuron_descriptions.features.dictionaries import read_dictionary, read_directions
from neuron_descriptions.features.hooks import TRIAL, find_taps
from neuron_descriptions.features.neurons import Tap, down_projections, projection_shape
from neuron_descriptions.output_side.writing import WholeModel, Writers, folded, written

IN_STREAM = ("residual_in", "residual_mid", "residual_out", "mlp_out", "attention_out")
_NEURONS, _ATTENTION_MODULE = "neurons", "attention_module"


def open_decoded(model: Any, subject: WholeModel) -> Writers:
    """See `open_writers`. Raises ValueError where nothing tells what is added to the residual stream."""
    section, stream = subject.features, Stream(model, subject)
    assert not isinstance(section, MlpNeuronFeatures | PlantedFeatures)  # checked with the configuration
    if isinstance(section, HeadFeatures):
        stream.taps("attention_z")
        return lambda layer, features: stream.of_heads(layer, section.count, subject.files[layer])[features]
    for layer in subject.files if not isinstance(section, TranscoderFeatures) else []:
        stream.place(layer, section.hook)  # before any work

    def rows(layer: int, features: list[int]) -> Tensor:
        if isinstance(section, DirectionFeatures):
            directions_SX = read_dictionary(subject.files[layer], layer, section).encoder_SD
            return stream.reached(layer, section.hook, least_changes(directions_SX)[features])
        decoder = read_decoder(subject.files[layer], layer, section)
        return stream.reached(layer, decoder.place, decoder.rows_SD[features])

    return rows


class Stream:
    """The ways from a layer's places to the residual stream."""

    def __init__(self, model: Any, subject: WholeModel):
        self.model, self.subject = model, subject
        self.width = int(model.get_output_embeddings().weight.shape[1])
        self._taps: dict[str, list[Tap]] = {}

    def taps(self, hook: str) -> list[Tap]:
        """A hook point's, of every layer. Raises ValueError as `find_taps` does."""
        if hook not in self._taps:
            n_layers, n_neurons, module = self.subject.shape
            self._taps[hook] = find_taps(self.model, n_layers, n_neurons, hook, module)
        return self._taps[hook]

    def reached(self, layer: int, place: str, rows_FX: Tensor) -> Tensor:
        """What is added to the stream (F, D), float32, where rows are added at a place: through the projection that
        reads it, and with the weight of a norm that follows; that norm's scale is left out like the final norm's.
        Raises ValueError where the place does not write to the stream, or the rows have another width."""
        known = self.place(layer, place)
        device = self.model.get_output_embeddings().weight.device
        rows_FX = rows_FX.to(device).float()
        if known in IN_STREAM:
            self._check_width(layer, place, rows_FX, self.width)
            return rows_FX
        if known == _NEURONS:
            matrix_ID = written(self.model, self._down(layer))
            self._check_width(layer, place, rows_FX, len(matrix_ID))
            return rows_FX @ matrix_ID
        if known == "attention_z":
            matrix_ID = self._projection(layer)
            self._check_width(layer, place, rows_FX, len(matrix_ID))
            rows_FX = rows_FX @ matrix_ID
        self._check_width(layer, place, rows_FX, self.width)
        norm = self._norm_behind(layer, "mlp_out" if known == MLP_MODULE else "attention_out")
        return rows_FX if norm is None else folded(rows_FX, norm)

    def of_heads(self, layer: int, count: int, path: str) -> Tensor:
        """Of heads' projections on directions: what the least change of a head's own numbers that raises each by 1 adds
        to the stream, (H * S, D). Raises ValueError where the subject has not `count` of them."""
        heads = self.model.config.get_text_config().num_attention_heads
        matrix_HCD = self._projection(layer).unflatten(0, (heads, -1))
        directions_SD = read_directions(path).to(matrix_HCD.device)
        self._check_width(layer, "attention_z", directions_SD, self.width)
        if heads * len(directions_SD) != count:
            raise ValueError(
                f"features.count is {count}, but the subject has {heads} heads times {len(directions_SD)} directions in"
                " a layer; correct it"
            )
        read_HSC = torch.einsum("hcd,sd->hsc", matrix_HCD, directions_SD)
        changes_HSC = least_changes(read_HSC.flatten(0, 1)).view_as(read_HSC)
        rows_XD = torch.einsum("hsc,hcd->hsd", changes_HSC, matrix_HCD).flatten(0, 1)
        norm = self._norm_behind(layer, "attention_out")
        return rows_XD if norm is None else folded(rows_XD, norm)

    def place(self, layer: int, hook: str) -> str:
        """The known place that a hook point is. Raises ValueError where it is none from which something reaches the
        stream."""
        if hook in (*IN_STREAM, "attention_z", MLP_MODULE):
            return hook
        named = self.taps(hook)[layer] if hook not in HOOKS else None
        if named is not None:
            candidates = self._places(layer)
            seen = _run(self.model, {"": named} | candidates)
            for place in candidates:
                if seen[""].shape == seen[place].shape and torch.equal(seen[""], seen[place]):
                    return place
        raise ValueError(
            f"output_side: layer {layer}: nothing tells what is added to the residual stream by what is added at"
            f" features.hook, {hook}; known are {', '.join(IN_STREAM)}, attention_z and modules that read or write the"
            " same numbers; leave output_side out"
        )

    def _places(self, layer: int) -> dict[str, Tap]:
        """Known places of a layer; what a model has not is left out."""
        found: dict[str, Tap] = {}
        for hook in (*IN_STREAM, "attention_z"):
            with suppress(ValueError):
                found[hook] = self.taps(hook)[layer]
        found |= {_NEURONS: Tap(self._down(layer), "input"), MLP_MODULE: Tap(self._down(layer), "output")}
        if "attention_z" in found:
            found[_ATTENTION_MODULE] = Tap(found["attention_z"].module, "output")
        return found

    def _down(self, layer: int) -> nn.Module:
        return down_projections(self.model, *self.subject.shape)[layer]

    def _projection(self, layer: int) -> Tensor:
        """Attention's output projection, (I, D) float32."""
        module = self.taps("attention_z")[layer].module
        weight = module.get_parameter("weight").detach().float()
        return weight.T if isinstance(module, nn.Linear) else weight

    def _norm_behind(self, layer: int, hook: str) -> nn.Module | None:
        """The norm between a projection and what is added to the stream; None where there is none."""
        added = self.taps(hook)[layer].module
        projection = self._down(layer) if hook == "mlp_out" else self.taps("attention_z")[layer].module
        if added is projection or any(module is projection for module in added.modules()):
            return None
        if set(dict(added.named_parameters())) - {"weight", "bias"} or projection_shape(added):
            raise ValueError(f"output_side: layer {layer}: {type(added).__name__}, behind what is written, is no norm")
        return added

    def _check_width(self, layer: int, place: str, rows_FX: Tensor, width: int) -> None:
        if rows_FX.shape[1] != width:
            raise ValueError(
                f"output_side: layer {layer}: what is written has {rows_FX.shape[1]} numbers, but the subject has"
                f" {width} at {place}; take features of this model"
            )


@torch.inference_mode()
def _run(model: Any, taps: dict[str, Tap]) -> dict[str, Tensor]:
    """What is seen at each place in the trial, (T, X)."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any, Any], None]:
        def kept(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            side = taps[name].side
            value = out if side == "output" else args[0] if args else kwargs.get("hidden_states")
            value = value[0] if isinstance(value, tuple) else value
            found[name] = value.detach().reshape(len(TRIAL[0]), -1).clone()

        return kept

    with ExitStack() as watching:
        for name, tap in taps.items():
            hook = tap.module.register_forward_hook(keep(name), with_kwargs=True)
            watching.callback(hook.remove)
        device = next(model.parameters()).device
        model(input_ids=torch.tensor(TRIAL, device=device), use_cache=False)
    return found
