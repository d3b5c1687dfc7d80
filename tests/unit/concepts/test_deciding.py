"""Parts that are put before those found so far, and decide on their tokens."""

from dataclasses import replace

import numpy as np
import pytest

from conftest import ROOT
from neuron_descriptions.concepts.deciding import Deciding
from neuron_descriptions.concepts.evidence import TextTable, exemplars_of
from neuron_descriptions.concepts.predicates import Predicate, Reader
from neuron_descriptions.concepts.search import DEFAULTS, find_parts, holding
from neuron_descriptions.concepts.survivors import find_survivors
from neuron_descriptions.concepts.vocabulary import read_vocabulary
from neuron_descriptions.concepts.wording import Part

READER = Reader(read_vocabulary(str(ROOT / "config/concepts/lists.yaml")))
WORDS = [" the", " of", " law", " red", " bank", " so", ",", ".", " 7", " (", " Anna", " Berlin"]
LAW, LOWER = Predicate("word", "law"), Predicate("place", "lower case")


@pytest.fixture(scope="module")
def material():
    """Weak at words in lower case, strong at one of them, and noise; sequences weigh differently."""
    random = np.random.default_rng(0)
    texts = {i: [WORDS[w] for w in random.integers(0, len(WORDS), 30)] for i in range(40)}
    size = {word: 0.5 * word.strip().islower() + 0.5 * (word == " law") for word in WORDS}
    acts = {i: np.array([size[w] for w in tokens]) + 0.05 * random.random(30) for i, tokens in texts.items()}
    table = TextTable(texts, READER)
    return table, exemplars_of(table, acts, {i: 0.5 + i % 2 for i in texts})


def predicted(table, train, parts, base):
    found = np.full(len(train.acts_N), base)
    for part in reversed(parts):
        found[holding(table, part, train.rows_N)] = part.weight
    return found


def test_what_is_special_is_put_before_what_is_general(material):
    table, train = material
    plain = find_parts(table, train)
    ahead = find_parts(table, train, replace(DEFAULTS, ahead=True))
    assert [part.head for part in plain.parts] == [LOWER]  # it has taken the law's tokens
    assert [part.head for part in ahead.parts] == [LAW, LOWER]
    assert [part.weight for part in ahead.parts] == pytest.approx([1.0, 0.52], abs=0.02)
    errors = [np.abs(predicted(table, train, found.parts, found.base) - train.acts_N).max() for found in (plain, ahead)]
    assert errors[1] < 0.06 < 0.3 < errors[0]


def test_a_gain_is_what_the_squared_errors_lose(material):
    """Held against both lists, each token predicted."""
    table, train = material
    found = find_survivors(table, train, 0.0, 60, 20)
    deciding = Deciding(found, train, 0.0)
    general = np.flatnonzero(holding(table, Part(LOWER), train.rows_N))
    deciding.add(Part(LOWER), general, first=False)
    (before,) = deciding.parts()
    gains_M = deciding.gains() / found.favour_M
    base = np.average(np.delete(train.acts_N, general), weights=np.delete(train.weight_N, general))
    error = train.weight_N @ (predicted(table, train, [before], base) - train.acts_N) ** 2
    checked = 0
    for gain, head in zip(gains_M, found.known):
        rows = holding(table, Part(head), train.rows_N)
        if gain <= 0:
            continue
        mean = np.average(train.acts_N[rows], weights=train.weight_N[rows])
        after = predicted(table, train, [before], base)
        after[rows] = mean
        assert gain == pytest.approx(error - train.weight_N @ (after - train.acts_N) ** 2)
        checked += 1
    assert checked and gains_M[found.known.index(LAW)] == gains_M.max()
    assert gains_M[found.known.index(LOWER)] == 0


def test_a_part_whose_tokens_all_went_to_others_is_dropped(material):
    table, train = material
    deciding = Deciding(find_survivors(table, train, 0.0, 60, 20), train, 0.0)
    law, general = (np.flatnonzero(holding(table, Part(head), train.rows_N)) for head in (LAW, LOWER))
    deciding.add(Part(LAW), law, first=False)
    deciding.add(Part(LOWER), general, first=True)
    assert [part.head for part in deciding.parts()] == [LOWER]
