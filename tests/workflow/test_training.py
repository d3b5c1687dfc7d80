"""A simulator and an explainer trained on a run's exemplars, and used."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

import small
from conftest import Project, changed, snakemake, tiny_config
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.models.adapters import adapter_sha256
from neuron_descriptions.scores.tables import SCORES
from neuron_descriptions.training import rounds

BASE = "smollm2-135m-instruct"  # whole: its thirty layers are trained, asked and read in this file
SHALLOW = small.MODEL
TRAINING = {
    "base": BASE, "rank": 2, "steps": 2, "batch_size": 2, "candidates_share": 0.0, "validation_neurons": 2,
    "validate_every": 1,
}  # fmt: skip
TARGET = "results/tiny/simulator"


def two_neurons(**more):
    """Two neurons, of which one is of the tenth that is held out."""
    return changed(tiny_config(), neurons={"layers": [1], "indices": [1, 5]}, **more)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, fetched) -> Project:
    project = Project(tmp_path_factory.mktemp("trained"))
    project.run(two_neurons(training=TRAINING), "results/tiny/training.svg", "--cores", "2")
    return project


def with_adapter(project, sha256=None):
    adapter = {
        "source": "adapter",
        "base": BASE,
        "path": TARGET,
        "sha256": sha256 or adapter_sha256(project.folder / TARGET),
    }
    return two_neurons(
        models__trained=adapter,
        descriptions__explainer={"model": BASE},
        scores__simulator={"model": "trained", "kind": "finetuned"},
    )


def test_training_needs_no_description_and_makes_all_of_it(trained):
    assert not trained.file("descriptions").exists()
    folder = trained.folder / TARGET
    assert {path.name for path in folder.iterdir()} >= {
        "adapter_model.safetensors", "adapter_config.json", "bins.safetensors", "curve.json", "README.md",
    }  # fmt: skip
    card = (folder / "README.md").read_text()
    assert (
        "texts: sotu (local files), factbook (" in card
        and "`make train-simulator`, configuration of the run tiny" in card
    )
    assert "</svg>" in trained.file("training.svg").read_text()
    assert [point["step"] for point in json.loads((folder / "curve.json").read_text())] == [1, 2]
    log = (trained.file("logs/train_simulator.log")).read_text()
    assert "steps/s" in log and "left" in log and "neurons and signs to learn from" in log


def test_trained_simulator_reads_descriptions_and_predicts(trained):
    config = with_adapter(trained)
    for merged in (trained.folder / "resources/models").glob("trained-*"):
        shutil.rmtree(merged)  # of an earlier call of pytest in this checkout, whose training gave the same weights
    planned = trained.planned(config)
    assert planned["merge_adapter"] == planned["score"] == 1
    assert not {"merge_exemplars", "harvest", "build_corpus", "train_simulator"} & planned.keys()
    trained.run(config, "--cores", "2", "results/tiny/scores/layer-1/chunk-0.parquet")
    scores = read_table(trained.file("scores/layer-1/chunk-0.parquet"), SCORES).to_pylist()
    assert {row["simulator"] for row in scores if row["kind"] == "candidate"} == {"trained"}
    assert any(row["correlation"] is not None for row in scores if row["kind"] == "candidate")


def test_other_adapter_is_refused_and_named(trained):
    done = trained.run(with_adapter(trained, "0" * 64), "--cores", "2", check=False)
    assert done.returncode
    assert "bins.safetensors): sha256 is" in done.stdout + done.stderr


def test_training_setting_reruns_training_alone(trained):
    config = two_neurons(training=TRAINING | {"steps": 3})
    assert trained.planned(config, TARGET) == {"train_simulator": 1}
    assert "train_simulator" not in trained.planned(config)


def test_candidates_of_the_run_are_described_for_it(tmp_path):
    planned = Project(tmp_path / "project").planned(two_neurons(training=TRAINING | {"candidates_share": 0.5}), TARGET)
    assert planned["describe"] == planned["train_simulator"] == 1


def test_run_without_held_out_neurons_is_refused(trained):
    config = two_neurons(training=TRAINING) | {"neurons": {"layers": [1], "indices": [5]}}
    done = trained.run(config, TARGET, "--cores", "2", check=False)
    assert done.returncode
    assert "0 are held out for validation (a tenth is); choose more neurons" in done.stdout + done.stderr


ROUNDS = {"base": SHALLOW, "rounds": 1, "least_score": -1, "rank": 2, "steps": 2, "batch_size": 2, "validate_every": 1}


def train_in_rounds(project, config):
    (project.folder / "run.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    command = [sys.executable, "-m", "neuron_descriptions.training.rounds", "run.yaml"]
    env = os.environ | {"PYTHONPATH": "scripts"}
    return subprocess.run(command, cwd=project.folder, env=env, capture_output=True, text=True)


def test_explainer_is_trained_in_rounds(tmp_path, monkeypatch):
    """What the first round learnt, the second one describes with, from the same exemplars. The command, then, finds all
    of it finished."""
    project = Project(tmp_path / "project")
    config = two_neurons(explainer_training=ROUNDS) | {"run": "rounds"}
    (project.folder / "run.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    monkeypatch.chdir(project.folder)
    run = SimpleNamespace(run=lambda command, check: snakemake(project.folder, *command[3:], check=check))
    monkeypatch.setattr(rounds, "subprocess", run)
    rounds.train_rounds("run.yaml", cores=2)
    results = project.folder / "results"
    assert not (results / "rounds-1/corpus").exists() and not (results / "rounds-2").exists()
    first, second = json.loads((results / "rounds/rounds.json").read_text())
    assert "gain" not in first and len(second["gain"]) == 3
    atlas = [read_table(results / f"rounds-{n}/atlas/atlas.parquet", ATLAS).to_pylist() for n in (0, 1)]
    assert {row["explainer"] for row in atlas[0]} == {SHALLOW}
    assert {row["explainer"] for row in atlas[1]} == {f"{SHALLOW}-round-1"}
    scores = [{row["sign"]: row["score_contrast"] for row in rows if row["neuron"] == 1} for rows in atlas]
    both = [sign for sign in scores[0] if None not in (scores[0][sign], scores[1][sign])]
    gains = [scores[1][sign] - scores[0][sign] for sign in both]
    assert second["gain"][0] == pytest.approx(sum(gains) / len(gains))
    better = second["gain"][1] > 0
    assert (results / "rounds/explainer/README.md").exists() == better
    again = train_in_rounds(project, config)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "round 1: held-out score" in again.stderr
    assert "Describing" not in again.stderr and "Training" not in again.stderr


def test_rounds_need_their_section(trained):
    done = train_in_rounds(trained, two_neurons())
    assert done.returncode
    assert "run.yaml has no section explainer_training; see config/README.md" in done.stderr
    assert "Traceback" not in done.stderr
