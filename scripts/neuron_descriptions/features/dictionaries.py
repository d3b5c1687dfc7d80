"""Features that a matrix gives: latents of sparse autoencoders and transcoders, projections on directions.

One form inside, whatever they were published in (converting.py): a safetensors file per layer with `encoder` (S, D),
`bias` (S), where it has them `shift` (D), which is subtracted from what is read, and `threshold` (S); everything in
float32; what else there is to know in its metadata.

B sequences of a batch, T tokens, N tokens in a row, D width of what is read, S features of a layer.
"""

import json
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from neuron_descriptions.common.storage import whole
from neuron_descriptions.config.features import MatrixFeatures
from neuron_descriptions.features.hooks import find_taps
from neuron_descriptions.features.neurons import Tap

FORMAT = "1"
BLOCK = 2**24  # latents that are held in float32 at a time: 64 MiB
Normalization = Literal["none", "constant_norm_rescale", "layer_norm"]


@dataclass(slots=True, frozen=True)
class About:
    """What a dictionary is, beside its numbers."""

    kind: Literal["autoencoder", "transcoder", "directions"]
    activation: Literal["identity", "relu", "topk", "groupmax"] = "relu"
    """`relu` with a threshold is a JumpReLU: what does not exceed the threshold is 0."""
    k: int | None = None
    """Of `topk`: that many of a token's features stay; of `groupmax`: the largest of each of that many groups."""
    normalization: Normalization = "none"
    """What is done to what is read, before `shift` is subtracted."""
    form: str = ""
    """How it was published."""
    hook: str | None = None
    """Where it reads, as it says itself, in this workflow's terms."""
    layer: int | None = None
    """Of which layer, as it says itself."""
    model: str | None = None
    """Of which model, as it says itself."""


@dataclass(slots=True)
class Dictionary:
    """A layer's."""

    about: About
    encoder_SD: Tensor
    bias_S: Tensor
    shift_D: Tensor | None = None
    threshold_S: Tensor | None = None
    path: str = ""

    def encode(self, seen_ND: Tensor) -> Tensor:
        """Features (N, S) float32 of what was read (N, D), float32.

        As their authors have them: SAELens (Bloom et al. 2024), JumpReLU (Rajamanoharan et al. 2024), top-k (Gao et
        al. 2024).
        """
        if self.about.normalization == "constant_norm_rescale":
            seen_ND = seen_ND * (seen_ND.shape[1] ** 0.5 / seen_ND.norm(dim=1, keepdim=True))
        elif self.about.normalization == "layer_norm":
            seen_ND = seen_ND - seen_ND.mean(1, keepdim=True)
            seen_ND = seen_ND / (seen_ND.std(1, keepdim=True) + 1e-5)
        if self.shift_D is not None:
            seen_ND = seen_ND - self.shift_D
        found_NS = torch.addmm(self.bias_S, seen_ND, self.encoder_SD.T)
        if self.about.activation == "identity":
            return found_NS
        if self.threshold_S is not None:
            found_NS = found_NS * (found_NS > self.threshold_S)
        found_NS = found_NS.relu_()
        if self.about.k is None:
            return found_NS
        if self.about.activation == "topk":
            value_NK, place_NK = found_NS.topk(self.about.k, dim=1, sorted=False)
        else:
            value_NK, place_NK = found_NS.unflatten(1, (self.about.k, -1)).max(2)
            size = found_NS.shape[1] // self.about.k
            place_NK = place_NK + size * torch.arange(self.about.k, device=place_NK.device)
        return torch.zeros_like(found_NS).scatter_(1, place_NK, value_NK)

    def to(self, device: torch.device) -> "Dictionary":
        """The same on a device."""
        shift_D, threshold_S = (t if t is None else t.to(device) for t in (self.shift_D, self.threshold_S))
        moved = self.encoder_SD.to(device), self.bias_S.to(device)
        return Dictionary(self.about, *moved, shift_D, threshold_S, self.path)


def write_dictionary(dictionary: Dictionary, output: str) -> None:
    """Write a layer's features in the form that jobs read."""
    named = {"encoder": dictionary.encoder_SD, "bias": dictionary.bias_S}
    named |= {"shift": dictionary.shift_D} if dictionary.shift_D is not None else {}
    named |= {"threshold": dictionary.threshold_S} if dictionary.threshold_S is not None else {}
    tensors = {name: tensor.float().contiguous() for name, tensor in named.items()}
    # In one piece, since the library writes several in an order that changes from time to time.
    about = json.dumps({"format": FORMAT, **asdict(dictionary.about)}, sort_keys=True)
    with whole(output) as part:
        save_file(tensors, part, metadata={"dictionary": about})


def read_dictionary(path: str, layer: int, settings: MatrixFeatures) -> Dictionary:
    """A layer's features, converted. settings: the config's `features`. Raises ValueError where the file holds none,
    or others than these say."""
    found = _read(path)
    check(found, layer, settings)
    return found


def _read(path: str) -> Dictionary:
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["dictionary"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        if about.pop("format") != FORMAT:
            raise ValueError("it was written by another version")
        return Dictionary(About(**about), tensors["encoder"], tensors["bias"], tensors.get("shift"),
                          tensors.get("threshold"), path)  # fmt: skip
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no features of a layer ({error}); delete it and run again") from None


def check(dictionary: Dictionary, layer: int, settings: MatrixFeatures) -> None:
    """Raises ValueError where a dictionary is not what the config's `features` says of it, or as `check_numbers`."""
    about, said = dictionary.about, dictionary.path
    count = len(dictionary.encoder_SD)
    if about.kind != settings.kind:
        raise ValueError(f"features.kind is {settings.kind}, but {said} holds {_a(about.kind)}; correct it")
    if count != settings.count:
        raise ValueError(f"features.count is {settings.count}, but {said} has {count} features; correct it")
    if about.hook is not None and about.hook != settings.hook:
        raise ValueError(f"features.hook is {settings.hook}, but {said} was made for {about.hook}; correct it")
    if about.layer is not None and str(about.layer) != str(layer):
        raise ValueError(f"{said} was made for layer {about.layer}, but is named for layer {layer}; correct"
                         " features.path or neurons.layers")  # fmt: skip
    check_numbers(dictionary)


def check_numbers(dictionary: Dictionary) -> None:
    """Raises ValueError where no activation can be computed by a dictionary."""
    about, said, count = dictionary.about, dictionary.path, len(dictionary.encoder_SD)
    if about.activation in ("topk", "groupmax"):
        if not isinstance(about.k, int) or isinstance(about.k, bool) or about.k < 1:
            raise ValueError(f"{said} keeps k of a token's features, but its k is {about.k!r}, not a number above 0")
        if about.k > count:
            raise ValueError(f"{said} keeps {about.k} of a token's features, but has only {count}")
        if about.activation == "groupmax" and count % about.k:
            raise ValueError(f"{said} has {count} features, which do not make {about.k} groups of the same size")
    tensors = [dictionary.encoder_SD, dictionary.bias_S, dictionary.shift_D, dictionary.threshold_S]
    if not all(tensor is None or bool(tensor.isfinite().all()) for tensor in tensors):
        raise ValueError(f"{said} has numbers that are not finite; fetch it again")


def _a(kind: str) -> str:
    return {"autoencoder": "an autoencoder", "transcoder": "a transcoder"}.get(kind, kind)


class DictionaryFeatures:
    """Features of dictionaries, one for each layer that has one."""

    def __init__(
        self, dictionaries: dict[int, Dictionary], n_layers: int, n_neurons: int, hook: str, module: str | None
    ):
        """n_layers, n_neurons, module: the subject's; hook: where all of them read."""
        self.dictionaries, self.hook = dictionaries, hook
        self._subject = n_layers, n_neurons, module

    @property
    def one_sided(self) -> bool:
        """Whether no feature is ever negative."""
        return all(dictionary.about.activation != "identity" for dictionary in self.dictionaries.values())

    def taps(self, model: nn.Module) -> list[Tap]:
        """The hook point of every layer."""
        n_layers, n_neurons, module = self._subject
        return find_taps(model, n_layers, n_neurons, self.hook, module)

    def features(self, layer: int, seen_BTD: Tensor) -> Tensor:
        """Computed in float32, whatever the model computes in, and rounded once to its dtype."""
        dictionary = self.dictionaries[layer]
        width = dictionary.encoder_SD.shape[1]
        if seen_BTD.shape[-1] != width:
            raise ValueError(
                f"layer {layer}: {dictionary.path} reads {width} numbers, but the subject has {seen_BTD.shape[-1]} at"
                f" {self.hook}; take the dictionary of this model, or another features.hook"
            )
        if dictionary.encoder_SD.device != seen_BTD.device:
            dictionary = self.dictionaries[layer] = dictionary.to(seen_BTD.device)
        seen_ND, n_features = seen_BTD.flatten(0, -2), len(dictionary.encoder_SD)
        # Tokens in blocks: of 131,072 latents a batch of 3,000 tokens takes 1.6 GB in float32, several times over.
        found_NS = seen_ND.new_empty(len(seen_ND), n_features)
        size = max(1, BLOCK // n_features)
        for first in range(0, len(seen_ND), size):
            found_NS[first : first + size] = dictionary.encode(seen_ND[first : first + size].float())
        return found_NS.view(*seen_BTD.shape[:-1], -1)


def read_directions(path: str) -> Tensor:
    """Directions (S, D) of a layer, for heads. Raises ValueError as `read_dictionary` does, or where they have a
    bias."""
    found = _read(path)
    if found.about.kind != "directions":
        raise ValueError(f"{path} holds {_a(found.about.kind)}, not directions; correct features.path")
    check_numbers(found)
    if bool(found.bias_S.any()):
        raise ValueError(f"{path}: directions that heads are projected on have no bias; leave it out")
    return found.encoder_SD
