"""Exemplars as the later stages read them: stored activations, the text that they belong to, and the side that is
looked at, joined here alone.

T evidence tokens of a sequence.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from neuron_descriptions.common.signs import one_side, turned
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.corpus.reading import Text, read_texts
from neuron_descriptions.harvest.tables import EXEMPLARS

KINDS = ("top", "middle", "random")
Filters = list[tuple[str, str, object]]
# Of a split's texts: its corpus table, those of several imported parts, or what reads the rows with given ids.
Source = str | list[str] | Callable[[set[int]], dict[int, Text]]


@dataclass(slots=True, frozen=True)
class Exemplar:
    """A stored sequence of a feature and sign."""

    split: str
    layer: int
    neuron: int
    sign: str
    kind: str
    """One of KINDS."""
    rank: int
    seq_id: int
    text: Text
    activations: NDArray[np.float32]
    """(T,), signed, of the text's evidence."""
    peak: float
    """The most extreme of them on this side, signed, as the table says it; NaN where it does not."""
    gate: float | None = None
    """Where exemplars have gates: that of the first token with that activation."""

    def turned(self, sign: str | None = None) -> NDArray[np.float64]:
        """Activations (T,) with a side upwards, its own where none is said: strong is large, the other side below 0."""
        return turned(self.activations.astype(np.float64), sign or self.sign)

    def one_side(self, sign: str | None = None) -> NDArray[np.float64]:
        """Activations (T,) of a side, its own where none is said; the other side as 0."""
        return one_side(self.activations.astype(np.float64), sign or self.sign)


class ExemplarStore:
    """The exemplars of some features, each with its text."""

    def __init__(
        self,
        files: Iterable[str],
        corpus: Mapping[str, Source],
        filters: Filters | None = None,
        wanted: Callable[[int, int], bool] | None = None,
        beside: pa.Table | None = None,
    ):
        """files: tables of exemplars; corpus: texts of the splits that are asked for; filters: pyarrow's, of rows that
        are kept; wanted: which features are, by layer and neuron (all, by default); beside: another table of
        sequences, whose texts are read too, for `join`.

        Raises ValueError where a table cannot be read, or a text is missing.
        """
        only: Filters = [*(filters or []), ("split", "in", list(corpus))]
        tables = [read_table(path, EXEMPLARS, only) for path in files]
        if wanted is not None:
            tables = [table.filter(_where(wanted, table)) for table in tables]
        ids: dict[str, set[int]] = {split: set() for split in corpus}
        for table in [*tables, beside] if beside is not None else tables:
            for split, seq_id in zip(table["split"].to_pylist(), table["seq_id"].to_pylist()):
                if split in ids:
                    ids[split].add(seq_id)
        self.texts = {split: _texts(source, ids[split]) for split, source in corpus.items()}
        self._groups: dict[tuple[int, int, str], list[Exemplar]] = {}
        for exemplar in (found for table in tables for found in self.join(table)):
            self._groups.setdefault((exemplar.layer, exemplar.neuron, exemplar.sign), []).append(exemplar)

    def join(self, table: pa.Table) -> list[Exemplar]:
        """Rows of a table of sequences as exemplars, in its order: those of EXEMPLARS, or of `beside`, whose texts were
        read."""
        lists = table["activations"].combine_chunks()
        acts, ends = lists.values.to_numpy(), lists.offsets.to_numpy()
        peaks = table["peak"].to_pylist() if "peak" in table.column_names else [float("nan")] * len(table)
        gates = table["gate"].to_pylist() if "gate" in table.column_names else [None] * len(table)
        names = ("split", "layer", "neuron", "sign", "kind", "rank", "seq_id")
        columns = zip(*(table[name].to_pylist() for name in names), peaks, gates, ends[:-1], ends[1:])
        return [
            Exemplar(split, layer, neuron, sign, kind, rank, seq_id, self.texts[split][seq_id], acts[a:b], peak, gate)
            for split, layer, neuron, sign, kind, rank, seq_id, peak, gate, a, b in columns
        ]

    def __iter__(self) -> Iterator[Exemplar]:
        """All of them, feature by feature and sign by sign, in the tables' order."""
        return (exemplar for group in self._groups.values() for exemplar in group)

    def places(self) -> list[tuple[int, int, str]]:
        """Layer, neuron and sign of all that have exemplars, in the tables' order."""
        return list(self._groups)

    def of(self, layer: int, neuron: int, sign: str) -> list[Exemplar]:
        """A feature's exemplars on one side, of all splits and kinds that were read; empty where it has none."""
        return self._groups.get((layer, neuron, sign), [])


def _where(wanted: Callable[[int, int], bool], table: pa.Table) -> pa.Array:
    places = zip(table["layer"].to_pylist(), table["neuron"].to_pylist())
    return pa.array([wanted(layer, neuron) for layer, neuron in places], pa.bool_())


def _texts(source: Source, seq_ids: set[int]) -> dict[int, Text]:
    return source(seq_ids) if callable(source) else read_texts(source, seq_ids)
