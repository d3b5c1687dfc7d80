"""Sections `training`, `distillation`, `explainer_training` and `dictionary_training`: what is trained on a run."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from neuron_descriptions.config.base import NonNegativeInt, PositiveFloat, PositiveInt, Section, UserPath
from neuron_descriptions.config.scores import Simulator


class Ranked(Section):
    """A second stage of training: on the descriptions that the simulator of the first one predicts best from."""

    neurons: PositiveInt = 2000
    """Neurons and signs."""
    candidates: PositiveInt = 8
    """Descriptions ranked of each: the run's candidates first, then ways to say its tokens."""
    sequences: PositiveInt = 5
    """Sequences of each that it is ranked and trained on: best ones of each kind in turn."""
    steps: PositiveInt = 650
    """Steps."""
    batch_size: PositiveInt = 32
    """Examples of a step."""
    learning_rate: PositiveFloat = 2e-4
    """As in the first stage."""
    bins_learning_rate: PositiveFloat = 1e-3
    """Of the 11 outputs."""

    def stage(self, first: "Training") -> "Training":
        """The first stage's settings with what is another one's in the second."""
        own = self.model_dump(exclude={"neurons", "candidates", "sequences"})
        return first.model_copy(update=own)


class Training(Section):
    """How a simulator is trained on the run's exemplars: `snakemake results/<run>/simulator`. Not part of the run."""

    base: str
    """Name under `models` of the model that is trained; it has the subject's tokenizer."""
    method: Literal["lora", "full"] = "lora"
    """`lora`: adapters on all linear layers. `full`: all weights."""
    rank: PositiveInt = 16
    """Rank of the adapters."""
    steps: PositiveInt = 1500
    """Steps."""
    batch_size: PositiveInt = 64
    """Examples of a step: one description and one sequence each."""
    batch_tokens: PositiveInt = 8192
    """Tokens per pass at most, which bounds memory: a step takes several where it is larger. Part of the numerics."""
    device_map: Literal["auto"] | None = None
    """`auto`: a base larger than one GPU is spread over all GPUs that the job has. null: the first GPU, or the
    processor."""
    devices: PositiveInt = 1
    """As in `subject`."""
    learning_rate: PositiveFloat = 5e-4
    """Of the adapters, or of all weights; rises over the first twentieth of the steps, then falls along a cosine."""
    bins_learning_rate: PositiveFloat = 2e-3
    """Of the 11 outputs."""
    rules: UserPath = "config/training/rules.yaml"
    """File of features that are known exactly, said in plain language; others stand in rules_of_text.py,
    rules_of_symbols.py and rules_of_passages.py. A quarter of all is never learnt."""
    rules_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the examples that are of rules, not of neurons."""
    candidates_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the neurons' examples that are described by the run's candidates, which are made for it; the others by
    the tokens of their train exemplars, in varied words."""
    wrong_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the neurons' examples that have another neuron's sequence, without the words that the described one
    fires on: nothing in it is strong."""
    second: Ranked | None = None
    """A second stage; null: none."""
    validation_neurons: PositiveInt = 60
    """Held-out neurons and signs (of the tenth that is never trained on) that validation takes at most."""
    validate_every: PositiveInt = 100
    """Steps between validations, and between checkpoints: the most that is lost when a job dies."""


class Distillation(Section):
    """How a small simulator, the student, is trained to imitate another one, the teacher, on the run's exemplars: `make
    distil-simulator`. Not part of the run."""

    teacher: Simulator
    """The simulator that is imitated, with the keys of `scores.simulator`; of any kind but `asked`."""
    base: str
    """Name under `models` of the model that the student begins as: the teacher's own, or another one, which may be
    smaller and may have a tokenizer of its own."""
    layers: PositiveInt | None = None
    """First layers of the base that the student keeps; with half of them it costs half. null: all."""
    rank: PositiveInt = 16
    """Rank of the adapters on its linear layers."""
    adapted_blocks: PositiveInt | None = None
    """Layers of the student that get adapters, the last ones; null: all. What the others give of a lesson is computed
    once, and kept in memory."""
    descriptions: PositiveInt = 2500
    """Descriptions that the teacher applies to texts for it."""
    sequences: PositiveInt = 4
    """Sequences that the teacher applies each of them to: what they share is read once."""
    rules: UserPath = "config/training/rules.yaml"
    """As in `training`."""
    rules_share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the descriptions that are of rules of text, not of neurons. There the teacher is not asked: where a rule
    holds is known."""
    candidates_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the neurons' descriptions that are the run's candidates, such as lists of concepts, which are made for
    it; the others are the tokens of their train exemplars, in varied words."""
    others_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the sequences that are another neuron's than the described one's."""
    steps: PositiveInt = 1250
    """Steps."""
    batch_size: PositiveInt = 16
    """Examples of a step: one description and one sequence each. All are learnt once before one is learnt again."""
    batch_tokens: PositiveInt = 8192
    """As in `training`."""
    learning_rate: PositiveFloat = 8e-4
    """Of the adapters; rises over the first twentieth of the steps, then falls along a cosine."""
    bins_learning_rate: PositiveFloat = 5e-3
    """Of the 11 outputs."""
    judged_neurons: PositiveInt = 80
    """Held-out neurons and signs (of the tenth that is never learnt from) whose rows the card compares with the
    teacher's, at most. A row is a description of one: the run's candidates, and one of its tokens."""
    judged_sequences: PositiveInt = 5
    """Sequences of the valid split that a row is scored on: best ones of each kind in turn."""
    validation_neurons: PositiveInt = 20
    """Those of them that the curve has."""
    validate_every: PositiveInt = 125
    """As in `training`."""

    @field_validator("teacher")
    @classmethod
    def _teaches(cls, teacher: Simulator) -> Simulator:
        if teacher.kind == "asked":
            raise ValueError("kind `asked` is no teacher: its answers are numbers, not shares; name another kind")
        return teacher


class ExplainerTraining(Section):
    """How an explainer is trained, on its best candidates or on written descriptions: `make train-explainer`. Not part
    of the run."""

    base: str
    """Name under `models` of the model that is trained, in each round anew."""
    rounds: PositiveInt = 3
    """Most rounds: describe, score, train. The first one whose explainer does not score better on held-out neurons,
    beyond the interval of the difference, is the last."""
    readings: UserPath | None = None
    """CSV of descriptions that somebody has written by reading (docs/how-to/write-descriptions.md), with the columns of
    `scores.descriptions`: learnt in one round instead of the best candidates. The run has exemplars of their neurons.
    null: the best candidates are learnt."""
    readings_layers: list[NonNegativeInt] | None = None
    """Layers whose `readings` are learnt; null: all that the file has."""
    least_score: Annotated[float, Field(ge=-1, le=1)] = 0.2
    """Correlation on valid text from which a neuron's best candidate is learnt."""
    rank: PositiveInt = 16
    """Rank of the adapters."""
    adapted_blocks: PositiveInt | None = None
    """Blocks of the model that get adapters, the last ones; null: all. With half of the blocks a step costs a quarter
    less, and the adapter is half as large."""
    steps: PositiveInt = 200
    """Steps of a round."""
    batch_size: PositiveInt = 16
    """Examples of a step: a prompt and its answer each."""
    batch_tokens: PositiveInt = 8192
    """As in `training`."""
    device_map: Literal["auto"] | None = None
    """As in `training`."""
    devices: PositiveInt = 1
    """As in `subject`."""
    learning_rate: PositiveFloat = 2e-4
    """Of the adapters; rises over the first twentieth of the steps, then falls along a cosine."""
    validate_every: PositiveInt = 50
    """Steps between validations, and between checkpoints: the most that is lost when a job dies."""
    validation_neurons: PositiveInt | None = None
    """Held-out neurons and signs whose answers validation reads at most, drawn at random; null: all."""
    patience: PositiveInt | None = None
    """Validations in a row after which training stops if the loss of the held-out neurons has not fallen below its
    lowest; the weights that had the lowest are kept. null: all steps are taken, and the last weights kept."""


class DictionaryTraining(Section):
    """How an autoencoder and a transcoder of a layer are trained on the run's train text, which is read once for both:
    `snakemake results/<run>/trained/autoencoder results/<run>/trained/transcoder`. Not part of the run."""

    layer: NonNegativeInt
    """The layer: of an autoencoder the residual stream after it, of a transcoder its MLP."""
    latents: PositiveInt = 2048
    """Latents."""
    k: PositiveInt = 32
    """Latents that a token keeps, the largest."""
    steps: PositiveInt = 500
    """Steps."""
    batch_tokens: PositiveInt = 1024
    """Tokens of a step."""
    learning_rate: PositiveFloat = 1e-3
    """Of Adam; falls to zero over the last fifth of the steps."""
    sequences: PositiveInt | None = None
    """Train sequences that are read, the first ones; activations at three places are kept in memory. null: all."""
