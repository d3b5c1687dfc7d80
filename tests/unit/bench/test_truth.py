"""Planted features at small size: Python's own manual as text, no model."""

import re
import sys
from pydoc_data.topics import topics

import numpy as np
import pyarrow as pa
import pytest

from conftest import ROOT
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.concepts.execution import read_list
from neuron_descriptions.concepts.planted import ONE_RULE, Planted, _one_of, rules, without_rule
from neuron_descriptions.concepts.predicates import Reader
from neuron_descriptions.concepts.vocabulary import read_vocabulary
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.descriptions import concepts as finding
from neuron_descriptions.models import loading
from neuron_descriptions.panel import reading
from neuron_descriptions.run import fingerprints
from neuron_descriptions.scores import concepts as scoring
from neuron_descriptions.scores import fuzzing, judged

sys.path.insert(0, str(ROOT / "tests/bench"))
import truth
import truth_falls
import truth_scores

LENGTH = 40
SPLITS = {"train": 0.6, "valid": 0.2, "test": 0.2}


def one(said):
    return next(feature for feature in rules() if feature.said == said)


# --- rules -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "tokens", "truth"),
    [
        ('the word "of"', [" a", " piece", " of", " cake", " Of", " off"], [0, 0, 1, 0, 1, 0]),
        ("forms of tax", [" Tax", "es", " and", " tax", "onomy"], [1, 1, 0, 0, 0]),
        ('the word after "the"', [" the", " un", "known", " thing", " The", " end"], [0, 1, 1, 0, 0, 1]),
        ("what stands in parentheses", [" a", " (", "b", ",", " c", ")", " d"], [0, 0, 1, 1, 1, 0, 0]),
        ("what follows a number", [" in", " 1", "2", ",", "000", " men", " or", " so"], [0, 0, 0, 0, 0, 1, 0, 0]),
        ("texts after three numbers", [" 1", " a", " 2", " b", " 3", " c", "."], [0, 0, 0, 0, 0, 1, 1]),
        ("numbers after a comma", [" 5", ",", " 6", ",", " six"], [0, 0, 1, 0, 0]),
        ("war, and weakly peace", [" war", " and", " Peace"], [1, 0, 0.4]),
        ("longer words, the stronger", [" government", " gold", "smith", "s"], [4 / 6, 4 / 6, 4 / 6, 4 / 6]),
        ("every seventh word", [" a"] * 8, [0, 0, 0, 0, 0, 0, 1, 0]),
        ("words with a doubled letter", [" bet", "ter", " words", " 22"], [1, 1, 0, 0]),
    ],
)  # fmt: skip
def test_a_rule_holds_where_it_says(said, tokens, truth):
    assert one(said).truth(tokens) == pytest.approx(truth)


def test_rules_are_many_and_of_every_kind():
    found = rules()
    assert len(found) >= 60 and len({feature.said for feature in found}) == len(found)
    assert set(ONE_RULE) < {feature.kind for feature in found}
    assert sum(feature.kind in ONE_RULE for feature in found) >= 40


def test_activations_follow_the_rule_over_a_background():
    tokens = [" the", " house", " of", " the", " river"] * 200
    feature = one('the word "of"')
    acts, truth_T = feature.acts(tokens, 0, 1), feature.truth(tokens)
    assert (acts == feature.acts(tokens, 0, 1)).all() and (acts != feature.acts(tokens, 0, 2)).any()
    assert np.corrcoef(acts, truth_T)[0, 1] > 0.9
    drawn = without_rule(1)[0].acts(tokens, 0, 1)
    assert 0.01 < (drawn > 0.25).mean() < 0.06 and abs(np.corrcoef(drawn, truth_T)[0, 1]) < 0.15


# --- the whole ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """(rows, falls) of a few features over some of the topics of Python's help."""
    folder = tmp_path_factory.mktemp("truth")
    text = "\n".join(text for _, text in sorted(topics.items()))[:160_000]
    tokens = re.findall(r" ?[^\W\d_]+|\d+|[^\w\s]|\n", text)
    words = sorted(set(tokens))
    place = {word: i for i, word in enumerate(words)}
    cut = [tokens[i : i + LENGTH] for i in range(0, len(tokens) - LENGTH, LENGTH)]
    cut = [cut[i] for i in np.random.default_rng(0).permutation(len(cut))]
    corpus, strings, first = {}, {}, 0
    for split, share in SPLITS.items():
        last = first + round(share * len(cut))
        strings[split], first = cut[first:last], last
        ids = [[place[token] for token in sequence] for sequence in strings[split]]
        texts = {"source": "manual", "document": None, "prefix_len": 0}
        rows = [{"seq_id": i, "input_ids": of_sequence, **texts} for i, of_sequence in enumerate(ids)]
        facts = {"tokens": str(sum(map(len, strings[split]))), "longest": str(LENGTH), "tokenizer": "words"}
        corpus[split] = str(folder / f"{split}.parquet")
        write_table(pa.Table.from_pylist(rows, schema=CORPUS.with_metadata(facts)), corpus[split])
    names = ("class classes function functions method methods module modules", "name names value values object objects")
    features = [
        one('the word "of"'), one('the word "and"'), one('the word "that"'), one("commas"), one("numbers"),
        one('the word after "the"'), one('words ending in "ing"'), one("capitalized words"),
        *(Planted("category", named, _one_of(named), tuple(named.split())) for named in names),
        *without_rule(12),
    ]  # fmt: skip
    patch = pytest.MonkeyPatch()
    for module in (finding, scoring, reading, loading):
        patch.setattr(module, "load_tokenizer", lambda folder: None)
    for module in (finding, scoring, reading, fuzzing, judged):
        patch.setattr(module, "token_strings", lambda tokenizer, ids: [words[i] for i in ids])
    patch.setattr(reading, "tokenizer_fingerprint", lambda tokenizer: "words")
    for module in (reading, fingerprints):
        patch.setattr(module, "model_fingerprint", lambda folder: "none")
    planting = truth.plant(folder, corpus, strings, features, "none")
    described = truth.describe(planting, folder, "none")
    rows = truth.held_against(planting, described)
    falls = truth_falls.corrupted(planting, truth_falls.corruptions(planting), "none")
    said = {number: read_list(row["parts"]) for (number, sign), row in described.items() if sign == "positive"}
    covers = truth_scores.coverage(planting, said, Reader(read_vocabulary(truth.LISTS)), "none", 4)
    patch.undo()
    return rows, falls, covers


def test_planted_rules_are_found_and_nothing_is_said_of_noise(found):
    rows, falls, covers = found
    figures = truth.figures(rows, falls)
    assert figures["features"] == 22 and figures["no_rule"] == 12
    assert figures["recovered"] >= 0.8, truth.report(rows, falls, covers)
    assert figures["false_claims"] <= 0.1, truth.report(rows, falls, covers)
    assert {row["said"] for row in rows if row["rule"] == 'the word "of"'} == {'the word "of"'}


def test_every_score_falls_as_descriptions_are_corrupted(found):
    rows, falls, _ = found
    of_judges = {f"{kind}_{name}" for kind in ("detection", "fuzzing") for name in truth_falls.OF_JUDGES}
    assert set(falls) >= {"score", "score_contrast", "discrimination", "direct_score", "generated_auc"} | of_judges
    figures = truth.figures(rows, falls)
    assert figures["corrupted_features"] == 2
    assert figures["least_monotone_spearman"] >= 0.7, truth_falls.table(falls)


def test_intervals_cover_the_exact_score(found):
    covers = found[2]
    assert covers["interval_draws"] >= 30 and abs(covers["interval_bias"]) < 0.05
    assert covers["interval_coverage"] >= 0.85 and 0 < covers["interval_half_width"] < 0.5


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
