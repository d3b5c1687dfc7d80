"""The model whose features are harvested, and how it is read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from neuron_descriptions.config.base import restored
from neuron_descriptions.config.features import Features, MlpNeuronFeatures
from neuron_descriptions.features.neurons import FeatureSource
from neuron_descriptions.features.opening import SourceJob, open_source
from neuron_descriptions.models.loading import load_model, load_tokenizer, token_strings


@dataclass(slots=True, frozen=True)
class Subject:
    """The model that is read, and how."""

    folder: str
    n_layers: int
    n_neurons: int
    module: str | None
    dtype: str
    device_map: str | None = None
    features: Features = field(default_factory=MlpNeuronFeatures)
    """The config's section of that name."""
    dictionaries: dict[int, str] = field(default_factory=dict)
    """Layer -> file of its features, where the kind has files."""

    @classmethod
    def of_job(cls, folder: str, params: Mapping[str, Any], dictionaries: Sequence[str]) -> "Subject":
        """The subject that a rule's params name. params: subject, device_map, neurons (by layer) and, where other
        features than neurons are described, features; dictionaries: a file for each layer, where the kind has files."""
        return cls(
            folder,
            **params["subject"],
            device_map=params["device_map"],
            features=restored(Features, params.get("features", {})),
            dictionaries=dict(zip(params["neurons"], dictionaries)),
        )

    def load(self, threads: int) -> Any:
        """The model, without its head. Raises ValueError as `load_model` does."""
        return load_model(self.folder, self.dtype, head=False, threads=threads, device_map=self.device_map)

    def source(self) -> FeatureSource:
        """What is read. Raises ValueError as `open_source` does."""
        shape = self.n_layers, self.n_neurons, self.module
        return open_source(SourceJob(self.features, *shape, self.dictionaries, strings_of(self.folder)))


def strings_of(folder: str) -> Callable[[Sequence[int]], list[str]]:
    """What turns a sequence into what each of its tokens adds to the text. The tokenizer is loaded when it is asked."""

    @cache
    def tokenizer() -> Any:
        return load_tokenizer(folder)

    return lambda ids: token_strings(tokenizer(), list(ids))
