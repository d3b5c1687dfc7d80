import pyarrow as pa
import pytest

from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.descriptions.rivals import gather_candidates
from neuron_descriptions.descriptions.tables import DESCRIPTIONS


def table(folder, name, neurons, candidates, explainer):
    empty = dict.fromkeys(DESCRIPTIONS.names)
    rows = [
        empty
        | {
            "layer": 2, "neuron": neuron, "sign": sign, "candidate": i, "status": "ok", "explainer": explainer,
            "description": f"{name} {neuron} {sign} {i}",
        }
        for neuron in neurons
        for sign in SIGNS
        for i in range(candidates)
    ]  # fmt: skip
    write_table(pa.Table.from_pylist(rows, schema=DESCRIPTIONS), folder / f"{name}.parquet")
    return str(folder / f"{name}.parquet")


def test_candidates_of_rivals_follow_the_runs_own(tmp_path):
    own = table(tmp_path, "own", [3, 8], 2, "model")
    first = table(tmp_path, "first", [1, 3, 8, 9], 3, "model")
    second = table(tmp_path, "second", [3, 8], 1, "tokens")
    gather_candidates(own, {"a": first, "b": second}, [3, 8], str(tmp_path / "out"))
    rows = read_table(tmp_path / "out", DESCRIPTIONS).to_pylist()
    assert [(r["neuron"], r["sign"], r["candidate"]) for r in rows] == [
        (neuron, sign, i) for neuron in (3, 8) for sign in SIGNS for i in range(6)
    ]
    said = [(r["description"], r["explainer"]) for r in rows if (r["neuron"], r["sign"]) == (8, "negative")]
    assert said == [
        *((f"own 8 negative {i}", "model") for i in range(2)),
        *((f"first 8 negative {i}", "model (a)") for i in range(3)),
        ("second 8 negative 0", "tokens (b)"),
    ]


def test_one_neuron_from_the_tables_of_its_chunk(tmp_path):
    own, rival = (table(tmp_path, name, [3, 8], 1, "m") for name in ("own", "rival"))
    gather_candidates(own, {"a": rival}, [8], str(tmp_path / "out"))
    rows = read_table(tmp_path / "out", DESCRIPTIONS).to_pylist()
    assert [(r["neuron"], r["sign"], r["candidate"]) for r in rows] == [(8, s, i) for s in SIGNS for i in range(2)]


def test_rival_without_a_neuron_is_named(tmp_path):
    own, rival = (table(tmp_path, name, neurons, 1, "m") for name, neurons in (("own", [3, 8]), ("rival", [3])))
    with pytest.raises(ValueError, match=r"descriptions\.rivals: .*rival\.parquet has no neuron 8"):
        gather_candidates(own, {"a": rival}, [3, 8], str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
