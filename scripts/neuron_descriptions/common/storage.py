"""Files that appear whole or not at all, and tables with a declared schema."""

import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Row = dict[str, Any]  # of a table: values by column


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A name beside `path` to write to (a file or a folder); renamed to `path` on success, else removed.

    Raises OSError that names `path` when the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    part = scratch / path.name
    try:
        yield part
        _sync(part)
        if path.is_dir():
            path.rename(scratch / "old")
        part.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"writing {path}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sync(path: Path) -> None:
    for file in path.rglob("*") if path.is_dir() else [path]:
        if not file.is_dir():
            with file.open("rb") as f:
                os.fsync(f.fileno())


# --- checksums ---------------------------------------------------------------------------------------
# Parquet's own are of pages' contents alone: a flipped bit in a page's header, or in the footer with its counts and
# statistics, would be read as other rows. So 16 bytes more stand between the pages and the footer, where no reader
# looks, since all go by the footer's offsets: this mark, the CRC-32 of all before it, and that of all after, itself
# included. The second one alone is read where only the footer is.

_MARK = b"checksum"
_TAIL = 8  # bytes after the footer: its length, then Parquet's own mark


def _crc32(file: BinaryIO, size: int, so_far: int = 0) -> int:
    """CRC-32 of the next `size` bytes."""
    while size > 0:
        block = file.read(min(size, 1 << 20))
        if not block:
            break
        so_far, size = zlib.crc32(block, so_far), size - len(block)
    return so_far


def _footer_start(file: BinaryIO) -> int:
    """Where the footer begins; below 0 where this is no Parquet file."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(end - _TAIL, 0))
    return end - _TAIL - int.from_bytes(file.read(4), "little")


def _seal(path: Path) -> None:
    """Put the checksums into a table."""
    with path.open("r+b") as file:
        start = _footer_start(file)
        file.seek(start)
        footer = file.read()
        file.seek(0)
        mark = _MARK + _crc32(file, start).to_bytes(4, "little")
        file.write(mark + zlib.crc32(mark + footer).to_bytes(4, "little") + footer)


def _check_seal(path: str | Path, pages: bool) -> None:
    """Raises OSError where a table's bytes are not those that were written; pages: of the whole file, else of the
    footer. Tables without these checksums pass, such as those that others made."""
    with open(path, "rb") as file:
        start = _footer_start(file)
        place = start - len(_MARK) - 8
        if place < 0:
            return
        file.seek(place)
        mark = file.read(len(_MARK) + 4)
        expected, footer = file.read(4), file.read()
        if not mark.startswith(_MARK):
            return
        good = expected == zlib.crc32(mark + footer).to_bytes(4, "little")
        if good and pages:
            file.seek(0)
            good = mark.endswith(_crc32(file, place).to_bytes(4, "little"))
        if not good:
            raise OSError("its bytes are not those that were written")


# --- tables ------------------------------------------------------------------------------------------


def write_table(table: pa.Table, path: str | Path) -> None:
    """Write a table as Parquet, with checksums: zstd; floats of lists byte-stream-split, so that the zero bytes of
    activations that came in 16 bits cost next to nothing. Tables without such lists, which people take away, have
    encodings that all readers know."""
    with whole(path) as part:
        pq.write_table(
            table,
            part,
            compression="zstd",
            compression_level=1,  # smaller than the default on activations, and faster
            row_group_size=4_096,
            use_dictionary=[f.name for f in table.schema if pa.types.is_string(f.type)],
            column_encoding={
                f"{field.name}.list.element": "BYTE_STREAM_SPLIT"
                for field in table.schema
                if pa.types.is_list(field.type) and pa.types.is_floating(field.type.value_type)
            }
            or None,
            write_page_checksum=True,
        )
        _seal(part)


def read_table(
    path: str | Path,
    schema: pa.Schema,
    filters: list[tuple[str, str, object]] | pc.Expression | None = None,
    columns: list[str] | None = None,
) -> pa.Table:
    """Read a table, or some columns of it, with only the rows that `filters` (pyarrow's) let through.

    Raises ValueError that names the file when it is not such a table, or damaged.
    """
    try:
        table = read_parquet(path, filters, columns)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns])
    if table.schema.names != schema.names or table.schema.types != schema.types:
        raise ValueError(
            f"{path} has other columns than this version writes: {table.schema.names} instead of"
            f" {schema.names}; delete it and run again"
        )
    return table


def read_tables(
    paths: list[str], schema: pa.Schema, filters: list[tuple[str, str, object]] | pc.Expression | None = None
) -> pa.Table:
    """Read several tables as one, in their order; see `read_table`."""
    return pa.concat_tables([read_table(path, schema, filters) for path in paths])


def read_footer(path: str | Path) -> pq.FileMetaData:
    """A table's number of rows and facts, without the rows. Raises ValueError that names the file."""
    try:
        _check_seal(path, pages=False)
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def read_parquet(
    path: str | Path,
    filters: list[tuple[str, str, object]] | pc.Expression | None = None,
    columns: list[str] | None = None,
) -> pa.Table:
    """Read a Parquet file that somebody else may have made. All checksums that it has are verified. Raises pyarrow's
    exceptions and OSError."""
    _check_seal(path, pages=True)
    return pq.read_table(path, columns=columns, filters=filters, partitioning=None, page_checksum_verification=True)


def _unreadable(path: str | Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is not a readable Parquet file ({str(error).splitlines()[0]}); delete it and run again")
