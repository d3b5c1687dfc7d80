"""A client with the journal of what it answered, opened together for a job."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from neuron_descriptions.clients.base import Answer, Client, Request
from neuron_descriptions.clients.journal import Journal
from neuron_descriptions.clients.opening import Job, open_client
from neuron_descriptions.config.explainers import answering


@dataclass(slots=True, frozen=True)
class JournalledClient:
    """Answers requests; what was answered before is not asked again."""

    client: Client
    journal: Journal

    @property
    def begins(self) -> bool:
        """Whether an answer's beginning is written for the model."""
        return self.client.begins

    def answer(self, requests: list[Request], done: Callable[[dict[int, Answer], bool], None]) -> None:
        """Answer all requests; `done` gets answers as they come, and whether they are fresh. Raises ValueError as
        `Client.answer` does."""
        self.journal.answer(self.client, requests, done)

    def forget(self) -> None:
        """Called when the job's table is written: answers that cost nothing are no longer kept."""
        if not self.client.keeps:
            self.journal.remove()


@contextmanager
def open_journalled(job: Job, groups: set[int], code: str) -> Iterator[JournalledClient]:
    """A job's client with its journal.

    groups: those whose answers may be wanted; code: stands for the code that makes the answers. An endpoint's answers
    are paid for: they outlive the code and the job.
    """
    with open_client(job) as client:
        made_by = "" if client.keeps else f"{code} {answering(job.explainer)} {job.folder}"
        yield JournalledClient(client, Journal(f"{job.requests}/{job.part}.jsonl", groups, made_by))
