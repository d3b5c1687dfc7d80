"""Judges of single tokens: which of them fit a description.

A local model is not asked: what it expects next, after a text that names the description, is set against what it
expects after one that names nothing. One pass tells of the whole vocabulary, and a model that is too small to answer
such questions can still tell months from colours. Any other client is asked for a list of answers.

V the judge's vocabulary, P tokens.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from neuron_descriptions.clients.journalled import open_journalled
from neuron_descriptions.clients.opening import Job
from neuron_descriptions.config.explainers import TransformersExplainer
from neuron_descriptions.models.loading import load_model, load_tokenizer
from neuron_descriptions.output_side.writing import vocabulary
from neuron_descriptions.scores.judging import _ANSWER_TOKENS, _LIST_TOKENS, Judge, ListJudge, Verdict
from neuron_descriptions.scores.opening import Job as ScorerJob
from neuron_descriptions.scores.questions import Question
from neuron_descriptions.scores.token_templates import TokenJudgeTemplate, read_token_judge_template


class NextTokenJudge:
    """Reads how much more a local model expects a token after a description than after one that says nothing."""

    def __init__(self, model: Any, tokenizer: Any, template: TokenJudgeTemplate):
        self.model, self.tokenizer, self.template = model, tokenizer, template
        size = min(len(tokenizer), model.get_output_embeddings().weight.shape[0])
        self.ids = {text: i for i, text in reversed(list(enumerate(vocabulary(tokenizer, size))))}
        self.neutral_V = self._expected(template.neutral)

    def judge(self, questions: list[Question], group: int) -> list[list[Verdict]]:
        """See Judge: the chance that a token comes from the one text and not from the other, by Bayes' rule. A token
        that the judge's vocabulary has not is told by its first piece. Raises ValueError where a chance is not
        finite."""
        more_of: dict[str, Tensor] = {}
        found: list[list[Verdict]] = []
        for question in questions:
            if question.description not in more_of:
                more_of[question.description] = self._expected(question.description) - self.neutral_V
            ids_P = [self._id(json.loads(passage)) for passage in question.passages]
            chance_P = more_of[question.description][ids_P].sigmoid()
            if not bool(chance_P.isfinite().all()):
                raise ValueError("output_side.judge: its chances are not finite; set its dtype to bfloat16 or float32")
            found.append(chance_P.tolist())
        return found

    @torch.inference_mode()
    def _expected(self, description: str) -> Tensor:
        """Log probabilities of the next token (V), float32."""
        ids = self.tokenizer(self.template.text(description))["input_ids"]
        device = next(self.model.parameters()).device
        logits_V = self.model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0, -1]
        expected_V: Tensor = logits_V.float().log_softmax(0).cpu()
        return expected_V

    def _id(self, token: str) -> int:
        if token not in self.ids:
            pieces = self.tokenizer(token, add_special_tokens=False)["input_ids"]
            self.ids[token] = pieces[0] if pieces else 0
        return self.ids[token]


@contextmanager
def open_token_judge(job: ScorerJob) -> Iterator[Judge]:
    """The judge of a section (`judge`, `passages_per_request`). inputs of the job: prompt, and judge, its folder, where
    it has one."""
    section, folder = job.section, job.inputs.get("judge") or ""
    template, judge = read_token_judge_template(job.inputs["prompt"]), section.judge
    if isinstance(judge, TransformersExplainer):
        model = load_model(folder, judge.dtype, head=True, threads=job.threads)
        yield NextTokenJudge(model, load_tokenizer(folder), template)
        return
    at_once = section.passages_per_request
    most = _LIST_TOKENS + _ANSWER_TOKENS * at_once
    asked = Job(judge, folder or None, (), 0.0, most, job.requests, job.part, job.threads)
    with open_journalled(asked, set(job.neurons), job.code) as client:
        yield ListJudge(client, template, at_once, job.seed)  # type: ignore[arg-type]
