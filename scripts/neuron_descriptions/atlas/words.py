"""Descriptions as numbers of their words, which take a fifth of their bytes: sentences of a run are made of few words.

A word here is letters and digits with all that follows them up to the next ones; of writing without spaces, one
character. Where one begins is told by the two characters at its beginning, whatever their case, so that the page
(pages/words.js) cuts what is searched for in the same way, looks for its pieces among the words, and for their numbers
among the rows'. The most frequent words have the smallest numbers: those below 128 take a byte, others two to four,
whose first byte says how many.
"""

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np

from neuron_descriptions.atlas.packing import pack

# Kana, Chinese characters, Hangul: none of them has a case.
_SINGLE = r"\u3000-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff"
_OTHER = r"A-Za-z0-9\x80-\u2fff\ua000-\uabff\ud7a4-\U0001ffff\U00040000-\U0010ffff"
WORD = re.compile(f"[{_SINGLE}]?[{_OTHER}]*[^A-Za-z0-9\x80-\U0010ffff]*")
# (bits of the first byte that say how many bytes a number has, how many bytes follow, how many numbers there are)
CODES = ((0, 0, 1 << 7), (128, 1, 1 << 14), (192, 2, 1 << 21), (224, 3, 1 << 29))


class Words:
    """The words of descriptions, the most frequent first."""

    def __init__(self, descriptions: Iterable[str | None]):
        counts = Counter(word for text in descriptions if text for word in WORD.findall(text))
        del counts[""]  # what is found at the end
        self.words = sorted(counts, key=lambda word: (-counts[word], word))
        self._codes = {word: _code(number) for number, word in enumerate(self.words)} | {"": b""}

    def encode(self, text: str | None) -> bytes:
        """A description's words; nothing for none. Raises KeyError where a word is not among these."""
        return b"".join([self._codes[word] for word in WORD.findall(text or "")])

    def pack(self) -> bytes:
        """The words for the page: their bytes, from which to which each goes, and which of them have capitals that are
        not A to Z, since the page folds the case of these alone byte by byte."""
        encoded = [word.encode() for word in self.words]
        capitals = [i for i, word in enumerate(self.words) if any(c > "\x7f" and c.lower() != c for c in word)]
        arrays: dict[str, np.ndarray] = {
            "at": np.cumsum([0, *map(len, encoded)]).astype(np.uint32),
            "text": np.frombuffer(b"".join(encoded), np.uint8),
        }
        return pack({"capitals": capitals}, arrays)


def _code(number: int) -> bytes:
    for first, more, n in CODES:
        if number < n:
            return bytes([first | number >> 8 * more, *(number & (1 << 8 * more) - 1).to_bytes(more, "big")])
        number -= n
    raise ValueError("there are more than 500 million words")
