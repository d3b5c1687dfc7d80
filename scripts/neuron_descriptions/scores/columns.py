"""Columns that a scorer adds to the atlas: what they are called and say travels with its table."""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from neuron_descriptions.common.vocabulary import CANDIDATE

STATUS = "“ok”, or why there is no score: “no_description”, or what the scorer says."


class Column(NamedTuple):
    """A column of the atlas; of a scorer's table, there under the scorer's name."""

    name: str
    type: pa.DataType
    heading: str  # on the pages
    words: str  # what it says, in plain English


def scorer_schema(name: str, columns: Sequence[Column], details: Sequence[tuple[str, pa.DataType]]) -> pa.Schema:
    """Schema of a scorer's table, a row per neuron and sign: which description was scored, what became of it, its
    columns, then details that stay out of the atlas. name: of the scorer."""
    fields = [
        *(pa.field(*field) for field in CANDIDATE),  # candidate: null where there is no description
        pa.field("description", pa.string()),
        pa.field("status", pa.string(), metadata={"heading": "status", "words": STATUS}),
        *(pa.field(c.name, c.type, metadata={"heading": c.heading, "words": c.words}) for c in columns),
        *(pa.field(*field) for field in details),
    ]
    return pa.schema(fields, metadata={"scorer": name})


def atlas_columns(schema: pa.Schema) -> dict[str, Column]:
    """Columns of a scorer's table that the atlas has: name here -> the column there. Raises ValueError where the table
    is no scorer's."""
    if b"scorer" not in (schema.metadata or {}):
        raise ValueError(f"a table with the columns {schema.names} is no scorer's")
    name, found = schema.metadata[b"scorer"].decode(), {}
    for field in schema:
        about = field.metadata or {}
        if b"heading" in about:
            heading, words = (about[key].decode() for key in (b"heading", b"words"))
            found[field.name] = Column(f"{name}_{field.name}", field.type, f"{name}: {heading}", words)
    return found


def added_columns(schema: pa.Schema) -> list[Column]:
    """Columns of an atlas that scorers added."""
    return [
        Column(field.name, field.type, field.metadata[b"heading"].decode(), field.metadata[b"words"].decode())
        for field in schema
        if b"heading" in (field.metadata or {})
    ]


def as_field(column: Column) -> pa.Field:
    """A column as an atlas has it."""
    return pa.field(column.name, column.type, metadata={"heading": column.heading, "words": column.words})
