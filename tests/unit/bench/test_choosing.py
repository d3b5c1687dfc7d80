"""`make bench SECTIONS=choosing`: what its figures say of hand-made rows, and what an arm reads."""

import json
import sys
from types import SimpleNamespace

import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests/bench"))

import choosing
import choosing_figures


def row(neuron, valid, test, *, screened, of_8=0, sign="positive", **later):
    """Ten candidates of fifty, each scored `valid` and `test`; screened, of_8, later: which one those arms chose. An
    answer is 110 tokens, to simulate a candidate 50 by the large simulator; the small one reads as much."""
    said = [f"description {i}" for i in range(len(valid))]
    arms = {
        name: {"description": said[i], "valid": valid[i], "test": test[i], "large": large, "small": small}
        for name, i, large, small in (
            ("of_50", valid.index(max(valid)), 50 * len(said), 0),
            ("of_8", of_8, 200, 0),
            ("of_8_draws", valid.index(max(valid[:8])), 400, 0),
            ("raced", valid.index(max(valid)), 300, 0),
            ("screened_4", screened, 200, 50 * len(said)),
            ("screened_4_raced", screened, 150, 50 * len(said)),
            *((name, i, 250, 0) for name, i in later.items()),
        )
    }
    return {
        "layer": 5, "neuron": neuron, "sign": sign, "arms": arms, "valid": valid,
        "said": {"50": said, "8": [said[i % 4] for i in range(8)]},
        "explained": {"50": [110] * len(said), "8": [35] * 8},
    }  # fmt: skip


LOW = [0.1] * 8 + [0.6, 0.2]  # the best candidate comes late
HIGH = [0.7] + [0.1] * 7 + [0.5, 0.2]


def test_what_an_arm_loses_and_takes():
    rows = [
        row(0, LOW, LOW, screened=8, of_8=1),
        row(0, HIGH, HIGH, screened=0, of_8=0, sign="negative"),
        row(1, HIGH, HIGH, screened=8, of_8=2),
        row(2, HIGH, HIGH, screened=0),
    ]
    found = choosing_figures.figures(rows, (4,))
    assert (found["rows"], found["neurons"], found["distinct_of_50"], found["distinct_of_8"]) == (4, 3, 10, 4)
    assert found["best_of_50_score"] == pytest.approx((0.6 + 3 * 0.7) / 4)
    assert found["best_of_8_score"] == pytest.approx((0.1 + 0.7 + 0.1 + 0.7) / 4)
    assert found["best_of_8_difference"] == pytest.approx((0.5 + 0.6) / 4)
    assert found["best_of_8_difference_low"] <= found["best_of_8_difference"] <= found["best_of_8_difference_high"]
    assert found["best_of_8_explained_tokens_share"] == pytest.approx(280 / 1100)
    assert found["best_of_8_tokens_share"] == pytest.approx((280 + 200) / (1100 + 500))
    assert found["screened_4_same_choice"] == pytest.approx(3 / 4)
    assert found["screened_4_large_tokens_share"] == pytest.approx(200 / 500)
    assert found["screened_4_raced_large_tokens_share"] == pytest.approx(150 / 500)
    assert found["screened_4_lost_where_other"] == pytest.approx(0.2)
    assert found["screened_4_lost"] == pytest.approx(0.2 / 4)
    assert found["raced_same_choice"] == 1


def test_what_more_candidates_gain_on_the_fewest():
    chosen = [(0, 8, 1), (0, 0, 0), (1, 8, 8)]  # of five draws, of sixteen, of eight
    rows = [row(n, LOW, LOW, screened=8, of_5_draws=five, of_16=sixteen, of_8=eight)
            for n, (five, sixteen, eight) in enumerate(chosen)]  # fmt: skip
    for one in rows:
        one["explained"]["16"] = [30] * 16
    found = choosing_figures.figures(rows, ())
    assert found["best_of_16_gain"] == pytest.approx((0.5 + 0 + 0.5) / 3)
    assert found["best_of_8_gain"] == pytest.approx(0.5 / 3)
    assert found["best_of_16_difference"] == pytest.approx(0.5 / 3)
    assert found["best_of_5_draws_explained_tokens_share"] == pytest.approx(550 / 1100)
    assert found["best_of_16_explained_tokens_share"] == pytest.approx(480 / 1100)
    lines = choosing_figures.table(found, ())
    assert next(line for line in lines if line.startswith("| 16 of 4 draws |")).endswith("| 0.44, 0.50, 0.46 |")
    assert any(line.startswith("| 5 of 5 draws | 3 | 0.100 |") and "|  |" in line for line in lines)
    rows[0]["arms"]["of_5_draws"] = {"description": None, "large": 0, "small": 0}
    found = choosing_figures.figures(rows, ())
    assert (found["rows"], found["best_of_5_draws_rows"], found["best_of_16_rows"]) == (3, 2, 3)
    assert found["best_of_16_gain"] == pytest.approx(0.5 / 2)
    for one in rows[:1]:  # where not all rows have an arm, it has no figures
        del one["arms"]["of_16"]
    assert "best_of_16_score" not in choosing_figures.figures(rows, ())


def test_a_table_says_what_the_figures_say():
    rows = [row(n, LOW if n % 4 < 2 else HIGH, LOW if n % 4 < 2 else HIGH, screened=n % 2 * 8) for n in range(16)]
    found = choosing_figures.figures(rows, (4,))
    lines = choosing_figures.table({f"of_8_{name}": value for name, value in found.items()}, (4, 99), "of_8_")
    assert lines[0] == "16 rows of 16 neurons; best of 50, on test: 0.650"
    screened = next(line for line in lines if line.startswith("| screened 4 |"))
    assert screened.startswith(f"| screened 4 | 16 | {found['screened_4_same_choice']:.3f} (")
    assert "| 0.400; 1.00 |" in screened
    assert "* of_8_rounds_rule: best_is_low" in lines
    rows = [row(n, HIGH, HIGH, screened=0) for n in range(2)]  # the same choice everywhere
    lines = choosing_figures.table(choosing_figures.figures(rows, (4,)), (4,))
    assert "none other" in next(line for line in lines if line.startswith("| screened 4 |"))


def test_rows_without_a_choice_do_not_count_and_nothing_is_sorted_out_of_few():
    same = row(3, HIGH, HIGH, screened=0)
    same["said"]["50"] = ["description 0"] * 10
    none = row(4, HIGH, HIGH, screened=0)
    none["arms"]["of_50"]["description"] = None
    few = row(5, HIGH, HIGH, screened=0)
    few["said"]["50"] = [f"description {i % 4}" for i in range(10)]
    found = choosing_figures.figures([same, none, few, row(6, LOW, LOW, screened=8)], (4,))
    assert found["rows"] == 2
    assert found["screened_4_rows"] == 1


def test_a_second_round_where_the_first_says_that_the_best_is_low():
    rows = [row(n, LOW if n % 4 < 2 else HIGH, LOW if n % 4 < 2 else HIGH, screened=0) for n in range(16)]
    found = choosing_figures.rounds(rows)
    assert (found["rounds_rule"], found["rounds_bound"]) == ("best_is_low", pytest.approx(0.1))
    assert (found["rounds_rows"], found["rounds_asked_again"], found["rounds_asked_again_when_tuned"]) == (8, 0.5, 0.5)
    assert found["rounds_lost_on_test"] == 0
    assert found["rounds_gain_on_test"] == pytest.approx(0.25)
    assert found["rounds_gain_on_test_by_chance"] == pytest.approx(0.125)
    assert found["rounds_tokens_share"] == pytest.approx((1600 + (880 + 400)) / 2 / 1600)


def test_a_rule_is_judged_on_neurons_that_it_was_not_fixed_on():
    late = [*HIGH[:8], 0.9, 0.2]
    tuned = [row(n, LOW if n % 4 else HIGH, LOW if n % 4 else HIGH, screened=0) for n in range(0, 16, 2)]
    judged = [row(n, late, late, screened=0) for n in range(1, 16, 2)]
    found = choosing_figures.rounds(tuned + judged)
    assert found["rounds_asked_again"] == 0  # their first best is high, so what more would have gained is lost
    assert found["rounds_lost_on_test"] == pytest.approx(0.2)
    assert found["rounds_gain_on_test"] == pytest.approx(0)


class Words:
    """A simulator that reads a token a letter, and says how many tasks it was given."""

    given = 0

    def row(self, task):
        return SimpleNamespace(prefix=tuple(task.description), ids=task.text.evidence)

    def simulate(self, tasks):
        self.given += len(tasks)
        return [[1.0] * len(task.text.evidence) for task in tasks]


def test_each_arm_reads_a_description_once_and_what_was_simulated_is_kept(tmp_path):
    def tasks(*descriptions):
        texts = [SimpleNamespace(input_ids=list(range(n)), evidence=list(range(n)), prefix_len=0) for n in (3, 4)]
        return [SimpleNamespace(description=said, text=text) for said in descriptions for text in texts]

    words = Words()
    for _ in range(2):  # the second time as a job that goes on
        read = choosing.Read(tmp_path / "words.predictions", words)
        read.simulate(words, tasks("ab", "abcd"), (0, "positive", "candidate", "valid"))
        assert read.tokens == 2 + 4 + 2 * (3 + 4)
        read.start_arm()
        read.simulate(words, tasks("ab"), (0, "positive", "candidate", "valid"))
        read.simulate(words, tasks("ab"), (0, "positive", "candidate", "test"))
        assert read.tokens == 2 + 3 + 4
        assert words.given == 4 + 2


def test_arms_that_were_thought_of_later_leave_finished_rows_as_they_are(tmp_path):
    made, asked = object.__new__(choosing.Layer), []

    def row(neuron, sign, those):
        asked.append((sign, list(those)))
        designs = {arm.design for arm in those.values()}
        return {"neuron": neuron, "sign": sign, "arms": dict.fromkeys(those, 1), "said": {it: [] for it in designs}}

    made.layer, made.folder, made.row, made.evidence = 5, tmp_path, row, SimpleNamespace()
    first, *later = made.paths(3, 4)
    sets = choosing.LATER_ARMS, choosing.LAST_ARMS
    first.parent.mkdir(parents=True)
    first.write_text(json.dumps([row(3, sign, choosing.ARMS) for sign in choosing.SIGNS]))
    asked.clear()
    for _ in range(2):
        rows = made.rows(3, 4)
        assert asked == [(sign, list(those)) for those in sets for sign in choosing.SIGNS]
        assert all(path.exists() for path in later)
    for found, sign in zip(rows, choosing.SIGNS):
        assert found["sign"] == sign
        assert found["arms"].keys() == choosing.ARMS.keys() | choosing.LATER_ARMS.keys() | choosing.LAST_ARMS.keys()
        assert found["said"].keys() == {"8", "16", "50"}
