"""Every simulator, made ready for a job: the list that a new one is entered in.

A simulator is a class of the protocol in simulating.py, with a value of the key `kind` in config/scores.py and an entry
here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
class Job:
    """What a simulator is made of."""

    settings: Section
    """The config's `scores.simulator`; its file `prompt` is the one below."""
    folder: str
    """Of its model."""
    prompt: str | None
    """Its few-shot file, if it has one."""
    subject_folder: str
    """Of the subject, whose tokenizer may be another."""
    threads: int

    def texts(self, tokenizer: Any) -> SameTokens | Retokenizer:
        """Gives sequences in the simulator's tokens, which may be the subject's."""
        subject = load_tokenizer(self.subject_folder)
        same = tokenizer_fingerprint(tokenizer) == tokenizer_fingerprint(subject)
        return SameTokens() if same else Retokenizer(subject, tokenizer)

    def model(self) -> Any:
        """Its model, with a head."""
        return load_model(self.folder, self.settings.dtype, head=True, threads=self.threads)


def _prompted(job: Job) -> Simulator:
    assert job.prompt
    tokenizer = load_tokenizer(job.folder)
    template = read_template(job.prompt, SimulatorTemplate, "scores.simulator.prompt")
    texts, batch_tokens = job.texts(tokenizer), job.settings.batch_tokens
    return PromptedSimulator(job.model(), tokenizer, template, batch_tokens, texts)


def _finetuned(job: Job) -> Simulator:
    tokenizer = load_tokenizer(job.folder)
    return FinetunedSimulator(job.model(), tokenizer, job.settings.batch_tokens, job.texts(tokenizer))


# The key `kind` of the section -> how it is made.
SIMULATORS: dict[str, Callable[[Job], Simulator]] = {
    "prompted": _prompted,
    "finetuned": _finetuned,
}


def load_simulator(job: Job) -> Simulator:
    """The simulator that a job's section names."""
    return SIMULATORS[job.settings.kind](job)
