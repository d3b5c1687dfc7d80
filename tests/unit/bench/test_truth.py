"""How scores fall and what is reported of planted features; tests/workflow/test_planted_run.py has a whole run."""

import sys

import numpy as np
import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests/bench"))
import truth
import truth_falls
import truth_scores


def test_how_a_score_falls_is_told_from_how_it_varies():
    assert truth_falls.fall([3.0, 2.0, 1.5, 1.0, 0.0]) == pytest.approx(1.0)
    assert truth_falls.fall([0.5] * 5) == 0.0 and truth_falls.fall([0.0, 0.1, 0.2]) == pytest.approx(-1.0)
    # Undefined is chance, which is not 0 everywhere.
    assert truth_falls._known("generated_auc", [[None], [0.9, 0.7]]) == pytest.approx([0.5, 0.8])
    assert truth_falls._known("score", [[0.3], [float("nan"), 0.2]]) == pytest.approx([0.3, 0.1])
    assert np.isnan(truth_falls._known("score", [[None], [None, None]])).all()  # which is so whatever was said
    random = np.random.default_rng(0)
    line = np.linspace(1, 0, 5)
    values = np.vstack([line + 0.2 * random.normal(size=(30, 5)), np.full((2, 5), np.nan)])
    falls = truth_falls.fallen(values)
    assert (falls.features, falls.monotone, falls.falling) == (30, True, 4) and 0.6 < falls.spearman < 1
    assert falls.means == pytest.approx(line.tolist(), abs=0.15) and 0.8 < falls.least < falls.whole < 1.2
    risen = truth_falls.fallen(np.array([1, 0.2, 0.6, 0.1, 0]) + 0.1 * random.normal(size=(30, 5)))
    assert not risen.monotone and risen.rise == pytest.approx(0.45, abs=0.1) and risen.falling == 2
    # What varies too much to tell is not monotone, nor what does not fall, nor what one feature says.
    for few in (line + 0.5 * random.normal(size=(4, 5)), 0.1 * random.normal(size=(30, 5)), line[None]):
        assert not truth_falls.fallen(few).monotone


def test_words_are_replaced_by_others_that_are_as_frequent():
    frequency = {"a": 10, "b": 5, "c": 5, "d": 1, "x": 9, "y": 5, "z": 2}
    assert truth_scores.replaced(("a", "b", "c", "d"), 0.0, frequency) == ["a", "b", "c", "d"]
    assert truth_scores.replaced(("a", "b", "c", "d"), 0.5, frequency) == ["c", "d", "x", "y"]
    assert set(truth_scores.replaced(("a", "b", "c", "d"), 0.5, frequency, rarest=True)) == {"a", "b", "y", "z"}
    assert not set(truth_scores.replaced(("a", "b"), 1.0, frequency)) & {"a", "b"}


def test_the_report_says_what_was_found():
    rows = [
        {"kind": "word", "rule": "r", "said": "s", "agreement": 0.9, "direct_score": 0.7, "claims": True,
         "claims_of_nothing": False},
        {"kind": "word", "rule": "r2", "said": "no pattern found", "agreement": 0.0, "direct_score": None,
         "claims": False, "claims_of_nothing": False},
        {"kind": "none", "rule": "no rule", "said": "x", "agreement": None, "direct_score": 0.0, "claims": True,
         "claims_of_nothing": True},
    ]  # fmt: skip
    falls = {"a": np.array([[1.0, 0.5], [0.9, 0.5]]), "b": np.array([[0.0, 0.5], [0.9, 0.9]])}
    figures = truth.figures(rows, falls)
    assert (figures["recovered"], figures["false_claims"]) == (0.5, 1.0)
    assert figures["least_monotone_spearman"] == pytest.approx(-0.5) and figures[
        "monotone_spearman_a"
    ] == pytest.approx(1.0)
    assert figures["false_claims_of_silent_sides"] == pytest.approx(1 / 3)
    said = truth.report(rows, falls, {"interval_coverage": 0.9})
    assert "| word | r | s | 0.90 | 0.70 |" in said and "| a | 2 | 1.00 | 0.95, 0.5 |" in said
