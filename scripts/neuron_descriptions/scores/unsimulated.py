"""What a description predicts where it was not simulated: expected token by token, from where it was.

A description's predictions go by tokens for a large part, and all tokens of a text are known; so are the real
activations. Both are used: what was predicted at a token elsewhere is expected at it, and the sequences that were drawn
say what that misses.

S sequences of the text, N its tokens, V variables of a token (1, predicted, true, and what else is controlled for), Q
sequences that were simulated, K invented ones.
"""

import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from neuron_descriptions.scores.sampling import Array, Rest, Sample, moments

Places = NDArray[np.int64]

UNSEEN = 4.0  # drawn sequences that what none of them shows counts as
PRIOR = 1.0  # occurrences that the mean of all tokens counts as, for each token
WORD = re.compile(r"\w+")


class Text:
    """A text's tokens: what is known of a sequence before anything is simulated there."""

    def __init__(self, ids_S: list[list[int]], strings_S: list[list[str]]):
        """Token ids and strings of its sequences; without strings, what is named is not looked for."""
        self.ids_N, lengths_S = np.concatenate([np.array(ids, np.int64) for ids in ids_S]), [len(ids) for ids in ids_S]
        self.sequence_N = np.repeat(np.arange(len(ids_S)), lengths_S)
        self.sequences, self.size = len(ids_S), int(self.ids_N.max(initial=-1)) + 1
        self.words_S = [_words_of(tokens) for tokens in strings_S]
        # The same number for the same token in the same sequence.
        self.own_N = np.unique(self.sequence_N * self.size + self.ids_N, return_inverse=True)[1]

    def sums(self, values_N: Array) -> Array:
        """Over each sequence (S,)."""
        return np.bincount(self.sequence_N, values_N, self.sequences).astype(float)

    def moments(self, variables_VN: list[Array]) -> Array:
        """Sums of products of a token's variables, a first one being 1, over each sequence; (S, V, V)."""
        rows_VN = [np.ones(len(self.ids_N)), *variables_VN]
        return np.array([[self.sums(one * other) for one in rows_VN] for other in rows_VN]).transpose(2, 0, 1)

    def likely(self, description: str, predicted: dict[int, Array], count: int) -> Places:
        """Up to `count` further sequences with the largest expected sums of squared predictions (of equal ones the
        first), ascending; none without any. It goes by no draw, so that draws of the other sequences stay uniform.

        predicted: of sequences that were chosen by their activations. A token's expected square is the mean there; of
        a word that does not occur there, the largest of these where the description has it.
        """
        ids_N = np.concatenate([self.ids_N[self.sequence_N == i] for i in predicted])
        squares_N = np.concatenate(list(predicted.values())) ** 2
        seen_V = np.bincount(ids_N, minlength=self.size)
        square_V = np.bincount(ids_N, squares_N, self.size) / np.maximum(seen_V, 1)
        expected_S = self.sums(square_V[self.ids_N])
        if self.words_S:
            known = set().union(*(self.words_S[i] for i in predicted))
            named = {word.lower() for word in WORD.findall(description)} - known
            expected_S += (square_V.max() or 1.0) * np.array([sum(words[w] for w in named) for words in self.words_S])
        expected_S[list(predicted)] = 0
        found_Q = np.argsort(-expected_S, kind="stable")[:count]
        return np.sort(found_Q[expected_S[found_Q] > 0])


def _words_of(tokens: list[str]) -> Counter[str]:
    """How often each word, and each token by itself, occurs in a sequence; in lower case."""
    alone: Counter[str] = Counter(token.strip().lower() for token in tokens)
    words: Counter[str] = Counter(word.lower() for word in WORD.findall("".join(tokens)))
    return alone | words


def by_token(text: Text, predicted_N: Array, told_N: NDArray[np.bool_], drawn_N: NDArray[np.bool_]) -> Array:
    """What is expected of each token, (N,): the mean of what was predicted at it in other sequences. The mean over all
    tokens counts as PRIOR occurrences, so that a token that was seen nowhere else is expected to be like the others.

    predicted_N: 0 where nothing was; told_N: where something was; drawn_N: the part of it that tells of all tokens.
    """
    sums_V = np.bincount(text.ids_N, predicted_N, text.size)
    seen_V = np.bincount(text.ids_N, told_N, text.size)
    own_N, times_N = (np.bincount(text.own_N, values)[text.own_N] for values in (predicted_N, told_N))
    usual = predicted_N[drawn_N].mean()
    expected_N: Array = (sums_V[text.ids_N] - own_N + PRIOR * usual) / (seen_V[text.ids_N] - times_N + PRIOR)
    return expected_N


def shrunk(expected_N: Array, predicted_N: Array, drawn_N: NDArray[np.bool_]) -> Array:
    """Expected predictions as far as they hold in the drawn sequences, from not at all to all (least squares through
    the origin): those that tell nothing only add noise."""
    scale = float(expected_N[drawn_N] @ expected_N[drawn_N])
    holds = float(expected_N[drawn_N] @ predicted_N[drawn_N]) / scale if scale else 0.0
    return expected_N * min(max(holds, 0.0), 1.0)


def unsimulated(
    text: Text, predicted: dict[int, Array], known_VN: list[Array], places_Q: Places, sample: Sample
) -> tuple[Array, Rest]:
    """(sums of products of the variables over the simulated sequences, (V, V); what is known of the others).

    predicted: of the sequences at places_Q, of which `sample` tells the certain ones (stratum 0) from the drawn ones
    (1); known_VN: each other variable, the true one first, on all tokens.
    """
    predicted_N, simulated_S, drawn_S = np.zeros(len(text.ids_N)), *np.zeros((2, text.sequences), bool)
    simulated_S[places_Q], drawn_S[places_Q[sample.stratum_Q == 1]] = True, True
    told_N, drawn_N = (which_S[text.sequence_N] for which_S in (simulated_S, drawn_S))
    for place in places_Q:
        predicted_N[text.sequence_N == place] = predicted[int(place)]
    seen_SVV = text.moments([predicted_N, *known_VN])
    seen_VV, left = seen_SVV[simulated_S].sum(0), int((~simulated_S).sum())
    none_KVV = np.zeros((0, *seen_VV.shape))
    if not left or not drawn_S.any():
        return seen_VV, Rest(np.zeros_like(seen_VV), left, none_KVV, none_KVV, 0.0)
    first_N, second_N = (
        shrunk(by_token(text, values_N, told_N, drawn_N), values_N, drawn_N)
        for values_N in (predicted_N, predicted_N**2)
    )
    expected_SVV = text.moments([first_N, *known_VN])
    expected_SVV[:, 1, 1] = text.sums(second_N)
    shown_D = seen_SVV[drawn_S, 1, 1]
    effective = shown_D.sum() ** 2 / (shown_D**2).sum() if shown_D.any() else 0.0
    certain_N = (text.sequence_N == place for place in places_Q[sample.stratum_Q == 0])
    usual = float(seen_SVV[drawn_S, 2, 2].mean())
    unseen = [of for which_N in certain_N for of in _unseen([v[which_N] for v in (predicted_N, *known_VN)], usual)]
    return seen_VV, Rest(
        expected_VV=expected_SVV[~simulated_S].sum(0),
        count=left,
        missed_DVV=(seen_SVV - expected_SVV)[drawn_S],
        unseen_KVV=np.array(unseen).reshape(len(unseen), *seen_VV.shape),
        # Less, the more of the drawn ones show a prediction (the effective number of Kish 1965, by squared ones).
        weight=UNSEEN / (1 + effective),
    )


def _unseen(variables_VT: list[Array], usual: float) -> list[Array]:
    """What sequences like a certain one may have beyond the expected that no draw has shown, (V, V) each: its
    predictions, the truth as weak as it is elsewhere; as right as they are there, and as wrong as if they were half a
    sequence off. usual: sum of squared true activations of a drawn sequence."""
    predicted, true, *others = variables_VT
    energy = float(true @ true)
    weaker = np.sqrt(min(1.0, usual / energy)) if energy else 1.0
    found = []
    for invented in (predicted, np.roll(predicted, len(true) // 2)):
        sums_VV = moments([invented], [weaker * true], *([of] for of in others))[0]
        free = np.arange(len(sums_VV)) == 1  # what is not predicted is known of every sequence
        found.append(np.where(free[:, None] | free, sums_VV, 0.0))
    return found
