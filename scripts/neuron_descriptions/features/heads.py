"""Attention heads: what each writes into the residual stream.

B sequences of a batch, T tokens, H heads, C numbers of a head, D width of the residual stream, S directions.
"""

import torch
from torch import Tensor, nn

from neuron_descriptions.features.hooks import find_taps
from neuron_descriptions.features.neurons import Tap, projection_shape


class AttentionHeads:
    """The norm of what a head writes, `z_h W_h` of attention's output projection W, or projections of it on given
    directions: feature `head * directions + direction`. A bias of the projection belongs to no head, and a norm that
    follows it acts on all of them together: both are left out."""

    def __init__(
        self, n_layers: int, n_neurons: int, count: int, directions: dict[int, Tensor], module: str | None = None
    ):
        """n_layers, n_neurons, module: the subject's; count: features in a layer; directions: (S, D) by layer, none for
        norms."""
        self.count, self.directions = count, directions
        self._subject = n_layers, n_neurons, module
        self._read_HCX: dict[int, Tensor] = {}  # by layer: what a head's numbers are multiplied with
        self._weights: list[nn.Module] = []
        self._heads = 0

    @property
    def one_sided(self) -> bool:
        """A norm is never negative."""
        return not self.directions

    def taps(self, model: nn.Module) -> list[Tap]:
        """Each layer's output projection of attention, its input. Raises ValueError where the model has another number
        of heads than the config says."""
        n_layers, n_neurons, module = self._subject
        found = find_taps(model, n_layers, n_neurons, "attention_z", module)
        config = model.config.get_text_config()  # type: ignore[union-attr,operator]
        self._heads, self._weights = config.num_attention_heads, [tap.module for tap in found]
        per_head = len(next(iter(self.directions.values()))) if self.directions else 1
        if self.count != self._heads * per_head:
            times = f" times {per_head} directions" if self.directions else ""
            raise ValueError(
                f"features.count is {self.count}, but the subject has {self._heads} heads{times} in a layer; correct it"
            )
        return found

    def features(self, layer: int, seen_BTD: Tensor) -> Tensor:
        """Computed in float32 and rounded once to the model's dtype."""
        if layer not in self._read_HCX:
            self._read_HCX[layer] = self._matrix(layer).to(seen_BTD.device)
        read_HCX = self._read_HCX[layer]
        z_HNC = seen_BTD.flatten(0, -2).unflatten(1, (self._heads, -1)).transpose(0, 1).float()
        written_HNX = z_HNC @ read_HCX
        found_HN_: Tensor = written_HNX if self.directions else written_HNX.norm(dim=2, keepdim=True)
        return found_HN_.transpose(0, 1).flatten(1).to(seen_BTD.dtype).view(*seen_BTD.shape[:-1], -1)

    def _matrix(self, layer: int) -> Tensor:
        """(H, C, S) onto the directions; for norms (H, C, C): R of W_h' = Q R, which writes with the same norm."""
        module = self._weights[layer]
        _, width = projection_shape(module)  # type: ignore[misc]
        weight = module.get_parameter("weight").detach()
        weight_ID = (weight.T if isinstance(module, nn.Linear) else weight).cpu()
        weight_HCD: Tensor = weight_ID.double().unflatten(0, (self._heads, -1))
        if not self.directions:
            factor_HCC: Tensor = torch.linalg.qr(weight_HCD.transpose(1, 2)).R
            return factor_HCC.transpose(1, 2).float()
        directions_SD = self.directions[layer]
        if directions_SD.shape[1] != width:
            raise ValueError(
                f"layer {layer}: the directions have {directions_SD.shape[1]} numbers, but a head writes {width}; take"
                " directions of this model's residual stream"
            )
        return (weight_HCD @ directions_SD.double().T).float()
