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

    version = 2  # since `concept_rules` is config/concepts/lists.yaml

    explainer: Explainer | None = None
    """The model that writes `candidates`; null: none does, and the candidates are those below that need no model."""
    prompt: UserPath = "config/prompts/short.yaml"
    """Prompt file: one of config/prompts/, or your own."""
    few_shot: FewShot = FewShot()
    """The prompt file's examples."""
    candidates: Candidates = 5
    """Candidates per neuron and sign that the explainer writes; 0, or no explainer: none, where others are asked for
    below."""
    token_candidates: Candidates = 0
    """Further candidates that no model writes: the tokens where exemplars peak and what stands before them, in words. A
    floor for the explainer; the atlas says whose description won."""
    concept_candidates: Annotated[int, Field(ge=0, le=3)] = 0
    """Further candidates that no model writes: a sentence about words, families of words, lists, places, marks and what
    stands before, found by search on all train exemplars of the neuron (and on the panel, where there is one), as long
    as the valid ones bear out. The second has its first two parts, the third one. They execute: the tables
    `concepts/layer-L/` have how well their own predictions match. More `exemplars.k`, `exemplars.random` and a `panel`
    make them better."""
    concept_rules: UserPath = "config/concepts/lists.yaml"
    """File of words that belong together, with a phrase for them, for `concept_candidates`: this one, or a copy with
    your own."""
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
    near_misses: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the threshold from which two more kinds of tokens are highlighted: those equal to a highlighted one, and
    the peak of an excerpt that would show nothing. 1: neither."""
    temperature: PositiveFloat = 1.0
    """Sampling temperature."""
    max_tokens: PositiveInt | None = None
    """Longest answer; null: the prompt file's."""
    attempts: PositiveInt16 = 3
    """Tries for one candidate when an answer is refused or cannot be parsed."""

    @model_validator(mode="before")
    @classmethod
    def _explained(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and raw.get("explainer") is None:
            return {"candidates": 0, **raw}
        return raw

    @model_validator(mode="after")
    def _evidence(self) -> "Descriptions":
        if not self.evidence_min <= self.evidence_max <= self.pool:
            raise ValueError("evidence_min <= evidence_max <= pool does not hold")
        if not self.candidates + self.token_candidates + self.concept_candidates:
            raise ValueError("candidates, token_candidates and concept_candidates are all 0; raise one")
        if self.explainer is None and self.candidates:
            raise ValueError(f"there is no explainer that could write {self.candidates} candidates; name one")
        return self
