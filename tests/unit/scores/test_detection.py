"""Detection: passages, judges and metrics, from tables to tables; a neuron that fires on one word is planted."""

import json
import re
import shutil
from dataclasses import replace
from itertools import combinations, groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml

from conftest import ROOT
from endpoint import Reply, endpoint
from neuron_descriptions.common.provenance import digest
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.common.vocabulary import SIGNS, SPLITS
from neuron_descriptions.config.base import restored, tracked
from neuron_descriptions.config.scorers import Scorer
from neuron_descriptions.config.scores import Scores
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.tables import EXEMPLARS, STATISTICS
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.scores import fuzzing, judged, judging
from neuron_descriptions.scores.classification import detected, intervals, precision_by_chance
from neuron_descriptions.scores.columns import scorer_schema
from neuron_descriptions.scores.detection import DetectionScorer
from neuron_descriptions.scores.evidence import Evidence
from neuron_descriptions.scores.judging import LogitJudge
from neuron_descriptions.scores.marks import active_tokens
from neuron_descriptions.scores.opening import SCORERS, Described, Job, documentation, run_scorer
from neuron_descriptions.scores.passages import Passages
from neuron_descriptions.scores.questions import Question, parse_list, read_judge_template
from neuron_descriptions.scores.simulated_detection import SimulatedDetectionScorer
from neuron_descriptions.scores.simulated_fuzzing import SimulatedFuzzingScorer
from neuron_descriptions.scores.tables import SCORES, SIMULATIONS
from planted_panels import write_panel

WORDS = [" the", " a", " river", " house", " went", " of", " and", " stone", ",", " cloud", " paper", "."]
RIVER, STONE, LENGTH, NEURON = 2, 7, 12, 3
PROMPT = str(ROOT / "config/prompts/detection.yaml")
NUMBERS = Scores(simulator=None, top=6, middle=2, bootstrap=200)


def table(path, schema, rows):
    write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return str(path)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Tables of a neuron that fires on the word river after an even number of tokens, more strongly the later."""
    folder, random = tmp_path_factory.mktemp("planted"), np.random.default_rng(1)
    paths, rows = {}, []
    for split in SPLITS:
        ids = random.choice(len(WORDS), (60, LENGTH), p=[0.6 / 11] * 2 + [0.1] + [(0.9 - 1.2 / 11) / 9] * 9)
        ids[:4, 1] = RIVER  # silent ones that hold the word
        ids[:4, 2::2] = STONE
        texts = [{"seq_id": i, "source": "s", "document": None, "prefix_len": 0, "input_ids": row.tolist()}
                 for i, row in enumerate(ids)]  # fmt: skip
        paths[split] = table(folder / f"{split}.parquet", CORPUS, texts)
        even = np.arange(LENGTH) % 2 == 0
        acts = np.where((ids == RIVER) & even, 1.0 + np.arange(LENGTH) / 10, 0.05)
        order = np.argsort(-acts.max(1), kind="stable")
        for sign in SIGNS:
            kinds = (
                ("top", order[:10]),
                ("middle", order[10:14]),
                ("random", [0, 1, *([2, 3] * (sign == "negative")), *order[-12:]]),
            )
            for kind, chosen in kinds if sign == "positive" else kinds[2:]:
                rows += [{"split": split, "layer": 1, "neuron": NEURON, "sign": sign, "kind": kind, "rank": rank,
                          "seq_id": int(i), "peak": float(acts[i].max()), "activations": acts[i].tolist()}
                         for rank, i in enumerate(chosen)]  # fmt: skip
    paths["exemplars"] = [table(folder / "exemplars.parquet", EXEMPLARS, rows)]
    statistics = [{"split": "train", "layer": 1, "neuron": NEURON, "tokens": 720}]
    paths["statistics"] = [table(folder / "statistics.parquet", STATISTICS, statistics)]
    said = [("positive", 0, "the word stone"), ("positive", 1, "the word river"), ("positive", 2, "the word river")]
    paths["descriptions"] = table(folder / "descriptions.parquet", DESCRIPTIONS, [
        {"layer": 1, "neuron": NEURON, "sign": sign, "candidate": n, "description": text, "explainer": "x",
         "status": "ok"} for sign, n, text in said
    ] + [{"layer": 1, "neuron": NEURON, "sign": "negative", "candidate": 0, "status": "refused"}])  # fmt: skip
    return paths | {"nulls": str(ROOT / "config/null-descriptions.yaml"), "prompt": PROMPT, "subject": "none"}


@pytest.fixture(autouse=True)
def plain_tokens(monkeypatch):
    monkeypatch.setattr(judged, "load_tokenizer", lambda folder: None)
    for module in (judged, fuzzing):
        monkeypatch.setattr(module, "token_strings", lambda tokenizer, ids: [WORDS[i] for i in ids])


def job_of(inputs, section, folder, **changes):
    return replace(
        Job("d", restored(Scorer, section), NUMBERS, [NEURON], 1, inputs,
            str(folder), "scorers/d/layer-1/chunk-0", "code", 0, 1), **changes)  # fmt: skip


def section(**changes):
    return {"kind": "detection", "judge": {"client": "openai", "model": "m", "base_url": "http://127.0.0.1:1",
            "key_variable": None}, "nulls": 2, "positives": 6, "random": 4, "close": 3} | changes  # fmt: skip


def evidence(planted):
    corpus = {split: planted[split] for split in SPLITS}
    return Evidence(planted["exemplars"], planted["statistics"], corpus, [NEURON])


# --- metrics -----------------------------------------------------------------------------------------

# active, answers ("?": none), then balanced accuracy, F1, precision and recall as Delphi 0.1.3's result_analysis.py
# computes them from these answers.
DELPHI = [
    ("11111111110000000000", "10011111100001011011", 0.6, 0.636363636364, 0.583333333333, 0.7),
    ("111111111111111111111111100000", "1110?1010?10?11?0001000?110000", 0.65, 0.645161290323, 0.909090909091, 0.5),
    ("111000000000000", "?0??1010?01?11?", 0.1875, 0.0, 0.0, 0.0),
    ("11110000", "11110000", 1.0, 1.0, 1.0, 1.0),
    ("111111000000", "001000111111", 0.083333333333, 0.153846153846, 0.142857142857, 0.166666666667),
    ("111110000000", "111111011001", 0.714285714286, 0.714285714286, 0.555555555556, 1.0),
]


@pytest.mark.parametrize(("active", "answers", "accuracy", "f1", "precision", "recall"), DELPHI)
def test_answers_give_delphis_numbers(active, answers, accuracy, f1, precision, recall):
    verdicts = ["unparsed" if a == "?" else float(a) for a in answers]
    found = detected(*judged.known(verdicts, np.array([a == "1" for a in active])))
    assert [found[n] for n in ("balanced_accuracy", "f1", "precision", "recall")] == pytest.approx(
        [accuracy, f1, precision, recall]
    )


def test_what_is_undefined_is_no_number():
    for active in ([True, True], [False, False]):
        found = detected(np.array([0.9, 0.1]), np.array(active))
        assert np.isnan([found[name] for name in ("balanced_accuracy", "average_precision", "auc")]).all()
        assert np.isnan(precision_by_chance(np.array([0.9, 0.1]), np.array(active)))
        ends = intervals(np.ones(2), np.array(active), 50, 0.95, np.random.default_rng(0))
        assert np.isnan(list(ends.values())).all()


@pytest.mark.parametrize("chances", [[3, 1, 4, 1, 5, 9], [1, 1, 1, 1, 1, 1], [2, 2, 7, 7, 7, 0]])
@pytest.mark.parametrize("active", [1, 2, 5])
def test_what_an_order_that_knows_nothing_gets_is_exact(chances, active):
    every = [np.isin(range(6), chosen) for chosen in combinations(range(6), active)]
    found = np.mean([detected(np.array(chances, float), one)["average_precision"] for one in every])
    assert precision_by_chance(np.array(chances, float), every[0]) == pytest.approx(found)
    assert found == pytest.approx(active / 6) if len(set(chances)) == 1 else found > active / 6
    assert np.mean([detected(np.array(chances, float), one)["auc"] for one in every]) == pytest.approx(0.5)


def test_the_interval_covers_the_average_precision_of_the_population():
    random, covered = np.random.default_rng(0), 0
    chances = np.concatenate([random.normal(1, 1, 4000), random.normal(0, 1, 4000)])
    active = np.arange(8000) < 4000
    truth = detected(chances, active)["average_precision"]
    for _ in range(100):
        rows = np.concatenate([random.integers(0, 4000, 20), random.integers(4000, 8000, 20)])
        low, high = intervals(chances[rows], active[rows], 300, 0.95, random)["average_precision"]
        covered += low <= truth <= high
    assert covered >= 84  # percentiles of 20 + 20 passages are a little narrow


# --- answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [('["yes", "no", "Yes"]', [1, 0, 1]), ('["Yes.", "No.", "yes "]', [1, 0, 1]),
     ("[1, 0, 1]", [1, 0, 1]), ("[true, false, true]", [1, 0, 1]),
     ('```json\n["no", "no", "yes"]\n```', [0, 0, 1]), ('["yes", "no"]', None), ('["yes", "no", "maybe"]', None),
     ("yes, no, yes", None), ('Sure: ["yes", "no", "yes"]', None), ("[1, 2, 0]", None), ('{"1": "yes"}', None),
     ('["yes", null, "no"]', None), ("", None), ("[" * 100_000, None),
     ('<think>["no", "no", "no"]?</think>\n["yes", "no", "yes"]', [1.0, 0.0, 1.0]),
     ('<think>["yes", "no", "no"]', None), ("[1.0, 0, 1]", None)],
)  # fmt: skip
def test_answers_are_read_strictly(text, found):
    assert parse_list(text, 3) == found


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"one": "Is it so?"}, "`one` must show"), ({"several": "{{ passages }}"}, "`several` must show"),
     ({"one": "{{ nothing }}"}, "do not render"), ({"on": "x"}, "not a prompt file")],
)  # fmt: skip
def test_a_bad_prompt_file_is_named(tmp_path, changes, said):
    path = tmp_path / "judge.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(Path(PROMPT).read_text()) | changes))
    with pytest.raises(ValueError, match=re.escape(str(path)) + ".*" + re.escape(said)):
        read_judge_template(str(path))


# --- passages ----------------------------------------------------------------------------------------


def test_passages_are_active_or_silent_and_close_ones_hold_the_peaks_token(planted):
    counts = {"top": 6, "middle": 2, "positives": 6, "random": 4, "close": 3, "panel": 2}
    found = Passages(evidence(planted), counts, 0, 1).draw("test", NEURON, "positive")
    kinds = {kind: list(group) for kind, group in groupby(found, lambda p: p.kind)}
    assert {kind: len(group) for kind, group in kinds.items()} == {"active": 6, "random": 4, "close": 3}
    assert len({p.seq_id for p in found}) == len(found)
    for p in found:
        fires = [i for i, token in enumerate(p.text.evidence) if token == RIVER and i % 2 == 0]
        assert p.active == bool(fires)
        assert p.peak == pytest.approx(1.0 + max(fires) / 10 if fires else 0.05)
    assert all(RIVER in p.text.evidence for p in kinds["close"])
    scored = evidence(planted).scored("test", NEURON, "positive", 6, 2, 0)
    assert {p.seq_id for p in kinds["active"]} <= {q.seq_id for q in scored}
    assert Passages(evidence(planted), counts, 0, 1).draw("test", NEURON, "negative") == []


@pytest.mark.parametrize("direction", [1, -1])
def test_the_panel_gives_silent_passages_and_those_of_the_neighbour(planted, tmp_path, direction):
    random = np.random.default_rng(3)
    rows = [(0, random.integers(8, 12, LENGTH).tolist()) for _ in range(30)]  # none holds the peak's token
    acts = random.random((3, 30 * LENGTH)) * 0.1
    acts[1, 5 * LENGTH + 3] = 9.0  # of the neighbour, which neuron 10 follows or mirrors, faintly
    acts[0] = 0.02 + direction * 0.001 * acts[1]
    acts[1, 9 * LENGTH] = -4.0
    acts[0, 9 * LENGTH] = 0.02 - direction * 0.004
    corpus, file = write_panel(tmp_path, "panel", rows, acts, layer=1)
    shown = {"split": "test", "layer": 1, "neuron": 10, "sign": "positive", "kind": "top", "rank": 0, "seq_id": 1,
             "peak": 1.0, "activations": [0.0, 0.0, 1.0] + [0.0] * (LENGTH - 3)}  # fmt: skip
    statistics = {"split": "train", "layer": 1, "neuron": 10, "tokens": 9}
    exemplars = [table(tmp_path / "e.parquet", EXEMPLARS, [shown])]
    held = Evidence(
        exemplars,
        [table(tmp_path / "s.parquet", STATISTICS, [statistics])],
        {split: planted[split] for split in SPLITS},
        [10],
    )
    counts = {"top": 1, "middle": 0, "positives": 1, "random": 3, "close": 1, "panel": 4}
    found = Passages(held, counts, 0, 1, Panel(corpus, [file])).draw("test", 10, "positive")
    assert [p.kind for p in found] == ["active", "close", *["panel"] * 4]
    assert (found[1].split, found[1].seq_id) == ("panel", 5 if direction > 0 else 9)
    assert len({p.seq_id for p in found[1:]}) == 5 and all(p.peak < 0.5 for p in found[1:])


# --- the scorer --------------------------------------------------------------------------------------


def listening(number, body):
    """An endpoint that says yes where a passage holds the description's last word."""
    asked = body["messages"][-1]["content"]
    word = asked.partition("Description: ")[2].splitlines()[0].split()[-1]
    passages = re.findall(r"Passage \d+:\n(.*)\n", asked)
    return Reply(str([int(word in re.findall(r"\w+", text)) for text in passages]))


def rows_of(path):
    schema = scorer_schema("d", DetectionScorer.columns, DetectionScorer.details)
    return {row["sign"]: row for row in read_table(path, schema).to_pylist()}


def test_an_endpoint_is_asked_once_and_its_answers_are_scored(planted, tmp_path):
    out = tmp_path / "scores.parquet"
    with endpoint(listening) as served:
        raw = section()
        raw["judge"]["base_url"] = served.base_url
        run_scorer(job_of(planted, raw, tmp_path), str(out))
        asked = len(served.seen)
        run_scorer(job_of(planted, raw, tmp_path), str(tmp_path / "again.parquet"))
        assert len(served.seen) == asked
    assert out.read_bytes() == (tmp_path / "again.parquet").read_bytes()
    # 2 distinct candidates on valid and the best and two nulls on test, each on 13 passages, 5 at a time
    assert asked == 2 * 3 + 3 * 3
    found = rows_of(out)
    row = found["positive"]
    assert (row["status"], row["description"], row["candidate"]) == ("ok", "the word river", 1)  # chosen on valid
    assert (row["n_active"], row["n_silent"], row["n_close"], row["n_unanswered"]) == (6, 7, 3, 0)
    assert found["negative"]["status"] == "no_description" and found["negative"]["average_precision"] is None
    # By hand: yes on the 6 active ones, and on all silent ones that hold the word in an odd place.
    texts = {r["seq_id"]: r["input_ids"] for r in read_table(planted["test"], CORPUS).to_pylist()}
    said = [RIVER in texts[p["seq_id"]] for p in row["passages"]]
    assert [p["chance"] for p in row["passages"]] == [float(s) for s in said]
    alarms = sum(said) - 6
    assert 3 <= alarms < 7 and row["balanced_accuracy"] == pytest.approx((1 + (7 - alarms) / 7) / 2)
    assert row["average_precision"] == pytest.approx(6 / (6 + alarms))
    for name in ("average_precision", "auc", "balanced_accuracy", "f1"):
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"] and row[f"{name}_low"] < row[f"{name}_high"]
    assert row["null_percentile"] == 100 and row["null_average_precision"] < row["average_precision"]
    assert row["null_auc"] < row["auc"] == pytest.approx(1 - alarms / 14)


@pytest.mark.parametrize(
    ("reply", "status"),
    [(Reply("I would say yes to all."), "unparsed"), (Reply("[1, 0]"), "unparsed"),
     (Reply("", refused=True), "refused"), (Reply("[1, 1, 1, 1, 1]", finished=False), "unparsed")],
)  # fmt: skip
def test_a_client_that_cannot_answer_is_a_status_and_wins_nothing(planted, tmp_path, reply, status):
    with endpoint(lambda number, body: reply) as served:
        raw = section(positives=5, random=5, close=0)
        raw["judge"]["base_url"] = served.base_url
        run_scorer(job_of(planted, raw, tmp_path), str(tmp_path / "scores.parquet"))
    row = rows_of(tmp_path / "scores.parquet")["positive"]
    assert (row["status"], row["candidate"]) == (status, 0)
    assert (row["n_unanswered"], row["n_active"], row["average_precision"], row["null_percentile"]) == (
        10,
        0,
        None,
        None,
    )
    assert {p["answer"] for p in row["passages"]} == {status}


def test_a_judge_that_answers_the_easy_half_alone_wins_nothing(planted, tmp_path):
    """It refuses the silent ones; of a null it answers nothing, which is no null beaten."""
    active: set[str] = set()

    def choosy(number, body):
        asked = body["messages"][-1]["content"]
        right = "Description: the word " in asked and any(text in asked for text in active)
        return Reply("[1]") if right else Reply("", refused=True)

    with endpoint(choosy) as served:
        raw = section(positives=5, random=5, close=1, passages_per_request=1)
        raw["judge"]["base_url"] = served.base_url
        job = job_of(planted, raw, tmp_path)
        with DetectionScorer.open(job) as scorer:
            for split in ("valid", "test"):
                active |= {scorer.shown(p) for p in scorer.draw(split, NEURON, "positive") if p.active}
        run_scorer(job, str(tmp_path / "scores.parquet"))
    row = rows_of(tmp_path / "scores.parquet")["positive"]
    assert (row["status"], row["average_precision"], row["f1"]) == ("few_answers", None, None)
    assert row["null_average_precision"] is None and row["null_percentile"] is None
    verdicts = [["refused"] * 2 + [1.0] * 4, [0.5, 0.0, 1.0, 1.0, 1.0, "unparsed"], [1.0, "refused", *["refused"] * 4]]
    active_P = np.array([False, False, True, True, True, True])
    assert [len(judged.enough(v, active_P)[0]) for v in verdicts] == [0, 5, 0]


def test_passages_without_a_negative_are_a_status_and_cost_nothing(planted, tmp_path):
    raw = section(random=0, close=0)  # nobody listens at its address
    run_scorer(job_of(planted, raw, tmp_path), str(tmp_path / "scores.parquet"))
    row = rows_of(tmp_path / "scores.parquet")["positive"]
    assert (row["status"], row["average_precision"]) == ("no_negative", None)


def test_the_chosen_candidate_is_scored_where_there_was_a_simulation(planted, tmp_path):
    scores = table(tmp_path / "scores.parquet", SCORES, [
        {"layer": 1, "neuron": NEURON, "sign": "positive", "candidate": 0, "kind": "candidate", "split": "test",
         "description": "the word stone", "chosen": True}])  # fmt: skip
    with endpoint(listening) as served:
        raw = section(nulls=0)
        raw["judge"]["base_url"] = served.base_url
        run_scorer(job_of(planted | {"scores": scores}, raw, tmp_path), str(tmp_path / "d.parquet"))
        assert len(served.seen) == 3  # nothing on valid
    row = rows_of(tmp_path / "d.parquet")["positive"]
    assert row["description"] == "the word stone" and row["null_average_precision"] is None


# --- local models ------------------------------------------------------------------------------------


def test_the_chance_of_yes_is_read_from_the_logits(model, tokenizer):
    template = read_judge_template(PROMPT)
    judge = LogitJudge(model, tokenizer, template, 600)
    passages = ("The moon rose over the quiet town.", "Exports of steel fell by a third.", "Moonlight")
    questions = [Question(text, passages, (i,)) for i, text in enumerate(("the moon", "money and trade"))]
    found = judge.judge(questions, 0)
    words = [[tokenizer(form, add_special_tokens=False)["input_ids"] for form in (w, w.capitalize(), f" {w}",
              f" {w.capitalize()}")] for w in ("no", "yes")]  # fmt: skip
    no, yes = ([i[0] for i in ids if len(i) == 1] for ids in words)
    for question, chances in zip(questions, found):
        for passage, chance in zip(passages, chances):
            messages = template.prompt(question.description, [passage], several=False).messages
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
            with torch.inference_mode():
                p = model(input_ids=ids).logits[0, -1].softmax(-1)
            assert chance == pytest.approx(float(p[yes].sum() / (p[yes].sum() + p[no].sum())), abs=2e-3)
    assert len({round(c, 6) for row in found for c in row}) == 6


def test_a_local_judge_that_cannot_say_yes_or_no_is_named(model, tokenizer, monkeypatch):
    template, question = read_judge_template(PROMPT), [Question("the moon", ("Moonlight",), (0,))]
    judge = LogitJudge(model, tokenizer, template, 600)
    monkeypatch.setattr(judge.expectation, "run", lambda rows: [[float("nan")] for _ in rows])  # as half precision may
    with pytest.raises(ValueError, match="chances of yes are not finite in float32: set its dtype to bfloat16"):
        judge.judge(question, 0)
    monkeypatch.setattr(judging, "plain_ids", lambda tokenizer, text: [1, 2])
    with pytest.raises(ValueError, match="does not write yes and no as single tokens: use another model"):
        LogitJudge(model, tokenizer, template, 600)


# --- read from the simulator -------------------------------------------------------------------------


def test_detection_is_read_from_the_simulators_predictions(tmp_path):
    def simulated(rank, kind, peak, predicted):
        return {"layer": 1, "neuron": NEURON, "sign": "positive", "candidate": 1, "split": "test", "kind": kind,
                "rank": rank, "seq_id": rank, "activations": [0.1, peak], "simulated": [0.5, predicted]}  # fmt: skip

    rows = [simulated(0, "top", 4.0, 9.0), simulated(1, "top", 3.0, 2.0), simulated(2, "middle", 2.0, 7.0),
            simulated(3, "random", 0.5, 3.0), simulated(4, "random", 1.5, 10.0),
            simulated(5, "random", 0.2, 0.0)]  # fmt: skip
    path = table(tmp_path / "simulations.parquet", SIMULATIONS, rows)
    job = job_of({"simulations": path}, {"kind": "simulated_detection"}, tmp_path)
    with SimulatedDetectionScorer.open(job) as scorer:
        found = scorer.score(Described(1, NEURON, "positive", [{"candidate": 1}], 1))
        missing = scorer.score(Described(1, NEURON, "negative", [{"candidate": 1}], 1))
    # The random one with a peak above half of the weakest active one's is neither. In order: 9 +, 7 +, 3 -, 2 +, 0.5 -.
    assert (found["n_active"], found["n_silent"]) == (3, 2)
    assert found["average_precision"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert found["auc"] == pytest.approx(5 / 6)
    # Of n predictions in an order that knows nothing, 1 + (n - 1) / 2 are active where the last one is.
    assert found["chance"] == pytest.approx(sum((1 + (n - 1) / 2) / n for n in range(1, 6)) / 5)
    assert missing["status"] == "not_simulated"


def test_fuzzing_is_read_from_the_simulators_predictions(tmp_path):
    def simulated(rank, kind, acts, predicted):
        return {"layer": 1, "neuron": NEURON, "sign": "positive", "candidate": 1, "split": "test", "kind": kind,
                "rank": rank, "seq_id": rank, "activations": acts, "simulated": predicted}  # fmt: skip

    rows = [
        simulated(0, "top", [0.0, 4.0, 0.0, 2.0], [1.0, 9.0, 1.0, 7.0]),  # right: 8, wrong: 1
        simulated(1, "middle", [1.0, 0.0, -3.0, 0.2], [3.0, 4.0, 4.0, 4.0]),  # right: 3, wrong: 4
        simulated(2, "top", [1.0, 1.0], [10.0, 0.0]),  # right: 5; all is active: no wrong marks
        simulated(3, "random", [9.0, 0.0], [9.0, 0.0]),
    ]
    job = job_of(
        {"simulations": table(tmp_path / "s.parquet", SIMULATIONS, rows)}, {"kind": "simulated_fuzzing"}, tmp_path
    )
    with SimulatedFuzzingScorer.open(job) as scorer:
        found = scorer.score(Described(1, NEURON, "positive", [{"candidate": 1}], 1))
        assert scorer.score(Described(1, NEURON, "negative", [{"candidate": 1}], 1))["status"] == "not_simulated"
    # In order: 8 +, 5 +, 4 -, 3 +, 1 -.
    assert (found["status"], found["n_active"], found["n_silent"]) == ("ok", 3, 2) and 0.6 < found["chance"] < 0.75
    assert found["auc_low"] <= found["auc"] <= found["auc_high"] and found["auc"] == pytest.approx(5 / 6)
    assert found["average_precision"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert found["average_precision_low"] <= found["average_precision"] <= found["average_precision_high"]


# --- fuzzing -----------------------------------------------------------------------------------------


def test_runs_of_marked_tokens_are_marked_once():
    marks = np.array([1, 1, 0, 1], bool)
    assert fuzzing.marked(["a", "b", " c", " d"], marks) == "<<ab>> c<< d>>"
    assert fuzzing.marked(["a", "b"], np.zeros(2, bool)) == "ab"
    assert active_tokens(np.array([0.0, 0.3, 1.0, 0.29]), 0.3).tolist() == [False, True, True, False]
    assert not active_tokens(np.zeros(3), 0.3).any()


@pytest.mark.parametrize("wrong", ["active", "silent"])
def test_marks_are_right_or_as_many_wrong_ones(planted, tmp_path, wrong):
    """A judge that reads the marks alone, and knows the word, is right about all of them."""

    def looking(number, body):
        asked = body["messages"][-1]["content"]
        word = asked.partition("Description: ")[2].splitlines()[0].split()[-1]
        (text,) = re.findall(r"Passage 1:\n(.*)\n", asked)
        seen.append(text)
        marks = re.findall("<<(.*?)>>", text)
        return Reply(json.dumps(["yes" if marks and all(word in mark for mark in marks) else "no"]))

    seen: list[str] = []
    raw = section(kind="fuzzing", positives=6, random=4, wrong=wrong, prompt="config/prompts/fuzzing.yaml")
    del raw["close"]
    with endpoint(looking) as served:
        raw["judge"]["base_url"] = served.base_url
        job = job_of(planted | {"prompt": str(ROOT / "config/prompts/fuzzing.yaml")}, raw, tmp_path)
        run_scorer(job, str(tmp_path / "scores.parquet"))
    schema = scorer_schema("d", fuzzing.FuzzingScorer.columns, fuzzing.FuzzingScorer.details)
    row = {r["sign"]: r for r in read_table(tmp_path / "scores.parquet", schema).to_pylist()}["positive"]
    n_wrong = 6 if wrong == "active" else 4
    assert (row["status"], row["description"]) == ("ok", "the word river")  # chosen on valid
    assert (row["n_active"], row["n_silent"], row["n_unanswered"]) == (6, n_wrong, 0)
    right = [p["chance"] for p in row["passages"] if p["kind"] == "active"]
    assert right == [1.0] * 6  # the strongest token of a passage is the word in an even place, others are far below
    assert row["null_average_precision"] < row["average_precision"] and row["null_percentile"] == 100
    most = max(text.count("<<") for text in seen)
    assert all(text.count("<<") >= 1 for text in seen) and most <= 4


# --- the seam ----------------------------------------------------------------------------------------


def test_every_scorer_is_documented_and_comes_back_from_its_params():
    assert (ROOT / "docs/reference/scorers.md").read_text() == documentation()
    raw = section()
    assert restored(Scorer, tracked(restored(Scorer, raw))) == restored(Scorer, raw)
    kinds = {"collisions", "detection", "fuzzing", "generated", "simulated_detection", "simulated_fuzzing"}
    assert set(SCORERS) == kinds


def test_a_scorers_code_concerns_its_own_table_alone(tmp_path):
    """Neither the atlas nor another scorer is made anew when one is edited; what they share concerns both."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    scripts = tmp_path / "scripts"
    jobs = {
        "detection": ("run_scorer.py", ["scores/simulated_detection", "scores/simulated_fuzzing", "scores/fuzzing"]),
        "fuzzing": ("run_scorer.py", ["scores/simulated_detection", "scores/simulated_fuzzing", "scores/detection"]),
        "simulated_detection": ("run_scorer.py", ["scores/detection", "scores/fuzzing", "scores/simulated_fuzzing"]),
        "atlas": ("build_atlas.py", []),
        "score": ("score.py", []),
    }

    def digests():
        return {name: digest(adapter, scripts, without) for name, (adapter, without) in jobs.items()}

    def changed_by(module):
        before = digests()
        path = scripts / "neuron_descriptions/scores" / module
        path.write_text(path.read_text() + "\nMORE = 1\n")
        return {name for name, found in digests().items() if found != before[name]}

    assert changed_by("detection.py") == {"detection"}
    assert changed_by("fuzzing.py") == {"fuzzing"}
    assert changed_by("judging.py") == changed_by("judged.py") == {"detection", "fuzzing"}
    assert changed_by("simulated_detection.py") == {"simulated_detection"}
    assert changed_by("classification.py") == {"detection", "fuzzing", "simulated_detection"}
    assert changed_by("opening.py") == {"detection", "fuzzing", "simulated_detection"}
