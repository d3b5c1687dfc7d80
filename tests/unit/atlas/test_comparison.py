import json

import numpy as np
import pyarrow as pa
import pytest

from neuron_descriptions.atlas.comparison import _beats_on_panel, difference, read_run, told, write_comparison
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.storage import write_table


def a_run(folder, scores, nulls, status="ok", subject="tiny"):
    """A run's atlas: neurons of two signs each."""
    rows = [
        dict.fromkeys(ATLAS.names)
        | {
            "layer": 3, "neuron": i // 2, "sign": ("positive", "negative")[i % 2], "status": status, "score": score / 2,
            "score_contrast": score,
            "null_score": null, "best_null_score": null, "token_baseline_contrast": 0.5, "explainer": f"model {i % 2}",
            "simulator": "small", "n_top": 5, "n_middle": 2, "n_random": 1 + i % 2, "n_sequences": 40,
            "beats_chance": None if null is None else score > 2 * null,
        }
        for i, (score, null) in enumerate(zip(scores, nulls))
    ]  # fmt: skip
    (folder / "atlas").mkdir(parents=True)
    write_table(pa.Table.from_pylist(rows, schema=ATLAS), folder / "atlas/atlas.parquet")
    config = {"subject": {"model": subject}, "scores": {"simulator": {"kind": "prompted"}}}
    (folder / "atlas/provenance.json").write_text(json.dumps({"config": config}))
    return str(folder)


def test_means_and_intervals_over_neurons(tmp_path):
    # The two signs of a neuron are equal, so the interval is that of the mean of 40 values, not of 80.
    of_neurons = np.random.default_rng(1).normal(0.3, 0.2, 40)
    found = read_run(a_run(tmp_path, np.repeat(of_neurons, 2), [0.3] * 80))
    mean, low, high = found.mean("score_contrast")
    assert mean == pytest.approx(of_neurons.mean())
    error = of_neurons.std() / np.sqrt(40)
    assert (mean - low) / (1.96 * error) == pytest.approx(1, abs=0.1)
    assert (high - mean) / (1.96 * error) == pytest.approx(1, abs=0.1)
    assert found.mean("above_null")[0] == pytest.approx((of_neurons > 0.3).mean())
    assert found.mean("token_baseline_contrast") == (0.5, 0.5, 0.5)
    assert (len(found.rows), found.explainer) == (80, "model 0, model 1")


def test_a_row_without_nulls_is_left_out_of_their_mean(tmp_path):
    found = read_run(a_run(tmp_path, [0.1, 0.2, 0.3, 0.4], [None, 0.25, 0.1, None]))
    assert found.mean("null_score")[0] == pytest.approx(0.175)
    assert found.mean("above_null")[0] == found.mean("beats_chance")[0] == 0.5


@pytest.mark.parametrize(
    ("low", "best", "above", "found"),
    [(0.2, 0.1, 96.0, 1), (0.05, 0.1, 96.0, 0), (0.2, 0.1, 90.0, 0), (0.2, 0.1, None, None), (-0.1, None, 99.0, 0)],
)
def test_on_the_panel_the_interval_and_the_rank_decide(low, best, above, found):
    row = {"score": 0.3, "score_low": low, "panel_best_null_score": best, "panel_null_percentile": above}
    assert _beats_on_panel(row) == found


def test_without_nulls_there_is_no_mean_of_them(tmp_path):
    found = read_run(a_run(tmp_path, [0.1, 0.2], [None, None]))
    assert found.mean("score_contrast")[0] == pytest.approx(0.15)
    assert np.isnan([*found.mean("null_score"), *found.mean("above_null"), *found.mean("beats_chance")]).all()


def test_runs_of_one_subject_are_compared_row_by_row(tmp_path):
    # Rows differ by far more than the runs do: only the paired interval is narrow. Half of the rows are in one run.
    random = np.random.default_rng(2)
    rows = random.normal(0.4, 0.3, 80)
    one = read_run(a_run(tmp_path / "one", rows + 0.04, [0.0] * 80))
    other = read_run(a_run(tmp_path / "other", rows[:40] + random.normal(0, 0.02, 40), [0.0] * 40))
    found = difference(one, other, "score_contrast")
    mean, low, high = found.interval
    assert (found.rows, found.paired, found.resolved) == (40, True, True)
    assert 0.03 < low < mean < high < 0.05
    # Of two subjects, whose neurons are not the same, the means are compared.
    apart = read_run(a_run(tmp_path / "apart", rows[:40], [0.0] * 40, subject="another"))
    unpaired = difference(one, apart, "score_contrast")
    by_hand = np.sqrt((rows.reshape(-1, 2).mean(1).var() / 40) + (rows[:40].reshape(-1, 2).mean(1).var() / 20))
    assert not unpaired.paired
    assert not unpaired.resolved
    assert unpaired.interval[0] == pytest.approx((rows + 0.04).mean() - rows[:40].mean())
    assert (unpaired.interval[2] - unpaired.interval[1]) / (2 * 1.96 * by_hand) == pytest.approx(1, abs=0.12)


def test_what_is_resolved_is_told_in_words(tmp_path):
    runs = [read_run(a_run(tmp_path / name, [at] * 8, [0.0] * 8)) for name, at in (("a", 0.2), ("b", 0.5), ("c", 0.5))]
    differences = [difference(runs[i], runs[j], "score_contrast") for i, j in ((0, 1), (0, 2), (1, 2))]
    assert told(differences, "score_contrast").startswith(
        "Of 3 differences of the contrast score, 2 are resolved: b above a by 0.300 [0.300, 0.300];"
        " c above a by 0.300 [0.300, 0.300]. Not told apart: b and c. Half an interval is 0.000 to 0.000"
    )


def test_the_page_has_a_line_per_run_and_pair(tmp_path):
    folders = [a_run(tmp_path / name, [0.5, 0.5], [0.0, 0.0]) for name in ("comparison-a", "comparison-b")]
    write_comparison(folders, str(tmp_path / "table.md"))
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert "| a | tiny | model 0, model 1 | small (prompted) | 2 | 8.5 | 40.0 |" in lines
    assert sum(line.startswith("| a | b | 2 | row by row | 0.000 [0.000, 0.000] |") for line in lines) == 1
    assert lines[-1].startswith("| b | 0.50 [0.50, 0.50] | 0.00 [0.00, 0.00] |")


def test_nothing_to_compare_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no row has status ok"):
        read_run(a_run(tmp_path, [0.1], [0.0], status="no_score"))
