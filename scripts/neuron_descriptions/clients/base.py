"""The interface of a client."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

from neuron_descriptions.common.vocabulary import Message


@dataclass(slots=True, frozen=True)
class Prompt:
    """A conversation up to its last answer. `answer` begins that answer, where the client can begin it; the first
    `shared` messages are the same in every prompt of the run."""

    messages: list[Message]
    answer: str = ""
    shared: int = 0

    def sha256(self) -> str:
        """Of what the model is asked, as JSON."""
        return sha256(json.dumps([self.messages, self.answer], sort_keys=True).encode()).hexdigest()


@dataclass(slots=True, frozen=True)
class Request:
    """A prompt to answer. Requests come sorted by `group`; those of two groups are never run in one batch, so that a
    group's answers do not depend on what else is asked."""

    prompt: Prompt
    seed: int
    group: int


@dataclass(slots=True, frozen=True)
class Answer:
    """What came back: text without the prompt, whether it reached its end, whether the endpoint says that it is a
    refusal, and the tokens that the engine counted."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finished: bool
    refused: bool = False


# Called with answers as they come: number of the request -> answer.
Done = Callable[[dict[int, Answer]], None]


class Client(Protocol):
    """Answers requests."""

    begins: bool  # whether the answer's beginning is written for the model
    keeps: bool  # whether answers cost money, and are kept when the run has its table

    def payloads(self, requests: list[Request]) -> list[dict[str, Any]]:
        """Per request, all that decides its answer, as plain data without a secret."""

    def answer(self, requests: list[Request], done: Done) -> None:
        """Answer the requests, in any order, a group's together where they are run together. Raises ValueError where
        that cannot go on; answers handed to `done` before are good."""


def cost(prompt_tokens: int, completion_tokens: int, prices: dict[str, float] | None) -> float | None:
    """Dollars; prices: for a million tokens."""
    if prices is None:
        return None
    return (prompt_tokens * prices["prompt"] + completion_tokens * prices["completion"]) / 1e6
