"""Fuzzing: some tokens of a passage are marked; are they what the description says? (As the scorer of that name in
Paulo et al. 2024, "Automatically Interpreting Millions of Features in Large Language Models".)

In half of the passages the tokens are marked at which the neuron is active, in the others as many others.

T tokens of a passage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.models.loading import token_strings
from neuron_descriptions.scores.columns import Column
from neuron_descriptions.scores.judged import METRICS, JudgedScorer
from neuron_descriptions.scores.marks import active_tokens, usual_count, wrong_marks
from neuron_descriptions.scores.passages import Passage

OPENS, CLOSES = "<<", ">>"
_WORDS = {
    "average_precision": "How well the judge's answers pick out the passages whose marks are right: the mean precision"
    " as its chance of “yes” falls. 1 is perfect; by chance, the share of these where its answers are all the same, and"
    " more where they differ and passages are few: so it stands beside its null.",
    "auc": "How often right marks have a higher chance of “yes” than wrong ones, equal ones counted by half. By chance"
    " 0.5.",
    "balanced_accuracy": "Mean of the share of right marks that are called right and of wrong ones that are called"
    " wrong; by chance 0.5.",
    "n_active": "Passages with an answer whose marks are right.",
    "n_silent": "Passages with an answer whose marks are wrong.",
}


@dataclass(slots=True, frozen=True)
class Marked(Passage):
    """A passage with marked tokens; it is active where these are right."""

    marks_T: NDArray[np.bool_]


def marked(tokens: Sequence[str], marks_T: NDArray[np.bool_]) -> str:
    """The text, each run of marked tokens in OPENS and CLOSES."""
    edges = np.diff(marks_T.astype(int), prepend=0, append=0)
    pieces = [(OPENS if edges[i] == 1 else CLOSES if edges[i] == -1 else "") + token for i, token in enumerate(tokens)]
    return "".join(pieces) + (CLOSES if edges[-1] == -1 else "")


class FuzzingScorer(JudgedScorer):
    """Asks whether what is marked is what the description says. Wrong marks are as many as an active passage has on
    average, rounded up, at tokens drawn among those below the threshold: of the active passages once more, or of silent
    ones."""

    columns: ClassVar[tuple[Column, ...]] = tuple(
        column._replace(words=_WORDS.get(column.name, column.words)) for column in METRICS if column.name != "n_close"
    )

    def draw(self, split: str, neuron: int, sign: str) -> list[Passage]:
        """See JudgedScorer."""
        section, found = self.job.section, self.passages.draw(split, neuron, sign)
        active = [p for p in found if p.active]
        if not active:
            return []
        right = [_marked(p, "active", self._active(p, neuron, sign)) for p in active]
        count = usual_count([p.marks_T for p in right])
        wrong: list[Passage] = []
        for passage in active if section.wrong == "active" else [p for p in found if not p.active]:
            none_T = np.zeros(len(passage.text.evidence), bool)
            active_T = self._active(passage, neuron, sign) if passage.active else none_T
            who = self.job.seed, self.job.layer, neuron, sign, passage.split, passage.seq_id
            if (marks_T := wrong_marks(active_T, count, *who)) is not None:
                wrong.append(_marked(passage, "wrong", marks_T))
        return [*right, *wrong]

    def shown(self, passage: Passage) -> str:
        """See JudgedScorer."""
        assert isinstance(passage, Marked)
        return marked(token_strings(self.tokenizer, passage.text.evidence), passage.marks_T).strip()

    def _active(self, passage: Passage, neuron: int, sign: str) -> NDArray[np.bool_]:
        for kind in ("top", "middle"):
            for q in self.passages.evidence.get(passage.split, neuron, sign, kind):
                if q.seq_id == passage.seq_id:
                    return active_tokens(q.one_side(sign), self.job.section.threshold)
        raise AssertionError("an active passage is an exemplar")


def _marked(passage: Passage, kind: str, marks_T: NDArray[np.bool_]) -> Marked:
    return Marked(kind, passage.split, passage.seq_id, passage.text, passage.peak, marks_T)
