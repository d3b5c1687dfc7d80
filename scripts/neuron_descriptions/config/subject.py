"""Sections `subject` and `neurons`: whose neurons, and which of them."""

from typing import Annotated, Literal

from pydantic import Field

from neuron_descriptions.config.base import Dtype, NonNegativeInt, PositiveInt, PositiveInt16, Section, UserPath


class Subject(Section):
    """The model whose neurons are described."""

    model: str
    """Its name under `models`."""
    layers: PositiveInt16
    """Number of its layers: the plan needs it before the weights are there; checked on loading."""
    neurons_per_layer: Annotated[int, Field(gt=0, le=10_000_000)]
    """MLP neurons per layer; checked on loading."""
    dtype: Dtype = "bfloat16"
    """Precision of the forward pass, and of the activations that are kept."""
    module: str | None = None
    """Down projection of a layer's MLP, such as `model.layers.{layer}.mlp.down_proj`; found by its
    shape when not given."""
    device_map: Literal["auto"] | None = None
    """`auto`: for a subject larger than one GPU, spread over all GPUs that the job has, then main memory and disk.
    null: the first GPU, or the processor."""
    devices: PositiveInt = 1
    """GPUs that a job asks for, where `device_map` is `auto`. Reruns nothing."""


class Neurons(Section):
    """Which neurons to describe."""

    layers: Literal["all"] | list[NonNegativeInt] = "all"
    """`all`, or a list of layers counted from 0."""
    indices: Literal["all"] | list[NonNegativeInt | str] = "all"
    """`all`, or a list of indices and ranges (`"0-99"`, both ends included) in each of these layers."""
    file: UserPath | None = None
    """Instead of both: a .csv or .parquet with columns layer and neuron, or a .npy of (n, 2) such pairs."""
    chunk_size: PositiveInt = 448
    """Neurons per job in the stages after the harvest; sized so that loading a model is a small part."""
