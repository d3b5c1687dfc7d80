"""The descriptions in config/readings: as their guide asks, of the neurons that they name, none of the demo's."""

import csv
import re

from conftest import ROOT
from neuron_descriptions.descriptions.given import read_given
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


def test_the_second_reading_is_a_tenth_with_its_agreement():
    with open(FOLDER / "second.csv", newline="") as file:
        second = list(csv.DictReader(file))
    assert len(second) == round(len(ROWS) / 10) and set(places(second)) <= set(places(ROWS))
    agreed = [row["agreement"] for row in second]
    assert set(agreed) <= {"same", "partly", "different"}
    said = re.search(r"(\d+) say the same .*?(\d+) partly", (FOLDER / "README.md").read_text(), re.DOTALL)
    assert said and (agreed.count("same"), agreed.count("partly")) == tuple(map(int, said.groups()))
