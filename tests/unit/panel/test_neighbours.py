"""Features like one, against correlations computed another way."""

import numpy as np
import pandas as pd
import pytest

from neuron_descriptions.common.storage import read_parquet
from neuron_descriptions.panel import neighbours
from neuron_descriptions.panel.neighbours import find_neighbours
from planted_panels import sentences, write_panel

FEATURES, FIRST = 7, 10  # of each layer; the number of the first


@pytest.fixture(scope="module")
def panel(tmp_path_factory):
    """Two layers: some features like each other, one turned, two equal, one that does not vary."""
    folder, random = tmp_path_factory.mktemp("panel"), np.random.default_rng(3)
    rows = sentences(random, 30)
    size = sum(len(ids) - prefix for prefix, ids in rows)
    theme = random.normal(size=(3, size))
    acts = {layer: (random.normal(size=(FEATURES, 3)) @ theme + random.normal(size=(FEATURES, size))).astype(np.float32)
            for layer in (2, 5)}  # fmt: skip
    acts[5][1] = -3 * acts[2][0] + 4
    acts[5][2] = acts[5][3]
    acts[2][6] = 1.5
    files = {}
    for layer, values in acts.items():
        corpus, files[layer] = write_panel(folder, "panel", rows, values, layer=layer)
    return corpus, files, acts


def found(panel, layer, kept, tmp_path, order=(2, 5)):
    corpus, files, _ = panel
    find_neighbours(corpus, [files[other] for other in order], layer, kept, 1, str(tmp_path / "found.parquet"))
    return read_parquet(tmp_path / "found.parquet").to_pandas()


@pytest.mark.parametrize("layer", [2, 5])
def test_neighbours_are_those_of_the_largest_correlation(panel, layer, tmp_path):
    _, _, acts = panel
    both = np.concatenate([acts[2], acts[5]]).astype(np.float64)
    expected = pd.DataFrame(both.T).corr()  # NaN of what does not vary
    table = found(panel, layer, 4, tmp_path)
    for i in range(FEATURES):
        row = i if layer == 2 else FEATURES + i
        r = expected[row].drop(row).dropna()
        best = r[r.abs().round(5).sort_values(ascending=False, kind="stable").index][:4]
        mine = table[table["neuron"] == FIRST + i]
        places = [(2 if j < FEATURES else 5, FIRST + j % FEATURES) for j in best.index]
        assert list(zip(mine["neighbour_layer"], mine["neighbour"])) == places
        assert mine["correlation"].to_numpy() == pytest.approx(best.to_numpy(), abs=1e-6)
        assert mine["rank"].tolist() == list(range(len(best)))
    nearest = table[table["rank"] == 0].set_index("neuron")
    if layer == 2:
        assert nearest.loc[FIRST, "correlation"] == pytest.approx(-1) and nearest.loc[FIRST, "neighbour"] == FIRST + 1
        assert FIRST + 6 not in nearest.index and FIRST + 6 not in table["neighbour"][table["neighbour_layer"] == 2]
    else:
        assert nearest.loc[FIRST + 2, "neighbour"] == FIRST + 3


def test_neighbours_depend_on_no_block_or_order(panel, tmp_path, monkeypatch):
    whole = found(panel, 2, 3, tmp_path)
    monkeypatch.setattr(neighbours, "BLOCK", 2)
    monkeypatch.setattr(neighbours, "PAIRS", 3)
    pd.testing.assert_frame_equal(found(panel, 2, 3, tmp_path, order=(5, 2)), whole, check_exact=True)


def test_activations_of_different_subjects_are_refused(panel, tmp_path):
    corpus, files, acts = panel
    rows = sentences(np.random.default_rng(3), 30)
    _, other = write_panel(tmp_path, "panel", rows, acts[5], layer=5, subject="another")
    with pytest.raises(ValueError, match="not of one subject and seed"):
        find_neighbours(corpus, [files[2], other], 2, 3, 1, str(tmp_path / "found.parquet"))
