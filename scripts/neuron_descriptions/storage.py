"""Files that appear whole or not at all, and tables with a declared schema."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


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


def write_table(table: pa.Table, path: str | Path) -> None:
    """Write a table as Parquet: zstd; floats byte-stream-split, so that the zero bytes of activations that
    came in 16 bits cost next to nothing."""
    floats = [field.name for field in table.schema if _is_float(field.type)]
    with whole(path) as part:
        pq.write_table(
            table,
            part,
            compression="zstd",
            compression_level=1,  # smaller than the default on activations, and faster
            row_group_size=4_096,
            use_dictionary=[f.name for f in table.schema if pa.types.is_string(f.type)],
            column_encoding={_leaf(table.schema, name): "BYTE_STREAM_SPLIT" for name in floats} or None,
        )


def _is_float(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind.value_type if pa.types.is_list(kind) else kind)


def _leaf(schema: pa.Schema, name: str) -> str:
    return f"{name}.list.element" if pa.types.is_list(schema.field(name).type) else name


def read_table(
    path: str | Path,
    schema: pa.Schema,
    filters: list[tuple[str, str, object]] | pc.Expression | None = None,
) -> pa.Table:
    """Read a table, with only the rows that `filters` (pyarrow's) let through.

    Raises ValueError that names the file when it is not such a table.
    """
    try:
        table = pq.read_table(path, filters=filters, partitioning=None)
    except (pa.ArrowInvalid, pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{path} is not a readable Parquet file ({str(error).splitlines()[0]}); delete it and run again"
        ) from None
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
