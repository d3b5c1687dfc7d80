"""Columns that further scorers add to the atlas."""

import pyarrow as pa
import pytest

from neuron_descriptions.atlas.further import Added, read_atlas
from neuron_descriptions.atlas.packing import read_script, unpack, write_neurons
from neuron_descriptions.atlas.site import write_atlas_page
from neuron_descriptions.atlas.tables import ATLAS
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.scores.columns import Column, scorer_schema

COLUMNS = (Column("share", pa.float64(), "share <of>", "What share."), Column("n", pa.int16(), "number", "How many."))


def scorer_table(path, name, rows):
    schema = scorer_schema(name, COLUMNS, (("kept", pa.list_(pa.int8())),))
    write_table(pa.Table.from_pylist([{"layer": 2, "neuron": 7, **row} for row in rows], schema=schema), path)
    return str(path)


def atlas_of(path, added):
    rows = [dict.fromkeys(ATLAS.names) | {"layer": 2, "neuron": 7, "sign": sign, "status": "ok", "score": 0.5}
            for sign in ("positive", "negative")]  # fmt: skip
    rows = [row | added.values(row) for row in rows]
    write_table(pa.Table.from_pylist(rows, schema=added.schema()), path)
    return str(path)


def test_an_atlas_without_scorers_is_as_it_was(tmp_path):
    assert Added([]).schema() == ATLAS
    table, added = read_atlas(atlas_of(tmp_path / "atlas.parquet", Added([])))
    assert table.schema.names == ATLAS.names and added == []


def test_columns_come_with_their_words_under_the_scorers_name(tmp_path):
    rows = [{"sign": "positive", "status": "ok", "share": 0.123456, "n": 3, "kept": [1]}]
    files = [scorer_table(tmp_path / f"{name}.parquet", name, rows) for name in ("one", "two")]
    table, added = read_atlas(atlas_of(tmp_path / "atlas.parquet", Added(files)))
    assert [column.name for column in added] == [f"{s}_{n}" for s in ("one", "two") for n in ("status", "share", "n")]
    assert added[1] == Column("one_share", pa.float64(), "one: share <of>", "What share.")
    found = table.select(["one_share", "two_n", "two_status"]).to_pylist()
    assert found == [{"one_share": 0.123456, "two_n": 3, "two_status": "ok"}, dict.fromkeys(found[0])]


def test_the_page_has_them_in_its_legend(tmp_path):
    rows = [{"sign": "positive", "status": "ok", "share": 0.123456, "n": 3}]
    atlas = atlas_of(tmp_path / "a.parquet", Added([scorer_table(tmp_path / "s.parquet", "mine", rows)]))
    corpus = str(tmp_path / "test.parquet")
    facts = {"tokens": "9", "longest": "9", "tokenizer": "x"}
    write_table(CORPUS.with_metadata(facts).empty_table(), corpus)
    (tmp_path / "probe.json").write_text("{}")
    write_neurons([{"neuron": 7, "signs": {}}], tmp_path / "details")
    page, layer = tmp_path / "index.html", tmp_path / "layer-2.js"
    write_atlas_page(
        {"run": "r", "subject": "s"},
        {"test": corpus, "atlas": atlas, "probe": str(tmp_path / "probe.json"), "details": [str(tmp_path / "details")]},
        {2: ["chunk-0"]}, 10,
        {"words": str(tmp_path / "words.js"), "rows": [str(layer)], "page": str(page),
         "report": str(tmp_path / "report.html")},
    )  # fmt: skip
    assert "<dt>mine: share &lt;of&gt;</dt>" in page.read_text() and "How many." in page.read_text()
    assert unpack(read_script(layer)[1])[1]["neuron"].tolist() == [7, 7]


def test_a_table_that_is_no_scorers_is_named(tmp_path):
    write_table(ATLAS.empty_table(), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"other.parquet: .* is no scorer's; delete it"):
        Added([str(tmp_path / "other.parquet")])
