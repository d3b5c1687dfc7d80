"""A simulator that any client can be: it is asked for a number a token, in words, without log-probabilities.

So peers simulate with models whose log-probabilities are closed. A number in words is coarser than an expected value:
many tokens get the same one. T tokens of a sequence.
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from neuron_descriptions.clients.base import Answer, Client, Request
from neuron_descriptions.clients.journal import Journal
from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.streams import key
from neuron_descriptions.models.loading import token_strings
from neuron_descriptions.simulators.asked_prompts import AskedTemplate, parse_numbers
from neuron_descriptions.simulators.simulating import Task

ANSWER_TOKENS = 8192  # at most: pairs of some hundred tokens, and what a model thinks before
_ENOUGH = 20  # answers of which none can be read tell that none will be


class AskedSimulator:
    """Asks a client about each sequence. One whose answer cannot be read, or is a refusal, is predicted as silent
    throughout: it counts against the description, and never for it."""

    def __init__(
        self,
        client: Client,
        template: AskedTemplate,
        tokenizer: Any,
        journal: Journal | None,
        opened: ExitStack | None = None,
    ):
        """tokenizer: the subject's; journal: keeps answers that are paid for; opened: what the client needs open, as
        long as this simulator is there."""
        self.opened = opened
        self.client, self.template, self.tokenizer, self.journal = client, template, tokenizer, journal
        self.read = self.generated = self.asked = self.unread = 0

    @property
    def tokens(self) -> int:
        """Tokens that the client has read and written."""
        return self.read + self.generated

    @property
    def shared_tokens(self) -> int:
        """None are known to be shared."""
        return 0

    def simulate(self, tasks: list[Task]) -> list[list[float]]:
        """Per task, one predicted activation (0..10) for each evidence token. Raises ValueError where no answer of many
        can be read."""
        found = [[0.0] * len(task.text.evidence) for task in tasks]
        # Nothing to predict is nothing to ask.
        places = [i for i, task in enumerate(tasks) if task.text.evidence]
        requests = []
        for i in places:
            prompt = self.template.prompt(tasks[i].description, token_strings(self.tokenizer, tasks[i].text.evidence))
            requests.append(Request(prompt, key("simulate", prompt.sha256()), 0))

        def done(answers: dict[int, Answer], fresh: bool = True) -> None:
            for number, answer in answers.items():
                self.asked += 1
                self.read += answer.prompt_tokens
                self.generated += answer.completion_tokens
                said = None
                if answer.finished and not answer.refused:
                    said = parse_numbers(answer.text, len(found[places[number]]))
                self.unread += said is None
                found[places[number]] = said or found[places[number]]

        if requests:
            self._answer(requests, done)
        if self.unread == self.asked >= _ENOUGH:
            raise ValueError(
                f"scores.simulator: none of {self.asked} answers is a list of numbers from 0 to 10, one a token; ask a"
                " larger model, or say it otherwise in scores.simulator.prompt; finished answers are kept"
            )
        if self.unread:
            logger.warning("%d of %d answers of the simulator cannot be read", self.unread, self.asked)
        return found

    def _answer(self, requests: list[Request], done: Callable[..., None]) -> None:
        if self.journal is None:
            self.client.answer(requests, done)
        else:
            self.journal.answer(self.client, requests, done)
