"""The panel as other stages read it: its text, and any feature's activations at every token.

I features, N evidence tokens of the panel, in the order of its sequences.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from neuron_descriptions.common.checksums import row_checksums
from neuron_descriptions.common.provenance import file_digest
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.corpus.reading import Text, corpus_facts
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.models.loading import load_tokenizer, token_strings, tokenizer_fingerprint
from neuron_descriptions.panel.harvesting import ACTS, CHECKSUMS, MADE_OF, NEURONS, about
from neuron_descriptions.run.fingerprints import model_fingerprint

NO_TOKEN = -1  # before the first token of a sequence


class Panel:
    """Text that all features share, and their activations at every token of it."""

    def __init__(self, corpus: str, files: Iterable[str] = (), subject: str | None = None):
        """corpus: the panel's table. files: activations, one of each layer that is asked for. subject: folder of the
        model; needed for `strings`, and otherwise only checked.

        Raises ValueError where these do not belong to each other: activations on another text, of another seed or
        another subject; or where one is not readable.
        """
        self.corpus, self.subject = corpus, subject
        self._facts = corpus_facts(corpus)
        columns = ["source", "input_ids", "prefix_len"]
        self.sequences = [Text(**row) for row in read_table(corpus, CORPUS, columns=columns).to_pylist()]
        self._digest = file_digest(corpus)
        self._files: dict[int, str] = {}
        self._neurons: dict[int, list[int]] = {}
        self._made_of: dict[int, tuple[str, str]] = {}
        for file in files:
            self._open(file)

    def _open(self, file: str) -> None:
        with _named(file), safe_open(file, "pt") as opened:
            made_of = json.loads(opened.metadata()[MADE_OF])
            layer = int(made_of["layer"])
            shape = opened.get_slice(ACTS).get_shape()
            neurons = opened.get_tensor(NEURONS).tolist()
        if made_of["corpus"] != self._digest:
            raise ValueError(f"{file} belongs to another panel than {self.corpus}; delete both and run again")
        if self.subject is not None and made_of["subject"] != model_fingerprint(self.subject):
            raise ValueError(
                f"{file} has the activations of another model than {self.subject}; delete it and run again"
            )
        if shape != [len(neurons), self.tokens]:
            raise ValueError(f"{file} is not a readable panel: its shape is {shape}; delete it and run again")
        self._files[layer], self._neurons[layer] = file, neurons
        self._made_of[layer] = made_of["subject"], made_of["seed"]

    @property
    def tokens(self) -> int:
        """N."""
        return self._facts.tokens

    @property
    def layers(self) -> list[int]:
        """Layers whose activations are there."""
        return list(self._files)

    def neurons(self, layer: int) -> list[int]:
        """Features of a layer, in the order of their rows. Raises ValueError where the layer is not there."""
        if layer not in self._neurons:
            there = ", ".join(map(str, self._neurons)) or "none"
            raise ValueError(f"layer {layer} is not in the panel {self.corpus} (layers: {there})")
        return self._neurons[layer]

    def made_of(self, layer: int) -> tuple[str, str]:
        """Fingerprint of the subject, and the seed, of a layer's activations."""
        self.neurons(layer)
        return self._made_of[layer]

    def acts(self, layer: int, neurons: Iterable[int] | None = None) -> NDArray[np.float32]:
        """Signed activations (I, N), float32, of some features of a layer, or of all; only their rows are read, and
        verified. Raises ValueError where one is not there, or the file is damaged."""
        there = self.neurons(layer)
        place = {neuron: row for row, neuron in enumerate(there)}
        wanted = there if neurons is None else list(neurons)
        if missing := [neuron for neuron in wanted if neuron not in place]:
            raise ValueError(f"layer {layer}, neuron {missing[0]} is not in the panel {self.corpus}: it was not kept")
        if not wanted:
            return np.zeros((0, self.tokens), np.float32)
        with _named(self._files[layer]), safe_open(self._files[layer], "pt") as opened:
            found = [_rows(opened, slice(first, last), about(layer, self._digest))
                     for first, last in _runs([place[neuron] for neuron in wanted])]  # fmt: skip
        return torch.cat(found).float().numpy()

    # --- the tokens, in the order of the activations' columns ---

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Evidence tokens of each sequence."""
        return np.array([len(s.input_ids) - s.prefix_len for s in self.sequences])

    @cached_property
    def sequence_N(self) -> NDArray[np.int64]:
        """Place, among `sequences`, of each token's sequence."""
        return np.repeat(np.arange(len(self.sequences)), self.lengths)

    @cached_property
    def ids_N(self) -> NDArray[np.int64]:
        """Token ids."""
        return np.concatenate([s.evidence for s in self.sequences])

    @cached_property
    def previous_N(self) -> NDArray[np.int64]:
        """Ids of the tokens before, the prefix's last one included; NO_TOKEN at the start of what the model reads."""
        return np.concatenate([[NO_TOKEN, *s.input_ids][s.prefix_len : -1] for s in self.sequences])

    @cached_property
    def position_N(self) -> NDArray[np.int64]:
        """Positions as the model counts them: from 0, the prefix included."""
        return np.concatenate([np.arange(s.prefix_len, len(s.input_ids)) for s in self.sequences])

    @cached_property
    def strings(self) -> list[list[str]]:
        """The text that each evidence token adds, by sequence. Raises ValueError without a subject, or where its
        tokenizer is another than the one that the text was cut with."""
        if self.subject is None:
            raise ValueError(f"the strings of {self.corpus} need the subject's folder")
        tokenizer = load_tokenizer(self.subject)
        if tokenizer_fingerprint(tokenizer) != self._facts.tokenizer:
            raise ValueError(f"{self.corpus} was cut with another tokenizer than that of {self.subject}; delete it")
        return [token_strings(tokenizer, s.input_ids)[s.prefix_len :] for s in self.sequences]


def _runs(rows: list[int]) -> Iterator[tuple[int, int]]:
    """First and past-the-last of each stretch of rows that follow each other, in the order given."""
    ends = [i + 1 for i, (a, b) in enumerate(pairwise(rows)) if b != a + 1]
    for first, last in pairwise([0, *ends, len(rows)]):
        yield rows[first], rows[last - 1] + 1


def _rows(opened: safe_open, rows: slice, described: str) -> torch.Tensor:
    found: torch.Tensor = opened.get_slice(ACTS)[rows]
    if not torch.equal(row_checksums(found, 1, described), opened.get_slice(CHECKSUMS)[rows]):
        raise ValueError("its bytes are not those that were written")
    return found


@contextmanager
def _named(file: str) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file} is not a readable panel ({error}); delete it and run again") from None
