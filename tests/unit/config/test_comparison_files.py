"""The files of `make table` as they are laid over the demo's."""

import re

import pytest
import yaml

from conftest import ROOT
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.run.selection import select_neurons

COMPARED = re.search(r"^COMPARED := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()


def laid_over(raw, more):
    """As Snakemake lays one file over another."""
    return raw | {k: laid_over(raw.get(k) or {}, v) if isinstance(v, dict) else v for k, v in more.items()}


def config(run, *more):
    raw = yaml.safe_load((ROOT / "config/demo.yaml").read_text())
    for name in ("base", *run.split("-"), *more):
        raw = laid_over(raw, yaml.safe_load((ROOT / f"config/comparison/{name}.yaml").read_text()))
    return load_config(raw)


def rows(found):
    return len(SIGNS) * sum(map(len, select_neurons(found).values()))


def test_explainers_describe_the_same_400_rows_with_one_candidate_each():
    explainers = [config(run) for run in COMPARED if "-" not in run]
    assert len(explainers) == 3
    first = explainers[0]
    for found in explainers:
        d = found.descriptions
        assert rows(found) == 400
        assert d.candidates + d.token_candidates + d.concept_candidates == 1
        # They share exemplars, and nothing differs but who describes.
        assert (found.exemplars, found.corpus, found.panel, found.neurons, found.scores) == (
            first.exemplars, first.corpus, first.panel, first.neurons, first.scores,
        )  # fmt: skip


def test_evidence_by_type_differs_by_its_prompts_alone():
    one, typed = config("model-short"), config("model-short-typed")
    assert rows(one) == rows(typed) == 400
    assert sorted(typed.descriptions.prompts_by_type) == ["bigram", "context", "none", "token"]
    assert typed.descriptions.model_copy(update={"prompts_by_type": {}}) == one.descriptions
    assert typed.model_copy(update={"descriptions": one.descriptions}) == one


def test_no_simulator_was_trained_on_them():
    raw = yaml.safe_load((ROOT / "config/demo-simulator.yaml").read_text())
    trained = select_neurons(load_config(raw))
    for layer, neurons in select_neurons(config("concepts")).items():
        assert not set(neurons) & set(trained.get(layer, []))


@pytest.mark.parametrize("run", COMPARED)
def test_a_trial_is_small_and_the_others_are_parts_of_the_whole(run):
    assert rows(config(run, "trial")) == 8
    of_run = select_neurons(config(run))
    whole = select_neurons(config("concepts"))
    assert all(set(neurons) <= set(whole[layer]) for layer, neurons in of_run.items())
