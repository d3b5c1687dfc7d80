"""What scorers share that ask a judge about passages: which candidate, which nulls, and how well the answers fit.

P passages.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from neuron_descriptions.common.storage import Row
from neuron_descriptions.common.streams import generator
from neuron_descriptions.common.vocabulary import SPLITS
from neuron_descriptions.models.loading import load_tokenizer, token_strings
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.scores.chance import Nulls
from neuron_descriptions.scores.classification import WITH_INTERVAL, detected, intervals
from neuron_descriptions.scores.columns import Column
from neuron_descriptions.scores.evidence import Evidence
from neuron_descriptions.scores.formulas import average_precision, choose, share_below
from neuron_descriptions.scores.judging import REFUSED, UNPARSED, Judge, Verdict, open_judge
from neuron_descriptions.scores.opening import Described, Details, Job
from neuron_descriptions.scores.passages import Passage, Passages
from neuron_descriptions.scores.questions import Question
from neuron_descriptions.scores.sampling import Array

NAN = float("nan")
FEW_ANSWERS = "few_answers"
ANSWERED = 0.5  # share of the active passages, and of the silent ones, that must have an answer


def known(verdicts: list[Verdict], active_P: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
    """The verdicts that are numbers, and whether their passages are active."""
    there = np.array([not isinstance(v, str) for v in verdicts], bool)
    return np.array([v for v in verdicts if not isinstance(v, str)], float), active_P[there]


def enough(verdicts: list[Verdict], active_P: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
    """The same; none where fewer than ANSWERED of either kind of passages have a number: nothing wins by the few that
    it answers."""
    chance_P, answered_P = known(verdicts, active_P)
    few = any((answered_P == kind).sum() < ANSWERED * (active_P == kind).sum() for kind in (True, False))
    return (chance_P[:0], answered_P[:0]) if few else (chance_P, answered_P)


# Where the judge's answers are about the neuron's activity; other questions have other words for some.
METRICS = (
    Column("average_precision", pa.float64(), "average precision", "How well the judge's answers pick out the test"
                " passages in which the neuron is active: the mean precision as its chance of “yes” falls. 1 is"
                " perfect; by chance, the share of active passages where its answers are all the same, and more where"
                " they differ and passages are few: so it stands beside its null."),
    Column("average_precision_low", pa.float64(), "interval from", "Lower end of the average precision's interval"
                " (bootstrap over passages)."),
    Column("average_precision_high", pa.float64(), "interval to", "Upper end of that interval."),
    Column("auc", pa.float64(), "AUC", "How often a passage in which the neuron is active has a higher chance of “yes”"
                " than one in which it is silent, equal ones counted by half. By chance 0.5."),
    Column("auc_low", pa.float64(), "interval from", "Lower end of the AUC's interval."),
    Column("auc_high", pa.float64(), "interval to", "Upper end of that interval."),
    Column("balanced_accuracy", pa.float64(), "balanced accuracy", "Mean of the share of active passages that are"
                " called active and of silent ones that are called silent; by chance 0.5."),
    Column("balanced_accuracy_low", pa.float64(), "interval from", "Lower end of the balanced accuracy's interval."),
    Column("balanced_accuracy_high", pa.float64(), "interval to", "Upper end of that interval."),
    Column("f1", pa.float64(), "F1", "Harmonic mean of precision and recall of the answers."),
    Column("f1_low", pa.float64(), "interval from", "Lower end of F1's interval."),
    Column("f1_high", pa.float64(), "interval to", "Upper end of that interval."),
    Column("null_average_precision", pa.float64(), "null", "The mean average precision of descriptions of other"
                " neurons, judged on the same passages."),
    Column("null_auc", pa.float64(), "null, AUC", "Their mean AUC."),
    Column("null_balanced_accuracy", pa.float64(), "null, balanced accuracy", "Their mean balanced accuracy."),
    Column("null_f1", pa.float64(), "null, F1", "Their mean F1."),
    Column("null_percentile", pa.float64(), "above nulls", "Share of those descriptions, in %, above whose average"
                " precision this one lies."),
    Column("n_active", pa.int16(), "active passages", "Passages with an answer in which the neuron is active."),
    Column("n_silent", pa.int16(), "silent passages", "Passages with an answer in which it is silent."),
    Column("n_close", pa.int16(), "close passages", "Silent passages that hold a token at which it peaks"
                " elsewhere, or in which the most similar neuron is strongest."),
    Column("n_unanswered", pa.int16(), "unanswered", "Passages without an answer: the judge refused, or its answer"
                " was no list of yes and no of the right length."),
)  # fmt: skip
_PASSAGE = pa.struct(
    [("kind", pa.string()), ("split", pa.string()), ("seq_id", pa.int64()), ("peak", pa.float32()),
     ("chance", pa.float64()), ("answer", pa.string())]
)  # fmt: skip


class JudgedScorer:
    """Asks a judge about passages of the test split; without a simulation it chooses the candidate itself, by the
    average precision on passages of valid."""

    columns: ClassVar[tuple[Column, ...]] = METRICS
    # Every passage with the answer about it: a chance, or null and why there is none.
    details: ClassVar[Details] = (("passages", pa.list_(_PASSAGE)), ("selection_average_precision", pa.float64()))

    def __init__(self, job: Job, judge: Judge, passages: Passages, nulls: Nulls, tokenizer: Any):
        self.job, self.judge, self.passages, self.nulls, self.tokenizer = job, judge, passages, nulls, tokenizer

    @classmethod
    @contextmanager
    def open(cls, job: Job) -> Iterator["JudgedScorer"]:
        """See Scorer."""
        given, section = job.inputs, job.section
        corpus: dict[str, Any] = {split: given[split] for split in SPLITS}
        evidence = Evidence(given["exemplars"], given["statistics"], corpus, list(job.neurons))
        counts = {name: getattr(section, name, 0) for name in ("positives", "random", "close", "panel")}
        counts |= {"top": job.numbers.top, "middle": job.numbers.middle}
        panel = None
        if given.get("panel_test"):
            panel = Panel(given["panel_test"], [given["panel_test_acts"]], given["subject"])
        nulls = Nulls(given.get("pool") or None, given["nulls"], section.nulls, job.seed)
        with open_judge(job) as judge:
            passages = Passages(evidence, counts, job.seed, job.layer, panel)
            yield cls(job, judge, passages, nulls, load_tokenizer(given["subject"]))

    def draw(self, split: str, neuron: int, sign: str) -> list[Passage]:
        """The passages that the judge is asked about; those that it should say yes to are active."""
        return self.passages.draw(split, neuron, sign)

    def shown(self, passage: Passage) -> str:
        """A passage as the judge reads it."""
        return "".join(token_strings(self.tokenizer, passage.text.evidence)).strip()

    def score(self, described: Described) -> Row:
        """See Scorer."""
        texts = {c["candidate"]: c["description"] for c in described.candidates}
        candidate, selection = described.chosen, None
        if candidate is None:
            candidate, selection = self._choose(described, texts)
        passages = self.draw("test", described.neuron, described.sign)
        row: Row = {"candidate": candidate, "selection_average_precision": selection}
        if status := _lack(passages):
            return row | {"status": status}
        nulls = self.nulls.others(described.layer, described.neuron, described.sign)
        said = [texts[candidate], *(null.description for null in nulls)]
        verdicts = self._ask(described, "test", said, passages)
        return row | self._compared(described, passages, verdicts)

    def _choose(self, described: Described, texts: dict[int, str]) -> tuple[int, float | None]:
        """The candidate with the best average precision on valid; the first where none has one, or there is but one."""
        if len(texts) > 1 and not _lack(passages := self.draw("valid", described.neuron, described.sign)):
            active_P = np.array([p.active for p in passages])
            verdicts = self._ask(described, "valid", list(texts.values()), passages)
            scores = {number: average_precision(*enough(found, active_P)) for number, found in zip(texts, verdicts)}
            if (best := choose(scores)) is not None:
                return best, scores[best]
        return min(texts), None

    def _ask(self, described: Described, split: str, said: list[str], passages: list[Passage]) -> list[list[Verdict]]:
        """Verdicts on the passages for each description. They are shown in an order that tells nothing."""
        who = described.layer, described.neuron, described.sign, split
        order = generator(self.job.seed, "judge", *who).permutation(len(passages)).tolist()
        shown = tuple(self.shown(passages[i]) for i in order)
        questions = [Question(text, shown, (*who, number)) for number, text in enumerate(said)]
        place = {i: at for at, i in enumerate(order)}
        answers = self.judge.judge(questions, described.neuron)
        return [[found[place[i]] for i in range(len(passages))] for found in answers]

    def _compared(self, described: Described, passages: list[Passage], verdicts: list[list[Verdict]]) -> Row:
        active_P = np.array([p.active for p in passages])
        chance_P, answered_P = enough(verdicts[0], active_P)
        found = detected(chance_P, answered_P)
        others = [detected(*enough(v, active_P)) for v in verdicts[1:]]
        random = generator(self.job.seed, "detection", described.layer, described.neuron, described.sign)
        numbers = self.job.numbers
        ends = intervals(chance_P, answered_P, numbers.bootstrap, numbers.confidence, random)
        precision = found["average_precision"]
        row: Row = {name: found[name] for name in WITH_INTERVAL}
        row |= {f"{name}_{end}": value for name in WITH_INTERVAL for end, value in zip(("low", "high"), ends[name])}
        row |= {f"null_{name}": _mean([other[name] for other in others]) for name in WITH_INTERVAL}
        # A null without answers is not beaten.
        nulls = [value for other in others if np.isfinite(value := other["average_precision"])]
        row["null_percentile"] = 100 * share_below(precision, nulls) if np.isfinite(precision) else NAN
        row = {name: value if np.isfinite(value) else None for name, value in row.items()}
        failed = [v for v in verdicts[0] if isinstance(v, str)]
        status = "ok"
        if row["average_precision"] is None:
            status = FEW_ANSWERS if len(failed) < len(passages) else REFUSED if REFUSED in failed else UNPARSED
        answers = [{"kind": p.kind, "split": p.split, "seq_id": p.seq_id, "peak": p.peak} | _answer(v)
                   for p, v in zip(passages, verdicts[0])]  # fmt: skip
        return row | {
            "status": status,
            "n_active": int(answered_P.sum()),
            "n_silent": int((~answered_P).sum()),
            "n_close": sum(p.kind == "close" for p in passages),
            "n_unanswered": len(failed),
            "passages": answers,
        }


def _answer(verdict: Verdict) -> Row:
    return {"chance": None, "answer": verdict} if isinstance(verdict, str) else {"chance": verdict, "answer": "ok"}


def _lack(passages: list[Passage]) -> str | None:
    """What the passages lack, if anything."""
    kinds = {p.active for p in passages}
    return "no_positive" if True not in kinds else "no_negative" if False not in kinds else None


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else NAN
