"""Descriptions that others published, in the forms that they publish them in."""

import csv
import gzip
import io
import json
import re
import subprocess
import sys

import pytest

from conftest import ROOT
from neuron_descriptions.descriptions.foreign import convert, main
from neuron_descriptions.descriptions.given import read_given


def explanation(layer="0-mlp", index="7", description="months", **more):
    """An explanation as Neuronpedia exports it."""
    return {
        "modelId": "smol", "layer": layer, "index": index, "description": description, "authorId": "clx1",
        "triggeredByUserId": "clx2", "notes": None, "scoreV1": None, "typeName": "oai_token-act-pair",
        "explanationModelName": "gpt-4o-mini", "createdAt": "2025-03-01T12:00:00.000Z", "embedding": [0.1, -0.2],
    } | more  # fmt: skip


def row(neuron_id="org/smol-8B_3_12_None", polarity=1, description="rivers and lakes", **more):
    """A row of Transluce's table of descriptions."""
    return {
        "id": f"{neuron_id}_{polarity}_v1", "neuron_id": neuron_id, "polarity": polarity, "version": "v1",
        "description": description, "description_cleaned": None, "description_summary": "water",
        "description_metadata": {"score": 0.4}, "is_interesting": True,
    } | more  # fmt: skip


def as_csv(rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


ROWS = [explanation(), explanation("11-res-jb", 40, 'the word "may", as in permissions,\nnot the month'), explanation()]
SAID = [(0, 7, "positive", "months"), (11, 40, "positive", ROWS[1]["description"])]


@pytest.mark.parametrize("form", ["list.json", "lines.jsonl", "lines.jsonl.gz", "table.csv"])
def test_neuronpedias_exports_become_given_descriptions(tmp_path, form):
    path, out = tmp_path / form, tmp_path / "out.csv"
    lines = "".join(json.dumps(r) + "\n" for r in ROWS)
    if form.endswith(".gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text({"list.json": json.dumps(ROWS), "lines.jsonl": lines}.get(form) or as_csv(ROWS))
    assert convert("neuronpedia", [str(path)], str(out), "smol") == (2, 0)  # the third says what the first does
    found = read_given(str(out), 12, 64)  # as the workflow reads it
    assert [tuple(r.values()) for r in found] == SAID


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("form", ["json", "csv"])
def test_transluces_table_becomes_given_descriptions(tmp_path, form, joined):
    rows = [row(), row(polarity=-1, description="dry land"), row("org/smol-8B_0_5_None")]
    if joined:
        rows = [r | {"model_id": "org/smol-8B", "layer": r["neuron_id"].split("_")[1],
                     "neuron": r["neuron_id"].split("_")[2], "expert": ""} for r in rows]  # fmt: skip
    path, out = tmp_path / f"descriptions.{form}", tmp_path / "out.csv"
    path.write_text(json.dumps(rows) if form == "json" else as_csv(rows))
    assert convert("transluce", [str(path)], str(out), "org/smol-8B") == (3, 0)
    assert [tuple(r.values()) for r in read_given(str(out), 4, 64)] == [
        (3, 12, "positive", "rivers and lakes"), (3, 12, "negative", "dry land"),
        (0, 5, "positive", "rivers and lakes"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("source", "text", "said"),
    [
        ("neuronpedia", "", "is empty"),
        ("neuronpedia", "[]", "is empty"),
        ("neuronpedia", '{"modelId": "smol"}\n{"modelId"', "line 1: the key layer is missing; it has modelId"),
        ("neuronpedia", json.dumps(explanation()) + "\n{", "line 2: no JSON"),
        ("neuronpedia", "[1]", "item 1: not an object with keys, but '1'"),
        ("neuronpedia", '[{"a": 1}', "no JSON"),
        ("neuronpedia", json.dumps([explanation(description=" ")]), "item 1: nothing stands under the key description"),
        ("neuronpedia", json.dumps([explanation(layer="res-jb")]), "layer is 'res-jb'; a source set begins with"),
        ("neuronpedia", json.dumps([explanation(index="7a")]), "index is '7a', not a whole number"),
        ("neuronpedia", json.dumps([explanation(), explanation(modelId="other")]),
         "item 2: it is about the model other, not smol; leave it out, or name that model with --model"),
        ("transluce", json.dumps([row(polarity=0)]), "item 1: polarity is '0'; it is 1 or -1"),
        ("transluce", json.dumps([row("smol-3-12")]), "neuron_id is 'smol-3-12'; it has the form"),
        ("transluce", json.dumps([row("smol_3_12_4")]), "is of an expert"),
        ("transluce", json.dumps([explanation()]), "the key polarity is missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, source, text, said):
    path, out = tmp_path / "export.json", tmp_path / "out.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(str(path)) + ".*" + re.escape(said)):
        convert(source, [str(path)], str(out), "smol")
    assert not out.exists()


@pytest.mark.parametrize("form", ["json", "csv"])
def test_rows_without_text_are_left_out_and_counted(tmp_path, form, capsys):
    empty = [explanation(description=text, index=str(i)) for i, text in enumerate((None, "", " \n", "\u200b\ufeff"))]
    rows = [*empty[:2], explanation(), *empty[2:]]
    path, out = tmp_path / f"export.{form}", tmp_path / "out.csv"
    path.write_text(json.dumps(rows) if form == "json" else as_csv(rows), encoding="utf-8")
    main(["neuronpedia", str(path), "--model", "smol", "--output", str(out)])
    assert "1 descriptions in" in (said := capsys.readouterr().out) and "(4 rows without text left out)" in said
    assert len(read_given(str(out), 12, 64)) == 1


def test_a_csv_without_the_column_and_a_bad_archive_are_named(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text("modelId,layer\nsmol,0-mlp\n")
    with pytest.raises(ValueError, match="names no column description"):
        convert("neuronpedia", [str(path)], str(tmp_path / "out.csv"), "smol")
    packed = tmp_path / "batch-0.jsonl.gz"
    packed.write_bytes(gzip.compress(b"{}" * 99)[:-9])
    with pytest.raises(ValueError, match=r"batch-0.jsonl.gz is no gzipped text .*; fetch it again"):
        convert("neuronpedia", [str(packed)], str(tmp_path / "out.csv"), "smol")


def test_one_command_does_it(tmp_path):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(ROWS))
    command = ["neuronpedia", str(path), "--model", "smol", "--output", str(tmp_path / "out.csv"), "--sign", "negative"]
    module = [sys.executable, "-m", "neuron_descriptions.descriptions.foreign"]
    done = subprocess.run([*module, *command], capture_output=True, text=True, cwd=ROOT / "scripts")
    assert done.returncode == 0, done.stderr
    assert "2 descriptions" in done.stdout
    assert {r["sign"] for r in read_given(str(tmp_path / "out.csv"), 12, 64)} == {"negative"}
    with pytest.raises(SystemExit, match="does not exist"):
        main(["neuronpedia", "nowhere.json", "--model", "smol", "--output", str(tmp_path / "out.csv")])


def test_what_a_string_may_hold_ends_no_line_and_stays(tmp_path):
    path, out = tmp_path / "a.jsonl.gz", tmp_path / "out.csv"
    lines = json.dumps(explanation(description="one\u2028two"), ensure_ascii=False) + "\r\n"
    lines += json.dumps(explanation(index="8")).replace("months", r"half \\ud83d, null \\u0000".replace("\\\\", "\\"))
    path.write_bytes(gzip.compress(("\ufeff" + lines).encode()))
    convert("neuronpedia", [str(path)], str(out), "smol")
    assert [r["description"] for r in read_given(str(out), 12, 64)] == ["one\u2028two", "half \ufffd, null"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "a.json: no JSON: it is nested too deeply"),
        (json.dumps({"explanations": [explanation()]}, indent=1), "line 1: the key layer is missing; it has explan"),
        (json.dumps(explanation(description=["a", "b"])), "line 1: the description is \"['a', 'b']\", not text"),
        (json.dumps(explanation(description=7)), "the description is '7', not text"),
    ],
)
def test_other_shapes_of_json_are_named(tmp_path, text, said):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=re.escape(said)):
        convert("neuronpedia", [str(tmp_path / "a.json")], str(tmp_path / "out.csv"), "smol")


def test_a_damaged_archive_is_named_and_an_output_takes_no_folders_place(tmp_path):
    packed = bytearray(gzip.compress(json.dumps([explanation()] * 50).encode()))
    packed[40] ^= 255
    (tmp_path / "a.json.gz").write_bytes(packed)
    with pytest.raises(ValueError, match="is no gzipped text"):
        convert("neuronpedia", [str(tmp_path / "a.json.gz")], str(tmp_path / "out.csv"), "smol")
    with pytest.raises(ValueError, match="is a folder; name a file in it"):
        convert("neuronpedia", [str(tmp_path / "a.json.gz")], str(tmp_path), "smol")
    assert (tmp_path / "a.json.gz").exists()
