"""Descriptions that others published, as the CSV that `scores.descriptions` names: one command for each source.

`python -m neuron_descriptions.descriptions.foreign neuronpedia --model gpt2-small --output mine.csv batch-*.jsonl.gz`

Neuronpedia exports explanations (modelId, layer, index, description, ...) as JSON, JSON lines, gzipped ones or CSV.
Transluce's database, as its published code declares it, has a table of descriptions whose neuron_id is
`<model>_<layer>_<neuron>_<expert>` and whose polarity is 1 or -1: dumped as CSV or JSON, alone or with `neurons`.
"""

import argparse
import csv
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from neuron_descriptions.clients.dialects import clean
from neuron_descriptions.common.storage import whole
from neuron_descriptions.common.user_files import check_output, parsed_json, read_csv, read_text
from neuron_descriptions.descriptions.given import COLUMNS, says_something

Record = Mapping[str, Any]
# A source set of Neuronpedia begins with its layer: 12-res-jb, 0-mlp, 31-llamascope-mlp-32k.
_SOURCE = re.compile(r"(\d+)(?:-.*)?")
_NEURON = re.compile(r"(.+)_(\d+)_(\d+)_(None|\d*)")
_POLARITY = {"1": "positive", "-1": "negative"}


class Converted(NamedTuple):
    """How many descriptions were written, and how many rows were left out since nothing is said there."""

    descriptions: int
    without_text: int


class Found(NamedTuple):
    """A description from elsewhere: model that it is about, layer, neuron, sign, words."""

    model: str
    layer: int
    neuron: int
    sign: str
    description: str


def records(path: str) -> Iterator[tuple[str, Record]]:
    """Records of a file, each with where it stands: a CSV, a JSON list, or JSON lines; gzipped where it ends in .gz.

    Raises ValueError that names file and line, or the item of a list; FileNotFoundError where there is no file.
    """
    name = path.removesuffix(".gz")
    if name.endswith(".csv"):
        if path != name:
            raise ValueError(f"{path}: unpack it first; a CSV is read as it is")
        yield from read_csv(path, "", ["description"])
        return
    text = read_text(path, "")
    if text.lstrip().startswith("["):
        yield from _items(path, text)
        return
    # Lines as files have them, not str.splitlines: a string may hold other line separators.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{path} is empty")
    if lines[0][1].strip() == "{":  # one object over many lines
        lines = [(lines[0][0], text)]
    for number, line in lines:
        yield f"{path}, line {number}", _object(parsed_json(line, f"{path}, line {number}"), f"{path}, line {number}")


def _items(path: str, text: str) -> Iterator[tuple[str, Record]]:
    found = parsed_json(text, path)
    if not found:
        raise ValueError(f"{path} is empty")
    for number, item in enumerate(found, 1):
        yield f"{path}, item {number}", _object(item, f"{path}, item {number}")


def _object(found: Any, where: str) -> Record:
    if not isinstance(found, dict):
        raise ValueError(f"{where}: not an object with keys, but {str(found)[:40]!r}")
    return found


def _value(record: Record, key: str, where: str) -> str:
    """What a key says, as text. Raises ValueError where it is missing or empty."""
    value = record.get(key)
    if value is None or not str(value).strip():
        there = ", ".join(list(record)[:12])
        raise ValueError(f"{where}: {'the key' if key not in record else 'nothing stands under the key'} {key}"
                         f"{' is missing' if key not in record else ''}; it has {there}")  # fmt: skip
    if key == "description" and not isinstance(value, str):
        raise ValueError(f"{where}: the description is {str(value)[:40]!r}, not text")
    return clean(str(value)).replace("\0", "").strip()


def _whole_number(record: Record, key: str, where: str) -> int:
    value = _value(record, key, where)
    if not re.fullmatch(r"\d{1,9}", value):
        raise ValueError(f"{where}: {key} is {value[:40]!r}, not a whole number")
    return int(value)


def neuronpedia(record: Record, where: str) -> Found:
    """An explanation of Neuronpedia's. It has no sign there: it is of the positive one. Raises ValueError that names
    where it stands and the key."""
    source = _value(record, "layer", where)
    layer = _SOURCE.fullmatch(source)
    if not layer:
        raise ValueError(f"{where}: layer is {source[:40]!r}; a source set begins with its layer, such as 12-mlp")
    model, text = _value(record, "modelId", where), _value(record, "description", where)
    return Found(model, int(layer[1]), _whole_number(record, "index", where), "positive", text)


def transluce(record: Record, where: str) -> Found:
    """A row of Transluce's table of descriptions. Raises ValueError that names where it stands and the key."""
    polarity = _value(record, "polarity", where)
    if polarity not in _POLARITY:
        raise ValueError(f"{where}: polarity is {polarity[:40]!r}; it is 1 or -1")
    sign, text = _POLARITY[polarity], _value(record, "description", where)
    if "layer" in record and "neuron" in record:  # joined with the table of neurons
        layer, neuron = (_whole_number(record, key, where) for key in ("layer", "neuron"))
        return Found(_value(record, "model_id", where), layer, neuron, sign, text)
    name = _value(record, "neuron_id", where)
    parts = _NEURON.fullmatch(name)
    if not parts:
        raise ValueError(f"{where}: neuron_id is {name[:60]!r}; it has the form <model>_<layer>_<neuron>_<expert>")
    if parts[4] not in ("None", ""):
        raise ValueError(f"{where}: neuron_id {name[:60]!r} is of an expert; mixtures of experts are not supported")
    return Found(parts[1], int(parts[2]), int(parts[3]), sign, text)


SOURCES = {"neuronpedia": neuronpedia, "transluce": transluce}


def convert(source: str, paths: Sequence[str], output: str, model: str, sign: str | None = None) -> Converted:
    """Write the descriptions of files as a CSV of COLUMNS, in their order, each once; rows without text are left out,
    as exports have some.

    source: of SOURCES; model: as the files name it; sign: instead of what the source says. Raises ValueError that names
    file, line and key where one is no such file, is about another model, or holds nothing.
    """
    check_output(output)
    rows: dict[tuple[int, int, str, str], None] = {}
    empty = []
    for path in paths:
        for where, record in records(path):
            if "description" in record and not says_something(record["description"]):
                empty.append(where)
                continue
            found = SOURCES[source](record, where)
            if found.model != model:
                raise ValueError(f"{where}: it is about the model {found.model}, not {model}; leave it out, or name"
                                 " that model with --model")  # fmt: skip
            rows[found.layer, found.neuron, sign or found.sign, found.description] = None
    if not rows and empty:
        raise ValueError(f"{empty[0]}: nothing stands under the key description, nor anywhere else")
    if not rows:
        raise ValueError(f"{', '.join(paths)}: no description")
    with whole(output) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return Converted(len(rows), len(empty))


def main(arguments: list[str] | None = None) -> None:
    """The command; ends with a message where a file is not what it should be."""
    parser = argparse.ArgumentParser(description="Descriptions from elsewhere as a CSV for `scores.descriptions`.")
    parser.add_argument("source", choices=sorted(SOURCES))
    parser.add_argument("files", nargs="+", help="JSON, JSON lines (also .gz) or CSV")
    parser.add_argument("--model", required=True, help="the model, as the files name it")
    parser.add_argument("--output", required=True, help="the CSV that is written")
    parser.add_argument("--sign", choices=list(_POLARITY.values()), help="the sign that all of them are of")
    given = parser.parse_args(arguments)
    try:
        found = convert(given.source, given.files, given.output, given.model, given.sign)
    except (ValueError, OSError) as error:
        sys.exit(str(error))
    left_out = f" ({found.without_text} rows without text left out)" if found.without_text else ""
    print(f"{found.descriptions} descriptions in {Path(given.output)}{left_out}: name it as scores.descriptions")


if __name__ == "__main__":
    main()
