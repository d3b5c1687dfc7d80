"""The descriptions in config/readings: as their guide asks, of the neurons that they name, none of the demo's."""

import csv
import re

from conftest import ROOT
from neuron_descriptions.config.descriptions import FewShot
from neuron_descriptions.descriptions.excerpts import Beside, Contribution, Excerpt
from neuron_descriptions.descriptions.given import read_given
from neuron_descriptions.descriptions.prompts import read_explainer_template
from neuron_descriptions.training.fine_tuning import is_held_out

FOLDER = ROOT / "config/readings"
ROWS = read_given(str(FOLDER / "readings.csv"), 30, 1536)


def pairs(path):
    with open(path, newline="") as file:
        return [(int(row["layer"]), int(row["neuron"])) for row in csv.DictReader(file)]


def places(rows):
    return [(int(row["layer"]), int(row["neuron"]), row["sign"]) for row in rows]


def is_plain(text):
    form = text.isascii() and text.isprintable() and text == text.strip() and not text.endswith(".")
    return form and text.count('"') % 2 == 0 and not re.search(r"[<>{}|]|  ", text) and len(text.split()) <= 24


def test_descriptions_are_plain_phrases():
    assert [row for row in ROWS if not is_plain(row["description"])] == []
    assert not any(map(is_plain, ['words like "un', "a word.", "<|im_end|>", "the token \ufffd", "a {{word}}"]))


def test_each_neuron_has_both_signs_once_and_is_named_once():
    assert len(ROWS) == len(set(places(ROWS))) == 828
    named = pairs(FOLDER / "neurons.csv")
    assert len(named) == len(set(named)) and {place[:2] for place in places(ROWS)} == set(named)
    assert sorted({layer for layer, _ in named}) == [0, 3, 7, 10, 14, 18, 22, 26, 29]


def test_none_is_the_demos_or_of_those_that_its_simulator_learnt():
    named = set(pairs(FOLDER / "neurons.csv"))
    assert not named & set(pairs(ROOT / "config/demo-neurons.csv"))
    assert not any(1025 <= neuron <= 1325 for _, neuron in named)


def test_the_held_out_ones_are_those_that_training_leaves_out():
    assert pairs(FOLDER / "held-out.csv") == [pair for pair in pairs(FOLDER / "neurons.csv") if is_held_out(*pair)]


def test_the_four_layers_are_the_first_of_the_nine():
    for name in ("neurons", "held-out"):
        short = "four-layers" + ("" if name == "neurons" else f"-{name}")
        assert pairs(FOLDER / f"{short}.csv") == [pair for pair in pairs(FOLDER / f"{name}.csv") if pair[0] <= 10]


def test_the_second_reading_is_a_tenth_with_its_agreement():
    with open(FOLDER / "second.csv", newline="") as file:
        second = list(csv.DictReader(file))
    assert len(second) == round(len(ROWS) / 10) and set(places(second)) <= set(places(ROWS))
    agreed = [row["agreement"] for row in second]
    assert set(agreed) <= {"same", "partly", "different"}
    said = re.search(r"(\d+) say the same .*?(\d+) partly", (FOLDER / "README.md").read_text(), re.DOTALL)
    assert said and (agreed.count("same"), agreed.count("partly")) == tuple(map(int, said.groups()))


def test_the_prompt_that_is_learnt_is_short_and_holds_nothing_raw():
    """Five tokens at most, a word for how often they fire, and a few tokens around the peak: (c) of 0 to 10."""
    template = read_explainer_template(str(ROOT / "config/prompts/taught.yaml"), FewShot(place="none"), begins=True)
    strings = ["far", " away", "<|im_end|>", "\n", " a", " year", " ago", ",", " he"]
    excerpt = Excerpt("", tuple((string, "0") for string in strings), 6)
    tokens = [("ago", 61.4, 25, 26), ("the", 4.0, 3, 800), ("of", 2.0, 5, 10), ("now", 2.0, 1, 1), ("then", 0.4, 1, 9)]
    beside = Beside(tuple(Contribution(*token) for token in tokens))
    lines = [line for line in template.render([excerpt], "positive", beside).splitlines() if line]
    assert lines == [
        "Tokens by share of its activity: ago 61 always; the 4 seldom; of 2; now 2;",
        "Its peaks:",
        "- [im_end][line] a year {{ago}} ,",
    ]


def test_descriptions_of_passages_are_of_both_signs_and_plain():
    rows = read_given(str(FOLDER / "passages.csv"), 30, 1536)
    assert len(rows) == len(set(places(rows))) == 276 and {row["layer"] for row in rows} == {22, 24, 26, 29}
    assert all(len(row["description"].split()) <= 28 and row["description"].isascii() for row in rows)
    held_out = pairs(FOLDER / "passages-held-out.csv")
    assert len(set(held_out)) == 48 and set(held_out) < {place[:2] for place in places(rows)}
    said = [row["description"] for row in rows if (row["layer"], row["neuron"]) in held_out]
    assert sum(text.startswith("mixed") for text in said) == 11


def test_long_descriptions_of_passages_are_of_the_held_out_sides_that_say_something():
    long = read_given(str(FOLDER / "passages-long.csv"), 30, 1536)
    short = read_given(str(FOLDER / "passages.csv"), 30, 1536)
    held_out = set(pairs(FOLDER / "passages-held-out.csv"))
    short = [row for row in short if (row["layer"], row["neuron"]) in held_out]
    said = [row for row in short if not row["description"].startswith("mixed")]
    assert places(long) == places(said) and len(long) == 85
    assert all(50 <= len(row["description"].split()) <= 78 and row["description"].isascii() for row in long)
