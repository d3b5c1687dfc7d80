"""Concepts: predicates true where they should be, lists that find what was planted, sentences in plain words."""

import numpy as np
import pytest

from conftest import ROOT
from neuron_descriptions.concepts.predicates import Predicate, predicates_of, words_of
from neuron_descriptions.concepts.rules_of_text import read_rules
from neuron_descriptions.concepts.search import Evidence, Part, find_parts, sentence
from neuron_descriptions.models.loading import token_strings

RULES = read_rules(str(ROOT / "config/training/rules.yaml"))
NEGATIONS = next(rule for rule in RULES if rule.say[0] == "negations")


def test_words_join_letters_with_letters_and_digits_with_digits():
    tokens = [" un", "able", ",", " $", "1", ",", "2", "0", "0", ".", "5", ".", "\n", "x"]
    assert ["".join(tokens[i:j]) for i, j in words_of(tokens)] == [" unable", ",", " $", "1,200.5", ".", "\n", "x"]


@pytest.mark.parametrize(
    ("tokens", "kind", "value", "at"),
    [
        (["The", " un", "able", " man"], "word", "unable", [1, 2]),
        (["The", " un", "able", " man"], "piece", "un", [1]),
        (["The", " walking", " man"], "ending", "ing", [1]),
        (["The", " walking", " man"], "after", "the", [1]),
        (["a", " (", "b", " c", ")", " d"], "in", "parentheses", [2, 3, 4]),
        (["he", ' "', "b", " c", '"', " d"], "in", "quotes", [2, 3, 4]),
        (["In", " ", "1", "9", "4", "5"], "place", "year", [2, 3, 4, 5]),
        (["In", " ", "1", "9", "4", "5"], "place", "second digit", [3]),
        (["so", " $", "5", "0"], "place", "money", [2, 3]),
        (["0", ".", "7", "5"], "place", "decimals", [2, 3]),
        (["Yes", ".", " No", " way"], "place", "sentence", [0, 2]),
        (["one", "\n", "two", " three"], "place", "line", [0, 2]),
        (["one", "\n", "two"], "place", "line break", [1]),
        (["<|im_start|>", "user", "\n", "Hi"], "place", "turn", [0]),
        (["<|im_start|>", "user", "\n", "Hi"], "place", "role", [1]),
        (["house", " and", " house"], "rule", "words that occurred before", [2]),
        (["a", " mountain", " rose", "s"], "mentioned", "mountain", [2, 3]),
        (["it", " is", " not", " so"], "rule", "negations", [2]),
        (["a", ",", " b"], "mark", ",", [1]),
    ],
)
def test_predicates_hold_where_they_should(tokens, kind, value, at):
    held = predicates_of(tokens, RULES)
    assert [t for t, predicates in enumerate(held) if Predicate(kind, value) in predicates] == at


def planted(sequences: list[list[str]], fires) -> list[np.ndarray]:
    """Activations of a feature that follows a rule: fires(tokens, t) -> how strongly."""
    random = np.random.default_rng(0)
    return [
        np.array([fires(tokens, t) for t in range(len(tokens))]) + 0.05 * random.random(len(tokens))
        for tokens in sequences
    ]


@pytest.fixture(scope="module")
def sequences(corpus, tokenizer):
    """Token texts of real sequences."""
    from neuron_descriptions.common.storage import read_table
    from neuron_descriptions.corpus.tables import CORPUS

    rows = read_table(corpus["train"], CORPUS).to_pylist()
    return [token_strings(tokenizer, row["input_ids"][row["prefix_len"] :]) for row in rows]


@pytest.mark.parametrize(
    ("fires", "said"),
    [
        (lambda tokens, t: tokens[t] == " the", 'the word "the"'),
        (lambda tokens, t: t > 0 and tokens[t - 1] == " of", 'the word after "of"'),
        (lambda tokens, t: tokens[t].strip() == ",", "commas"),
        (lambda tokens, t: tokens[t].strip().isdigit(), "numbers written in digits"),
        (lambda tokens, t: NEGATIONS.holds(tokens)[t], "negations"),
    ],
)
def test_what_is_planted_is_found(sequences, fires, said):
    held = [predicates_of(tokens, RULES) for tokens in sequences]
    parts = find_parts(Evidence(held, planted(sequences, fires)), 5)
    assert said in (sentence(parts[:1]), *(part.phrase for part in parts[:2]))


def test_noise_gets_no_sentence(sequences):
    held = [predicates_of(tokens, RULES) for tokens in sequences]
    random = np.random.default_rng(1)
    parts = find_parts(Evidence(held, [random.random(len(tokens)) for tokens in sequences]), 5)
    assert parts == []
    assert sentence(parts) is None
    assert find_parts(Evidence([], []), 5) == []


def test_other_sequences_of_a_chunk_change_nothing(sequences):
    held = [predicates_of(tokens, RULES) for tokens in sequences]
    acts = planted(sequences, lambda tokens, t: tokens[t] in (" the", " a"))
    some = find_parts(Evidence(held[:20], acts[:20]), 5)
    predicates_of(["quite", " other", " words"], RULES)
    assert find_parts(Evidence(held[:20], acts[:20]), 5) == some


def test_sentences_put_words_together():
    word, after = (lambda w: Part(Predicate("word", w))), (lambda w: Part(Predicate("after", w)))
    assert sentence([word("a"), word("b"), word("c")]) == 'the words "a", "b" and "c"'
    assert sentence([word("a"), after("b"), after("c")]) == 'the word "a" and the word after "b" or "c"'
    assert sentence([Part(Predicate("mark", ",")), word("a"), word("b")]) == 'commas; the words "a" and "b"'
    narrowed = Part(Predicate("word", "to"), Predicate("after", "according"))
    assert sentence([narrowed]) == 'the word "to" after "according"'
