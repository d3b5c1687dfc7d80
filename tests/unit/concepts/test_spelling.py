"""How the words of a sentence are spelled."""

import numpy as np
import pytest

from conftest import ROOT
from neuron_descriptions.concepts.evidence import TextTable, exemplars_of
from neuron_descriptions.concepts.execution import read_list
from neuron_descriptions.concepts.predicates import Reader
from neuron_descriptions.concepts.search import find_list
from neuron_descriptions.concepts.vocabulary import read_vocabulary

TEXTS = [
    "What the NGO s of Colu mbia want is not what Federal law wants .",
    "In Colu mbia the NGO s say that federal law is late . Congress says so .",
    "COLU MBIA\n What does Columbia say ? Congress was there , and columbian s were not .",
    "He asked : Where is the NGO s \u2019 law ? We know that Colu mbia and the law are far .",
]


@pytest.fixture(scope="module")
def texts() -> dict[int, list[str]]:
    """Tokens: pieces of words are separated by a space here, words by one too, unless a piece goes on with a word."""
    pieces = {"mbia", "s", "MBIA\n"}
    return {
        i: [token if token in pieces or not n else f" {token}" for n, token in enumerate(text.split(" "))]
        for i, text in enumerate(TEXTS)
    }


@pytest.fixture(scope="module")
def table(texts):
    return TextTable(texts, Reader(read_vocabulary(str(ROOT / "config/concepts/lists.yaml"))))


@pytest.mark.parametrize(
    ("word", "spelled"),
    [
        ("columbia", "Columbia"),  # more often so than in capitals, whole or in pieces
        ("ngos", "NGOs"),
        ("federal", "federal"),  # stands in lower case, too
        ("what", "what"), ("congress", "congress"), ("where", "where"),  # only sentences begin with it
        ("absent", "absent"),
    ],
)  # fmt: skip
def test_names_are_spelled_as_in_the_texts(table, texts, word, spelled):
    found = table.spellings([word], table.places(texts))
    assert found == ({word: spelled} if spelled != word else {})


def test_a_list_is_said_in_spelled_words_and_executes_the_same(table, texts):
    acts = {i: np.array([float(table.word[row] == "columbia") for row in range(*table.rows[i])]) for i in texts}
    found = find_list(table, exemplars_of(table, acts), None)
    assert found.sentence == 'the word "Columbia"' and found.parts[0].head.value == "columbia"
    assert read_list(found.write()) == found
    reader = Reader(read_vocabulary(str(ROOT / "config/concepts/lists.yaml")))
    assert all((found.predict(texts[i], reader) > 0.5).tolist() == (acts[i] > 0.5).tolist() for i in texts)


def test_only_the_features_own_texts_decide(table, texts):
    """So no other feature of a chunk changes a sentence."""
    assert table.spellings(["federal"], table.places([0])) == {"federal": "Federal"}
    assert table.spellings(["columbia"], table.places([2])) == {"columbia": "Columbia"}
