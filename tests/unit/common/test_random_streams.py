"""Random numbers: functions of what they are drawn for, and of nothing else."""

import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from conftest import ROOT
from neuron_descriptions.common.streams import generator, key, uniforms

ROWS = np.array([5, 0, 1535, 699, 458_751, 6])


def test_row_alone_equals_the_row_among_many():
    many = uniforms(ROWS, 40, 0, "random", "train", 3)
    for place, row in enumerate(ROWS):
        assert np.array_equal(uniforms(np.array([row]), 40, 0, "random", "train", 3)[0], many[place])


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint64])
def test_type_of_the_rows_does_not_matter(dtype):
    assert np.array_equal(uniforms(ROWS.astype(dtype), 7, "x"), uniforms(ROWS, 7, "x"))


def test_shape_and_type():
    drawn = uniforms(ROWS, 40, 0)
    assert drawn.shape == (6, 40)
    assert drawn.dtype == np.float64
    assert uniforms(ROWS[:0], 40, 0).shape == (0, 40)


def test_uniform_in_the_unit_interval():
    drawn = uniforms(np.arange(2000), 500, 0, "uniformity")
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = np.bincount((drawn.ravel() * 100).astype(int), minlength=100)
    assert np.all(np.abs(counts - 10_000) < 5 * np.sqrt(10_000))  # 5 standard deviations
    assert len(np.unique(drawn)) == drawn.size


@pytest.mark.parametrize(("rows", "columns"), [((0, 1), (0, 0)), ((0, 0), (0, 1)), ((0, 1), (1, 0))])
def test_neighbours_are_uncorrelated(rows, columns):
    drawn = uniforms(np.arange(300), 301, 0, "neighbours")
    height, width = 299, 300
    one, other = (drawn[r : r + height, c : c + width].ravel() for r, c in zip(rows, columns))
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(height * width)


def test_one_layer_says_nothing_of_the_next():
    layers = np.array([uniforms(np.arange(100), 100, 0, "random", "train", layer).ravel() for layer in range(12)])
    correlations = np.corrcoef(layers)[~np.eye(12, dtype=bool)]
    assert np.abs(correlations).max() < 5 / np.sqrt(10_000)


def test_every_purpose_has_its_own_numbers():
    purposes = list(product((0, 1), ("random", "offset"), ("train", "test"), (0, 1, 11, 111)))
    drawn = {uniforms(ROWS, 3, *purpose).tobytes() for purpose in purposes}
    assert len(drawn) == len(purposes)
    assert len({generator(*purpose).random(3).tobytes() for purpose in purposes}) == len(purposes)


def test_parts_of_a_purpose_do_not_run_together():
    assert len({key(1, 23), key(12, 3), key(123), key(1, 2, 3), key("1", "", "23")}) == 5


def test_key_is_spread_over_64_bits():
    keys = np.array([key(0, "split", i) for i in range(4000)], np.uint64)
    assert len(set(keys.tolist())) == 4000
    ones = ((keys[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)).mean(0)
    assert np.all(np.abs(ones - 0.5) < 5 * 0.5 / np.sqrt(4000))


def test_generators_do_not_depend_on_each_other():
    alone = generator(0, "b").random(5)
    first = generator(0, "a")
    first.random(100)
    assert np.array_equal(generator(0, "b").random(5), alone)
    assert np.array_equal(generator(0, "a").random(100), generator(0, "a").random(100))


def test_another_process_draws_the_same():
    code = (
        "import numpy as np; from neuron_descriptions.common.streams import generator, uniforms;"
        "print(uniforms(np.array([3]), 2, 0, 'x').tolist(), generator(0, 'x').random(2).tolist())"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT / "scripts"), "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    here = f"{uniforms(np.array([3]), 2, 0, 'x').tolist()} {generator(0, 'x').random(2).tolist()}"
    assert done.stdout.strip() == here
