"""Sections `atlas` and `publish`: what is shown of a run, and where."""

from typing import Annotated

from pydantic import Field

from neuron_descriptions.config.base import Pinned, PositiveInt, Section, Sha256
from neuron_descriptions.config.sources import S3


class SemanticSearch(Section):
    """Search by meaning on the atlas's page, offline: descriptions and what is searched for are compared by static word
    embeddings (WordLlama's, MIT licence). `semantic_search: {}` takes what is written here."""

    dimensions: Annotated[int, Field(ge=8, le=256, multiple_of=8)] = 128
    """Numbers of a description: the first ones of each vector, which are trained to do alone. The page loads a byte for
    each, once somebody searches by meaning: 128 are 117 MB for 458,752 neurons of two signs, and 4 MB for the words."""
    package: Pinned = "wordllama==0.4.0.post1"
    """The wheel that has them, `package==version`; fetched once, without its dependencies, and never installed."""
    embeddings: str = "wordllama/weights/l2_supercat_256.safetensors"
    """Path in the wheel of the vectors, one tensor with a row for each piece of the vocabulary."""
    embeddings_sha256: Sha256 = "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5"
    """Its checksum."""
    tokenizer: str = "wordllama/tokenizers/l2_supercat_tokenizer_config.json"
    """Path in the wheel of the tokenizer, as the library `tokenizers` saves it: byte-pair encoding with bytes to fall
    back on, spaces as parts of words."""
    tokenizer_sha256: Sha256 = "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68"
    """Its checksum."""


class Atlas(Section):
    """What the pages show."""

    exemplars: PositiveInt = 10
    """Top train exemplars shown per neuron and sign (and half as many of the other splits)."""
    semantic_search: SemanticSearch | None = None
    """Search by meaning; null: by words alone."""
    first_page: bool = False
    """A page of the first neuron as soon as it is described, before scores are made: `results/<run>/first.html`."""


class Publishing(S3):
    """Where a run is published: `snakemake publish` uploads it to <prefix>/<run>, `snakemake fetch_run` fetches it."""
