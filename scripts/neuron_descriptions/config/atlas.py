"""Sections `atlas` and `publish`: what is shown of a run, and where."""

from neuron_descriptions.config.base import PositiveInt, Section
from neuron_descriptions.config.sources import S3


class Atlas(Section):
    """What the pages show."""

    exemplars: PositiveInt = 10
    """Top train exemplars shown per neuron and sign (and half as many of the other splits)."""


class Publishing(S3):
    """Where a run is published: `snakemake publish` uploads it to <prefix>/<run>, `snakemake fetch_run` fetches it."""
