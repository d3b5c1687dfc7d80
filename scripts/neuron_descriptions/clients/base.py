"""The interface of a client."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(slots=True, frozen=True)
class Request:
    """A prompt to answer. Requests of one `group` may be run together, those of two never are, so that a
    group's answers do not depend on what else is asked."""

    prompt: list[int]
    seed: int
    group: int


@dataclass(slots=True, frozen=True)
class Answer:
    """What came back: text without the prompt, its tokens, and whether it reached its end."""

    text: str
    tokens: int
    finished: bool


class Client(Protocol):
    """Answers requests, in their order."""

    def answer(self, requests: list[Request]) -> list[Answer]:
        """Answers, one per request."""
        ...
