import json

import numpy as np
import pyarrow as pa
import pytest

from neuron_descriptions.atlas.comparison import compare, write_comparison
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.storage import write_table


def a_run(folder, scores, nulls, status="ok"):
    """A run's atlas: neurons of two signs each."""
    rows = [
        dict.fromkeys(ATLAS.names)
        | {
            "layer": 3, "neuron": i // 2, "sign": ("positive", "negative")[i % 2], "status": status, "score": score / 2,
            "score_contrast": score,
            "null_score": null, "best_null_score": null, "token_baseline_contrast": 0.5, "explainer": f"model {i % 2}",
            "simulator": "small", "n_top": 5, "n_middle": 2, "n_random": 1 + i % 2,
            "beats_chance": None if null is None else score > 2 * null,
        }
        for i, (score, null) in enumerate(zip(scores, nulls))
    ]  # fmt: skip
    (folder / "atlas").mkdir(parents=True)
    write_table(pa.Table.from_pylist(rows, schema=ATLAS), folder / "atlas/atlas.parquet")
    config = {"subject": {"model": "tiny"}, "scores": {"simulator": {"kind": "prompted"}}}
    (folder / "atlas/provenance.json").write_text(json.dumps({"config": config}))
    return str(folder)


def test_means_and_intervals_over_neurons(tmp_path):
    # The two signs of a neuron are equal, so the interval is that of the mean of 40 values, not of 80.
    of_neurons = np.random.default_rng(1).normal(0.3, 0.2, 40)
    found = compare(a_run(tmp_path, np.repeat(of_neurons, 2), [0.3] * 80))
    mean, low, high = found["score_contrast"]
    assert mean == pytest.approx(of_neurons.mean())
    error = of_neurons.std() / np.sqrt(40)
    assert (mean - low) / (1.96 * error) == pytest.approx(1, abs=0.1)
    assert (high - mean) / (1.96 * error) == pytest.approx(1, abs=0.1)
    assert found["above_null"][0] == pytest.approx((of_neurons > 0.3).mean())
    assert found["token_baseline_contrast"] == (0.5, 0.5, 0.5)
    assert (found["rows"], found["sequences"]) == (80, 8.5)
    assert found["explainer"] == "model 0, model 1"


def test_a_row_without_nulls_is_left_out_of_their_mean(tmp_path):
    found = compare(a_run(tmp_path, [0.1, 0.2, 0.3, 0.4], [None, 0.25, 0.1, None]))
    assert found["null_score"][0] == pytest.approx(0.175)
    assert found["above_null"][0] == found["beats_chance"][0] == 0.5


def test_without_nulls_there_is_no_mean_of_them(tmp_path):
    found = compare(a_run(tmp_path, [0.1, 0.2], [None, None]))
    assert found["score_contrast"][0] == pytest.approx(0.15)
    assert np.isnan([*found["null_score"], *found["above_null"], *found["beats_chance"]]).all()


def test_the_table_has_a_line_per_run(tmp_path):
    folders = [a_run(tmp_path / name, [0.5, 0.5], [0.0, 0.0]) for name in "ab"]
    write_comparison(folders, str(tmp_path / "table.md"))
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert sum(line.startswith("| tiny | model 0, model 1 | small (prompted) | 2 | 8.5 |") for line in lines) == 2
    assert lines[-1].count("0.50 [0.50, 0.50]") == 2  # score, token baseline


def test_nothing_to_compare_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no row has status ok"):
        compare(a_run(tmp_path, [0.1], [0.0], status="no_score"))
