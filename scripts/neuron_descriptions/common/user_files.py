"""Files that a user writes, read strictly: whatever is wrong names the key, the file, the line and what to do."""

import csv
import gzip
import io
import json
import re
import stat
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

LARGEST_TEXT = 2**32  # bytes, unpacked
LARGEST_FIELD = 2**30
LARGEST_YAML = 2**26
LARGEST_EXPANDED = 10**6  # values of a YAML file with its aliases written out
# Numbers that are what they look like. YAML 1.1 reads 010 as 8, 0x10 as 16, 3:20 as 200, 1:30.5 as 90.5, and 2025_01,
# which may be a run's name, as 202501.
PLAIN = re.compile(
    r"[-+]?(0|[1-9][0-9]*|[1-9][0-9]{0,2}(_[0-9]{3})+)?(\.[0-9]*)?(e[-+]?[0-9]+)?|[-+]?\.(inf|nan)", re.IGNORECASE
)

TYPES = (":int", ":float", ":bool", ":timestamp", ":binary")  # of values that a text may be no good one of


def read_text(path: str, key: str) -> str:
    """A text file, without its byte order mark; unpacked where its name ends in .gz. key: what names it in the
    configuration, "" where nothing does.

    Raises ValueError that names key and file where it is none, or no UTF-8; FileNotFoundError, an OSError, where it is
    not there.
    """
    where = _where(path, key)
    data = _bytes(path, where)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{where}, line {line}: not UTF-8 text; save the file as UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{where}, line {text.count(chr(10), 0, text.index(chr(0))) + 1}: not UTF-8 text, it has null"
                         " bytes; save the file as UTF-8")  # fmt: skip
    return text


def _bytes(path: str, where: str) -> bytes:
    """What a file holds, unpacked. Raises as `read_text` does."""
    try:
        kind, size = Path(path).stat().st_mode, Path(path).stat().st_size
        if stat.S_ISDIR(kind):
            raise ValueError(f"{where} is a folder, not a file")
        if not stat.S_ISREG(kind):  # it may never end, and each job would read another rest of it
            raise ValueError(f"{where} is no file but a pipe, a socket or a device; write it to a file")
        if size > LARGEST_TEXT:
            raise ValueError(f"{where} has more than {LARGEST_TEXT:,} bytes")
        if not path.endswith(".gz"):
            return Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{where} does not exist") from None
    except OSError as error:
        raise ValueError(f"{where} cannot be read: {error.strerror}") from None
    try:
        with gzip.open(path) as file:
            data = file.read(LARGEST_TEXT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{where} is no gzipped text ({error}); fetch it again") from None
    if len(data) > LARGEST_TEXT:
        raise ValueError(f"{where} has more than {LARGEST_TEXT:,} bytes when it is unpacked")
    return data


def parsed_json(text: str, where: str) -> Any:
    """What a JSON text holds. where: what names it. Raises ValueError that names it where it is none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "\n" in text.strip() else ""
        raise ValueError(f"{where}{line}: no JSON: {error.msg}, at character {error.colno}") from None
    except ValueError as error:  # a number of thousands of digits
        raise ValueError(f"{where}: no JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{where}: no JSON: it is nested too deeply") from None


def check_output(path: str) -> None:
    """Raises ValueError where a command's output would take the place of a folder."""
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder; name a file in it")


def read_yaml(path: str, key: str = "") -> Any:
    """What a YAML file holds. key: as `read_text` takes it.

    Raises ValueError that names key, file and line: no YAML, a key that stands twice, a number that YAML 1.1 reads as
    another one, an alias inside of what it stands for.
    """
    where = _where(path, key)
    text = read_text(path, key)
    if len(text) > LARGEST_YAML:
        raise ValueError(f"{where} has more than {LARGEST_YAML:,} characters")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _check(node, where, (), {})
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        said = error.problem or error.context
        if said == "second occurrence":  # of an anchor, which the context names
            said = str(error.context).split(";")[0]
        raise ValueError(f"{where}{line}: no YAML: {said}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: no YAML: {error}") from None
    except RecursionError:
        raise ValueError(f"{where}: sections stand too deep inside one another") from None
    except _Wrong:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{where}: a value is no YAML: {error}") from None


class _Wrong(ValueError):
    """Found by the checks, with all that is to be said."""


def _check(node: yaml.Node, where: str, above: tuple[int, ...], seen: dict[int, int]) -> int:
    """How many values a node holds with its aliases written out. Raises _Wrong for what reads as something else than it
    looks like, and for too many. seen: the same of nodes that were checked, by id."""
    line = f"{where}, line {node.start_mark.line + 1}"
    if id(node) in above:
        raise _Wrong(f"{line}: an alias (*) inside of what it stands for: it would never end; write it out")
    if id(node) in seen:
        return seen[id(node)]
    values = 1
    above = (*above, id(node))
    if isinstance(node, yaml.ScalarNode):  # in quotes it is text, unless it is tagged as a number
        value = _value(node, line) if node.tag.endswith(TYPES) else None
        if node.tag.endswith((":int", ":float")) and not PLAIN.fullmatch(node.value.strip()):
            raise _Wrong(
                f"{line}: YAML reads {node.value} as another number, {value}: put it in quotes, or write {value}"
            )
    elif isinstance(node, yaml.SequenceNode):
        for child in node.value:
            values += _check(child, where, above, seen)
    elif isinstance(node, yaml.MappingNode):
        names = set()
        for name, child in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value != "<<":
                if (name.tag, name.value) in names:
                    raise _Wrong(
                        f"{where}, line {name.start_mark.line + 1}: the key {name.value!r} stands twice; keep one"
                    )
                names.add((name.tag, name.value))
            values += _check(name, where, above, seen) + _check(child, where, above, seen)
    if values > LARGEST_EXPANDED:
        raise _Wrong(f"{line}: with its aliases (*) written out it has more than {LARGEST_EXPANDED:,} values")
    seen[id(node)] = values
    return values


def _value(node: yaml.ScalarNode, line: str) -> Any:
    """What a single value is read as. Raises _Wrong for such as a 31st of February."""
    try:
        return yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        short = node.value if len(node.value) <= 40 else f"{node.value[:37]}..."
        told = f" ({str(error)[:60]})" if isinstance(error, ValueError) else ""
        kind = node.tag.rpartition(":")[2]
        raise _Wrong(f"{line}: a value is no YAML: {short} is no {kind}{told}; put text in quotes") from None


def read_csv(path: str, key: str, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a CSV file, each with where it begins: key, file and line. columns: those that it must have; others
    are passed over, blank lines too.

    Raises ValueError that names key, file and line, and FileNotFoundError, as `read_text` does.
    """
    where = _where(path, key)
    source = _Lines(read_text(path, key))
    # strict: text after a closing quote, and a quote that is never closed, are errors.
    reader = csv.reader(source, strict=True)
    limit = csv.field_size_limit()
    begins, header = 1, None
    while True:
        begins = source.number + 1
        csv.field_size_limit(LARGEST_FIELD)  # of the whole process: put back before anybody else reads
        try:
            row = next(reader, None)
        except csv.Error as error:
            remedy = (
                "a quote is opened and never closed"
                if "unexpected end" in str(error)
                else f'{error}; a quote inside a quoted field is written twice ("")'
            )
            raise ValueError(f"{where}, line {begins}: {remedy}") from None
        finally:
            csv.field_size_limit(limit)
        if row is None:
            break
        if not row:
            continue
        if header is None:
            header = [name.strip() for name in row]
            if missing := [name for name in columns if name not in header]:
                raise ValueError(
                    f"{where}: the first line names no column {', '.join(sorted(missing))}; it has"
                    f" {', '.join(map(repr, header))[:120]} (columns are apart by commas)"
                )
            if twice := sorted({name for name in header if name and header.count(name) > 1}):
                raise ValueError(f"{where}: the first line names the column {', '.join(twice)} twice")
        elif len(row) != len(header):
            raise ValueError(
                f"{where}, line {begins}: {len(row)} fields, but the first line names {len(header)} columns;"
                ' put text with commas in it in quotes ("...")'
            )
        else:
            yield f"{where}, line {begins}", dict(zip(header, row))
    if header is None:
        raise ValueError(f"{where} is empty: its first line names no column {', '.join(sorted(columns))}")


def whole_number(row: dict[str, str], name: str, where: str) -> int:
    """A row's whole number. where: as `read_csv` gives it. Raises ValueError that names it."""
    if not re.fullmatch(r"\s*[-+]?[0-9]{1,18}\s*", row[name]):
        raise ValueError(f"{where}: layer and neuron must be whole numbers; {name} is {row[name][:40]!r}")
    return int(row[name])


class _Lines:
    """Lines of a text with their ends, counted as they are taken."""

    def __init__(self, text: str):
        self.lines, self.number = io.StringIO(text, newline=""), 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.number += 1
        return line


def _where(path: str, key: str) -> str:
    return f"{key}: {path}" if key else str(path)
