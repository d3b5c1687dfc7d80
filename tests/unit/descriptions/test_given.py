"""Descriptions from elsewhere: what a file may hold, and what it becomes."""

import pytest

from neuron_descriptions.common.storage import read_table
from neuron_descriptions.descriptions.given import read_given, write_given
from neuron_descriptions.descriptions.tables import DESCRIPTIONS


@pytest.fixture
def file(tmp_path):
    """Writes a file, returns its path."""

    def write(text):
        (tmp_path / "given.csv").write_text(text, encoding="utf-8-sig")
        return str(tmp_path / "given.csv")

    return write


def test_rows_become_numbered_candidates(file, tmp_path):
    path = file('description,layer,neuron,sign\n"a, ""b""\nc",2,7,+\nnaïve 😀,2,7,negative\n d ,2,7,positive\n')
    given = read_given(path, 3, 10)
    write_given(given, "given.csv", str(tmp_path / "out.parquet"))
    rows = read_table(tmp_path / "out.parquet", DESCRIPTIONS).to_pylist()
    assert [(r["sign"], r["candidate"], r["description"]) for r in rows] == [
        ("positive", 0, 'a, "b"\nc'), ("negative", 0, "naïve 😀"), ("positive", 1, "d"),
    ]  # fmt: skip
    assert {(r["layer"], r["neuron"], r["status"], r["explainer"]) for r in rows} == {(2, 7, "ok", "given.csv")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer,neuron,description\n1,2,a\n", "names no column sign"),
        ("layer,neuron,sign,description\n1,x,+,a\n", "line 2: layer and neuron must be whole numbers"),
        ("layer,neuron,sign,description\n1,2,+,a\n3,2,+,a\n", "line 3: layer 3, neuron 2 is out of range"),
        ("layer,neuron,sign,description\n1,2,up,a\n", "line 2: sign is 'up'; write positive or negative"),
        ("layer,neuron,sign,description\n1,2,+,  \n", "line 2: the description is empty"),
        ("layer,neuron,sign,description\n1,2,+,\u200b\u2060\n", "line 2: the description is empty"),
        ("layer,neuron,sign,description\n1,2,+\n", "line 2: 3 fields, but the first line names 4 columns"),
        ("layer,neuron,sign,description\n1,2,+,a, b\n", "line 2: 5 fields, .* put text with commas in it in quotes"),
        ("layer,neuron,sign,description\n1_0,2,+,a\n", "line 2: layer and neuron must be whole numbers"),
        ("layer,neuron,sign,description\n", "holds no descriptions"),
        ("", "names no column"),
    ],
)
def test_a_bad_file_is_named_with_its_line(file, text, message):
    path = file(text)
    with pytest.raises(ValueError, match=message) as error:
        read_given(path, 3, 10)
    assert path in str(error.value)


def test_an_export_is_told_how_it_becomes_such_a_file(tmp_path):
    (tmp_path / "batch-0.jsonl").write_text('{"modelId": "m", "layer": "1-mlp", "index": "2", "description": "a"}\n')
    with pytest.raises(ValueError, match=r"batch-0\.jsonl is no CSV; an export .*descriptions\.foreign"):
        read_given(str(tmp_path / "batch-0.jsonl"), 3, 10)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"scores\.descriptions: .*none\.csv does not exist"):
        read_given(str(tmp_path / "none.csv"), 3, 10)
    with pytest.raises(ValueError, match=r"explainer_training\.readings: .*none\.csv does not exist"):
        read_given(str(tmp_path / "none.csv"), 3, 10, "explainer_training.readings")
