"""Neurons drawn of every type."""

import pyarrow as pa
import pytest

from neuron_descriptions.common.storage import write_table
from neuron_descriptions.panel.drawing import draw_of_every_type, write_drawn
from neuron_descriptions.panel.tables import NEURON_TYPES, TYPES

TABLE = dict(enumerate(["token"] * 90 + ["bigram"] * 6 + ["none"] * 2 + ["context"]))


def test_every_type_is_drawn_as_often_as_there_are():
    found = draw_of_every_type(TABLE, 12, 5)
    counts = {name: sum(TABLE[neuron] == name for neuron in found) for name in TYPES}
    assert counts == {"token": 5, "bigram": 4, "context": 1, "position": 0, "none": 2}
    assert found == sorted(set(found))


def test_a_draw_is_a_function_of_what_it_is_for():
    assert draw_of_every_type(TABLE, 12, 5) == draw_of_every_type(dict(reversed(TABLE.items())), 12, 5)
    assert draw_of_every_type(TABLE, 12, 5) != draw_of_every_type(TABLE, 12, 6)
    with pytest.raises(ValueError, match="100 neurons are asked for, and the table has 99"):
        draw_of_every_type(TABLE, 100, 5)


def test_a_file_of_neurons_is_written(tmp_path):
    paths = []
    for layer in (7, 3):
        rows = [
            {"layer": layer, "neuron": neuron, "sign": sign, "type": name}
            for neuron, name in TABLE.items()
            for sign in ("positive", "negative")
        ]
        paths.append(str(tmp_path / f"layer-{layer}.parquet"))
        write_table(pa.Table.from_pylist(rows, schema=NEURON_TYPES), paths[-1])
    write_drawn(str(tmp_path / "drawn.csv"), 4, paths)
    lines = (tmp_path / "drawn.csv").read_text().splitlines()
    assert lines[0] == "layer,neuron"
    drawn = [f"{layer},{neuron}" for layer in (3, 7) for neuron in draw_of_every_type(TABLE, 4, layer)]
    assert lines[1:] == drawn and lines[1:] != sorted(drawn, reverse=True)
