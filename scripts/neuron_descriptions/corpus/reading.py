"""Corpus tables as the later stages read them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from neuron_descriptions.common.storage import read_footer, read_table, read_tables
from neuron_descriptions.corpus.tables import CORPUS


@dataclass(slots=True, frozen=True)
class CorpusFacts:
    """What a stage needs to know of a split without reading it."""

    sequences: int
    tokens: int  # evidence tokens: prefixes do not count
    longest: int  # evidence tokens of the longest sequence
    tokenizer: str  # fingerprint


def corpus_facts(path: str) -> CorpusFacts:
    """Facts of a corpus table, from its footer: of the whole split, also where the table holds an imported part's
    sequences alone. Raises ValueError where it is none."""
    footer = read_footer(path)
    try:
        facts = {k: (footer.metadata or {})[k.encode()].decode() for k in ("tokens", "longest", "tokenizer")}
        sequences = int(footer.metadata.get(b"sequences", footer.num_rows))
    except KeyError as error:
        raise ValueError(f"{path} is not a corpus table ({error}); delete it and run again") from None
    return CorpusFacts(sequences, int(facts["tokens"]), int(facts["longest"]), facts["tokenizer"])


def evidence_lengths(corpus: str) -> np.ndarray:
    """Evidence tokens of each sequence of a corpus table, in its order."""
    table = read_table(corpus, CORPUS)
    ends = table["input_ids"].combine_chunks().value_lengths().to_numpy()
    lengths: np.ndarray = ends - table["prefix_len"].to_numpy()
    return lengths


@dataclass(slots=True, frozen=True)
class Text:
    """A corpus row."""

    source: str
    input_ids: list[int]
    prefix_len: int

    @property
    def evidence(self) -> list[int]:
        """Token ids without the template's prefix: what stored activations belong to."""
        return self.input_ids[self.prefix_len :]


class CorpusTexts:
    """A corpus table in memory, for those who ask for some of its rows again and again."""

    def __init__(self, path: str):
        """Raises ValueError where it is none."""
        self.path, self.table = path, read_table(path, CORPUS)
        seq_ids = self.table["seq_id"].to_numpy()
        self.order = np.argsort(seq_ids, kind="stable")
        self.seq_ids = seq_ids[self.order]

    def __call__(self, seq_ids: set[int]) -> dict[int, Text]:
        """The rows with these ids, as `read_texts` reads them."""
        wanted = np.array(sorted(seq_ids), np.int64)
        places = np.searchsorted(self.seq_ids, wanted)
        if (places == len(self.seq_ids)).any() or (self.seq_ids[places] != wanted).any():
            raise _lacking([self.path])
        return _rows(self.table.take(self.order[places]))


def read_texts(corpus: str | list[str], seq_ids: set[int]) -> dict[int, Text]:
    """The given rows of a corpus table, or of those of several imported parts, by seq_id. Raises ValueError where they
    lack one."""
    paths = [corpus] if isinstance(corpus, str) else corpus
    wanted = pc.field("seq_id").isin(pa.array(sorted(seq_ids), pa.int64()))
    found = _rows(read_tables(paths, CORPUS, wanted))
    if len(found) < len(seq_ids):
        raise _lacking(paths)
    return found


def _rows(table: pa.Table) -> dict[int, Text]:
    columns = (table[name].to_pylist() for name in ("seq_id", "source", "input_ids", "prefix_len"))
    return {seq_id: Text(source, input_ids, prefix) for seq_id, source, input_ids, prefix in zip(*columns)}


def _lacking(paths: list[str]) -> ValueError:
    return ValueError(f"{', '.join(paths)}: sequences that exemplars name are missing; delete both and run again")
