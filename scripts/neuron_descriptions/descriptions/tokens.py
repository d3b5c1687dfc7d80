"""Descriptions without a model: the tokens where a neuron peaks and what stands before them, in words.

A floor for explainers, and what a simulator is trained on.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

import numpy as np

from neuron_descriptions.concepts.vocabulary import is_debris

FEW, MANY = 3, 8  # words named
MOST = 0.6  # share of the peaks that makes a property theirs
OFTEN = 0.4  # the same for what stands before
_SPECIAL = re.compile(r"<\|[^|]*\|>$")


@dataclass(slots=True, frozen=True)
class Peak:
    """Where an exemplar is strongest: the token's text and the text before it."""

    token: str
    before: str
    piece: bool = False  # the token goes on a word that began before it


def peak_of(tokens: list[str], acts: np.ndarray) -> Peak:
    """tokens: texts (T); acts: (T,), largest where the neuron is strongest. The token is completed to its word."""
    at = int(np.argmax(acts))
    word, last = tokens[at], tokens[at - 1] if at else ""
    if _SPECIAL.search(last) and word.isalpha():  # the name of a speaker, which the chat's form brings
        word = ""
    piece = word[:1].isalpha() and last[-1:].isalpha()
    for text in tokens[at + 1 : at + 3]:
        if not (text[:1].isalpha() and word[-1:].isalpha()):
            break
        word += text
    return Peak(word, "".join(tokens[max(0, at - 3) : at]), piece)


def words_of(peaks: list[Peak]) -> list[str]:
    """Distinct words of the peaks, the most frequent first, then in the order of the peaks. What may not stand in a
    description, as a special token, is none."""
    found = Counter(p.token.strip() for p in peaks if is_sayable(p.token.strip()))
    return [word for word, _ in found.most_common()]


def is_sayable(word: str) -> bool:
    """Whether a word can stand in quotation marks: it is no special token, half a character or mark-up, and has no
    quotation mark of its own."""
    # A mark that combines with the letter before it is no character alone.
    return not is_debris(word) and '"' not in word and not unicodedata.category(word[0]).startswith("M")


def named(words: list[str], peaks: list[Peak], whole: str) -> str:
    """Words in quotation marks; those that are no words but pieces of some are said to be. whole: what the
    others are called."""
    pieces = {p.token.strip() for p in peaks if p.piece}
    kinds = [
        (noun, [word for word in words if (word in pieces) == is_piece])
        for noun, is_piece in ((whole, False), ("the word piece", True))
    ]
    return " and ".join(f"{noun}{'s' * (len(some) > 1)} {listed(some)}" for noun, some in kinds if some)


def listed(words: list[str], last: str = "and") -> str:
    """`"a", "b" and "c"`."""
    quoted = [f'"{word}"' for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"


def form_of(words: list[str]) -> str | None:
    """What most of the words have in common in their form, in words; None where nothing is."""
    wanted = max(3, MOST * len(words))
    properties = (
        ("numbers", lambda w: w.isdigit()),
        ("punctuation", lambda w: not any(c.isalnum() for c in w)),
        ("words in capitals", lambda w: len(w) > 1 and w.isupper()),
        ("capitalized words", lambda w: w[0].isupper()),
    )
    for name, holds in properties:
        if sum(map(holds, words)) >= wanted:
            return name
    longer = [word.lower() for word in words if word.isalpha()]
    for size in (4, 3, 2):
        for kind, part in (("ending in", slice(-size, None)), ("beginning with", slice(size))):
            common = Counter(word[part] for word in longer if len(word) > size)
            if common and (top := common.most_common(1)[0])[1] >= wanted:
                return f'words {kind} "{top[0]}"'
    return None


def context_of(peaks: list[Peak]) -> str | None:
    """The word that often stands before the peaks; None where there is none."""
    before = Counter(p.before.split()[-1] for p in peaks if p.before.split() and is_sayable(p.before.split()[-1]))
    for word, count in before.most_common(1):
        if count >= max(3, OFTEN * len(peaks)):
            return word
    return None


def describe_tokens(peaks: list[Peak], generator: np.random.Generator | None = None) -> str | None:
    """A description of the peaks, best exemplar first; with a generator, one of several ways to say it. None where
    no peak has a text."""
    words, context = words_of(peaks), context_of(peaks)
    if not words:
        return None

    def draw(n: int) -> int:
        return 0 if generator is None else int(generator.integers(n))

    form = form_of(words)
    few, many = words[: FEW + draw(3)], words[:MANY]
    ways = [named(many, peaks, "the token")]
    if generator is not None and not any(p.piece for p in peaks):
        ways += [f"words such as {listed(few)}", f"words like {listed(few, 'or')}", named(few, peaks, "the token")]
    if form:
        ways = [f"{form}, such as {listed(few)}"]
        if generator is not None:
            ways += [form, f"{form} ({listed(few)})"]
    found = ways[draw(len(ways))]
    if context and (generator is None or draw(2)):
        place = (f'after "{context}"', f'that follow "{context}"', f'preceded by "{context}"')[draw(3)]
        found = f"{found}, mostly {place}" if generator is None or draw(2) else f"{found}, {place}"
    return found
