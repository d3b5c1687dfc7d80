"""Whether what is said of tokens that a feature writes fits others of them: by a judge that goes by the letter, and by
one that is asked."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from conftest import ROOT
from endpoint import Reply, endpoint
from neuron_descriptions.atlas.further import Added
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.config.explainers import Limits, clients
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.output_side.explained import OUTPUT_EXPLAINED
from neuron_descriptions.output_side.tables import OUTPUT_SIDE
from neuron_descriptions.output_side.writing import vocabulary
from neuron_descriptions.scores import output_tokens
from neuron_descriptions.scores.opening import Job
from neuron_descriptions.scores.output_tokens import Judging, TokenScorer, judge_output_tokens
from neuron_descriptions.scores.output_tokens_tables import COLUMNS, NAME, OUTPUT_TOKENS
from neuron_descriptions.scores.questions import Question
from neuron_descriptions.scores.token_judges import NextTokenJudge
from neuron_descriptions.scores.token_templates import read_token_judge_template

LAYER, SIZE = 2, 400
TEXTS = [f" {'month' if i < 40 else 'thing'}{i}" for i in range(SIZE)]
HELD = list(range(1, 40, 2))
PROMPT = str(ROOT / "config/prompts/output-judge.yaml")


class ByTheLetter:
    """Says yes to tokens that hold the description's first word, and how sure it is."""

    def __init__(self):
        self.asked = []

    def judge(self, questions, group):
        self.asked.append((questions, group))
        return [[0.9 if q.description.split()[0] in passage else 0.2 for passage in q.passages] for q in questions]


def explained(neuron, description, status="ok", sign="positive", held=HELD):
    return {"layer": LAYER, "neuron": neuron, "sign": sign, "description": description, "status": status,
            "explainer": "e", "attempts": 1, "held_out_ids": held}  # fmt: skip


def job(others=3, neurons=(1,), inputs=None, judge=None, seed=0, **more):
    section = Judging(judge, 7, others)
    numbers = Scores(simulator=None, bootstrap=200)
    return Job(NAME, section, numbers, list(neurons), LAYER, inputs or {}, more.get("requests", ""), "p", "c", seed, 1)


def scored(row, said, **more):
    judge = ByTheLetter()
    return TokenScorer(job(**more), judge, TEXTS, said).score(row, set(range(40))), judge


SAID = [
    (1, "positive", "month names"),
    (2, "positive", "verbs"),
    (3, "negative", "thing names"),
    (4, "positive", "month"),
]


def test_a_description_that_fits_held_out_tokens_tells_them_from_drawn_ones():
    row, judge = scored(explained(1, "month names"), SAID)
    assert (row["auc"], row["auc_low"], row["auc_high"], row["status"]) == (1, 1, 1, "ok")
    assert (row["n_held_out"], row["n_drawn"], row["n_unanswered"]) == (20, 20, 0)
    ((questions, group),) = judge.asked
    assert group == 1 and questions[0].description == "month names" and len(questions) == 4
    passages = [json.loads(passage) for passage in questions[0].passages]
    assert {TEXTS[i] for i in HELD} < {*passages} and len({*passages}) == 40
    assert all(q.passages == questions[0].passages for q in questions)  # others are judged on the same
    assert not {TEXTS[i] for i in range(0, 40, 2)} & {*passages}  # none that was shown
    at = [passages.index(TEXTS[i]) for i in HELD]
    assert 8 < np.mean(at) < 31 and at != sorted(at)  # their order tells nothing
    # "verbs" tells nothing, "thing names" the opposite, "month" as much.
    assert row["null_auc"] == pytest.approx((0.5 + 0 + 1) / 3) and row["null_percentile"] == pytest.approx(
        100 * 2.5 / 3
    )


def test_a_description_that_says_nothing_is_at_chance_and_nothing_depends_on_the_part():
    row, _ = scored(explained(2, "verbs"), SAID)
    assert row["auc"] == 0.5 and row["auc_low"] == 0.5
    again, _ = scored(explained(2, "verbs"), SAID, neurons=(2, 3))
    other, _ = scored(explained(2, "verbs"), SAID, seed=1)
    assert again == row and other["auc"] == 0.5
    alone, _ = scored(explained(2, "verbs"), SAID[1:2])
    assert alone["null_auc"] is None and alone["null_percentile"] is None and alone["auc"] == 0.5


def test_of_answers_that_cannot_be_read_there_is_no_score():
    class Mute:
        def judge(self, questions, group):
            return [["unparsed"] * len(q.passages) for q in questions]

    row = TokenScorer(job(), Mute(), TEXTS, SAID).score(explained(1, "month names"), set())
    assert (row["status"], row["auc"], row["n_unanswered"], row["n_held_out"]) == ("few_answers", None, 40, 0)


def test_from_tables_to_a_table_that_the_atlas_takes_by_a_client_that_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_KEY", "none")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(output_tokens, "load_tokenizer", lambda folder: TEXTS)
    monkeypatch.setattr(output_tokens, "vocabulary", lambda tokenizer, size: tokenizer)
    side = {"layer": LAYER, "std": 1.0, "skew": 0.0, "kurtosis": 0.0}
    for end in ("top", "bottom"):
        side |= {f"{end}_token_ids": [*range(40)], f"{end}_tokens": TEXTS[:40], f"{end}_effects": [1.0] * 40}
    written, parts = str(tmp_path / "written.parquet"), [str(tmp_path / f"{n}.parquet") for n in range(2)]
    write_table(pa.Table.from_pylist([side | {"neuron": n} for n in range(1, 5)], schema=OUTPUT_SIDE), written)
    rows = [explained(1, "month names"), explained(2, None, "refused"), explained(3, "thing names")]
    write_table(pa.Table.from_pylist(rows[:2], schema=OUTPUT_EXPLAINED), parts[0])
    write_table(pa.Table.from_pylist(rows[2:], schema=OUTPUT_EXPLAINED), parts[1])

    def behave(number, body):
        text = body["messages"][-1]["content"]
        word = "month" if "Description: month" in text else "thing"
        tokens = [line for line in text.splitlines() if line.startswith("Token ")]
        return Reply(json.dumps(["yes" if word in line else "no" for line in tokens]))

    with endpoint(behave) as server:
        judge = clients()["openai"](client="openai", model="m", base_url=f"{server.base_url}/v1",
                                    key_variable="TEST_KEY", limits=Limits(timeout=5.0, tries=1))  # fmt: skip
        inputs = {"explained": parts, "output_side": written, "subject": "", "prompt": PROMPT}
        given = job(neurons=(1, 2), inputs=inputs, judge=judge, requests=str(tmp_path / "requests"))
        judge_output_tokens(given, str(tmp_path / "out.parquet"))
        questions = len(server.seen)
        judge_output_tokens(given, str(tmp_path / "again.parquet"))
        assert len(server.seen) == questions == 12  # of forty tokens, seven at once, for it and one other; none twice
    found = read_table(tmp_path / "out.parquet", OUTPUT_TOKENS).to_pylist()
    assert found == read_table(tmp_path / "again.parquet", OUTPUT_TOKENS).to_pylist()
    assert [(row["neuron"], row["status"], row["auc"], row["null_auc"]) for row in found] == [
        (1, "ok", 1.0, 0.0), (2, "refused", None, None)
    ]  # fmt: skip
    added = Added([str(tmp_path / "out.parquet")])
    assert [*added.columns] == [f"{NAME}_status", *(f"{NAME}_{column.name}" for column in COLUMNS)]
    assert added.values({"layer": LAYER, "neuron": 1, "sign": "positive"})["output_tokens_words"] == "month names"


LISTS = {
    "names of months": [" January", " March", " April", " August", " October", " December"],
    "colors": [" red", " blue", " green", " yellow", " white", " pink"],
    "words about family": [" mother", " father", " sister", " brother", " uncle", " aunt"],
}


def test_a_small_local_model_tells_what_fits_by_what_it_expects_next(model, tokenizer):
    """Its chances are those of Bayes' rule over two texts; true descriptions of planted tokens tell them from drawn
    ones, and the others do not."""
    template = read_token_judge_template(PROMPT)
    judge, texts = NextTokenJudge(model, tokenizer, template), vocabulary(tokenizer, len(tokenizer))
    (chances,) = judge.judge([Question("colors.", ('" red"', '" Tuesday"'), ())], 0)
    with torch.no_grad():
        after = [
            model(**tokenizer(f"The following words are {said}:", return_tensors="pt")).logits[0, -1].softmax(0)
            for said in ("colors", "words")
        ]
    for chance, token in zip(chances, (" red", " Tuesday")):
        one, other = (float(chances_V[texts.index(token)]) for chances_V in after)
        assert chance == pytest.approx(one / (one + other), rel=1e-3)
    assert chances[0] > 0.9 and chances[0] > chances[1]
    said = [(number, "positive", text) for number, text in enumerate(LISTS)]
    for number, (text, tokens) in enumerate(LISTS.items()):
        held = [texts.index(token) for token in tokens]
        row = TokenScorer(job(others=2), judge, texts, said).score(explained(number, text, held=held), set(held))
        assert row["auc"] > 0.9 > row["null_auc"] and row["null_percentile"] == 100, (text, row)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("system: s\nseveral: '{{ passages }}'\nnext: '{{ description }}'\nneutral: n", "`several` must show"),
        ("system: s\nseveral: '{{ passages }}{{ description }}'\nnext: x\nneutral: n", "`next` the description"),
        ("system: s\nseveral: '{{ most }}'\nnext: x\nneutral: n", "its templates do not render"),
        ("system: s\none: x", "is not a prompt file"),
    ],
)
def test_a_prompt_file_of_a_judge_is_tried(text, said, tmp_path):
    (tmp_path / "prompt.yaml").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_token_judge_template(str(tmp_path / "prompt.yaml"))
