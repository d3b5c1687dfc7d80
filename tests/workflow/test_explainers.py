"""Explainers through the workflow: an endpoint, a real server on loopback; and none."""

import re

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from conftest import Project, changed, tables, tiny_config, with_results_of
from endpoint import COMPLETION_TOKENS, PROMPT_TOKENS, Reply, endpoint
from neuron_descriptions.models.untrained import write_random_model

KEY = "sk-a-secret-of-the-workflow"
PRICES = {"prompt": 0.01, "completion": 100.0}
COST = (PROMPT_TOKENS * 0.01 + COMPLETION_TOKENS * 100) / 1e6  # of an answer
ACCOUNTS = "results/tiny/atlas/accounting.parquet"


@pytest.fixture
def project(finished, tmp_path):
    return with_results_of(finished, tmp_path / "clone")


def asking(server, **limits):
    explainer = {
        "client": "openai",
        "model": "some-model",
        "base_url": server.base_url + "/v1",
        "key_variable": "SOME_KEY",
        "prices": PRICES,
        "limits": {"concurrency": 4, **limits},
    }
    prompt = "config/prompts/step-by-step.yaml"
    return changed(tiny_config(), descriptions__explainer=explainer, descriptions__prompt=prompt)


def answer(number, body):
    """The last marked word, after some thought."""
    marked = body["messages"][-1]["content"].rpartition("{{")[2].partition("}}")[0]
    return Reply(f"Marked: {marked}\n[DESCRIPTION]: the word {marked.strip() or 'of spaces'}")


def test_an_endpoint_describes_within_its_budget_and_is_asked_for_nothing_twice(project, monkeypatch):
    monkeypatch.setenv("SOME_KEY", KEY)
    with endpoint(answer) as server:
        # A ceiling that some answers fit under: the run stops, says so, and keeps them.
        config = asking(server, budget=5.5 * COST)
        done = project.run(config, ACCOUNTS, check=False)
        assert done.returncode != 0
        assert "limits.budget" in done.stderr and "raise it and run again: finished answers are kept" in done.stderr
        first = server.billed
        assert 3 <= first <= 5
        # Raised, it goes on; nothing that was answered is asked again.
        config = asking(server, budget=10.0, concurrency=7)
        done = project.run(config, ACCOUNTS)
        assert re.search(r"\d+ answers, [\d,]+ \+ [\d,]+ tokens, \$0\.\d+", done.stderr)  # with the cost so far
        files = sorted(project.file("descriptions").glob("layer-*/chunk-*.parquet"))
        table = pq.ParquetDataset(files).read().to_pandas()
        assert set(table.status) <= {"ok", "no_activation"}
        asked = table[table.status == "ok"]
        assert len(asked) == server.billed == len({str(body) for _, body in server.seen})
        assert asked.description.str.startswith("the word ").all()
        # Another price or another limit reruns no description.
        planned = project.planned(changed(config, descriptions__explainer__limits={"concurrency": 3}), ACCOUNTS)
        assert planned == {}
        prices = {"prompt": 0.02, "completion": 200.0}
        assert project.planned(changed(config, descriptions__explainer__prices=prices), ACCOUNTS) == {"account": 1}
    *layers, run = pq.read_table(project.folder / ACCOUNTS).to_pylist()
    assert [row["layer"] for row in layers] == [1, 3] and run["layer"] is None
    assert (run["answers"], run["prompt_tokens"]) == (len(asked), len(asked) * PROMPT_TOKENS)
    assert run["cost"] == pytest.approx(len(asked) * COST)
    assert run["fresh_prompt_tokens"] < run["prompt_tokens"]
    for path in project.folder.joinpath("results").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_missing_key_and_unusable_prompt_are_said(project, monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    with endpoint(answer) as server:
        done = project.run(asking(server), "results/tiny/descriptions/layer-1/chunk-0.parquet", check=False)
        assert "the environment has no SOME_KEY" in done.stderr
        config = changed(asking(server), descriptions__prompt="config/prompts/words.yaml")
        done = project.run(config, "--dry-run", check=False)
        assert done.returncode != 0 and "words.yaml never mentions [DESCRIPTION]:" in done.stdout + done.stderr
        assert not server.seen


def test_a_subject_that_has_learnt_nothing_described_without_a_model(tmp_path):
    config = tiny_config()
    real = config["subject"]["model"]
    config["models"]["nothing-learnt"] = {"source": "random", "base": real}
    config["subject"]["model"] = "nothing-learnt"
    config["descriptions"] |= {"candidates": 0, "token_candidates": 2}
    config["neurons"] |= {"layers": [1]}
    project = Project(tmp_path / "control")
    project.run(config)
    descriptions = tables(project, "descriptions/layer-*/chunk-*.parquet")
    assert set(descriptions.explainer) == {"tokens"}
    assert set(descriptions.candidate) == {0, 1}
    assert (tables(project, "atlas/atlas.parquet").status == "ok").sum() >= 2
    # Its folder is shared by all runs; drawn again, it is the same.
    [folder] = (project.folder / "resources/models").glob("nothing-learnt-*")
    [base] = (project.folder / "resources/models").glob(f"{real}-" + "[0-9a-f]" * 8)
    write_random_model(str(base), 0, str(tmp_path / "again"))
    weights, again, learnt = (load_file(f / "model.safetensors") for f in (folder, tmp_path / "again", base))
    name = "model.layers.1.mlp.down_proj.weight"
    assert all(torch.equal(weights[n], again[n]) for n in again)
    assert weights[name].shape == learnt[name].shape
    assert abs(torch.corrcoef(torch.stack([weights[name].flatten(), learnt[name].flatten()]).float())[0, 1]) < 0.01
