"""Aggregates of an atlas, which its charts show."""

import json

import numpy as np
import pyarrow as pa
import pytest

from neuron_descriptions.atlas.charting import QUANTILES, charts
from neuron_descriptions.atlas.details import BINS, _histograms
from neuron_descriptions.atlas.plots import plot_scores
from neuron_descriptions.atlas.tables import ATLAS, ATLAS_UNSIMULATED
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.panel.tables import TYPES
from planted_panels import two_panels


def atlas(n, layers=3, schema=ATLAS, **columns):
    random = np.random.default_rng(n)
    rows = {name: [None] * n for name in schema.names} | {
        "layer": random.integers(0, layers, n).tolist(), "neuron": list(range(n)), "sign": ["positive"] * n,
        "status": ["ok"] * n, "type": random.choice(TYPES, n).tolist(),
    }  # fmt: skip
    for name in ("score", "panel_best_null_score", "token_baseline_score", "bigram_baseline_score"):
        if name in rows:
            rows[name] = random.uniform(-0.04, 0.9, n).tolist()
    return pa.table(rows | columns, schema=schema)


def test_bands_and_counts_are_those_of_the_rows():
    table = atlas(500)
    found, frame = charts(table), table.to_pandas()
    assert found["layers"] == [0, 1, 2] and found["name"] == "score"
    for number, of_layer in frame.groupby("layer"):
        own, chance, ceiling = (band["layers"][number] for band in found["bands"])
        assert own == [*of_layer["score"].quantile(QUANTILES).round(4), len(of_layer)]
        better = of_layer[["token_baseline_score", "bigram_baseline_score"]].max(axis=1)
        assert ceiling[:5] == pytest.approx(better.quantile(QUANTILES).tolist(), abs=1e-4)
        assert chance[5] == len(of_layer)
        assert found["types"]["layers"][number] == [(of_layer["type"] == name).sum() for name in TYPES]
    counts = np.array(found["against"]["counts"])
    assert counts.sum() == 500 and counts.sum(1).tolist() == found["histogram"]["series"][0]["counts"]
    assert counts[1].sum() == ((frame["score"] >= 0.05) & (frame["score"] < 0.1)).sum()
    assert "cost" not in found and json.loads(json.dumps(found)) == found


def test_without_a_panel_or_a_simulator_other_scores_are_drawn():
    some, none = [0.1, -0.7, None], [None] * 3
    table = atlas(3, 1, score=some, panel_best_null_score=none, score_contrast=some, best_null_score=[0.0, 0.0, 0.1])
    found = charts(table)
    assert found["name"] == "contrast score" and found["histogram"]["low"] == -1
    assert [band["layers"][0] and band["layers"][0][5] for band in found["bands"]] == [2, 3, None]
    found = charts(atlas(3, 1, ATLAS_UNSIMULATED, direct_score_contrast=some, token_baseline_contrast=some))
    assert found["name"].startswith("direct score") and len(found["bands"]) == 2
    assert charts(atlas(0))["layers"] == []


def test_cost_is_in_dollars_where_prices_are_known():
    row = {"answers": 5, "prompt_tokens": 10, "completion_tokens": 2}
    accounts = [row | {"layer": layer, "cost": cost} for layer, cost in ((0, 0.5), (2, 1.5), (None, 2.0))]
    assert charts(atlas(90), accounts)["cost"] == {"unit": "dollars", "layers": [0.5, None, 1.5]}
    unpriced = [one | {"cost": None} for one in accounts]
    assert charts(atlas(90), unpriced)["cost"] == {"unit": "tokens", "layers": [12, None, 12]}


def test_a_plot_does_not_grow_with_its_rows(tmp_path):
    sizes = []
    for n in (300, 30_000):
        write_table(atlas(n), tmp_path / "atlas.parquet")
        plot_scores(str(tmp_path / "atlas.parquet"), None, str(tmp_path / "scores.svg"))
        sizes.append((tmp_path / "scores.svg").stat().st_size)
    assert sizes[1] < 1.1 * sizes[0] < 150_000


def test_histograms_count_every_token_of_the_panel(tmp_path):
    panels = two_panels(tmp_path, lambda rows, random: random.normal(size=(3, sum(len(i) - p for p, i in rows))))
    corpus, acts = panels["panel_test"]
    found = _histograms([12, 10], {"panel_test": corpus, "panel_test_acts": acts})
    values = Panel(corpus, [acts]).acts(2, [12])[0]
    assert found[12]["counts"] == np.histogram(values, BINS)[0].tolist() and list(found) == [12, 10]
    assert found[12]["from"] == pytest.approx(values.min(), rel=0.005)
    assert _histograms([12], {}) == {}
