"""Rows out of files: every format is read alike.

A row that cannot be read is named, and ends nothing: of 50,000 rows some are always odd.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from neuron_descriptions.common.storage import read_parquet

PLAIN = (".txt", ".md", ".py")  # a file is a document
SUFFIXES = (*PLAIN, ".jsonl", ".json", ".csv", ".parquet")
PACKED = (".gz", ".zst")  # of all but Parquet, which packs by itself

Row = tuple[str, Any]  # where it stands; what it holds, or the error that says why it cannot be read


def kind_of(file: Path) -> str:
    """The suffix that says a file's format, without that of its packing. Raises ValueError where it is none."""
    packed = file.suffix.lower() in PACKED
    suffix = (file.with_suffix("") if packed else file).suffix.lower()
    if suffix not in SUFFIXES or (suffix == ".parquet" and packed):
        raise ValueError(
            f"{file.name} is neither .txt, .md, .py, .json, .jsonl, .csv (perhaps .gz or .zst) nor .parquet"
        )
    return suffix


def read_rows(file: Path, records: bool) -> Iterator[Row]:
    """Rows of a file, each with its place; `records`: of JSON, every value of the top level is one.

    Raises ValueError that names the file where it, and not just a row of it, cannot be read.
    """
    readers = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl} | dict.fromkeys(PLAIN, _txt)
    kind = kind_of(file)
    try:
        yield from _json(file, records) if kind == ".json" else readers[kind](file)
    except (ValueError, RecursionError, pa.ArrowException, csv.Error, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None


def _open(file: Path, newline: str | None = None) -> io.TextIOWrapper:
    """A text file, unpacked; begun with a byte order mark or not. Bytes that are no text become half characters."""
    raw: Any
    if file.suffix.lower() == ".gz":
        raw = gzip.GzipFile(file)
    elif file.suffix.lower() == ".zst":
        raw = pa.CompressedInputStream(pa.OSFile(str(file)), "zstd")
    else:
        raw = file.open("rb", buffering=0)
    stream = io.BufferedReader(raw)
    wide = stream.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff")
    return io.TextIOWrapper(stream, "utf-16" if wide else "utf-8-sig", "surrogateescape", newline)


def _decoded(text: str) -> str:
    """Raises ValueError where a text came from bytes that are none, or are in an encoding of wider units."""
    if re.search("[\udc80-\udcff]", text):
        raise ValueError("it is not UTF-8")
    if "\0" in text:
        raise ValueError("it is not UTF-8, it has null bytes")
    return text


def _tried(where: str, read: Callable[[Any], Any], what: Any) -> Row:
    try:
        return where, read(what)
    except (ValueError, RecursionError, OverflowError) as error:
        return where, ValueError(reason(error))


def reason(error: Exception) -> str:
    """Why a row cannot be used, in words that are the same for all rows that fail alike."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return "it is no JSON"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _txt(file: Path) -> Iterator[Row]:
    with _open(file) as stream:
        text = stream.read()
    yield _tried(str(file), _decoded, text)


def _json(file: Path, records: bool) -> Iterator[Row]:
    with _open(file) as stream:
        value = json.loads(_decoded(stream.read()))
    if not records:
        yield str(file), value
    elif isinstance(value, dict | list):
        for number, row in enumerate(value.values() if isinstance(value, dict) else value, 1):
            yield f"{file}, record {number}", row
    else:
        raise ValueError("its top level is neither a list nor an object; set `records: false`")


def _jsonl(file: Path) -> Iterator[Row]:
    with _open(file) as stream:
        # Lines as files have them, not str.splitlines: a string may hold other line separators. A byte order mark also
        # stands where files were laid end to end.
        for number, line in enumerate(stream, 1):
            line = line.lstrip("\ufeff")
            if line.strip():
                yield _tried(f"{file}, line {number}", lambda text: json.loads(_decoded(text)), line)


def _csv(file: Path) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    with _open(file, newline="") as stream:
        reader = csv.reader(stream, strict=True)
        header = [name.strip() for name in next(filter(None, reader), [])]
        if twice := sorted({name for name in header if name and header.count(name) > 1}):
            raise ValueError(f"its first line names the column {', '.join(twice)} twice")
        while True:
            where = f"{file}, line {reader.line_num + 1}"
            try:
                cells = next(reader, None)
            except csv.Error as error:
                if "unexpected end" in str(error):
                    raise ValueError(f"a quotation mark that {where} opens is never closed") from None
                yield where, ValueError(str(error))
                continue
            if cells is None:
                return
            if cells and len(cells) != len(header):
                yield where, ValueError(f"it has {len(cells)} cells, the header {len(header)}")
            elif cells:
                yield _tried(where, lambda row: dict(zip(header, map(_decoded, row))), cells)


def _parquet(file: Path) -> Iterator[Row]:
    first = 1
    table = read_parquet(file)
    # Times hold no text, and some are beyond what Python can hold.
    table = table.select([field.name for field in table.schema if not pa.types.is_temporal(field.type)])
    for batch in table.to_batches():
        try:
            rows = batch.to_pylist()
        except (ValueError, OverflowError):  # strings with bytes that are none
            slices = [batch.slice(i, 1) for i in range(len(batch))]
            rows = [_tried("", lambda part: part.to_pylist()[0], part)[1] for part in slices]
        for number, row in enumerate(rows, first):
            yield f"{file}, row {number}", row
        first += len(rows)
