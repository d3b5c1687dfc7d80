"""Section `exports`: a finished run in the formats of others."""

from typing import Annotated, ClassVar

from pydantic import StringConstraints

from neuron_descriptions.config.base import PositiveInt, Section

NO_CREATOR = (
    "exports.creator names no user of Neuronpedia, whose every imported row is: set it to the id of the one who imports"
    " the folder"
)


class Exports(Section):
    """A finished run in formats that others read: `snakemake export_neuronpedia` and the like; `snakemake push_dataset`
    uploads the dataset to the Hugging Face hub."""

    version: ClassVar[int] = 2

    exemplars: PositiveInt = 10
    """Top train exemplars per neuron and sign, and half as many middle and random ones."""
    creator: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    """Neuronpedia's id of the user whose the import is: yours, or that of the one who imports it. Required by
    `snakemake export_neuronpedia`."""
    repository: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")] | None = None
    """Dataset on the hub, `owner/name`, that `snakemake push_dataset` uploads to, with the token of HF_TOKEN."""
    private: bool = True
    """Whether a repository that the upload makes is private."""
