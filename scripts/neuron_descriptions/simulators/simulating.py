"""Simulators: activations predicted from a description.

T evidence tokens of a text, N number tokens, R read positions of a row.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from neuron_descriptions.corpus.reading import Text
from neuron_descriptions.descriptions.prompts import prompt_file
from neuron_descriptions.models.conversations import STAND_INS, plain_ids, template_segments
from neuron_descriptions.models.loading import special_tokens
from neuron_descriptions.simulators.expectation import Expectation, Row
from neuron_descriptions.simulators.retokenizing import Retokenizer, SameTokens

OUTPUTS = 11  # of a fine-tuned simulator: 0..10


@dataclass(slots=True, frozen=True)
class Task:
    """A description to apply to a sequence."""

    description: str
    text: Text


class Simulator(Protocol):
    """Predicts activations."""

    @property
    def tokens(self) -> int:
        """Tokens that have gone through the model, shared prefixes and padding aside."""
        ...

    @property
    def shared_tokens(self) -> int:
        """Tokens of shared prefixes that have gone through the model."""
        ...

    def simulate(self, tasks: list[Task]) -> list[list[float]]:
        """Per task, one predicted activation (0..10) for each evidence token."""
        ...


@prompt_file
class SimulatorTemplate:
    """A few-shot prompt file; `examples`: mappings of a description and its tokens, pairs (text, 0..10)."""

    system: str
    examples: tuple[dict[str, Any], ...]


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


class LogitSimulator:
    """What simulators share that read a model's logits: `row` says what the model reads for a task, and where."""

    expectation: Expectation

    def row(self, task: Task) -> Row:
        """A task's ids, and the places that its predictions are read at."""
        raise NotImplementedError

    @property
    def tokens(self) -> int:
        """Tokens of tasks that have gone through the model."""
        return self.expectation.tokens

    @property
    def shared_tokens(self) -> int:
        """Tokens of prefixes that have."""
        return self.expectation.shared_tokens

    def simulate(self, tasks: list[Task]) -> list[list[float]]:
        """Per task, one predicted activation for each evidence token: 0..10, or 0..9 (see number_tokens)."""
        return self.expectation.run([self.row(task) for task in tasks])

    def distributions(self, tasks: list[Task]) -> list[Tensor]:
        """Per task, the distribution over the numbers at each evidence token, float32 (T, N), on the processor: that of
        the simulator's token that predicts most, where it has several; all on 0, where it has none."""
        rows = [self.row(task) for task in tasks]
        numbers_N = self.expectation.numbers_N.cpu()
        none_N = (numbers_N == 0).float()
        found = [none_N.repeat(len(row.groups or []), 1) for row in rows]
        for i, shares_RN in self.expectation.shares(rows):
            shares, groups = shares_RN.cpu(), rows[i].groups
            if groups is not None:
                expected_R = shares @ numbers_N
                best = [max(group, key=lambda j: float(expected_R[j]), default=None) for group in groups]
                shares = torch.stack([none_N if j is None else shares[j] for j in best])
            found[i] = shares
        return found


class PromptedSimulator(LogitSimulator):
    """Any instruct model, few-shot, all tokens of a sequence in one pass (after Bills et al. 2023, "Language models
    can explain neurons in language models"): each token stands with a tab and `unknown`, and at the tab the model
    says which number would come. Prompts are put together from token ids, so every tab is found."""

    UNKNOWN = "unknown"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        template: SimulatorTemplate,
        batch_tokens: int,
        texts: SameTokens | Retokenizer | None = None,
    ):
        """texts: gives a sequence in the simulator's tokens; by default it has the subject's."""
        self.tokenizer, self.texts = tokenizer, texts or SameTokens()
        numbers = number_tokens(tokenizer)
        self.tab, self.newline, self.unknown = (plain_ids(tokenizer, t) for t in ("\t", "\n", self.UNKNOWN))
        if len(self.tab) != 1:
            raise ValueError("scores.simulator.model: its tokenizer does not write a tab as one token; use another")
        self.special = special_tokens(tokenizer)
        self.prefix, self.after_description = self._few_shot(template, len(numbers) - 1)
        self.expectation = Expectation(model, numbers, batch_tokens)

    def _few_shot(self, template: SimulatorTemplate, scale: int) -> tuple[tuple[int, ...], list[int]]:
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
        return tuple(prefix), segments[-1] + plain_ids(self.tokenizer, "Activations:\n<start>\n")

    @staticmethod
    def _question(number: int, description: str) -> str:
        return f"Neuron {number}\nDescription of neuron selectivity: {description}"

    def row(self, task: Task) -> Row:
        """A task's own part of the prompt."""
        ids = plain_ids(self.tokenizer, task.description) + self.after_description
        tokens, groups = self.texts.evidence(task.text, keep_special=False)
        reads = []
        for token in tokens:
            # A special token would end the turn: it stands as its text.
            text = plain_ids(self.tokenizer, self.special[token]) if token in self.special else [token]
            ids = ids + text + self.tab
            reads.append(len(ids) - 1)
            ids = ids + self.unknown + self.newline
        return Row(self.prefix, ids, reads, groups)


class FinetunedFormat:
    """What a fine-tuned simulator reads: a description, then a sequence's own ids.

    The published simulator's tokenizer has stand-ins for four special tokens: they stand for these wherever they are
    in the input, the begin-of-text token before the description included, and for their texts in a description. Any
    other tokenizer has a description's special tokens as plain text."""

    def __init__(self, tokenizer: Any):
        self.tokenizer, vocabulary = tokenizer, tokenizer.get_vocab()
        self.stand_ins = {special: added for special, added in STAND_INS.items() if added in vocabulary}
        self.replaced = {vocabulary[a]: vocabulary[b] for a, b in self.stand_ins.items() if a in vocabulary}

    def description(self, text: str) -> list[int]:
        """Ids of a description and of what leads to the sequence."""
        for special, added in self.stand_ins.items():
            text = text.replace(special, added)
        whole = f"## Neuron Description: {text}\n\n ## Input: "
        return self.sequence(self.tokenizer(whole, split_special_tokens=not self.stand_ins)["input_ids"])

    def sequence(self, ids: list[int]) -> list[int]:
        """Ids with stand-ins for the special tokens among them, where the tokenizer has stand-ins."""
        return [self.replaced.get(token, token) for token in ids]

    def row(self, task: Task, texts: SameTokens | Retokenizer) -> Row:
        """Ids of a task's evidence; their prefix is the description and, mostly the same too, the template's prefix.
        texts: gives a sequence in the simulator's tokens."""
        evidence, groups = texts.evidence(task.text, keep_special=True)
        sequence, before = map(self.sequence, (evidence, texts.prefix(task.text)))
        return Row((*self.description(task.description), *before), sequence, list(range(len(sequence))), groups)


class FinetunedSimulator(LogitSimulator):
    """Weights trained for the task: after the description come the sequence's own ids, and at each of them the
    first 11 logits of the vocabulary are a distribution over 0..10 (the published simulator's format)."""

    def __init__(self, model: Any, tokenizer: Any, batch_tokens: int, texts: SameTokens | Retokenizer | None = None):
        """texts: gives a sequence in the simulator's tokens; by default it has the subject's."""
        self.format, self.texts = FinetunedFormat(tokenizer), texts or SameTokens()
        self.expectation = Expectation(model, list(range(OUTPUTS)), batch_tokens)

    def row(self, task: Task) -> Row:
        """What the model reads for a task: see FinetunedFormat."""
        return self.format.row(task, self.texts)
