"""Nulls: which descriptions of other neurons a neuron is compared with."""

import pyarrow as pa
import pytest

from conftest import ROOT
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.scores.chance import Nulls, gather_pool, pool_neurons, read_null_descriptions
from neuron_descriptions.scores.tables import NULL_POOL

FILE = str(ROOT / "config/null-descriptions.yaml")
SELECTED = {1: list(range(0, 60, 2)), 3: list(range(40)), 7: [5]}


def names(chosen):
    return {(layer, neuron) for layer, neurons in chosen.items() for neuron in neurons}


def described(layer, neuron, sign, candidate, text):
    status = "refused" if text is None else "ok"
    return {
        "layer": layer, "neuron": neuron, "sign": sign, "candidate": candidate, "description": text, "status": status,
    }  # fmt: skip


@pytest.fixture
def pool(tmp_path):
    """File of a pool of 12 neurons of two layers."""
    rows = [
        {"layer": layer, "neuron": neuron, "sign": sign, "description": f"words {layer} {min(neuron, 4)} {sign}"}
        for layer in (1, 3)
        for neuron in range(6)
        for sign in SIGNS
    ]
    write_table(pa.Table.from_pylist(rows, schema=NULL_POOL), tmp_path / "pool.parquet")
    return str(tmp_path / "pool.parquet")


def test_the_pool_is_of_the_run_and_as_large_as_wanted():
    chosen = pool_neurons(SELECTED, 20, seed=0)
    assert len(names(chosen)) == 20
    assert names(chosen) <= names(SELECTED)
    assert all(neurons == sorted(neurons) for neurons in chosen.values())
    assert names(pool_neurons(SELECTED, 1000, seed=0)) == names(SELECTED)
    assert names(pool_neurons(SELECTED, 20, seed=1)) != names(chosen)


def test_further_neurons_change_the_pool_only_where_they_enter_it():
    before = names(pool_neurons(SELECTED, 20, seed=0))
    after = names(pool_neurons(SELECTED | {9: list(range(20))}, 20, seed=0))
    assert {place for place in after if place[0] != 9} < before
    assert len(after) == 20


def test_the_pool_holds_a_neurons_first_description(tmp_path):
    tables = {
        "a": [
            described(1, 4, "positive", 0, None),
            described(1, 4, "positive", 2, "c"),
            described(1, 4, "positive", 1, "b"),
        ],
        "b": [described(3, 4, "positive", 0, "other layer"), described(3, 5, "negative", 0, "wanted")],
    }
    for name, rows in tables.items():
        write_table(pa.Table.from_pylist(rows, schema=DESCRIPTIONS), tmp_path / name)
    output = tmp_path / "pool.parquet"
    gather_pool([str(tmp_path / name) for name in tables], {1: [4], 3: [5]}, str(output))
    found = read_table(output, NULL_POOL).to_pylist()
    assert [(r["layer"], r["neuron"], r["sign"], r["description"]) for r in found] == [
        (1, 4, "positive", "b"), (3, 5, "negative", "wanted"),
    ]  # fmt: skip


def test_nulls_are_other_neurons_descriptions_each_once(pool):
    for neuron in range(6):
        drawn = Nulls(pool, FILE, 5, 0).draw(3, neuron, "positive")
        assert len({null.description for null in drawn}) == 5
        assert not [null for null in drawn if null.origin.startswith(f"3/{neuron}/") or null.origin == "file"]


def test_nulls_are_a_function_of_seed_neuron_and_sign(pool):
    def origins(seed, *who):
        return [null.origin for null in Nulls(pool, FILE, 5, seed).draw(*who)]

    assert origins(0, 3, 2, "positive") == origins(0, 3, 2, "positive")
    others = [origins(1, 3, 2, "positive"), origins(0, 1, 2, "positive"), origins(0, 3, 2, "negative")]
    assert origins(0, 3, 2, "positive") not in others


def test_a_larger_pool_keeps_the_order_of_the_nulls(pool, tmp_path):
    rows = read_table(pool, NULL_POOL).to_pylist()
    less = str(tmp_path / "less.parquet")
    write_table(pa.Table.from_pylist(rows[:-6], schema=NULL_POOL), less)
    gone = {f"{r['layer']}/{r['neuron']}/{r['sign']}" for r in rows[-6:]}
    full = [null.origin for null in Nulls(pool, FILE, 9, 0).draw(1, 0, "negative")]
    assert [o for o in full if o not in gone] == [
        null.origin for null in Nulls(less, FILE, 9, 0).draw(1, 0, "negative")
    ][: len([o for o in full if o not in gone])]


@pytest.mark.parametrize("n", [19, 30])
def test_the_file_fills_up_what_the_pool_lacks(pool, n):
    drawn = Nulls(pool, FILE, n, 0).draw(1, 0, "positive")
    own = [null for null in drawn if null.origin != "file"]
    assert len(drawn) == n
    assert len(own) == 18  # neurons 4 and 5 have the same descriptions, neuron 0's own do not count
    assert drawn[: len(own)] == own
    alone = Nulls(None, FILE, 4, 0).draw(1, 0, "positive")
    assert [null.origin for null in alone] == ["file"] * 4


def test_a_bad_file_is_named(tmp_path):
    (tmp_path / "bad.yaml").write_text("descriptions: [a, a, 3]")
    for path, wanted in ((str(tmp_path / "bad.yaml"), 1), (FILE, 10_000)):
        with pytest.raises(ValueError, match=f"{path} is not a list of at least {wanted} texts"):
            read_null_descriptions(path, wanted)
