"""What is true of which tokens, as a sparse matrix, and a feature's exemplars cut from it.

A tokens of all texts, N tokens of a feature's exemplars, P predicates, M of them that are worth a look.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from neuron_descriptions.concepts.predicates import KINDS, Predicate, Reader, words_of
from neuron_descriptions.concepts.wording import sayable

Floats = NDArray[np.float64]


class TextTable:
    """Predicates of texts: what every feature's search reads."""

    def __init__(self, texts: dict[int, list[str]], reader: Reader, least: int = 2):
        """texts: tokens of each sequence; least: tokens that a predicate must be true of, or it is left out, which
        changes no search that wants as many. Predicates that cannot be said are left out."""
        held = [predicates for seq_id in sorted(texts) for predicates in reader.held(texts[seq_id])]
        counts: dict[Predicate, int] = {}
        for predicates in held:
            for predicate in predicates:
                counts[predicate] = counts.get(predicate, 0) + 1
        self.known = sorted((p for p, n in counts.items() if n >= least and sayable(p)), key=_order)
        self.kind_P = np.array([KINDS.index(p.kind) for p in self.known], np.int64)
        self.index = {p: i for i, p in enumerate(self.known)}
        rows = [[self.index[p] for p in predicates if p in self.index] for predicates in held]
        indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int32)
        indices = np.fromiter((i for row in rows for i in sorted(row)), np.int32, int(indptr[-1]))
        shape = (len(held), len(self.known))
        self.holds_AP = sparse.csr_matrix((np.ones(len(indices), np.bool_), indices, indptr), shape)
        self._columns = self.holds_AP.tocsc()
        lengths = [len(texts[seq_id]) for seq_id in sorted(texts)]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.rows = {seq_id: (int(starts[i]), int(starts[i + 1])) for i, seq_id in enumerate(sorted(texts))}
        self.word = [next((p.value for p in predicates if p.kind == "word"), "") for predicates in held]
        self.spelled = [word for seq_id in sorted(texts) for word in _spelled(texts[seq_id])]
        self._number: dict[str, int] = {}
        numbers = (self._number.setdefault(word, len(self._number)) for word in self.word)
        self._word_A = np.fromiter(numbers, np.int32, len(held))

    def places(self, seq_ids: Iterable[int]) -> NDArray[np.int64]:
        """Rows of the sequences' tokens, one sequence after the other."""
        return np.concatenate([np.arange(*self.rows[seq_id]) for seq_id in seq_ids] or [np.zeros(0, np.int64)])

    def at(self, predicate: Predicate) -> NDArray[np.int32]:
        """Rows at which a predicate holds, ascending; none where no text has it."""
        number = self.index.get(predicate)
        if number is None:
            return np.zeros(0, np.int32)
        rows: NDArray[np.int32] = self._columns.indices[self._columns.indptr[number] : self._columns.indptr[number + 1]]
        return rows

    def spellings(self, words: Iterable[str], rows_N: NDArray[np.int64]) -> dict[str, str]:
        """How names and the like, known in lower case, are mostly spelled at these rows: words that never stand there
        in lower case. The beginnings of sentences, where every word has a capital, tell nothing."""
        wanted = [self._number[word] for word in words if word in self._number]
        counts: dict[str, Counter[str]] = {}
        for row in rows_N[np.isin(self._word_A[rows_N], wanted)].tolist():
            if spelled := self.spelled[row]:
                counts.setdefault(self.word[row], Counter())[spelled] += 1
        return {w: max(found, key=lambda s: (found[s], s)) for w, found in counts.items() if w not in found}


_BEGIN = frozenset({".", "!", "?", ":", '"', "“"})


def _spelled(tokens: list[str]) -> list[str]:
    """Of each token its word as it is spelled; "" at the beginning of a sentence or line, or of what is quoted."""
    found: list[str] = []
    beginning = True
    for i, j in words_of(tokens):
        word = "".join(tokens[i:j]).strip()
        found += ["" if beginning else word] * (j - i)
        if word[:1].isalnum():
            beginning = False
        elif not word or word[-1] in _BEGIN or "\n" in tokens[j - 1]:
            beginning = True
    return found


def _order(predicate: Predicate) -> tuple[str, int, str]:
    """By kind, of endings and beginnings the longer first, then the alphabet."""
    longer = -len(predicate.value) if predicate.kind in ("ending", "beginning") else 0
    return predicate.kind, longer, predicate.value


@dataclass(slots=True)
class Exemplars:
    """A feature's sequences of one split, in the order of their ids: rows of a TextTable and what the feature does
    there, turned so that strong is large, what is below 0 as 0."""

    rows_N: NDArray[np.int64]
    acts_N: Floats
    sequence_N: NDArray[np.int64]
    weight_N: Floats  # how much each token counts


def exemplars_of(
    table: TextTable, acts: dict[int, NDArray[np.floating]], weights: dict[int, float] | None = None
) -> Exemplars:
    """acts: activations (T,) by sequence, large where the feature is strong; weights: how much a sequence's tokens
    count, 1 by default. The order of the sequences changes nothing. Raises ValueError where one has other tokens."""
    ids = sorted(acts)
    for seq_id in ids:
        first, last = table.rows[seq_id]
        if len(acts[seq_id]) != last - first:
            raise ValueError(f"sequence {seq_id} has {last - first} tokens and {len(acts[seq_id])} activations")
    lengths = [len(acts[seq_id]) for seq_id in ids]
    return Exemplars(
        table.places(ids),
        np.maximum(np.concatenate([np.asarray(acts[i], float) for i in ids] or [np.zeros(0)]), 0.0),
        np.repeat(np.array(ids, np.int64), lengths),
        np.repeat(np.array([(weights or {}).get(i, 1.0) for i in ids], float), lengths),
    )


def joined(one: Exemplars, other: Exemplars) -> Exemplars:
    """The exemplars of two splits as those of one."""
    names = ("rows_N", "acts_N", "sequence_N", "weight_N")
    return Exemplars(*(np.concatenate([getattr(one, name), getattr(other, name)]) for name in names))
