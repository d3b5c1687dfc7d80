"""Section `exemplars`: harvested, or imported."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from neuron_descriptions.config.base import (
    NonNegativeInt,
    NonNegativeInt16,
    PositiveFloat,
    PositiveInt,
    PositiveInt16,
    Section,
)
from neuron_descriptions.config.sources import S3, Local
from neuron_descriptions.config.subject import Neurons


class Kept(Section):
    """Which neurons exemplars are kept of, where these are more than the described ones."""

    neurons: Neurons | None = None
    """More neurons than are described, in the same form as `neurons`: runs that describe others of them share the
    exemplars (`evidence`). A harvest takes hardly longer for them. null: those of `neurons`."""


class HarvestedExemplars(Kept):
    """What the harvest keeps of every neuron and sign."""

    source: Literal["harvest"] = "harvest"
    """`harvest`: run the subject over the corpus. `s3`, `path`: import what was published (see below)."""
    k: PositiveInt16 = 100
    """Sequences with the most extreme activation, per sign and split."""
    middle: NonNegativeInt16 = 10
    """Sequences from between the random ones and the top k, spread evenly over the logarithm of the rank, per sign and
    split."""
    random: PositiveInt16 = 10
    """Random sequences, per sign and split."""
    gates: bool = False
    """Keep with each exemplar of a gated MLP's neuron the gate where it peaks, `act(gate) * up` being the activation: a
    neuron behaves differently where its gate is below 0. Pages, statistics and exports tell it. A harvest takes
    hardly longer; models without gates are refused."""
    shard_sequences: PositiveInt = 250_000
    """Sequences of a split that one job takes: the most that is lost when a job dies, by default about 40 minutes of an
    A100 for an 8B model. Never changes a result."""
    layers_per_job: PositiveInt = 128
    """Layers harvested in one forward pass, bounded by `state_gb`. Never changes a result."""
    state_gb: PositiveFloat = 40
    """Memory that a job may keep exemplars in, beside the model's weights. A neuron takes 2 x (8 (k + middle) +
    (k + middle + random) x seq_len x bytes of `subject.dtype` + 15,360) + 128 bytes, with `gates` for one
    token more; a plan that needs more is an error."""
    batch_size: PositiveInt = 32
    """Sequences per forward pass. Part of the numerics: another size may round differently."""


class ImportedExemplars(Kept):
    """Published exemplars, in the layout of those that Transluce published in 2024. They bring their own text:
    `corpus` is left out."""

    k: PositiveInt16 = 100
    """Sequences per sign and split, as published."""
    random: NonNegativeInt16 = 10
    """Random sequences per sign and split, as published; 0: go without them (then scores.random is 0 too)."""
    seq_len: PositiveInt16 = 95
    """Tokens per sequence, padding included, as published."""
    pad_id: NonNegativeInt | None = None
    """Token that pads sequences on the left; null: the padding token of the subject's tokenizer, or its
    end-of-sequence token where it has none."""


class S3Exemplars(ImportedExemplars, S3):
    """Published exemplars in a bucket, such as `transluce-public` (prefix `exemplars`, anonymous): only the byte
    ranges of the wanted neurons are fetched."""

    source: Literal["s3"]
    folder: str
    """Folder below the prefix that has exemplar_config.json."""

    def place(self) -> dict[str, Any]:
        """Where and how, as a rule's params say it."""
        place = S3.place(self)
        return place | {"prefix": f"{place['prefix']}/{self.folder}".strip("/")}


class LocalExemplars(ImportedExemplars, Local):
    """Published exemplars on disk, as `aws s3 sync` copies them; `path` is the folder that has
    exemplar_config.json."""

    def place(self) -> dict[str, Any]:
        """Where, as a rule's params say it."""
        return {"path": self.path}


def _source(exemplars: Any) -> str | None:
    """A section's source, `harvest` where it says none."""
    return exemplars.get("source", "harvest") if isinstance(exemplars, dict) else getattr(exemplars, "source", None)


Exemplars = Annotated[
    Annotated[HarvestedExemplars, Tag("harvest")]
    | Annotated[S3Exemplars, Tag("s3")]
    | Annotated[LocalExemplars, Tag("path")],
    Discriminator(_source, custom_error_type="source", custom_error_message="`source` is neither harvest, s3 nor path"),
]
