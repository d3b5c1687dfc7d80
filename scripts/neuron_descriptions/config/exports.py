"""Section `exports`: a finished run in the formats of others."""

from typing import Annotated

from pydantic import StringConstraints

from neuron_descriptions.config.base import PositiveInt, Section


class Exports(Section):
    """A finished run in formats that others read: `snakemake export_neuronpedia` and the like; `snakemake push_dataset`
    uploads the dataset to the Hugging Face hub."""

    exemplars: PositiveInt = 10
    """Top train exemplars per neuron and sign, and half as many middle and random ones."""
    creator: str = "clkht01d40000jv08hvalcvly"
    """Neuronpedia's id of the user whose the import is. The default is the one that its own import tools fall back
    to."""
    repository: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")] | None = None
    """Dataset on the hub, `owner/name`, that `snakemake push_dataset` uploads to, with the token of HF_TOKEN."""
    private: bool = True
    """Whether a repository that the upload makes is private."""
