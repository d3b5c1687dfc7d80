"""Columns that further scorers add to the atlas. Their tables bring what a column is called and says."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from neuron_descriptions.atlas.tables import ATLAS, ATLAS_UNSIMULATED
from neuron_descriptions.common.storage import read_parquet, read_table
from neuron_descriptions.scores.columns import Column, added_columns, as_field, atlas_columns


def read_atlas(path: str) -> tuple[pa.Table, list[Column]]:
    """An atlas, of a run with or without a simulator, and the columns in it that scorers added. Raises ValueError where
    it is none."""
    added, base = [], ATLAS
    try:
        found = pq.read_schema(path)
        added = added_columns(found)
        base = ATLAS if "simulator" in found.names else ATLAS_UNSIMULATED
    except (pa.ArrowException, OSError):
        pass  # what is wrong with it is said below
    return read_table(path, pa.schema([*base, *map(as_field, added)])), added


def with_all_columns(table: pa.Table) -> pa.Table:
    """An atlas's rows with every column of ATLAS, null where the run has none, and no others."""
    rows = [dict.fromkeys(ATLAS.names) | row for row in table.to_pylist()]
    return pa.Table.from_pylist(rows, schema=ATLAS)


class Added:
    """What scorers' tables add to rows of the atlas."""

    def __init__(self, tables: Iterable[str]):
        """tables: of any scorers and parts. Raises ValueError where one is no scorer's."""
        self.columns: dict[str, Column] = {}
        self._rows: dict[tuple[int, int, str], dict[str, Any]] = {}
        for path in tables:
            table = read_parquet(path)
            try:
                columns = atlas_columns(table.schema)
            except ValueError as error:
                raise ValueError(f"{path}: {error}; delete it and run again") from None
            self.columns |= {column.name: column for column in columns.values()}
            for row in table.select([*("layer", "neuron", "sign"), *columns]).to_pylist():
                found = self._rows.setdefault((row["layer"], row["neuron"], row["sign"]), {})
                found |= {column.name: row[name] for name, column in columns.items()}

    def values(self, row: dict[str, Any]) -> dict[str, Any]:
        """Their values for a row (layer, neuron, sign); null where they have none."""
        return dict.fromkeys(self.columns) | self._rows.get((row["layer"], row["neuron"], row["sign"]), {})

    def schema(self, simulated: bool = True) -> pa.Schema:
        """The atlas's schema with their columns; simulated: of a run with a simulator."""
        return pa.schema(
            [*(ATLAS if simulated else ATLAS_UNSIMULATED), *(as_field(column) for column in self.columns.values())]
        )
