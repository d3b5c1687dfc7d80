"""Features that are no neurons: one page on demand is planned alone, under its kind's name (tests/unit/atlas says what
it holds), and what a dictionary holds decides what is made again."""

import numpy as np
import pytest

import small
from conftest import Project, changed, record, tiny_config

DIRECTIONS, WIDTH, HEADS, LAYER = 4, 576, 9, 1
SHIPPED = "config/dictionaries/smollm2-135m/layers.{layer}"
# What is described, and what its page is called.
KINDS = {
    "autoencoder": ({"path": SHIPPED, "count": 2048, "hook": "residual_out"}, "latent"),
    "transcoder": ({"path": f"{SHIPPED}.mlp", "count": 2048}, "latent"),
    "attention_heads": ({"count": HEADS}, "head"),
    "planted": ({"count": 100}, "feature"),
    "directions": ({"path": "directions.npy", "count": DIRECTIONS}, "direction"),
}
OF_FILES = {"autoencoder", "transcoder", "directions"}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(tmp_path_factory.mktemp("demand") / "run")
    directions = np.random.default_rng(0).normal(size=(DIRECTIONS, WIDTH)).astype(np.float32)
    np.save(project.folder / "directions.npy", directions)
    return project


def configured(kind: str) -> tuple[dict, str]:
    """(a configuration that describes feature 0 of a layer, the page of feature 3, which it does not describe)."""
    section, noun = KINDS[kind]
    layer = LAYER if kind not in ("autoencoder", "transcoder") else 15
    config = changed(
        tiny_config(), features={"kind": kind, **section}, neurons={"layers": [layer], "indices": [0]},
        descriptions__explainer=None, descriptions__candidates=0, descriptions__concept_candidates=1,
        scores__simulator=None,
    )  # fmt: skip
    config.pop("panel", None)
    if layer == LAYER:  # the test's own model: a few of the subject's layers
        config["subject"] |= {"model": small.MODEL, "layers": len(small.LAYERS)}
    return config, f"results/tiny/features/layer-{layer}/{noun}-3.html"


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_s_page_is_planned_whatever_its_kind(kind, project):
    config, page = configured(kind)
    planned = project.planned(config, page)
    assert planned["harvest"] == 3 and planned["find_concepts"] == planned["write_neuron_page"] == 1
    assert planned.get("convert_dictionary", 0) == (kind in OF_FILES)


@pytest.mark.parametrize("kind", ["autoencoder", "directions"])
def test_what_features_write_is_read_off_what_they_are_made_of(kind, project):
    """An autoencoder's decoder as it was published, so that nothing has to be converted first."""
    config, _ = configured(kind)
    config["output_side"] = {}
    table = f"results/tiny/output_side/layer-{config['neurons']['layers'][0]}.parquet"
    planned = project.planned(config, table)
    assert planned["write_output_side"] == 1 and "harvest" not in planned
    assert planned.get("convert_dictionary", 0) == (kind == "directions")


def test_another_dictionary_under_the_same_name_makes_its_features_anew(project):
    config, _ = configured("directions")
    record(project, config)
    assert project.planned(config) == {}
    np.save(project.folder / "directions.npy", np.ones((DIRECTIONS, WIDTH), np.float32))
    planned = project.planned(config)
    assert planned["convert_dictionary"] == 1 and planned["harvest"] == 3
    assert {"merge_exemplars", "find_concepts", "describe", "build_atlas"} <= set(planned)
    assert not {"build_corpus", "fetch_documents", "fetch_model"} & set(planned)
