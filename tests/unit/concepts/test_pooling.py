"""Lists found on train and valid together: what is in doubt must hold on valid."""

from dataclasses import replace

import numpy as np
import pytest

from conftest import ROOT
from neuron_descriptions.concepts.evidence import TextTable, exemplars_of, joined
from neuron_descriptions.concepts.predicates import Predicate, Reader
from neuron_descriptions.concepts.search import DEFAULTS, find_list, find_parts
from neuron_descriptions.concepts.vocabulary import read_vocabulary
from neuron_descriptions.concepts.wording import NO_PATTERN, Part, sentence
from neuron_descriptions.descriptions.concepts import FITS

READER = Reader(read_vocabulary(str(ROOT / "config/concepts/lists.yaml")))
WORDS = [
    " swim",
    " climb",
    " jump",
    " dance",
    " ran",
    " the",
    " of",
    " law",
    " red",
    " bank",
    " so",
    " then",
    ",",
    " it",
]
ACTIVE = {" swim", " climb", " jump", " dance", " ran"}
EVENTS = {"swim", "climb", "jump", "dance", "ran"}


@pytest.fixture(scope="module")
def texts():
    random = np.random.default_rng(0)
    return {i: [WORDS[w] for w in random.integers(0, len(WORDS), 30)] for i in range(60)}


def acts(texts, fires, ids):
    random = np.random.default_rng(1)
    noise = {i: 0.05 * random.random(len(tokens)) for i, tokens in texts.items()}
    return {i: np.array([float(fires(w)) for w in texts[i]]) + noise[i] for i in ids}


def test_words_of_a_field_are_said_by_what_they_have_in_common(texts):
    table = TextTable(texts, READER)
    train, valid = (exemplars_of(table, acts(texts, ACTIVE.__contains__, ids)) for ids in (range(40), range(40, 60)))
    found = find_list(table, train, valid)
    assert found.sentence.startswith("words about physical activity, such as ")
    assert set(found.parts[0].word.split()) <= EVENTS and len(found.parts[0].word.split()) == 3
    assert (found.parts, found.base) == ((whole := find_parts(table, joined(train, valid))).parts, whole.base)
    assert 1.0 < found.peak < 1.05 and not found.doubt


def test_a_list_that_matches_weakly_says_so(texts):
    table = TextTable(texts, READER)
    train, valid = (exemplars_of(table, acts(texts, ACTIVE.__contains__, ids)) for ids in (range(40), range(40, 60)))
    sure, unclear = (find_list(table, train, valid, replace(DEFAULTS, clear=clear)) for clear in (0.3, 2.0))
    assert not sure.doubt and unclear.sentence == f"many different things, among them: {sure.sentence}"


def test_what_only_train_shows_is_no_pattern(texts):
    table = TextTable(texts, READER)
    train = exemplars_of(table, acts(texts, ACTIVE.__contains__, range(8)))
    silent = exemplars_of(table, acts(texts, lambda word: word == " nothing", range(8, 60)))
    assert find_parts(table, train).parts
    assert find_list(table, train, silent).sentence == NO_PATTERN


def test_a_lists_own_examples_give_way_to_the_neurons():
    head = Predicate("list", "words about other people, such as someone and others")
    assert sentence([Part(head)]) == 'words about other people, such as "someone" and "others"'
    assert sentence([Part(head, word="guy friend")]) == 'words about other people, such as "guy" and "friend"'
    narrowed = Part(Predicate("list", "words about war"), Predicate("about", "words about law"), word="army")
    assert sentence([narrowed]) == 'words about war in passages about law, such as "army"'


def test_a_scrap_is_shown_in_the_longer_word_that_adds_most():
    texts = {i: [" Sup", "ply", " the", " sup", "ports", " vol", "ume", " sup"] for i in range(9)}
    table = TextTable(texts, READER)
    fired = np.array([2.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 3.0])
    train = exemplars_of(table, {i: fired + 0.01 * (i % 2) for i in texts})
    found = find_parts(table, train, replace(DEFAULTS, chance=0.0)).parts
    assert [(part.head, part.word) for part in found[:2]] == [
        (Predicate("word", "sup"), ""),
        (Predicate("piece", "sup"), "supply"),
    ]


def test_what_lists_are_fitted_on_decides_what_they_say_first(texts):
    """Exemplars show a rare strong word, the panel a frequent weak one."""
    table = TextTable(texts, READER)
    exemplars, panel = range(20), range(20, 60)
    fired = acts(texts, lambda word: 1.0 if word == " bank" else 0.0, exemplars)
    fired |= {i: 0.8 * a for i, a in acts(texts, lambda word: word == " red", panel).items()}
    said = {}
    for name, fit in FITS.items():
        train = exemplars_of(table, fired, dict.fromkeys(panel, fit.panel_weight))
        said[name] = find_list(table, train, None, fit.settings).parts[0].head
    assert said == {"contrast": Predicate("word", "bank"), "natural": Predicate("word", "red")}
