"""Lists of words: what ships, and what is wrong with a file."""

import pytest

from conftest import ROOT
from neuron_descriptions.concepts.vocabulary import is_debris, read_vocabulary

SHIPPED = ROOT / "config/concepts/lists.yaml"


def test_what_ships_is_large_and_clean():
    found = read_vocabulary(str(SHIPPED))
    assert len(found.lists) > 100
    assert len(found.of_word) > 2000
    assert not any(map(is_debris, found.lists))
    for word, phrases in found.of_word.items():
        assert phrases == tuple(sorted(phrases))
        assert found.phrases(word) >= {p for p, words in found.lists.items() if word in words}


def test_families_bring_their_other_words(tmp_path):
    path = tmp_path / "lists.yaml"
    path.write_text("- {say: walks, families: walk stroll, words: pace}\n- {say: motion, includes: [walks]}\n")
    found = read_vocabulary(str(path))
    for word in ("walk", "walked", "strolling", "pace"):
        assert found.phrases(word) == {"walks", "motion"}
    assert not found.phrases("paces") and not found.phrases("talk")


def test_a_list_holds_the_words_of_those_it_includes(tmp_path):
    path = tmp_path / "lists.yaml"
    path.write_text(
        "- {say: fruits, words: apple pear}\n- {say: food, words: bread, includes: [fruits]}\n"
        "- {say: [things to eat, eatables], includes: [food]}\n"
    )
    found = read_vocabulary(str(path))
    assert found.lists["things to eat"] == {"apple", "pear", "bread"}
    assert found.of_word["pear"] == ("food", "fruits", "things to eat")
    assert "eatables" not in found.lists


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("- [", "is not a list of word lists|not valid YAML|YAML"),
        ("- say: a list", "“a list” never holds: it has neither words nor families nor includes"),
        ("- {say: a, words: b, other: c}", "is not a list of word lists"),
        ("- {say: a, words: b}\n- {say: a, words: c}", r'entry 2: "a" is said by an entry above already'),
        ("- {say: a, includes: [b]}\n- {say: b, includes: [a]}", "“a” includes “b” includes “a”"),
        ("- {say: a, includes: [a]}", "“a” includes “a”"),
        ("- {say: a, words: x, includes: [b]}", "“a” includes “b”, which no entry says"),
        ("- {say: countries, words: france Germany}", "'Germany' never holds: write it in lower case"),
        ("- {say: negations, words: not don't}", "don't.* never holds: a word has letters only"),
        ("- {say: '<|im_start|>', words: x}", "entry 1: .* cannot stand in a sentence"),
        ("- {say: 'a \"quote', words: x}", "entry 1: .* cannot stand in a sentence"),
        ("- {say: '', words: x}", "entry 1: .* cannot stand in a sentence"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, content, fault):
    path = tmp_path / "lists.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=fault) as raised:
        read_vocabulary(str(path))
    assert "lists.yaml" in str(raised.value)
