"""Every simulator, made ready for a job: the list that a new one is entered in.

A simulator is a class of the protocol in simulating.py, with a value of the key `kind` in config/scores.py and an entry
here.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from neuron_descriptions.config.base import restored
from neuron_descriptions.config.explainers import ACCESS_KEYS, Explainer, answering
from neuron_descriptions.config.scores import Simulator as Section
from neuron_descriptions.descriptions.prompts import read_template
from neuron_descriptions.models.loading import load_model, load_tokenizer, tokenizer_fingerprint
from neuron_descriptions.simulators.retokenizing import Retokenizer, SameTokens
from neuron_descriptions.simulators.simulating import (
    FinetunedSimulator,
    PromptedSimulator,
    Simulator,
    SimulatorTemplate,
)


@dataclass(slots=True, frozen=True)
class Asking:
    """How a client is asked: no prediction depends on it."""

    client: Explainer
    """Its section, with its limits and prices."""
    requests: str
    """Folder of what was asked and what it cost."""
    part: str
    """Whose requests these are, such as simulated/layer-3/chunk-0."""

    @classmethod
    def of(cls, settings: Section, how: Mapping[str, Any] | None) -> "Asking | None":
        """Of one that asks, None of others; how: ACCESS_KEYS of its client's section, `requests` and `part`."""
        if how is None or settings.client is None:
            return None
        section = answering(settings.client) | {name: how[name] for name in ACCESS_KEYS & how.keys()}
        return cls(restored(Explainer, section), how["requests"], how["part"])


@dataclass(slots=True, frozen=True)
class Job:
    """What a simulator is made of."""

    settings: Section
    """The config's `scores.simulator`; its file `prompt` is the one below."""
    folder: str | None
    """Of its model, if it has one here."""
    prompt: str | None
    """Its few-shot file, if it has one."""
    subject_folder: str
    """Of the subject, whose tokenizer may be another."""
    threads: int
    asking: "Asking | None" = None
    """Of one that asks a client."""

    @classmethod
    def of_job(
        cls, settings: Section, files: Mapping[str, Any], threads: int, how: Mapping[str, Any] | None = None
    ) -> "Job":
        """Of a rule's files: subject, simulator (its folder) and prompt, where it has these; how: see Asking.of."""
        asking = Asking.of(settings, how)
        return cls(settings, files["simulator"], files.get("prompt"), files["subject"], threads, asking)

    def texts(self, tokenizer: Any) -> SameTokens | Retokenizer:
        """Gives sequences in the simulator's tokens, which may be the subject's."""
        subject = load_tokenizer(self.subject_folder)
        same = tokenizer_fingerprint(tokenizer) == tokenizer_fingerprint(subject)
        return SameTokens() if same else Retokenizer(subject, tokenizer)

    def model(self) -> Any:
        """Its model, with a head."""
        assert self.folder
        return load_model(self.folder, self.settings.dtype, head=True, threads=self.threads)


def _prompted(job: Job) -> Simulator:
    assert job.prompt and job.folder
    tokenizer = load_tokenizer(job.folder)
    template = read_template(job.prompt, SimulatorTemplate, "scores.simulator.prompt")
    texts, batch_tokens = job.texts(tokenizer), job.settings.batch_tokens
    return PromptedSimulator(job.model(), tokenizer, template, batch_tokens, texts)


def _finetuned(job: Job) -> Simulator:
    assert job.folder
    tokenizer = load_tokenizer(job.folder)
    return FinetunedSimulator(job.model(), tokenizer, job.settings.batch_tokens, job.texts(tokenizer))


def _asked(job: Job) -> Simulator:
    from neuron_descriptions.clients import opening as clients
    from neuron_descriptions.clients.journal import Journal
    from neuron_descriptions.simulators.asked import ANSWER_TOKENS, AskedSimulator
    from neuron_descriptions.simulators.asked_prompts import read_asked_template

    assert job.prompt
    if job.asking is None:
        raise ValueError("scores.simulator: what is asked of a client is not asked again here; see kind `asked`")
    requests, part = job.asking.requests, job.asking.part
    asked = clients.Job(job.asking.client, job.folder or None, (), 0.0, ANSWER_TOKENS, requests, part, job.threads)
    client = (opened := ExitStack()).enter_context(clients.open_client(asked))
    # An endpoint's answers are paid for: they outlive the code and the job.
    journal = Journal(f"{requests}/{part}.jsonl", {0}) if client.keeps else None
    return AskedSimulator(client, read_asked_template(job.prompt), load_tokenizer(job.subject_folder), journal, opened)


# The key `kind` of the section -> how it is made.
SIMULATORS: dict[str, Callable[[Job], Simulator]] = {
    "prompted": _prompted,
    "finetuned": _finetuned,
    "asked": _asked,
}


def load_simulator(job: Job) -> Simulator:
    """The simulator that a job's section names."""
    return SIMULATORS[job.settings.kind](job)
