"""Judges: which of some passages a description fits, by a model that is asked.

A local model reads each passage for itself, and the chance of "yes" is read from its logits: nothing is generated. Any
other client is asked for a list of answers, which is read strictly.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Any, Protocol

import torch

from neuron_descriptions.clients.base import Answer, Request
from neuron_descriptions.clients.journalled import JournalledClient, open_journalled
from neuron_descriptions.clients.opening import Job
from neuron_descriptions.clients.token_ids import TokenIds
from neuron_descriptions.common.streams import key
from neuron_descriptions.config.explainers import TransformersExplainer
from neuron_descriptions.models.conversations import plain_ids
from neuron_descriptions.models.loading import load_model, load_tokenizer
from neuron_descriptions.scores.opening import Job as ScorerJob
from neuron_descriptions.scores.questions import JudgeTemplate, Question, parse_list, read_judge_template
from neuron_descriptions.simulators.expectation import Expectation, Row

REFUSED, UNPARSED = "refused", "unparsed"
Verdict = float | str  # the chance of "yes", 0 to 1; or REFUSED or UNPARSED
_ANSWER_TOKENS = 8  # of one answer in a list, at most; and so many more of the list
_LIST_TOKENS = 32


class Judge(Protocol):
    """Answers questions."""

    def judge(self, questions: list[Question], group: int) -> list[list[Verdict]]:
        """Per question, a verdict for each passage. group: of what may be run together, such as a neuron."""


class ListJudge:
    """Asks a client about several passages at once."""

    def __init__(self, client: JournalledClient, template: JudgeTemplate, at_once: int, seed: int):
        self.client, self.template, self.at_once, self.seed = client, template, at_once, seed

    def judge(self, questions: list[Question], group: int) -> list[list[Verdict]]:
        """See Judge."""
        requests, places = [], []
        for number, question in enumerate(questions):
            for first in range(0, len(question.passages), self.at_once):
                shown = question.passages[first : first + self.at_once]
                prompt = self.template.prompt(question.description, shown, several=True)
                requests.append(Request(prompt, key(self.seed, "judge", *question.who, first), group))
                places.append((number, first, len(shown)))
        found: list[list[Verdict]] = [[UNPARSED] * len(question.passages) for question in questions]

        def done(answers: dict[int, Answer], fresh: bool) -> None:
            for i, answer in answers.items():
                number, first, count = places[i]
                said = parse_list(answer.text, count) if answer.finished and not answer.refused else None
                failed: Verdict = REFUSED if answer.refused else UNPARSED
                found[number][first : first + count] = said if said is not None else [failed] * count

        self.client.answer(requests, done)
        return found


class LogitJudge:
    """Reads the chance of "yes" against "no" as the first word of a local model's answer, passage by passage."""

    def __init__(self, model: Any, tokenizer: Any, template: JudgeTemplate, batch_tokens: int):
        """Raises ValueError where the tokenizer writes neither "yes" nor "no" as one token."""
        words = [{i[0] for form in (word, word.capitalize(), f" {word}", f" {word.capitalize()}")
                  if len(i := plain_ids(tokenizer, form)) == 1} for word in ("no", "yes")]  # fmt: skip
        if not all(words) or words[0] & words[1]:
            raise ValueError(
                "scores.scorers: the judge's tokenizer does not write yes and no as single tokens: use another model,"
                " or another client, which is asked for a list of answers"
            )
        ids = [*sorted(words[0]), *sorted(words[1])]
        self.ids, self.template, self.dtype = TokenIds(tokenizer), template, str(model.dtype).removeprefix("torch.")
        self.expectation = Expectation(model, ids, batch_tokens)
        said = [0.0] * len(words[0]) + [1.0] * len(words[1])
        self.expectation.numbers_N = torch.tensor(said, device=model.device)  # so its expectation is the chance of yes

    def judge(self, questions: list[Question], group: int) -> list[list[Verdict]]:
        """See Judge. Raises ValueError where a chance is not finite, as of weights that overflow."""
        rows: dict[tuple[str, str], Row] = {}  # what is asked twice is read once
        for question in questions:
            asked = [p for p in dict.fromkeys(question.passages) if (question.description, p) not in rows]
            ids = [self._ids(question.description, passage) for passage in asked]
            # What all questions about a description begin with, that is all up to the passage, is read once.
            begin = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*ids)))
            for passage, row in zip(asked, ids):
                first = min(begin, len(row) - 1)
                rows[question.description, passage] = Row(tuple(row[:first]), row[first:], [len(row) - first - 1])
        chances = dict(zip(rows, self.expectation.run(list(rows.values()))))
        if not all(math.isfinite(chance) for (chance,) in chances.values()):
            raise ValueError(
                f"scores.scorers: the judge's chances of yes are not finite in {self.dtype}: set its dtype to bfloat16"
                " or float32; else its weights may be damaged"
            )
        return [[chances[q.description, passage][0] for passage in q.passages] for q in questions]

    def _ids(self, description: str, passage: str) -> list[int]:
        shared, rest = self.ids.prompt(self.template.prompt(description, [passage], several=False))
        return shared + rest


@contextmanager
def open_judge(job: ScorerJob) -> Iterator[Judge]:
    """The judge of a scorer's section (`judge`, `passages_per_request`). inputs of the job: prompt, and judge, its
    folder, where it has one."""
    section, folder = job.section, job.inputs.get("judge") or ""
    template, judge = read_judge_template(job.inputs["prompt"]), section.judge
    if isinstance(judge, TransformersExplainer):
        model = load_model(folder, judge.dtype, head=True, threads=job.threads)
        yield LogitJudge(model, load_tokenizer(folder), template, judge.batch_tokens)
        return
    at_once = section.passages_per_request
    most = _LIST_TOKENS + _ANSWER_TOKENS * at_once
    asked = Job(judge, folder or None, (), 0.0, most, job.requests, job.part, job.threads)
    with open_journalled(asked, set(job.neurons), job.code) as client:
        yield ListJudge(client, template, at_once, job.seed)
