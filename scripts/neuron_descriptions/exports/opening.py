"""Every export: the list that a new one is entered in.

An export is a class of the protocol, in a module named for it, with an entry here. Its module is imported when it is
written, so that no job depends on another export.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from neuron_descriptions.common.storage import whole
from neuron_descriptions.config.exports import Exports

if TYPE_CHECKING:  # the rules read this list: nothing heavy while they are parsed
    from neuron_descriptions.exports.reading import FinishedRun


class Export(Protocol):
    """A format that others read."""

    def write(self, run: FinishedRun, folder: Path) -> None:
        """Write the run into an empty folder, feature by feature. Raises ValueError where the run is not finished."""


def _neuronpedia(settings: Exports) -> Export:
    from neuron_descriptions.exports.neuronpedia import Neuronpedia

    return Neuronpedia(settings.creator)


def _circuit_tracer(settings: Exports) -> Export:
    from neuron_descriptions.exports.circuit_tracer import CircuitTracer

    return CircuitTracer()


def _feature_json(settings: Exports) -> Export:
    from neuron_descriptions.exports.feature_json import FeatureJson

    return FeatureJson()


def _huggingface(settings: Exports) -> Export:
    from neuron_descriptions.exports.huggingface import HuggingFace

    return HuggingFace()


def _csv(settings: Exports) -> Export:
    from neuron_descriptions.exports.csv import Csv

    return Csv()


# Name of the target and of its module -> how the export is made.
EXPORTS: dict[str, Callable[[Exports], Export]] = {
    "neuronpedia": _neuronpedia,
    "circuit_tracer": _circuit_tracer,
    "feature_json": _feature_json,
    "huggingface": _huggingface,
    "csv": _csv,
}


def export(kind: str, run: FinishedRun, settings: Exports, output: str) -> None:
    """Write a run as one of EXPORTS, a folder that appears whole or not at all. Raises as the export's `write`."""
    with whole(output) as folder:
        folder.mkdir()
        EXPORTS[kind](settings).write(run, folder)
