"""Every kind of feature, opened for a job: the list that a new one is entered in.

A source is a class of the protocol in neurons.py, with a section of its own in config/features.py and an entry here.
Its module is imported when it is opened, so that no job loads or depends on another kind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from neuron_descriptions.config.features import Features, HeadFeatures, MatrixFeatures, PlantedFeatures
from neuron_descriptions.features.neurons import FeatureSource


@dataclass(slots=True, frozen=True)
class SourceJob:
    """What a source is made of."""

    settings: Features
    """The config's `features`."""
    n_layers: int
    n_neurons: int
    """Of a layer's MLP in the subject, whatever is described."""
    module: str | None = None
    """The config's `subject.module`."""
    files: dict[int, str] = field(default_factory=dict)
    """Layer -> its features, converted, where the kind has files."""
    strings: Callable[[Sequence[int]], list[str]] | None = None
    """What each token of a sequence adds to the text, for kinds that read text."""


def _mlp_neurons(job: SourceJob) -> FeatureSource:
    from neuron_descriptions.features.neurons import MlpNeurons

    return MlpNeurons(job.n_layers, job.n_neurons, job.module)


def _dictionary(job: SourceJob) -> FeatureSource:
    from neuron_descriptions.features.dictionaries import DictionaryFeatures, read_dictionary

    settings = job.settings
    assert isinstance(settings, MatrixFeatures)
    read = {layer: read_dictionary(file, layer, settings) for layer, file in job.files.items()}
    return DictionaryFeatures(read, job.n_layers, job.n_neurons, settings.hook, job.module)


def _attention_heads(job: SourceJob) -> FeatureSource:
    from neuron_descriptions.features.dictionaries import read_directions
    from neuron_descriptions.features.heads import AttentionHeads

    assert isinstance(job.settings, HeadFeatures)
    given = {layer: read_directions(file) for layer, file in job.files.items()}
    return AttentionHeads(job.n_layers, job.n_neurons, job.settings.count, given, job.module)


def _planted(job: SourceJob) -> FeatureSource:
    from neuron_descriptions.features.planted import PlantedSource

    assert isinstance(job.settings, PlantedFeatures) and job.strings is not None
    return PlantedSource(job.n_layers, job.settings.count, job.strings)


# The key `kind` of the section -> how it is opened.
SOURCES: dict[str, Callable[[SourceJob], FeatureSource]] = {
    "mlp_neurons": _mlp_neurons,
    "autoencoder": _dictionary,
    "transcoder": _dictionary,
    "directions": _dictionary,
    "planted": _planted,
    "attention_heads": _attention_heads,
}


def open_source(job: SourceJob) -> FeatureSource:
    """The source that a job's section names. Raises ValueError where a file is not what the section says."""
    return SOURCES[job.settings.kind](job)
