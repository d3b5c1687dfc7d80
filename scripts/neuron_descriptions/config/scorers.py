"""Section `scores.scorers`: further scores of the descriptions, each with a table and columns of its own."""

from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints, model_validator

from neuron_descriptions.config.base import (
    NonNegativeFloat,
    NonNegativeInt16,
    PositiveInt,
    PositiveInt16,
    Section,
    UserPath,
)
from neuron_descriptions.config.explainers import Explainer

# A scorer's name begins the names of its columns.
ScorerName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]


class Detection(Section):
    """A model reads the description and says of each of some test passages whether the neuron is active in it."""

    kind: Literal["detection"]
    """`detection`: which passages activate the neuron, by its description alone? Needs a model, and no simulator."""
    judge: Explainer
    """The model that is asked, with the keys of `descriptions.explainer`. With the client `transformers` the chances of
    "yes" and "no" are read, and nothing is generated; any other client is asked for a list of answers."""
    prompt: UserPath = "config/prompts/detection.yaml"
    """Prompt file."""
    positives: PositiveInt16 = 10
    """Passages in which the neuron is active, spread evenly over the range of activations of the exemplars that the
    simulation takes (`scores.top`, `scores.middle`)."""
    random: NonNegativeInt16 = 10
    """Random passages in which it is silent: exemplars of the test split."""
    close: NonNegativeInt16 = 5
    """Passages in which it is silent although they hold a token at which it peaks elsewhere; with a panel, if there are
    too few of these, passages in which the most similar neuron of the layer is strongest."""
    panel: NonNegativeInt16 = 0
    """Further random passages in which it is silent, from the panel; none without one."""
    nulls: NonNegativeInt16 = 3
    """Descriptions of other neurons that are judged on the same passages. Each costs as much as the description."""
    passages_per_request: PositiveInt = 5
    """Passages that a client is asked about at once. A local model reads each for itself."""


class Fuzzing(Section):
    """A model reads the description and says of passages with marked tokens whether the marks are right. Peers report
    it; studies call it less stable than detection."""

    kind: Literal["fuzzing"]
    """`fuzzing`: are the marked tokens what the description says? Needs a model, and no simulator."""
    judge: Explainer
    """The model that is asked, as for `detection`."""
    prompt: UserPath = "config/prompts/fuzzing.yaml"
    """Prompt file."""
    positives: PositiveInt16 = 10
    """Active passages, whose active tokens are marked: drawn as for `detection`."""
    wrong: Literal["active", "silent"] = "active"
    """Where wrong tokens are marked. `active`: in the same passages once more. `silent`: in `random` passages in which
    the neuron is silent (the peers' default): then the text alone can give the answer away, whatever is marked."""
    random: NonNegativeInt16 = 10
    """Such passages, for `silent`."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Share of a passage's peak from which a token counts as active."""
    nulls: NonNegativeInt16 = 3
    """Descriptions of other neurons that are judged on the same passages. Each costs as much as the description."""
    passages_per_request: PositiveInt = 1
    """Passages that a client is asked about at once: several at once may show the same text with other marks."""


class Collisions(Section):
    """Whether descriptions of other features of the layer say the same: by their words, and by what the simulator makes
    of them on the sequences that all descriptions share. It costs nothing further. Needs a panel and a simulator."""

    kind: Literal["collisions"]
    """`collisions`: which other descriptions of the layer say the same?"""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Correlation of predictions from which two descriptions say nearly the same."""


class Generated(Section):
    """A model writes texts that should drive the feature, and texts that should not, by the chosen description alone;
    the subject reads all texts of the run once, and each text tries every feature. Needs no simulator."""

    kind: Literal["generated"]
    """`generated`: do texts that are written to a description drive the feature?"""
    writer: Explainer
    """The model that writes, with the keys of `descriptions.explainer`."""
    prompt: UserPath = "config/prompts/generation.yaml"
    """Prompt file."""
    texts: PositiveInt16 = 10
    """Texts of each kind, for each description. Its AUC moves in steps of one in so many."""
    alone: bool | None = None
    """Whether each text is asked for by itself, all of them side by side, or a list of all at once. null: by itself
    where the writer is a local model, which then takes a fraction of the time; as a list where it is an endpoint."""
    fewest: PositiveInt16 = 4
    """A description with fewer texts of either kind has no score, but a status."""
    attempts: PositiveInt = 3
    """Times that a writer is asked at most for one kind, where it has written fewer texts than wanted."""
    temperature: NonNegativeFloat = 0.7
    """Sampling temperature of the writer."""
    others: NonNegativeInt16 = 20
    """Descriptions of other features, drawn for all: their texts are the control, and their figures the null."""

    @model_validator(mode="after")
    def _enough(self) -> "Generated":
        if self.fewest > self.texts:
            raise ValueError(f"fewest is {self.fewest}, but texts is {self.texts}; lower it")
        return self


class SimulatedDetection(Section):
    """Detection as the simulator's predictions answer it: a passage counts as strong as its strongest predicted token.
    It costs nothing further, and is made on the sequences of the simulation alone."""

    kind: Literal["simulated_detection"]
    """`simulated_detection`: read from the predictions that the score is made of."""


class SimulatedFuzzing(Section):
    """Fuzzing as the simulator's predictions answer it: marks are as right as the predictions at the marked tokens are
    strong on average. It costs nothing further, and is made on the active sequences of the simulation alone."""

    kind: Literal["simulated_fuzzing"]
    """`simulated_fuzzing`: read from the predictions that the score is made of."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Share of a sequence's peak from which a token counts as active."""


# Every scorer: to add one, its section joins these.
Scorer = Annotated[
    Collisions | Detection | Fuzzing | Generated | SimulatedDetection | SimulatedFuzzing, Field(discriminator="kind")
]


# Those whose judge tells which of several candidates fits best, where no simulator does.
CHOOSING = (Detection, Fuzzing)
# Keys of a scorer's section that name a model that is asked.
ASKED = ("judge", "writer")


def scorers() -> dict[str, type[Section]]:
    """Every scorer: the value of its key `kind` -> its section."""
    sections = get_args(get_args(Scorer)[0])
    return {get_args(section.model_fields["kind"].annotation)[0]: section for section in sections}
