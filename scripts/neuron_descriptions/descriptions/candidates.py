"""A candidate: a description in the making, and its row."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from neuron_descriptions.clients.base import Answer, Prompt
from neuron_descriptions.common.vocabulary import Sign
from neuron_descriptions.descriptions.answers import parse_answer
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.descriptions.tokens import Peak, describe_tokens

TOKENS = "tokens"  # the explainer that is no model
NO_ACTIVATION, FEW_FIRINGS = "no_activation", "few_firings"  # why nothing is described


@dataclass(slots=True)
class Candidate:
    """A description in the making."""

    layer: int
    neuron: int
    sign: Sign
    candidate: int
    explainer: str = ""
    ranks: list[int] = field(default_factory=list)
    prompt: Prompt | None = None
    description: str | None = None
    status: str = NO_ACTIVATION
    attempts: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def take(self, answer: Answer, begun: str) -> None:
        """Read an answer to its prompt."""
        self.description, self.status = parse_answer(begun, answer.text, answer.finished)
        if answer.refused:
            self.description, self.status = None, "refused"
        self.attempts += 1
        self.prompt_tokens += answer.prompt_tokens
        self.completion_tokens += answer.completion_tokens

    def name_tokens(self, peaks: list[Peak], random: np.random.Generator) -> None:
        """Describe it by the tokens where its exemplars peak, without a model. peaks: by rank."""
        self.explainer = TOKENS
        self.description = describe_tokens(peaks, random)
        self.status = "ok" if self.description else "unparsed"

    def identity(self) -> tuple[int, int, str, int]:
        """What everything random about it is a function of, besides the seed."""
        return self.layer, self.neuron, self.sign, self.candidate


def descriptions_table(candidates: list[Candidate], explainer: str) -> pa.Table:
    """Candidates as rows of DESCRIPTIONS."""
    rows = [
        {
            "layer": c.layer,
            "neuron": c.neuron,
            "sign": c.sign,
            "candidate": c.candidate,
            "description": c.description,
            "exemplar_ranks": c.ranks,
            "explainer": c.explainer or explainer,
            "prompt_sha256": c.prompt.sha256() if c.prompt else None,
            "prompt_tokens": c.prompt_tokens,
            "completion_tokens": c.completion_tokens,
            "attempts": c.attempts,
            "status": c.status,
        }
        for c in candidates
    ]
    return pa.Table.from_pylist(rows, schema=DESCRIPTIONS)
