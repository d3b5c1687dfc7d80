"""Section `scores`: how descriptions are scored, and by which simulator."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from neuron_descriptions.config.base import Dtype, NonNegativeInt16, PositiveInt, PositiveInt16, Section, UserPath
from neuron_descriptions.config.explainers import Explainer
from neuron_descriptions.config.scorers import Scorer, ScorerName

ASKED_PROMPT = "config/prompts/asked-simulator.yaml"


class Simulator(Section):
    """The model that predicts activations from a description."""

    kind: Literal["prompted", "finetuned", "asked"] = "prompted"
    """`prompted`: any instruct model, few-shot. `finetuned`: weights trained for the task, in the published simulator's
    format. Either may have another tokenizer than the subject. `asked`: any `client`, whose answer is read; for models
    without log-probabilities. It is coarser, and needs a model that can write a number for each of many tokens."""
    model: str
    """Its name under `models`; of `asked`, by default its client's name for it."""
    client: Explainer | None = None
    """Of `asked`: the client, with the keys of `descriptions.explainer`."""
    dtype: Dtype = "bfloat16"
    """Precision."""
    prompt: UserPath = "config/prompts/simulator.yaml"
    """Few-shot prompt file of the prompted simulator; of `asked`, by default config/prompts/asked-simulator.yaml."""
    batch_tokens: PositiveInt = 8192
    """Tokens per forward pass at most, shared prefixes and padding included."""

    @model_validator(mode="before")
    @classmethod
    def _of_client(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or raw.get("kind") != "asked" or not isinstance(raw.get("client"), dict):
            return raw
        found = {"prompt": ASKED_PROMPT, **raw}
        return {"model": raw["client"]["model"], **found} if "model" in raw["client"] else found

    @model_validator(mode="after")
    def _asked(self) -> "Simulator":
        if (self.kind == "asked") != (self.client is not None):
            raise ValueError("kind `asked`, and no other, needs a client: name its `client`, or another kind")
        return self

    @property
    def remote(self) -> bool:
        """Whether an endpoint is asked: then its job takes no GPU, and runs where the workflow does."""
        return self.client is not None and self.client.remote

    def local_model(self) -> str | None:
        """Name under `models` of the model whose weights or tokenizer it needs."""
        return self.model if self.client is None else self.client.local_model()


class Screen(Section):
    """A smaller simulator, with which a race of candidates starts. The large one decides among those that it keeps."""

    simulator: Simulator
    """The smaller one; it may have a tokenizer of its own."""
    keep: PositiveInt = 8
    """Descriptions of a neuron and sign that the large simulator chooses from: those that match valid best by the
    smaller one. Where there are no more, none is screened. Of 50, 4 to 7 did for at most a sixth of the large one's
    tokens (docs/benchmarks.md)."""

    @field_validator("simulator")
    @classmethod
    def _screens(cls, simulator: Simulator) -> Simulator:
        if simulator.kind == "asked":
            raise ValueError(
                "kind `asked` does not screen: it costs as much as it saves; name a small model of another"
            )
        return simulator


class Natural(Section):
    """How a score on text as it comes is made, on the panel."""

    certain: NonNegativeInt16 = 20
    """Sequences of `panel_test` where a neuron and sign is strongest: always simulated, since there its variance lies.
    They count once, each of those drawn as often as it stands for what was not simulated."""
    likely: NonNegativeInt16 = 8
    """Further sequences of it that are always simulated: those where a description is expected to predict most, since
    tokens stand there that it predicted in the `certain` ones, or that it names. They count once; without them a rare
    prediction is seldom drawn."""
    sequences: PositiveInt16 = 48
    """Sequences of it, drawn at random, that all descriptions are simulated on. So each neuron's activations are
    correlated with the predictions of all others' descriptions too: chance without another simulation."""
    precision: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Half the width that a score's interval may have: where it is wider, more sequences are simulated, half as many
    again each time. null: no more."""
    most: PositiveInt16 = 256
    """Sequences drawn at most for a precision."""


class Scores(Section):
    """How descriptions are scored."""

    simulator: Simulator | None
    """The simulator. null: none, so no score by simulation; then `scorers` and the direct scores of concepts score the
    descriptions. Among several candidates the first scorer that judges chooses (detection, fuzzing), else the direct
    score of concepts on valid; then a candidate that is none is taken only where no concept fits."""
    probe: Literal["stop", "warn", "off"] = "stop"
    """Before the scoring the simulator is probed: known rules of text, told as they are and in other rules' words, on a
    few of the valid sequences; half a minute with a small model. `stop`: the run stops before it scores where the
    simulator cannot tell the true descriptions from the wrong ones. `warn`: it goes on, and says so. `off`: no probe.
    Changes no score."""
    race_from: PositiveInt | None = 32
    """Where a neuron and sign has so many candidates or more, they race: all are scored on a few valid sequences, only
    those that may still be best on more, and so on, which takes a third of the full search or less. With fewer it would
    save less and miss the best one more often (docs/benchmarks.md). null: the full search always."""
    screen: Screen | None = None
    """A smaller simulator that sorts out candidates first, on the valid sequences; null: none does. Candidates that it
    sorts out count as tried, in chance too, and have no scores. With the demo's student the choice stayed the same in
    96 to 98 % (docs/benchmarks.md)."""
    descriptions: UserPath | None = None
    """CSV of descriptions from elsewhere, with columns layer, neuron, sign (positive or negative) and description:
    `snakemake results/<run>/given/scores.csv` scores each of them, `results/<run>/given/index.html` is their page. Not
    part of the run itself."""
    top: PositiveInt16 = 20
    """Top exemplars scored, per neuron, sign and split."""
    middle: NonNegativeInt16 = 5
    """Sequences from the middle of the activation range scored, per neuron, sign and split: on top and random ones
    alone a description that is too broad scores as well as an exact one."""
    random: NonNegativeInt16 = 5
    """Random sequences scored, per neuron, sign and split."""
    natural: Natural | None = Natural()
    """The score on text as it comes, where there is a `panel`. null: none; then it is estimated from the top and
    random sequences, with a wide interval."""
    nulls: NonNegativeInt16 = 10
    """Descriptions that are not of a neuron, scored on the same sequences, for comparison with chance; as many as
    candidates, or more, give the best-of-n null its full strength. Each costs as much as a candidate and a half. About
    half of them describe other neurons, a quarter are lists of other neurons' tokens, and one may be empty."""
    pool_nulls: bool = False
    """Compare each score with the nulls of all neurons of its layer and sign, not with its own alone: then two a neuron
    are enough."""
    panel_token_lists: NonNegativeInt16 = 8
    """Lists of other neurons' tokens among the nulls on the panel: they and the empty description are simulated once
    for the run, on the sequences that all descriptions are simulated on. With `nulls: 0` there are none."""
    null_neurons: PositiveInt = 100
    """Neurons of the run whose descriptions those are drawn from; scoring waits for these to be described."""
    null_descriptions: UserPath = "config/null-descriptions.yaml"
    """File of descriptions of other features, where the run has too few neurons."""
    bootstrap: Annotated[int, Field(gt=0, le=1_000_000)] = 1000
    """Resamples (of sequences) behind a confidence interval."""
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Level of the interval."""
    scorers: dict[ScorerName, Scorer] = {}
    """Further scores, by names of your own: each name begins the names of its columns in the atlas, as `detection` does
    in `detection_average_precision`."""

    @field_validator("probe", mode="before")
    @classmethod
    def _probe(cls, probe: Any) -> Any:
        return {False: "off", True: "stop"}[probe] if isinstance(probe, bool) else probe  # YAML reads off and on so
