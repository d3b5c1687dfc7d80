"""Descriptions without a model."""

import numpy as np
import pytest

from neuron_descriptions.concepts.vocabulary import is_debris
from neuron_descriptions.descriptions.tokens import (
    Peak,
    context_of,
    describe_tokens,
    form_of,
    listed,
    peak_of,
    words_of,
)


def peaks(*words, before="we saw"):
    return [Peak(f" {word}", before) for word in words]


@pytest.mark.parametrize(
    ("tokens", "acts", "peak"),
    [
        ([" in", " June", ","], [0, 9, 1], Peak(" June", " in")),
        ([" it", " un", "for", "gett", "able", " day"], [0, 8, 1, 0, 0, 0], Peak(" unforgett", " it")),
        (["a", " b", " c", " d", " e"], [0, 0, 0, 0, 1], Peak(" e", " b c d")),
        ([",", "000", " people"], [0, 5, 0], Peak("000", ",")),
        (["First"], [1], Peak("First", "")),
        ([" un", "for", "gett", "able"], [0, 8, 1, 0], Peak("forgettable", " un", piece=True)),
        (["<|im_start|>", "user", "\n"], [0, 8, 1], Peak("", "<|im_start|>")),
    ],
)
def test_peak_is_the_strongest_token_its_word_and_what_stands_before(tokens, acts, peak):
    assert peak_of(tokens, np.array(acts)) == peak


def test_words_are_distinct_the_most_frequent_first():
    assert words_of(peaks("May", "June", "", "June", "July")) == ["June", "May", "July"]


def test_words_are_listed():
    assert listed(["a"]) == '"a"'
    assert listed(["a", "b", "c"]) == '"a", "b" and "c"'
    assert listed(["a", "b"], "or") == '"a" or "b"'


@pytest.mark.parametrize(
    ("words", "form"),
    [
        (["12", "7", "1990", "x"], "numbers"),
        ([",", ";", "."], "punctuation"),
        (["NATO", "USA", "UN"], "words in capitals"),
        (["France", "Peru", "june", "Chile"], "capitalized words"),
        (["going", "running", "eating", "house"], 'words ending in "ing"'),
        (["unable", "unlike", "unless"], 'words beginning with "un"'),
        (["house", "tree", "fast"], None),
        (["1", "2"], None),  # two do not make a rule
    ],
)
def test_form_is_what_most_words_share(words, form):
    assert form_of(words) == form


def test_context_is_the_word_that_often_stands_before():
    assert context_of([*peaks("a", "b", before="out of"), *peaks("c", before="of"), *peaks("d", "e")]) == "of"
    assert context_of([Peak(" a", "x"), Peak(" b", "y"), Peak(" c", "z"), Peak(" d", "")]) is None


def test_description_says_words_form_and_context():
    assert describe_tokens([Peak(" dog", "a"), Peak(" tree", "b"), Peak(" dog", "c")]) == 'the tokens "dog" and "tree"'
    assert describe_tokens(peaks("may", before="in")) == 'the token "may"'
    found = describe_tokens([Peak(" going", "is"), Peak(" seeing", "am"), Peak(" eating", "was"), Peak(" being", "by")])
    assert found == 'words ending in "ing", such as "going", "seeing" and "eating"'
    assert describe_tokens(peaks("x", "y", "z")).endswith(', mostly after "saw"')
    assert describe_tokens([Peak(" ", "a"), Peak("", "b")]) is None


@pytest.mark.parametrize("seed", [None, *range(20)])
def test_no_way_to_say_it_holds_debris(seed):
    """Special tokens, halves of characters and lone quotation marks are left out, pieces of words said to be such."""
    ugly = [
        Peak("<|im_end|>", "x"),
        Peak(" \ufffd", "x"),
        Peak(' "', "x"),
        Peak('a"b', "x"),
        Peak("\x07", "x"),
        Peak("\u0e37", "x"),
    ]
    ugly = [
        *ugly,
        Peak(" whole", "<|im_start|>user"),
        Peak("ner", "ca", piece=True),
        Peak(" dog", '"'),
        Peak(" cat", '"'),
    ]
    found = describe_tokens(ugly, None if seed is None else np.random.default_rng(seed))
    assert not is_debris(found) and "im_" not in found and '""' not in found
    assert 'the word piece "ner"' in found and '"whole"' in found
    assert describe_tokens(ugly[:6]) is None


def test_there_are_several_ways_to_say_it_each_a_function_of_the_generator():
    given = peaks("going", "seeing", "eating", "being")
    found = [describe_tokens(given, np.random.default_rng(seed)) for seed in range(40)]
    assert found == [describe_tokens(given, np.random.default_rng(seed)) for seed in range(40)]
    assert len(set(found)) > 5
    assert all("ing" in text for text in found)
