"""Descriptions without a model: the tokens where a neuron peaks and what stands before them, in words.

A floor for explainers, and what a simulator is trained on.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

FEW, MANY = 3, 8  # words named
MOST = 0.6  # share of the peaks that makes a property theirs
OFTEN = 0.4  # the same for what stands before


@dataclass(slots=True, frozen=True)
class Peak:
    """Where an exemplar is strongest: the token's text and the text before it."""

    token: str
    before: str


def peak_of(tokens: list[str], acts: np.ndarray) -> Peak:
    """tokens: texts (T); acts: (T,), largest where the neuron is strongest. The token is completed to its word."""
    at = int(np.argmax(acts))
    word = tokens[at]
    for text in tokens[at + 1 : at + 3]:
        if not (text[:1].isalpha() and word[-1:].isalpha()):
            break
        word += text
    return Peak(word, "".join(tokens[max(0, at - 3) : at]))


def words_of(peaks: list[Peak]) -> list[str]:
    """Distinct words of the peaks, the most frequent first, then in the order of the peaks."""
    return [word for word, _ in Counter(p.token.strip() for p in peaks if p.token.strip()).most_common()]


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
    before = Counter(p.before.split()[-1] for p in peaks if p.before.split())
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
    form = form_of(words)
    draw = (lambda n: 0) if generator is None else (lambda n: int(generator.integers(n)))
    few, many = words[: FEW + draw(3)], words[:MANY]
    ways = [f"the tokens {listed(many)}" if len(many) > 1 else f"the token {listed(many)}"]
    if generator is not None:
        ways += [", ".join(many), f"words such as {', '.join(few)}", f"words like {listed(few, 'or')}", listed(many)]
    if form:
        ways = [f"{form}, such as {listed(few)}"]
        if generator is not None:
            ways += [form, f"{form} ({', '.join(few)})"]
    found = ways[draw(len(ways))]
    if context and (generator is None or draw(2)):
        place = (f'after "{context}"', f'that follow "{context}"', f'preceded by "{context}"')[draw(3)]
        found = f"{found}, mostly {place}" if generator is None or draw(2) else f"{found}, {place}"
    return found
