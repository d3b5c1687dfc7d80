"""Whether what an explainer says of the tokens that a feature writes fits tokens that it was not shown.

A judge says which of some tokens fit the description: those held out, and as many drawn from the vocabulary. What
else tells the two apart, such as that one lot are whole words, the descriptions of other features show: they are judged
on the same tokens. No simulator reads single tokens, so there is no simulated score.

P tokens.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from neuron_descriptions.common.logs import progress
from neuron_descriptions.common.storage import Row, read_table, read_tables, write_table
from neuron_descriptions.common.streams import generator
from neuron_descriptions.config.explainers import Explainer
from neuron_descriptions.models.loading import load_tokenizer
from neuron_descriptions.output_side.explained import OUTPUT_EXPLAINED
from neuron_descriptions.output_side.tables import OUTPUT_SIDE
from neuron_descriptions.output_side.writing import vocabulary
from neuron_descriptions.scores.classification import detected, intervals
from neuron_descriptions.scores.formulas import share_below
from neuron_descriptions.scores.judged import enough
from neuron_descriptions.scores.judging import Judge, Verdict
from neuron_descriptions.scores.opening import Job
from neuron_descriptions.scores.output_tokens_tables import NAME, OUTPUT_TOKENS
from neuron_descriptions.scores.questions import Question
from neuron_descriptions.scores.token_judges import open_token_judge

FEW_ANSWERS = "few_answers"


@dataclass(slots=True, frozen=True)
class Judging:
    """What `open_token_judge` asks of a section."""

    judge: Explainer
    passages_per_request: int
    others: int


def judge_output_tokens(job: Job, output: str) -> None:
    """Judge a part's descriptions of the output side and write a scorer's table with COLUMNS.

    job: its section is Judging; inputs: explained, tables of all parts of the layer; output_side; prompt; subject; and
    judge, its folder, where it has one.
    """
    tokenizer = load_tokenizer(job.inputs["subject"])
    texts = vocabulary(tokenizer, len(tokenizer))
    only: list[tuple[str, str, object]] = [("layer", "=", job.layer)]
    explained = read_tables(job.inputs["explained"], OUTPUT_EXPLAINED, only).to_pylist()
    columns = ["layer", "neuron", "top_token_ids", "bottom_token_ids"]
    sides = {r["neuron"]: r for r in read_table(job.inputs["output_side"], OUTPUT_SIDE, only, columns).to_pylist()}
    said = sorted(
        ((row["neuron"], row["sign"], row["description"]) for row in explained if row["status"] == "ok"),
    )
    wanted, rows = set(job.neurons), []
    mine = [row for row in explained if row["neuron"] in wanted]
    with open_token_judge(job) as judge:
        scorer = TokenScorer(job, judge, texts, said)
        for row in progress(iter(mine), len(mine), "descriptions"):
            place = {name: row[name] for name in ("layer", "neuron", "sign")}
            score: Row = {"status": row["status"]}
            if row["status"] == "ok":
                side = sides[row["neuron"]]
                score = scorer.score(row, {*side["top_token_ids"], *side["bottom_token_ids"]})
            said_of_it = {"candidate": 0, "description": row["description"], "words": row["description"]}
            rows.append(place | said_of_it | score)
    write_table(pa.Table.from_pylist(rows, schema=OUTPUT_TOKENS), output)


class TokenScorer:
    """Scores descriptions of one layer's output side."""

    def __init__(self, job: Job, judge: Judge, texts: list[str], said: Sequence[tuple[int, str, str]]):
        """texts: of the vocabulary; said: (feature, sign, description) of all of the layer that have one, sorted."""
        self.job, self.judge, self.texts, self.said = job, judge, texts, said

    def score(self, row: Row, named: set[int]) -> Row:
        """Values of COLUMNS and the status. row: of OUTPUT_EXPLAINED; named: ids that are not drawn."""
        who = row["layer"], row["neuron"], row["sign"]
        held = row["held_out_ids"]
        drawn = self._drawn(len(held), named, *who)
        order = generator(self.job.seed, "order of output tokens", *who).permutation(len(held) + len(drawn)).tolist()
        ids = [*held, *drawn]
        passages = tuple(json.dumps(self.texts[ids[i]], ensure_ascii=False) for i in order)
        fits_P = np.array([i < len(held) for i in order])
        descriptions = [row["description"], *self._others(row, *who)]
        questions = [Question(text, passages, (NAME, *who, number)) for number, text in enumerate(descriptions)]
        verdicts = self.judge.judge(questions, row["neuron"])
        return self._compared(verdicts, fits_P, who)

    def _drawn(self, count: int, named: set[int], *who: object) -> list[int]:
        order = generator(self.job.seed, "drawn output tokens", *who).permutation(len(self.texts))
        return [i for i in order[: count + len(named)].tolist() if i not in named][:count]

    def _others(self, row: Row, *who: object) -> list[str]:
        """What was said of other features, each text once and none of them this one's."""
        others = [text for neuron, _, text in self.said if neuron != row["neuron"] and text != row["description"]]
        texts = list(dict.fromkeys(others))
        order = generator(self.job.seed, "other output descriptions", *who).permutation(len(texts))
        return [texts[i] for i in order[: self.job.section.others].tolist()]

    def _compared(self, verdicts: list[list[Verdict]], fits_P: np.ndarray, who: tuple[object, ...]) -> Row:
        auc: Callable[[list[Verdict]], float] = lambda said: detected(*enough(said, fits_P))["auc"]  # noqa: E731
        chance_P, answered_P = enough(verdicts[0], fits_P)
        own, nulls = auc(verdicts[0]), [value for said in verdicts[1:] if np.isfinite(value := auc(said))]
        numbers, random = self.job.numbers, generator(self.job.seed, "output token intervals", *who)
        low, high = intervals(chance_P, answered_P, numbers.bootstrap, numbers.confidence, random)["auc"]
        row: Row = {
            "auc": own,
            "auc_low": low,
            "auc_high": high,
            "null_auc": float(np.mean(nulls)) if nulls else np.nan,
            "null_percentile": 100 * share_below(own, nulls) if nulls and np.isfinite(own) else np.nan,
        }
        row = {name: value if np.isfinite(value) else None for name, value in row.items()}
        return row | {
            "status": "ok" if row["auc"] is not None else FEW_ANSWERS,
            "n_held_out": int(answered_P.sum()),
            "n_drawn": int((~answered_P).sum()),
            "n_unanswered": sum(isinstance(verdict, str) for verdict in verdicts[0]),
        }
