"""Section `descriptions`: how candidates are made."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from neuron_descriptions.config.base import (
    Candidates,
    Name,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PositiveInt16,
    Section,
    UserPath,
)
from neuron_descriptions.config.explainers import Explainer

NeuronType = Literal["token", "bigram", "context", "position", "none"]


class FewShot(Section):
    """Solved examples, which a prompt file can have."""

    place: Literal["none", "system", "turns"] = "turns"
    """Left out, in the system prompt, or as turns of the conversation."""
    count: NonNegativeInt | None = None
    """How many; null: all that the file has."""
    order: Literal["fixed", "permuted"] = "fixed"
    """The file's first ones in its order, or drawn and ordered anew for each candidate."""


class Descriptions(Section):
    """How candidate descriptions are made."""

    version = 3  # 2: `concept_rules` is config/concepts/lists.yaml; 3: `near_misses` is 0.5

    explainer: Explainer | None = None
    """The model that writes `candidates`; null: none does, and the candidates are those below that need no model."""
    prompt: UserPath = "config/prompts/short.yaml"
    """Prompt file: one of config/prompts/, or your own."""
    prompts_by_type: dict[NeuronType, UserPath] = {}
    """Prompt files of types of neurons, as the table `types/` tells them: `token`, `bigram`, `context`, `position` or
    `none`; a type that is left out has `prompt`. Such a file can show which tokens carry an activation, what stands
    before, whole passages, or where the same token leaves the neuron silent (token-list.yaml, left-contexts.yaml,
    passages.yaml and close-negatives.yaml of config/prompts/). Needs a `panel`."""
    few_shot: FewShot = FewShot()
    """The prompt file's examples."""
    candidates: Candidates = 5
    """Candidates per neuron and sign that the explainer writes; 0, or no explainer: none, where others are asked for
    below."""
    draws: Candidates | None = None
    """Draws of evidence per neuron and sign, each for `samples` candidates: then `candidates` is their product and need
    not be said. null: as many as `candidates` ask for."""
    samples: PositiveInt16 = 1
    """Candidates that the explainer writes from one draw of evidence. Their common prompt is read once and, at an
    endpoint that gives several answers to a request, paid once. More samples of fewer draws are cheaper, and more
    alike."""
    token_candidates: Candidates = 0
    """Further candidates that no model writes: the tokens where exemplars peak and what stands before them, in words. A
    floor for the explainer; the atlas says whose description won."""
    concept_candidates: Annotated[int, Field(ge=0, le=3)] = 0
    """Further candidates that no model writes: a sentence about words, families of words, lists, places, marks and what
    stands before, found by search on all train and valid exemplars of the neuron (and on the panel, where there is
    one). The second has its first two parts, the third one. They execute: the tables `concepts/layer-L/` have how well
    their own predictions match. With 1 the search chooses, by those, and the simulator only scores: that agrees with
    readers better than a simulator's choice. A `panel` makes them better."""
    concept_rules: UserPath = "config/concepts/lists.yaml"
    """File of words that belong together, with a phrase for them, for `concept_candidates`: this one, or a copy with
    your own."""
    concept_fit: Literal["contrast", "natural"] = "contrast"
    """What those sentences are fitted on. `contrast`: mostly on exemplars, as the contrast score is made: they say
    where the feature is strongest, and readers call them fitting. `natural`: on text as it comes, for which a `panel`
    is needed, of 50,000 tokens or more: they predict that text much better, and are twice as long, which nobody has
    read. See docs/benchmarks.md."""
    rivals: list[Name] = []
    """Runs of the same `neurons` and `evidence`, made before, whose candidates compete with this run's own: another
    explainer's, or another prompt's. The atlas says whose description won."""
    pool: PositiveInt16 = 20
    """Train exemplars that evidence is drawn from: the top ones."""
    evidence_min: PositiveInt = 10
    """Fewest exemplars shown for one candidate."""
    evidence_max: PositiveInt = 20
    """Most exemplars shown for one candidate."""
    min_highlights: PositiveInt = 3
    """Highlighted places wanted over one candidate's excerpts; thresholds loosen until reached."""
    near_misses: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the threshold from which two more kinds of tokens are highlighted: those equal to a highlighted one, and
    the peak of an excerpt that would show nothing. 1: neither, as in the published prompts."""
    temperature: PositiveFloat = 1.0
    """Sampling temperature."""
    max_tokens: PositiveInt | None = None
    """Longest answer; null: the prompt file's."""
    attempts: PositiveInt16 = 3
    """Tries for one candidate when an answer is refused or cannot be parsed."""

    @model_validator(mode="before")
    @classmethod
    def _explained(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or "candidates" in raw:
            return raw
        if raw.get("explainer") is None:
            return {"candidates": 0, **raw}
        draws, samples = raw.get("draws"), raw.get("samples", 1)
        said = isinstance(draws, int) and isinstance(samples, int)
        return {"candidates": draws * samples, **raw} if said else raw

    @model_validator(mode="after")
    def _evidence(self) -> "Descriptions":
        if not self.evidence_min <= self.evidence_max <= self.pool:
            raise ValueError("evidence_min <= evidence_max <= pool does not hold")
        if not self.candidates + self.token_candidates + self.concept_candidates:
            raise ValueError("candidates, token_candidates and concept_candidates are all 0; raise one")
        if self.explainer is None and self.candidates:
            raise ValueError(f"there is no explainer that could write {self.candidates} candidates; name one")
        return self

    @model_validator(mode="after")
    def _drawn(self) -> "Descriptions":
        if self.draws is not None and self.draws * self.samples != self.candidates:
            raise ValueError(
                f"draws x samples is {self.draws} x {self.samples}, but candidates is {self.candidates};"
                + (" leave candidates out" if self.explainer else " there is no explainer to write them: name one")
            )
        if self.candidates % self.samples:
            raise ValueError(
                f"candidates is {self.candidates}, no multiple of samples ({self.samples}): every draw of evidence has"
                " as many; say draws instead of candidates"
            )
        return self
