"""`snakemake recheck` on a finished run: it agrees with itself, and a changed score is found."""

import json

import pyarrow.parquet as pq

from conftest import changed, tiny_config, with_results_of
from neuron_descriptions.common.storage import write_table

AS_THEY_ARE = ("--allowed-rules", "recheck", "recheck_rows")


def test_a_finished_run_agrees_with_itself_and_a_changed_score_is_found(finished, tmp_path):
    project = with_results_of(finished, tmp_path / "recheck")
    assert "recheck" not in project.planned(tiny_config(), "--forceall")
    assert project.planned(tiny_config(), "recheck") == {"recheck_rows": 1, "recheck": 1}
    project.run(tiny_config(), "recheck")
    found = json.loads(project.file("recheck.json").read_text())
    assert found["differences"] == [] and len(found["neurons"]) == 4
    assert found["compared"]["activations"]["n"] == 4 * 2 * 3 * 3
    assert "0 differences" in project.file("recheck.txt").read_text()

    path = project.file("scores/layer-3/chunk-0.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    row = next(row for row in rows if row["chosen"] and row["split"] == "test")
    row["correlation"] += 0.2
    write_table(table.from_pylist(rows, schema=table.schema), path)
    # The atlas is older than that table now: it would be made anew, and nothing would differ there.
    refused = project.run(tiny_config(), "recheck", check=False)
    assert refused.returncode != 0 and "recheck: build_atlas" in refused.stderr + refused.stdout
    done = project.run(tiny_config(), "recheck", *AS_THEY_ARE, check=False)
    assert done.returncode != 0
    differences = json.loads(project.file("recheck.json").read_text())["differences"]
    assert {(d["layer"], d["neuron"], d["sign"]) for d in differences} == {(3, row["neuron"], row["sign"])}
    kinds = {d["what"] for d in differences}
    assert kinds == {"the atlas's columns", "scores, simulated again", "score of the stored predictions"}
    assert f"layer 3, neuron {row['neuron']}, {row['sign']}: scores, simulated again" in done.stderr + done.stdout


def test_another_draw_reruns_nothing_of_the_run(finished):
    config = changed(tiny_config(), recheck={"neurons": 1, "seed": 5})
    assert finished.planned(config) == {}
