"""What the tokens that a neuron makes more likely have in common, in words: the search for concepts, over single tokens
of the vocabulary instead of a text.

V tokens of the vocabulary, S of them that a search reads.
"""

import numpy as np
import torch
from torch import Tensor

from neuron_descriptions.common.streams import generator
from neuron_descriptions.concepts.evidence import Exemplars, TextTable
from neuron_descriptions.concepts.execution import ConceptList
from neuron_descriptions.concepts.predicates import Predicate, Reader
from neuron_descriptions.concepts.search import DEFAULTS, cut, find_parts, holding, weighted_correlation
from neuron_descriptions.concepts.vocabulary import Vocabulary

# Tokens that a search reads: the strongest, and a sample that stands for all others.
STRONGEST, OTHERS = 200, 2000


class TokenReader(Reader):
    """Reads tokens that stand alone. Letters without a space before them go on with a word: they are a piece of one."""

    def held(self, tokens: list[str]) -> list[set[Predicate]]:
        """What is true of each token."""
        found = super().held(tokens)
        for number, token in enumerate(tokens):
            if token.isalpha() and token.islower():
                found[number] = {Predicate("piece", token)}
        return found


class Namer:
    """Finds words for effects on the tokens of a vocabulary."""

    def __init__(self, texts: list[str], lists: Vocabulary, seed: int):
        """texts (V): what each token says; lists: of words that belong together."""
        self.table = TextTable({token: [text] for token, text in enumerate(texts)}, TokenReader(lists))
        self.size = len(texts)
        self.sample_S = np.sort(generator(seed, "vocabulary").permutation(self.size)[:OTHERS])

    def name(self, effects_V: Tensor) -> tuple[ConceptList, float]:
        """The list of a neuron's effects, large where it makes a token more likely; and the correlation of what the
        list predicts with them. What is to be said is how far the strongest tokens stand out: effects count beyond the
        weakest of these. Every second token finds the list, the others cut it to a length and give the correlation."""
        strongest = effects_V.topk(min(STRONGEST, self.size))
        best, least = strongest.indices.numpy(), strongest.values.min()
        others = np.setdiff1d(self.sample_S, best)
        weight = (self.size - len(best)) / max(len(others), 1)
        # In the order of the ids, as the search takes its texts.
        halves = [np.sort(np.concatenate([best[half::2], others[half::2]])) for half in (0, 1)]
        strong = set(best.tolist())
        fit, held_out = (
            Exemplars(
                rows_N=self.table.places(tokens.tolist()),
                acts_N=np.maximum((effects_V[torch.from_numpy(tokens)] - least).double().numpy(), 0.0),
                sequence_N=tokens.astype(np.int64),
                weight_N=np.array([1.0 if token in strong else weight for token in tokens.tolist()]),
            )
            for tokens in halves
        )
        found = cut(self.table, find_parts(self.table, fit), held_out, DEFAULTS)
        predicted_N, open_N = np.full(len(held_out.rows_N), found.base), np.ones(len(held_out.rows_N), dtype=bool)
        for part in found.parts:
            holds_N = holding(self.table, part, held_out.rows_N) & open_N
            predicted_N[holds_N] = part.weight
            open_N &= ~holds_N
        return found, weighted_correlation(predicted_N, held_out.acts_N, held_out.weight_N)
