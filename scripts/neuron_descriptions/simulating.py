"""Simulators: activations predicted from a description.

B rows of a batch, S tokens of a row's own part (after the shared prefix), N number tokens.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from .models import load_model, load_tokenizer, special_tokens, tokenizer_fingerprint
from .prompts import plain_ids, prompt_file, read_template, template_segments
from .sequences import Text


@dataclass(slots=True, frozen=True)
class Task:
    """A description to apply to a sequence."""

    description: str
    text: Text


class Simulator(Protocol):
    """Predicts activations."""

    def simulate(self, tasks: list[Task]) -> list[list[float]]:
        """Per task, one predicted activation (0..10) for each evidence token."""
        ...


@prompt_file
class SimulatorTemplate:
    """A few-shot prompt file; `examples`: mappings of a description and its tokens, pairs (text, 0..10)."""

    system: str
    examples: tuple[dict[str, Any], ...]


@dataclass(slots=True, frozen=True)
class _Row:
    """A task as token ids after the shared prefix; `reads[i]` is where evidence token i's number is predicted."""

    ids: list[int]
    reads: list[int]


def number_tokens(tokenizer: Any) -> list[int]:
    """Ids of the tokens "0".."10", or "0".."9" where "10" is more than one token.

    Raises ValueError where a digit is not one token: the prompted simulator cannot read such a model.
    """
    ids = [plain_ids(tokenizer, str(number)) for number in range(11)]
    if len(ids[10]) > 1:
        ids.pop()
    if any(len(i) != 1 for i in ids):
        raise ValueError("scores.simulator.model: its tokenizer does not write a digit as one token; use another")
    return [i[0] for i in ids]


class _Expectation:
    """Runs rows after a prefix whose keys and values are computed once, and reads the expected number."""

    def __init__(self, model: Any, prefix: list[int], numbers: list[int], batch_tokens: int):
        self.model, self.prefix, self.batch_tokens = model, prefix, batch_tokens
        head = model.get_output_embeddings()
        self.head_ND = head.weight[numbers]
        self.bias_N = None if getattr(head, "bias", None) is None else head.bias[numbers]
        self.cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        self.numbers_N = torch.arange(len(numbers), dtype=torch.float32, device=model.device)
        self.cache: DynamicCache | None = None

    @torch.inference_mode()
    def run(self, rows: list[_Row]) -> list[list[float]]:
        """Expected number at every read position of every row."""
        if self.prefix and self.cache is None:
            ids = torch.tensor([self.prefix], device=self.model.device)
            self.cache = self.model.base_model(input_ids=ids, use_cache=True).past_key_values
        results: dict[int, list[float]] = {}
        for batch in self._batches(rows):
            longest = max(len(rows[i].ids) for i in batch)
            # Padding on the right: a causal model's tokens do not see what comes after them.
            ids_BS = torch.tensor([rows[i].ids + [0] * (longest - len(rows[i].ids)) for i in batch])
            cache = copy.deepcopy(self.cache)
            if cache is not None:
                cache.batch_repeat_interleave(len(batch))
            hidden_BSD = self.model.base_model(
                input_ids=ids_BS.to(self.model.device),
                past_key_values=cache,
                use_cache=cache is not None,
            ).last_hidden_state
            for b, i in enumerate(batch):
                results[i] = self._expected(hidden_BSD[b, rows[i].reads])
        return [results[i] for i in range(len(rows))]

    def _expected(self, hidden_RD: Tensor) -> list[float]:
        logits_RN = torch.nn.functional.linear(hidden_RD, self.head_ND, self.bias_N).float()
        if self.cap:
            logits_RN = self.cap * torch.tanh(logits_RN / self.cap)
        return (logits_RN.softmax(-1) @ self.numbers_N).tolist()

    def _batches(self, rows: list[_Row]) -> Iterator[list[int]]:
        """Row numbers, longest first, in batches of at most batch_tokens, padding and prefix included."""
        batch: list[int] = []
        for i in sorted(range(len(rows)), key=lambda i: (-len(rows[i].ids), i)):
            longest = len(self.prefix) + len(rows[(batch or [i])[0]].ids)
            if batch and longest * (len(batch) + 1) > self.batch_tokens:
                yield batch
                batch = []
            batch.append(i)
        yield batch


class PromptedSimulator:
    """Any instruct model, few-shot, all tokens of a sequence in one pass (after Bills et al. 2023, "Language models
    can explain neurons in language models"): each token stands with a tab and `unknown`, and at the tab the model
    says which number would come. Prompts are put together from token ids, so every tab is found."""

    UNKNOWN = "unknown"

    def __init__(self, model: Any, tokenizer: Any, template: SimulatorTemplate, batch_tokens: int):
        self.tokenizer = tokenizer
        numbers = number_tokens(tokenizer)
        self.tab, self.newline, self.unknown = (plain_ids(tokenizer, t) for t in ("\t", "\n", self.UNKNOWN))
        if len(self.tab) != 1:
            raise ValueError("scores.simulator.model: its tokenizer does not write a tab as one token; use another")
        self.special = special_tokens(tokenizer)
        prefix, self.after_description = self._few_shot(template, len(numbers) - 1)
        self.expectation = _Expectation(model, prefix, numbers, batch_tokens)

    def _few_shot(self, template: SimulatorTemplate, scale: int) -> tuple[list[int], list[int]]:
        """(ids up to the description, ids between the description and the first token)."""
        marks = [f"\N{SYMBOL FOR SUBSTITUTE}{i}." for i in range(len(template.examples) + 1)]
        messages = [{"role": "system", "content": template.system.strip()}]
        for i, example in enumerate(template.examples):
            messages += [
                {
                    "role": "user",
                    "content": self._question(i + 1, example["description"]),
                },
                {
                    "role": "assistant",
                    "content": f"Activations:\n<start>\n{marks[i]}<end>",
                },
            ]
        messages.append({"role": "user", "content": self._question(len(marks), marks[-1])})
        segments = template_segments(self.tokenizer, messages, marks)
        prefix = segments[0]
        for example, segment in zip(template.examples, segments[1:]):
            for text, value in example["tokens"]:
                number = plain_ids(self.tokenizer, str(round(value * scale / 10)))
                prefix = prefix + plain_ids(self.tokenizer, text) + self.tab + number + self.newline
            prefix = prefix + segment
        return prefix, segments[-1] + plain_ids(self.tokenizer, "Activations:\n<start>\n")

    @staticmethod
    def _question(number: int, description: str) -> str:
        return f"Neuron {number}\nDescription of neuron selectivity: {description}"

    def row(self, task: Task) -> _Row:
        """A task's own part of the prompt."""
        ids = plain_ids(self.tokenizer, task.description) + self.after_description
        reads = []
        for token in task.text.evidence:
            # A special token would end the turn: it stands as its text.
            text = plain_ids(self.tokenizer, self.special[token]) if token in self.special else [token]
            ids = ids + text + self.tab
            reads.append(len(ids) - 1)
            ids = ids + self.unknown + self.newline
        return _Row(ids, reads)

    def simulate(self, tasks: list[Task]) -> list[list[float]]:
        """Per task, one predicted activation for each evidence token: 0..10, or 0..9 (see number_tokens)."""
        return self.expectation.run([self.row(task) for task in tasks])


class FinetunedSimulator:
    """Weights trained for the task: after the description come the sequence's own ids, and at each of them the
    first 11 logits of the vocabulary are a distribution over 0..10 (the published simulator's format)."""

    # What a sequence's special tokens become, where the simulator's tokenizer has the added token.
    ADDED: ClassVar = {
        "<|begin_of_text|>": "<||begin_of_text||>",
        "<|start_header_id|>": "<||start_header_id||>",
        "<|end_header_id|>": "<||end_header_id||>",
        "<|eot_id|>": "<||eot_id||>",
    }

    def __init__(self, model: Any, tokenizer: Any, batch_tokens: int):
        self.tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self.replaced = {vocabulary[a]: vocabulary[b] for a, b in self.ADDED.items() if b in vocabulary}
        self.expectation = _Expectation(model, [], list(range(11)), batch_tokens)

    def row(self, task: Task) -> _Row:
        """Ids of a task and where its evidence tokens stand."""
        ids = self.tokenizer(f"## Neuron Description: {task.description}\n\n ## Input: ")["input_ids"]
        sequence = [self.replaced.get(token, token) for token in task.text.input_ids]
        evidence = range(len(ids) + task.text.prefix_len, len(ids) + len(sequence))
        return _Row(ids + sequence, list(evidence))

    def simulate(self, tasks: list[Task]) -> list[list[float]]:
        """Per task, one predicted activation (0..10) for each evidence token."""
        return self.expectation.run([self.row(task) for task in tasks])


def load_simulator(
    settings: dict[str, Any],
    folder: str,
    prompt: str | None,
    subject: str,
    threads: int,
) -> Simulator:
    """The simulator of the config's `scores.simulator`; prompt: its few-shot file, if it has one; subject: fingerprint
    of the subject's tokenizer.

    Raises ValueError where the tokenizers differ: activations could not be matched to tokens.
    """
    tokenizer = load_tokenizer(folder)
    if tokenizer_fingerprint(tokenizer) != subject:
        raise ValueError(
            "scores.simulator.model: its tokenizer is not the subject's, so its predictions cannot be matched to the"
            " subject's tokens; choose a simulator that shares the subject's tokenizer"
        )
    template = read_template(prompt, SimulatorTemplate) if prompt else None
    model = load_model(folder, settings["dtype"], head=True, threads=threads)
    if template is None:
        return FinetunedSimulator(model, tokenizer, settings["batch_tokens"])
    return PromptedSimulator(model, tokenizer, template, settings["batch_tokens"])
