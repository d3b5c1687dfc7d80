"""Features whose rules are known go through the whole workflow, and what it says of them is held against the rules:
`make truth` at small size."""

import sys

import pytest

import small
from conftest import ROOT, Project, changed, demo_config, tiny_config
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.features.planted import PlantedSource
from neuron_descriptions.features.planted_rules import rules
from neuron_descriptions.harvest.subject import strings_of
from neuron_descriptions.panel.reading import Panel

sys.path.insert(0, str(ROOT / "tests/bench"))
import truth
import truth_falls

RULES = len(rules())
SAID = (
    'the word "of"', 'the word "and"', 'the word "that"', "commas", "numbers", 'the word after "the"',
    'words ending in "ing"', "quantities", "any of public because water new", "any of war live first land",
)  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """(what a run says of ten rules and of twelve features without one, how scores fall, how intervals cover)."""
    project = Project(tmp_path_factory.mktemp("truth") / "run")
    planted = [number for number, feature in enumerate(rules()) if feature.said in SAID]
    config = changed(
        tiny_config(),
        features={"kind": "planted", "count": RULES + 12},
        neurons={"layers": [0], "indices": [*planted, f"{RULES}-{RULES + 11}"]},
        corpus__seq_len=64,
        corpus__sequences={"train": 400, "valid": 120, "test": 160},
        corpus__sources={"sotu": demo_config()["corpus"]["sources"]["sotu"] | {"ratio": 1}},
        panel={"tokens": 6000},
        exemplars={"k": 20, "random": 20},
        descriptions={"explainer": None, "concept_candidates": 1},
        scores={"simulator": None, "top": 10, "middle": 0, "random": 10},
    )
    config["subject"] |= {"model": small.MODEL, "layers": len(small.LAYERS)}
    project.run(config)
    planting = truth.read(project.file(""), load_config(config), str(small.SMALL / small.MODEL))
    return planting, truth.held_against(planting), *truth.judged(planting, 4)


def test_the_harvest_reads_what_was_planted(found):
    planting = found[0]
    panel = Panel(planting.paths["panel"], [planting.paths["panel_acts"]], planting.subject)
    source = PlantedSource(1, RULES + 12, strings_of(planting.subject))
    (row,) = read_table(planting.paths["panel"], CORPUS, [("seq_id", "=", 1)]).to_pylist()
    own_TI = source.acts(0, row["input_ids"])[row["prefix_len"] :]
    for number in planting.features:
        assert panel.acts(0, [number])[0][panel.sequence_N == 1] == pytest.approx(own_TI[:, number], abs=0.01)


def test_planted_rules_are_found_and_nothing_is_said_of_noise(found):
    _, rows, falls, covers = found
    figures = truth.figures(rows, falls)
    assert figures["features"] == 22 and figures["no_rule"] == 12
    assert figures["recovered"] >= 0.8, truth.report(rows, falls, covers)
    assert figures["false_claims"] <= 0.1, truth.report(rows, falls, covers)
    assert {row["said"] for row in rows if row["rule"] == 'the word "of"'} == {'the word "of"'}


def test_every_score_falls_as_descriptions_are_corrupted(found):
    _, rows, falls, _ = found
    of_judges = {f"{kind}_{name}" for kind in ("detection", "fuzzing") for name in truth_falls.OF_JUDGES}
    assert set(falls) >= {"score", "score_contrast", "discrimination", "direct_score", "generated_auc"} | of_judges
    figures = truth.figures(rows, falls)
    assert figures["corrupted_features"] == 3
    assert figures["least_monotone_spearman"] >= 0.7, truth_falls.table(falls)


def test_intervals_cover_the_exact_score(found):
    covers = found[3]
    assert covers["interval_draws"] >= 30 and abs(covers["interval_bias"]) < 0.05
    assert covers["interval_coverage"] >= 0.85 and 0 < covers["interval_half_width"] < 0.5
