"""Exports and the output side of a finished run, as the workflow makes them."""

import json

import pandas as pd
import pytest

from conftest import changed, tiny_config, with_results_of
from neuron_descriptions.atlas.packing import read_neurons
from neuron_descriptions.run.fingerprints import model_fingerprint


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    return with_results_of(finished, tmp_path_factory.mktemp("exported") / "project")


def test_an_export_of_a_finished_run_makes_nothing_else(project):
    config = tiny_config()
    assert project.planned(config) == {}
    named = changed(config, exports__creator="a-user")
    assert project.planned(named, "export_neuronpedia") == {"export": 1, "export_neuronpedia": 1}
    unnamed = project.run(config, "-n", "export_neuronpedia", check=False)
    assert "exports.creator names no user" in unnamed.stdout + unnamed.stderr
    project.run(config, "export_csv", "export_huggingface")
    frame = pd.read_csv(project.file("exports/csv/neurons.csv"))
    atlas = pd.read_parquet(project.file("atlas/atlas.parquet"))
    assert frame["description"].tolist() == atlas["description"].tolist()
    pd.testing.assert_series_equal(frame["score"], atlas["score"])
    assert set(frame["run"]) == {"tiny"} and frame["prompt_sha256"].str.fullmatch("[0-9a-f]{64}").any()
    model = config["models"][config["subject"]["model"]]
    assert set(frame["subject_revision"]) == {f"{model['package']} sha256:{model['sha256']}"}
    content = model_fingerprint(config["models"][config["scores"]["simulator"]["model"]]["path"])
    for role in ("explainer", "simulator"):
        assert set(frame[f"{role}_revision"].dropna()) == {f"folder {content}"}
    table = pd.read_parquet(project.file("exports/huggingface/data"))
    assert [len(exemplars) for exemplars in table["exemplars"]] == [10 + 5 + 4] * len(atlas)
    assert project.planned(config, "export_csv") == {}  # up to date
    fewer = changed(config, exports__exemplars=3)
    assert project.planned(fewer) == {}
    assert project.planned(fewer, "export_csv") == {"export": 1, "export_csv": 1}
    missing = project.run(config, "push_dataset", check=False)
    assert "exports.repository names no dataset" in missing.stdout + missing.stderr


def test_what_neurons_write_reruns_the_pages_alone(project):
    config = changed(tiny_config(), output_side__tokens=4)
    made = {"write_output_side": 1, "write_details": 2, "write_atlas_page": 1, "write_provenance": 1}
    assert project.planned(config) == made
    project.run(config)
    assert project.planned(config) == {}
    table = pd.concat(pd.read_parquet(project.file(f"output_side/layer-{layer}.parquet")) for layer in (1, 3))
    assert list(zip(table["layer"], table["neuron"])) == [(1, 5), (1, 699), (3, 5), (3, 699)]
    shown = read_neurons(project.file("atlas/details/layer-1/chunk-0/0.js"))
    for row, neuron in zip(table.to_dict("records"), shown):
        assert [token for token, _ in neuron["writes"]["top"]] == list(row["top_tokens"])
        assert len(row["top_tokens"]) == len(row["bottom_tokens"]) == 4
    project.run(config, "export_circuit_tracer")
    files = list(project.file("exports/circuit_tracer/features").rglob("*.json"))
    assert len(files) == 8 and all(len(json.loads(file.read_text())["top_logits"]) == 4 for file in files)
