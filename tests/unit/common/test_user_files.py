"""What is said about files that a user wrote: key, file and line, and what to do."""

import csv
import gzip
import os

import pytest

from neuron_descriptions.common import user_files
from neuron_descriptions.common.user_files import read_csv, read_yaml, whole_number

DEEP = b"[" * 5000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: 1\nb: [1\n", "line 3: no YAML"),
        (b"a: 1\nb: 2\na: 3\n", "line 3: the key 'a' stands twice"),
        (b"x:\n  - {a: 1, a: 1}\n", "line 2: the key 'a' stands twice"),
        (b"a:\n  b: 010\n", "line 2: YAML reads 010 as another number"),
        (b"a: !!int '010'\n", "line 1: YAML reads 010 as another number"),
        (b"a: [3:20]\n", "line 1: YAML reads 3:20 as another number"),
        (b"a: -1:30.5\n", "line 1: YAML reads -1:30.5 as another number"),
        (b"a: 2025_01\n", "line 1: YAML reads 2025_01 as another number, 202501: put it in quotes"),
        (b"a: 0x10\n", "line 1: YAML reads 0x10 as another number, 16"),
        (b"a: 1\nb: !!bool maybe\n", "line 2: a value is no YAML: maybe is no bool"),
        (b"a: &x 1\nb: &x 2\n", "line 2: no YAML: found duplicate anchor 'x'"),
        (b"a: &a [1, *a]\n", "line 1: an alias (*) inside of what it stands for"),
        (b"a: &a {b: {c: *a}}\n", "line 1: an alias (*) inside of what it stands for"),
        (b"a: 1\nb: \xe9\n", "line 2: not UTF-8 text; save the file as UTF-8"),
        ("a: 1\n".encode("utf-16"), "line 1: not UTF-8 text"),
        ("a: 1\n".encode("utf-16-le"), "line 1: not UTF-8 text"),
        (b"a: *b\n", "line 1: no YAML: found undefined alias"),
        (b"a: !!python/name:os.system\n", "line 1: no YAML: could not determine a constructor"),
        (b"a: 2026-02-31\n", "line 1: a value is no YAML: 2026-02-31 is no timestamp"),
        (b"a: 1\n---\nb: 2\n", "line 2: no YAML: but found another document"),
        (b"a: \x07\n", "no YAML"),
        (DEEP, "stand too deep inside one another"),
    ],
)
def test_a_bad_yaml_file_is_named_with_key_and_line(tmp_path, content, said):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.yaml") as caught:
        read_yaml(str(path), "descriptions.prompt")
    assert str(caught.value).startswith(f"descriptions.prompt: {path}")
    assert said in str(caught.value)


def test_good_yaml_is_read_as_it_is(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(
        "\ufeffa: '010'\nb: \"3:20\"\nc: 10\nd: |\n  010\ne: é\nf: &f {x: 1}\ng: {<<: *f, y: 0}\nh: *f\n".encode()
    )
    found = read_yaml(str(path), "k")
    path.write_bytes(b"a: [1_000, +5, -0, 1.5, .5, 1., 1.0e+3, -.inf]")
    assert read_yaml(str(path)) == {"a": [1000, 5, 0, 1.5, 0.5, 1.0, 1000.0, float("-inf")]}
    assert found == {"a": "010", "b": "3:20", "c": 10, "d": "010\n", "e": "é"} | {
        "f": {"x": 1},
        "g": {"x": 1, "y": 0},
        "h": {"x": 1},
    }
    path.write_bytes(b"")
    assert read_yaml(str(path)) is None


@pytest.mark.parametrize("read", [read_yaml, lambda path, key: [*read_csv(path, key, ("a",))]])
def test_folders_and_missing_files_are_named(tmp_path, read):
    with pytest.raises(ValueError, match=r"^k: .* is a folder, not a file"):
        read(str(tmp_path), "k")
    with pytest.raises(FileNotFoundError, match=r"^k: .*none does not exist"):
        read(str(tmp_path / "none"), "k")


@pytest.mark.parametrize("read", [read_yaml, lambda path, key: [*read_csv(path, key, ("a",))]])
def test_what_is_no_file_is_named_and_never_waited_for(tmp_path, read, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for place in ("pipe", "/dev/zero"):
        with pytest.raises(ValueError, match=r"^k: .* is no file but a pipe, a socket or a device; write it to a file"):
            read(str(tmp_path / place), "k")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ValueError, match=r"^k: .*loop cannot be read: Too many levels"):
        read(str(tmp_path / "loop"), "k")
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 2**36)
    with pytest.raises(ValueError, match=r"^k: .*sparse has more than 4,294,967,296 bytes"):
        read(str(tmp_path / "sparse"), "k")
    monkeypatch.setattr(user_files, "LARGEST_TEXT", 1000)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"a\n" * 1000))
    with pytest.raises(ValueError, match=r"^k: .*bomb.gz has more than 1,000 bytes when it is unpacked"):
        read(str(tmp_path / "bomb.gz"), "k")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty: its first line names no column a, b"),
        (b"a,c\n1,2\n", "the first line names no column b"),
        (b"a,b,a\n1,2,3\n", "the first line names the column a twice"),
        (b"a,b\n1,2\n1\n", "line 3: 1 fields, but the first line names 2 columns"),
        (b"a,b\n1,x, y\n", "line 2: 3 fields, but the first line names 2 columns; put text with commas"),
        (b'a,b\n1,"x\ny"\n1\n', "line 4: 1 fields"),
        (b'a,b\n1,2\n1,"x\n2,y\n3,z\n', "line 3: a quote is opened and never closed"),
        (b'a,b\n1,"x" y\n', "line 2: "),
        (b"a,b\n1,\xe9\n", "line 2: not UTF-8 text; save the file as UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "line 1: not UTF-8 text"),
        (b"a,b\n1,\0\n", "line 2: not UTF-8 text, it has null bytes"),
    ],
)
def test_a_bad_csv_file_is_named_with_key_and_line(tmp_path, content, said):
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.csv") as caught:
        list(read_csv(str(path), "neurons.file", ("a", "b")))
    assert str(caught.value).startswith(f"neurons.file: {path}")
    assert said in str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_good_csv_is_read_whatever_ends_its_lines(tmp_path, end, mark):
    path = tmp_path / "mine.csv"
    lines = ["a,b,note", '1,"x, ""y"""', "", '2,"' + "z" * 200_000 + '"']
    lines[1] += ",n"
    lines[3] += ',"é"'
    path.write_bytes((mark + end.join(lines) + end).encode())
    limit = csv.field_size_limit()
    rows = list(read_csv(str(path), "k", ("b", "a")))
    assert csv.field_size_limit() == limit
    assert rows == [
        (f"k: {path}, line 2", {"a": "1", "b": 'x, "y"', "note": "n"}),
        (f"k: {path}, line 4", {"a": "2", "b": "z" * 200_000, "note": "é"}),
    ]


@pytest.mark.parametrize("text", ["1_0", "1.0", "", "x", "1e3", "٣", "9" * 5000])
def test_whole_numbers_are_plain_digits(text):
    assert whole_number({"layer": " 12 "}, "layer", "here") == 12
    with pytest.raises(ValueError, match=r"^here: layer and neuron must be whole numbers; layer is "):
        whole_number({"layer": text}, "layer", "here")


def test_aliases_that_multiply_are_refused_before_they_are_written_out(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefgh", "bcdefghi")]
    (tmp_path / "x.yaml").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"line 6: with its aliases \(\*\) written out it has more than 1,000,000"):
        read_yaml(str(tmp_path / "x.yaml"))
