"""Two runs side by side: means over what was scored of one layer."""

import pyarrow as pa
import pytest

from neuron_descriptions.atlas.side_by_side import layer_scores, side_by_side
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.storage import write_table


@pytest.fixture
def run(tmp_path):
    """A run's folder: of layer 5 two rows scored, a silent side, one that fires rarely; and a row of another layer."""
    rows = [
        {"layer": 5, "neuron": 1, "sign": "positive", "status": "ok", "score": 0.2, "best_null_score": 0.1},
        {"layer": 5, "neuron": 2, "sign": "positive", "status": "ok", "score": 0.4, "best_null_score": None},
        {"layer": 5, "neuron": 2, "sign": "negative", "status": "no_activation"},
        {"layer": 5, "neuron": 3, "sign": "positive", "status": "few_firings"},
        {"layer": 6, "neuron": 1, "sign": "positive", "status": "ok", "score": 0.9},
    ]
    table = pa.Table.from_pylist([{name: row.get(name) for name in ATLAS.names} for row in rows], schema=ATLAS)
    write_table(table, tmp_path / "latents/atlas/atlas.parquet")
    return str(tmp_path / "latents")


def test_means_are_of_the_layer_s_scored_rows(run):
    rows, scored, means = layer_scores(run, 5)
    assert (rows, scored) == (3, 2)
    assert means["score"][0] == pytest.approx(0.3) and means["best_null_score"][0] == pytest.approx(0.1)
    line = side_by_side([run], 5).splitlines()[2]
    assert line.split()[:4] == ["latents", "3", "2", "0.30"]
    with pytest.raises(ValueError, match="layer 7 has no row with status ok"):
        layer_scores(run, 7)
