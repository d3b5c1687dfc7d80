"""Section `features`: which numbers of the subject are described."""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Tag, model_validator

from neuron_descriptions.config.base import NonNegativeInt, PositiveInt, Section, plain_path

HOOKS = ("residual_in", "residual_mid", "residual_out", "mlp_in", "mlp_out", "attention_out", "attention_z")
Format = Literal["auto", "saelens", "sparsify", "gemma_scope", "dictionary_learning", "llama_scope", "circuit_tracer"]


def _hook(hook: str) -> str:
    if hook not in HOOKS and not re.fullmatch(r"\S+:(input|output)", hook):
        raise ValueError(
            f"{hook!r} is neither one of {', '.join(HOOKS)} nor a module with its side, such as"
            " model.layers.{layer}.mlp.up_proj:input"
        )
    return hook


def _pattern(path: str) -> str:
    plain_path(path.replace("{layer}", "0"))
    return path


Hook = Annotated[str, AfterValidator(_hook)]
PathOfLayer = Annotated[str, AfterValidator(_pattern)]


class MlpNeuronFeatures(Section):
    """The neurons of the MLPs: what a layer's down projection reads. Their number is `subject.neurons_per_layer`."""

    kind: Literal["mlp_neurons"] = "mlp_neurons"
    """`mlp_neurons`, or a kind of the forms below."""

    one_sided: ClassVar[bool] = False
    noun: ClassVar[str] = "neuron"


class _Placed(Section):
    """Features that are read from a file per layer."""

    path: PathOfLayer
    """File or folder, relative to the working directory or absolute, or with `repo` its path there; `{layer}` in it
    stands for the layer's number, and without it the features are those of one layer."""
    count: PositiveInt
    """Features in a layer: the plan needs it before a file is read; checked on reading."""
    repo: str | None = None
    """Repository on the hub, `owner/name`, that `path` is fetched from; null: it is on disk. A token, where one is
    needed, comes from HF_TOKEN alone."""
    revision: str | None = None
    """Commit, tag or branch of `repo`, which needs one; a commit makes the run repeatable."""

    def place(self, layer: int) -> str:
        """The path of a layer's."""
        return self.path.replace("{layer}", str(layer))

    @model_validator(mode="after")
    def _of_the_hub(self) -> "_Placed":
        if (self.repo is None) != (self.revision is None):
            given, missing = ("repo", "revision") if self.revision is None else ("revision", "repo")
            raise ValueError(f"`{given}` is given without `{missing}`: a place on the hub needs both")
        if self.repo is not None and self.path.startswith(("/", "~")):
            raise ValueError(f"path {self.path!r} is a path on disk; with `repo` it is one inside the repository")
        return self


class _Latents(_Placed):
    """Latents of a dictionary."""

    hook: Hook
    """Where its encoder reads: `residual_in` (what a layer's block reads), `residual_mid` (between attention and MLP),
    `residual_out`, `mlp_in` (what the MLP's projections read, after the norm), `mlp_out` and `attention_out` (what is
    added to the residual stream), `attention_z` (what attention's output projection reads); or a module's name with
    its side, such as `model.layers.{layer}.mlp.up_proj:input`."""
    format: Format = "auto"
    """How it was published; `auto`: told by its files."""
    made_at: str | None = None
    """What the dictionary itself calls its hook, where that name is not known here: to write it says that `hook` is the
    same place."""
    made_for: str | None = None
    """The model that the dictionary names as its own, where that is not the subject: to write it says that this is
    meant, as for a fine-tuned subject."""
    min_firings: NonNegativeInt = 10
    """Train tokens in which a latent has to fire; of one that fires in fewer nothing is described: its status is
    `few_firings`."""

    one_sided: ClassVar[bool] = True
    noun: ClassVar[str] = "latent"


class AutoencoderFeatures(_Latents):
    """Latents of a sparse autoencoder, converted once from the form in which it was published."""

    kind: Literal["autoencoder"]
    """`autoencoder`."""


class TranscoderFeatures(_Latents):
    """Latents of a transcoder, converted once from the form in which it was published."""

    kind: Literal["transcoder"]
    """`transcoder`."""
    hook: Hook = "mlp_in"
    """As in the form `autoencoder`."""


class DirectionFeatures(_Placed):
    """Projections on given directions, such as probes or steering vectors: `x @ direction + bias`. A file is a .npy of
    (count, width), or a .safetensors with `directions` and, if there is one, `bias` (count)."""

    kind: Literal["directions"]
    """`directions`."""
    hook: Hook = "residual_out"
    """Where the numbers are read that are projected, as in the form `autoencoder`."""

    one_sided: ClassVar[bool] = False
    noun: ClassVar[str] = "direction"


class HeadFeatures(Section):
    """Attention heads: the norm of what each writes into the residual stream, or, with `path`, its projections on given
    directions. A norm that the model applies to the sum of all heads is left out."""

    kind: Literal["attention_heads"]
    """`attention_heads`."""
    count: PositiveInt
    """Heads in a layer; with `path` times the number of directions: feature `head * directions + direction`."""
    path: PathOfLayer | None = None
    """File of the directions, as in the form `directions`, without `bias`; null: the norm."""

    noun: ClassVar[str] = "head"

    @property
    def one_sided(self) -> bool:
        """A norm is never negative."""
        return self.path is None

    def place(self, layer: int) -> str:
        """The path of a layer's."""
        assert self.path is not None
        return self.path.replace("{layer}", str(layer))


class PlantedFeatures(Section):
    """Artificial features that follow known rules of the text (words, families of words, lists, contexts, forms and
    more) or none. Of the subject they read its tokens alone. A run on them shows what it finds where the truth is
    known, as `make truth` does."""

    kind: Literal["planted"]
    """`planted`."""
    count: PositiveInt
    """Features in a layer: those of the rules in scripts/neuron_descriptions/features/planted_rules.py, in their order,
    and beyond these some that follow no rule, of which nothing should be said."""

    one_sided: ClassVar[bool] = False
    noun: ClassVar[str] = "feature"


LatentFeatures = AutoencoderFeatures | TranscoderFeatures
MatrixFeatures = LatentFeatures | DirectionFeatures
FeaturesOfFiles = MatrixFeatures | HeadFeatures


def _kind(features: Any) -> str | None:
    """A section's kind, neurons where it says none."""
    return features.get("kind", "mlp_neurons") if isinstance(features, dict) else getattr(features, "kind", None)


Features = Annotated[
    Annotated[MlpNeuronFeatures, Tag("mlp_neurons")]
    | Annotated[AutoencoderFeatures, Tag("autoencoder")]
    | Annotated[TranscoderFeatures, Tag("transcoder")]
    | Annotated[DirectionFeatures, Tag("directions")]
    | Annotated[PlantedFeatures, Tag("planted")]
    | Annotated[HeadFeatures, Tag("attention_heads")],
    Discriminator(
        _kind,
        custom_error_type="kind",
        custom_error_message="`kind` is neither mlp_neurons, autoencoder, transcoder, directions, planted nor"
        " attention_heads",
    ),
]
