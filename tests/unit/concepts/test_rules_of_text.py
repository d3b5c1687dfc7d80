"""Features that are known exactly."""

import numpy as np
import pytest

from conftest import ROOT
from neuron_descriptions.concepts.rules_of_text import FORMS, read_rules, table

FILE = str(ROOT / "config/training/rules.yaml")
TOKENS = ["In", " March", " the", " NATO", ",", " 12", " countries", ".", " They", " countries", "\n", " unhappily"]


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ("numbers", [5]),
        ("capitalized words", [0, 1, 3, 8]),
        ("words in capitals", [3]),
        ("punctuation", [4, 7]),
        ("line breaks", [10]),
        ("words that occurred before", [9]),
        ("long words", [6, 9, 11]),
        ("the beginning of a sentence", [8]),
        ("what follows a comma", [5]),
        ("what follows a number", [6]),
        ("plural nouns", [6, 9]),
        ('the mark ","', [4]),
        ('words ending in "ly"', [11]),
        ('words beginning with "un"', [11]),
        ('the word after "the"', [3]),
        ("names of months", [1]),
        ("articles", [2]),
    ],
)
def test_rule_holds_where_it_should(said, where):
    rule = next(rule for rule in read_rules(FILE) if said in rule.say)
    assert np.flatnonzero(rule.holds(TOKENS)).tolist() == where


def test_every_rule_can_hold_and_is_said_in_ways_of_its_own():
    rules = read_rules(FILE)
    assert len(rules) > len(FORMS) + 50
    ways = [way for rule in rules for way in rule.say]
    assert len(ways) == len(set(ways)) and all(way.strip() == way != "" for way in ways)
    assert all(rule.holds([]) == [] for rule in rules)


def test_table_says_in_which_sequences_a_rule_holds():
    rules = [rule for rule in FORMS if "numbers" in rule.say or "line breaks" in rule.say]
    assert table(rules, [["a"], ["1"], ["\n", "2"]]).tolist() == [[False, True, True], [False, False, True]]


@pytest.mark.parametrize("content", ["- say: [a]\n", "say: 3", "- {say: [a], words: b, other: c}", "- ["])
def test_bad_file_is_named(tmp_path, content):
    path = tmp_path / "rules.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"rules\.yaml is not a list of rules"):
        read_rules(str(path))
