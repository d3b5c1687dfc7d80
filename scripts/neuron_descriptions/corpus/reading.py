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
    return ends - table["prefix_len"].to_numpy()


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


def read_texts(corpus: str | list[str], seq_ids: set[int]) -> dict[int, Text]:
    """The given rows of a corpus table, or of those of several imported parts, by seq_id. Raises ValueError where they
    lack one."""
    paths = [corpus] if isinstance(corpus, str) else corpus
    wanted = pc.field("seq_id").isin(pa.array(sorted(seq_ids), pa.int64()))
    rows = read_tables(paths, CORPUS, wanted).to_pylist()
    found = {row["seq_id"]: Text(row["source"], row["input_ids"], row["prefix_len"]) for row in rows}
    if len(found) < len(seq_ids):
        raise ValueError(f"{', '.join(paths)}: sequences that exemplars name are missing; delete both and run again")
    return found
