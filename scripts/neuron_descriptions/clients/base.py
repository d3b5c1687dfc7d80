"""The interface of a client."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, pairwise
from typing import Any, Protocol

from neuron_descriptions.common.vocabulary import Message
from neuron_descriptions.config.explainers import Prices


@dataclass(slots=True, frozen=True)
class Prompt:
    """A conversation up to its last answer. `answer` begins that answer, where the client can begin it; the first
    `shared` messages are the same in every prompt of the run, or in all of one prompt file."""

    messages: list[Message]
    answer: str = ""
    shared: int = 0

    def sha256(self) -> str:
        """Of what the model is asked, as JSON."""
        return sha256(json.dumps([self.messages, self.answer], sort_keys=True).encode()).hexdigest()


@dataclass(slots=True, frozen=True)
class Request:
    """A prompt to answer. Requests come sorted by `group`; those of two groups are never run in one batch, so that a
    group's answers do not depend on what else is asked. Of `same` requests of a group with one prompt it is number
    `place`; they stand together."""

    prompt: Prompt
    seed: int
    group: int
    place: int = 0
    same: int = 1

    def share(self, prompt_tokens: int) -> int:
        """Its part of a prompt's tokens, where the prompt is read once for all requests that have it: the parts sum up
        to the whole, whichever of them are asked together."""
        return parts(prompt_tokens, [1] * self.same)[self.place]


@dataclass(slots=True, frozen=True)
class Answer:
    """What came back: text without the prompt, whether it reached its end, whether the endpoint says that it is a
    refusal, and the tokens that the engine counted; those of a prompt that was read once for several answers are
    shared out among them."""

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


def parts(total: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers that sum up to the total, as the weights are, each rounded by less than 1."""
    ends = [0, *accumulate(weights)]
    return [total * last // ends[-1] - total * first // ends[-1] for first, last in pairwise(ends)]


def cost(prompt_tokens: int, completion_tokens: int, prices: Prices | None) -> float | None:
    """Dollars; None where nothing is known of prices."""
    if prices is None:
        return None
    return (prompt_tokens * prices.prompt + completion_tokens * prices.completion) / 1e6
