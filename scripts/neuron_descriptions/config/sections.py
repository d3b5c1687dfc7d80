"""The configuration of a run: its sections, and what must hold between them.

One pydantic model per section, in the files beside this one; an unknown key or a wrong type is an error. The docstring
under a field is its documentation: config/README.md and the JSON schema are generated from it (reference.py), and a
test fails when they drift.
"""

from typing import Any

from pydantic import ValidationError, model_validator

from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.config.atlas import Atlas, Publishing
from neuron_descriptions.config.base import Name, Section, Seed, check_secrets
from neuron_descriptions.config.corpus import Corpus, Panel
from neuron_descriptions.config.descriptions import Descriptions
from neuron_descriptions.config.differences import Differences
from neuron_descriptions.config.exemplars import Exemplars, HarvestedExemplars, ImportedExemplars
from neuron_descriptions.config.explainers import Endpoint, Explainer
from neuron_descriptions.config.exports import Exports
from neuron_descriptions.config.features import Features, MlpNeuronFeatures
from neuron_descriptions.config.messages import plain_messages
from neuron_descriptions.config.models import AdapterModel, Model, RandomModel
from neuron_descriptions.config.output_side import OutputSide, check_output_side
from neuron_descriptions.config.plan import Planning, Rechecking
from neuron_descriptions.config.scorers import (
    ASKED,
    CHOOSING,
    Collisions,
    Detection,
    Fuzzing,
    SimulatedDetection,
    SimulatedFuzzing,
)
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.config.subject import Neurons, Subject
from neuron_descriptions.config.training import DictionaryTraining, Distillation, ExplainerTraining, Training


class Config(Section):
    """A run."""

    run: Name
    """Names the results folder: results/<run>."""
    evidence: Name | None = None
    """Run whose corpus and exemplars are used, and made there where they are missing: runs that name the same one and
    agree on `corpus`, `exemplars`, `subject` and `seed` share them; without `exemplars.neurons` on `neurons` too. null:
    this run's own."""
    seed: Seed = 0
    """Everything random is a function of it and of what it is drawn for."""
    models: dict[Name, Model]
    """Where weights come from."""
    subject: Subject
    """The model whose neurons are described."""
    features: Features = MlpNeuronFeatures()
    """Which of its numbers are described: its neurons, or others, which `neurons` then means."""
    corpus: Corpus | None = None
    """The text that the subject reads; required, but left out where exemplars are imported."""
    panel: Panel | None = None
    """Text that all kept neurons share, for types of neurons; null: none."""
    output_side: OutputSide | None = None
    """What neurons write; null: not asked."""
    neurons: Neurons = Neurons()
    """Which neurons to describe."""
    exemplars: Exemplars = HarvestedExemplars()
    """Exemplars of every neuron and sign: harvested, or imported."""
    descriptions: Descriptions
    """How candidate descriptions are made."""
    scores: Scores
    """How descriptions are scored."""
    atlas: Atlas = Atlas()
    """What the pages show."""
    publish: Publishing | None = None
    """Where the run is published."""
    exports: Exports = Exports()
    """The run in formats of others."""
    recheck: Rechecking = Rechecking()
    """What a recheck of the finished run takes."""
    diff: Differences | None = None
    """What `snakemake diff` compares the run with; null: nothing."""
    plan: Planning = Planning()
    """What the run is reckoned to take, and may take at most."""
    training: Training | None = None
    """How a simulator is trained."""
    distillation: Distillation | None = None
    """How a simulator is trained to imitate another one."""
    explainer_training: ExplainerTraining | None = None
    """How an explainer is trained."""
    dictionary_training: DictionaryTraining | None = None
    """How a dictionary of latents is trained."""

    @property
    def features_per_layer(self) -> int:
        """How many features a layer has; `subject.neurons_per_layer` is the model's width, whatever is described."""
        return getattr(self.features, "count", self.subject.neurons_per_layer)

    @property
    def choice(self) -> str:
        """What chooses among a feature's candidates: "simulator", else the name of a scorer that judges, "concepts"
        (the direct score), or "only one". Raises ValueError where there are several and nothing chooses."""
        if self.scores.simulator is not None:
            return "simulator"
        if judges := [name for name, section in self.scores.scorers.items() if isinstance(section, CHOOSING)]:
            return judges[0]
        d = self.descriptions
        if d.concept_candidates:
            return "concepts"
        written = (d.candidates + d.token_candidates) * (1 + len(d.rivals))
        if written <= 1:
            return "only one"
        raise ValueError(
            f"scores.simulator is null, and nothing else chooses among {written} candidates: name a simulator, add a"
            " scorer that judges (scores.scorers, kind detection or fuzzing), add descriptions.concept_candidates, or"
            " write one candidate"
        )

    @model_validator(mode="after")
    def _references(self) -> "Config":
        _check_models(self)
        _check_what_exemplars_need(self)
        _check_counts(self)
        _check_prompts_by_type(self)
        if self.descriptions.concept_fit == "natural" and self.panel is None:
            raise ValueError("descriptions.concept_fit: natural text is that of a panel; add `panel`, or take contrast")
        _check_passages(self)
        if self.scores.simulator is None:
            _check_without_simulator(self)
        for key, section in (
            ("subject", self.subject),
            ("training", self.training),
            ("explainer_training", self.explainer_training),
        ):
            if section is not None and section.devices > 1 and section.device_map is None:
                raise ValueError(f"{key}.devices is {section.devices}, but one GPU is used; set {key}.device_map: auto")
        if self.output_side is not None:
            check_output_side(self.output_side, self.features, self.panel is not None, self.descriptions.explainer)
        _check_diff(self)
        if self.run in self.descriptions.rivals:
            raise ValueError(f"descriptions.rivals: {self.run} is this run itself; leave it out")
        for key, chosen in (("neurons", self.neurons), ("exemplars.neurons", self.exemplars.neurons)):
            for layer in chosen.layers if chosen and chosen.layers != "all" else []:
                if layer >= self.subject.layers:
                    raise ValueError(
                        f"{key}.layers: layer {layer} is out of range; the subject has layers"
                        f" 0..{self.subject.layers - 1}"
                    )
        return self


def _check_models(config: Config) -> None:
    """Raises ValueError where a key names a model that `models` has not, or models are made of each other in a
    circle."""
    models, explainer = config.models, config.descriptions.explainer
    if config.explainer_training is not None and explainer is None:
        raise ValueError("explainer_training: it needs descriptions.explainer, which writes what is learnt from")
    made_of = {name: model.base for name, model in models.items() if isinstance(model, AdapterModel | RandomModel)}
    for key, model in (
        ("subject.model", config.subject.model),
        (
            "descriptions.explainer.model",
            None if isinstance(explainer, Endpoint) else getattr(explainer, "model", None),
        ),
        ("descriptions.explainer.tokenizer", getattr(explainer, "tokenizer", None)),
        ("scores.simulator.model", config.scores.simulator.local_model() if config.scores.simulator else None),
        (
            "scores.screen.simulator.model",
            config.scores.screen.simulator.local_model() if config.scores.screen else None,
        ),
        *_judges(config),
        ("output_side.judge.model", _local(config.output_side.judge) if config.output_side else None),
        ("diff.model", getattr(config.diff, "model", None)),
        ("training.base", getattr(config.training, "base", None)),
        ("distillation.base", getattr(config.distillation, "base", None)),
        ("distillation.teacher.model", config.distillation.teacher.model if config.distillation else None),
        ("explainer_training.base", getattr(config.explainer_training, "base", None)),
        *((f"models.{name}.base", base) for name, base in made_of.items()),
    ):
        if model is not None and model not in models:
            raise ValueError(f"{key}: {model!r} is not one of models ({', '.join(models)})")
    for name in made_of:
        way = [name]
        while way[-1] in made_of:
            way.append(made_of[way[-1]])
            if way[-1] in way[:-1]:
                raise ValueError(f"models.{name}.base: {' -> '.join(way)} goes in a circle; one must be a real model")
    if unknown := set(config.plan.parameters) - set(models):
        raise ValueError(f"plan.parameters: {', '.join(sorted(unknown))}: not among models ({', '.join(models)})")


def _check_prompts_by_type(config: Config) -> None:
    """Raises ValueError where types of neurons have prompts, and nothing tells types, or nobody is asked, or prompts
    are to be learnt."""
    if not config.descriptions.prompts_by_type:
        return
    if config.panel is None:
        raise ValueError("descriptions.prompts_by_type: types of neurons are told from a panel; add `panel`")
    if not config.descriptions.candidates:
        raise ValueError("descriptions.prompts_by_type: no explainer is asked; leave it out")
    if config.explainer_training is not None:
        raise ValueError("explainer_training: one prompt is learnt; leave descriptions.prompts_by_type out")


def _check_diff(config: Config) -> None:
    """Raises ValueError where the run would be compared with itself, or there is no text to compare it on."""
    if config.diff is None:
        return
    if config.diff.model == config.subject.model or config.diff.run == config.run:
        raise ValueError(f"diff: {config.diff.model or config.diff.run} is this run's own; name another")
    if config.panel is None:
        raise ValueError("diff: it needs the section `panel`, the text that two runs are compared on")


def _check_what_exemplars_need(config: Config) -> None:
    """Raises ValueError where there is text to harvest from and none is harvested, or the other way round."""
    if not isinstance(config.exemplars, ImportedExemplars):
        if config.corpus is None:
            raise ValueError("corpus: it is required, except where exemplars are imported")
        if getattr(config.exemplars, "gates", False) and config.features.kind != "mlp_neurons":
            raise ValueError(
                f"exemplars.gates: only neurons have a gate, and features.kind is {config.features.kind}; leave it out"
            )
    elif config.corpus is not None:
        raise ValueError("corpus: leave it out; imported exemplars bring their own text")
    elif config.features.kind != "mlp_neurons":
        raise ValueError("features: leave it out; imported exemplars are those of neurons")
    elif config.training is not None:
        raise ValueError("training: it needs exemplars.source: harvest")
    elif config.distillation is not None:
        raise ValueError("distillation: it needs exemplars.source: harvest")
    elif config.dictionary_training is not None:
        raise ValueError("dictionary_training: it needs exemplars.source: harvest")
    elif config.panel is not None:
        raise ValueError(
            "panel: leave it out; it needs exemplars.source: harvest, since published exemplars come without"
            " activations on other text"
        )


def _check_without_simulator(config: Config) -> None:
    """Raises ValueError where something needs a simulator."""
    reading = SimulatedDetection | SimulatedFuzzing | Collisions
    needs = [f"scores.scorers.{n}" for n, s in config.scores.scorers.items() if isinstance(s, reading)]
    needs += ["scores.screen"] if config.scores.screen is not None else []
    needs += ["scores.descriptions"] if config.scores.descriptions is not None else []
    training = config.explainer_training
    needs += ["explainer_training"] if training is not None and training.readings is None else []
    if needs:
        raise ValueError(f"{needs[0]}: it needs a simulator's predictions, and scores.simulator is null")
    _ = config.choice


def _check_passages(config: Config) -> None:
    """Raises ValueError where a scorer would be shown active passages alone: then nothing can be told apart; or where
    there is no shared text for one."""
    for name, section in config.scores.scorers.items():
        if isinstance(section, Collisions) and None in (config.panel, config.scores.natural):
            raise ValueError(f"scores.scorers.{name}: it needs a `panel`, and scores.natural")
        if isinstance(section, Detection):
            silent = section.random + section.close + (section.panel if config.panel is not None else 0)
            keys = "random, close" + ("" if config.panel is None else ", panel")
        elif isinstance(section, Fuzzing) and section.wrong == "silent":
            silent, keys = section.random, "random"
        else:
            continue
        if not silent:
            raise ValueError(f"scores.scorers.{name}: no silent passage is asked for; raise one of {keys}")


def _local(asked: Explainer | None) -> str | None:
    """Name under `models` of what a client's section needs, if anything."""
    return asked.local_model() if asked is not None else None


def _judges(config: Config) -> list[tuple[str, str | None]]:
    """Keys of the scorers' models, and what they name."""
    found = [(name, key, getattr(s, key, None)) for name, s in config.scores.scorers.items() for key in ASKED]
    return [(f"scores.scorers.{name}.{key}.model", asked.local_model()) for name, key, asked in found if asked]


def _check_counts(config: Config) -> None:
    """Raises ValueError where more is wanted than an earlier stage has."""
    exemplars, descriptions, scores = config.exemplars, config.descriptions, config.scores
    fewest = min(getattr(config.corpus.sequences, split) for split in SPLITS) if config.corpus else 2**31
    middle = getattr(exemplars, "middle", 0)
    of_middle = "exemplars.middle" if isinstance(exemplars, HarvestedExemplars) else "imported exemplars have"
    smallest = "the smallest split's sequences"
    screen = scores.screen
    written = descriptions.candidates + descriptions.token_candidates + descriptions.concept_candidates
    if screen and scores.simulator and screen.simulator.model == scores.simulator.model:
        raise ValueError(
            f"scores.screen.simulator.model: {scores.simulator.model!r} is scores.simulator's; name a smaller one"
        )
    if screen and screen.keep >= written * (1 + len(descriptions.rivals)):
        raise ValueError(
            f"scores.screen.keep is {screen.keep}, but there are no more candidates to screen; lower it, or leave"
            " scores.screen out"
        )
    for key, wanted, limit, of in (
        ("exemplars.k", exemplars.k, fewest, smallest),
        ("exemplars.random", exemplars.random, fewest, smallest),
        ("exemplars.middle", middle, fewest, smallest),
        ("descriptions.pool", descriptions.pool, exemplars.k, "exemplars.k"),
        ("scores.top", scores.top, exemplars.k, "exemplars.k"),
        ("scores.middle", scores.middle, middle, of_middle),
        ("scores.random", scores.random, exemplars.random, "exemplars.random"),
    ):
        if wanted > limit:
            raise ValueError(f"{key} is {wanted}, more than {of} ({limit}); lower it")


def load_config(raw: dict[str, Any]) -> Config:
    """Validate a parsed configuration.

    `pathvars` is Snakemake's own key and passed over. Raises ValueError that names every bad key.
    """
    try:
        check_secrets(raw)  # before a message quotes a value
    except ValueError as error:
        raise ValueError(f"the configuration is not valid:\n  {error}") from None
    try:
        return Config.model_validate({k: v for k, v in raw.items() if k != "pathvars"})
    except ValidationError as error:
        lines = [f"  {line}" for line in plain_messages(error, Config)]
        raise ValueError("the configuration is not valid:\n" + "\n".join(lines)) from None
