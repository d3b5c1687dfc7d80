"""The model whose features are harvested, and how it is read."""

from dataclasses import dataclass, field
from typing import Any

from neuron_descriptions.features.neurons import FeatureSource
from neuron_descriptions.features.opening import NEURONS, SourceJob, open_source


@dataclass(slots=True, frozen=True)
class Subject:
    """The model that is read, and how."""

    folder: str
    n_layers: int
    n_neurons: int
    module: str | None
    dtype: str
    device_map: str | None = None
    features: dict[str, Any] = field(default_factory=lambda: NEURONS)
    """The config's section of that name."""
    dictionaries: dict[int, str] = field(default_factory=dict)
    """Layer -> file of its features, where the kind has files."""

    def source(self) -> FeatureSource:
        """What is read. Raises ValueError as `open_source` does."""
        return open_source(SourceJob(self.features, self.n_layers, self.n_neurons, self.module, self.dictionaries))
