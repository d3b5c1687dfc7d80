"""A run as one CSV file, a row for each neuron and sign, with all columns of ROW."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from neuron_descriptions.exports.reading import ROW, FinishedRun, blocks

ROWS = 10_000  # in memory at a time


class Csv:
    """`neurons.csv`; empty means null."""

    def write(self, run: FinishedRun, folder: Path) -> None:
        """Write the file."""
        with pyarrow.csv.CSVWriter(folder / "neurons.csv", ROW) as writer:
            for features in blocks(run.features(), ROWS):
                writer.write_table(pa.Table.from_pylist([feature.row for feature in features], schema=ROW))
