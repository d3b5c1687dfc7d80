"""Every client, opened for a job: the list that a new one is entered in.

A client is a class of the protocol in base.py, with a section of its own in config/explainers.py and an entry here.
Its module is imported when it is opened, so that no job loads or depends on another client.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from neuron_descriptions.clients.base import Client
from neuron_descriptions.config.explainers import Endpoint, Explainer, TransformersExplainer, VllmExplainer
from neuron_descriptions.models.loading import load_tokenizer


@dataclass(slots=True, frozen=True)
class Job:
    """What a client is opened for."""

    explainer: Explainer
    """The config's `descriptions.explainer`, or a scorer's `judge`."""
    folder: str | None
    """Of its weights or its tokenizer, if it has one."""
    stop: tuple[str, ...]
    """Texts that end an answer."""
    temperature: float
    max_tokens: int
    """Of an answer."""
    requests: str
    """Folder of what was asked and what it cost."""
    part: str
    """Whose requests these are, such as layer-3/chunk-0."""
    threads: int


@contextmanager
def _transformers(job: Job) -> Iterator[Client]:
    from neuron_descriptions.clients.transformers import TransformersClient
    from neuron_descriptions.models.loading import load_model

    assert job.folder and isinstance(job.explainer, TransformersExplainer)
    model = load_model(job.folder, job.explainer.dtype, head=True, threads=job.threads)
    tokenizer, batch_tokens = load_tokenizer(job.folder), job.explainer.batch_tokens
    yield TransformersClient(model, tokenizer, job.temperature, job.max_tokens, job.stop, batch_tokens)


@contextmanager
def _vllm(job: Job) -> Iterator[Client]:
    from neuron_descriptions.clients.vllm import VllmClient

    assert job.folder and isinstance(job.explainer, VllmExplainer)
    tokenizer = load_tokenizer(job.folder)
    yield VllmClient(job.folder, tokenizer, job.explainer, job.temperature, job.max_tokens, job.stop)


@contextmanager
def _openai(job: Job) -> Iterator[Client]:
    from neuron_descriptions.clients.openai import OpenaiClient

    tokenizer = load_tokenizer(job.folder) if job.folder else None
    with _asked(job) as asked:
        yield OpenaiClient(*asked, tokenizer=tokenizer, stop=job.stop)


@contextmanager
def _anthropic(job: Job) -> Iterator[Client]:
    from neuron_descriptions.clients.anthropic import AnthropicClient

    with _asked(job) as asked:
        yield AnthropicClient(*asked)


@contextmanager
def _asked(job: Job) -> Iterator[tuple[Any, ...]]:
    """What every client of an endpoint is made of; what its requests cost is counted, if they cost anything."""
    from neuron_descriptions.clients.journal import open_ledger

    assert isinstance(job.explainer, Endpoint)
    ledger = open_ledger(f"{job.requests}/spending.sqlite", job.part, job.explainer.limits.budget)
    with ledger if job.explainer.prices else nullcontext() as counted:
        yield job.explainer, job.temperature, job.max_tokens, counted


# The key `client` of the section -> how it is opened.
CLIENTS: dict[str, Callable[[Job], AbstractContextManager[Client]]] = {
    "transformers": _transformers,
    "vllm": _vllm,
    "openai": _openai,
    "anthropic": _anthropic,
}


def open_client(job: Job) -> AbstractContextManager[Client]:
    """The client that a job's section names."""
    return CLIENTS[job.explainer.client](job)
