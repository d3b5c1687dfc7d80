"""Excerpts: exemplars as prompts show them, with what is highlighted in double braces."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import Any, Literal

import numpy as np

from neuron_descriptions.models.loading import token_strings

Form = Literal["whole", "published"]


@dataclass(frozen=True)
class Excerpt:
    """An exemplar as templates show it: its text with {{ }} around what is highlighted, and its tokens, pairs of a
    text and a number as it is written."""

    text: str
    tokens: tuple[tuple[str, str], ...] = ()
    at: int = field(default=0, compare=False)
    """Place of the strongest of its tokens."""

    def __str__(self) -> str:
        return self.text

    @property
    def plain(self) -> str:
        """Its text, nothing highlighted."""
        return "".join(t for t, _ in self.tokens) or re.sub(r"\{\{(.+?)\}\}", r"\1", self.text, flags=re.DOTALL)

    @property
    def before(self) -> str:
        """What stands before its strongest token; in a text without numbers, before the first that is highlighted."""
        return "".join(t for t, _ in self.tokens[: self.at]) if self.tokens else self.text.partition("{{")[0]

    @property
    def strongest(self) -> str:
        """Its strongest token; in a text without numbers, the first that is highlighted."""
        return self.tokens[self.at][0] if self.tokens else self.text.partition("{{")[2].partition("}}")[0]

    @property
    def active(self) -> list[tuple[str, str]]:
        """The tokens whose number is not zero."""
        return [(token, number) for token, number in self.tokens if float(number) != 0]


def whole_characters(strings: list[str], activations: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Tokens that hold only part of a character put together, with the largest of their activations; a character
    that the window cuts off stands as "�". strings: as token_strings gives them, empty for the parts."""
    ends = [i for i, string in enumerate(strings, 1) if string or i == len(strings)]
    if not ends:
        return [], activations
    return [strings[end - 1] or "�" for end in ends], np.maximum.reduceat(activations, [0, *ends[:-1]])


def n_places(marked: np.ndarray) -> int:
    """Highlighted places, runs of marked tokens, of one excerpt; bool (tokens,)."""
    return int(marked[0]) + int((marked[1:] & ~marked[:-1]).sum()) if len(marked) else 0


@dataclass(frozen=True)
class Highlights:
    """Which tokens of a prompt's excerpts are highlighted.

    `ladder`: thresholds, the strictest first; `places`: so many are wanted over all excerpts; `near_misses`: see the
    config's `descriptions.near_misses`; 1: none.
    """

    ladder: list[float]
    places: int
    near_misses: float = 1.0

    def threshold(self, activations: list[np.ndarray]) -> float:
        """Activation from which a token is highlighted.

        The strictest of `ladder` with at least `places` places over all excerpts, repeats of a string counted. Where
        none has so many (a small corpus; a looser threshold can have fewer, since neighbouring places merge), the one
        with most places, the strictest of equals; the smallest of the excerpts' peaks, with which every excerpt shows
        one, is tried too. activations: one array per excerpt, this sign upwards.
        """
        rungs = [*self.ladder, min(float(a.max()) for a in activations)]
        places = [sum(n_places((a >= threshold) & (a > 0)) for a in activations) for threshold in rungs]
        for threshold, n in zip(self.ladder, places):
            if n >= self.places:
                return threshold
        return max(threshold for threshold, n in zip(rungs, places) if n == max(places))

    def marked(self, strings: list[list[str]], activations: list[np.ndarray]) -> list[np.ndarray]:
        """Which tokens are highlighted, one bool array per excerpt. strings: texts of the tokens.

        What reaches the threshold; and of what nearly does, tokens that are one of those again, whatever their case and
        spaces, and the peak of an excerpt that would show nothing: left unmarked, they would speak against the word.
        """
        threshold = self.threshold(activations)
        marked = [(a >= threshold) & (a > 0) for a in activations]
        again = {_plain(s) for row, m in zip(strings, marked) for s, is_marked in zip(row, m) if is_marked} - {""}
        for row, a, m in zip(strings, activations, marked):
            near = (a >= self.near_misses * threshold) & (a > 0)
            m |= near & np.array([_plain(string) in again for string in row], dtype=bool)
            if not m.any():
                m |= near & (a == a.max())
        return marked


def _plain(string: str) -> str:
    return string.strip().casefold()


def highlight(strings: list[str], marked: np.ndarray, outside: str | None = None) -> str:
    """Tokens joined, runs of marked ones in {{ }}, spaces at a run's ends kept outside, unless it is all spaces.
    outside: the characters that are such spaces; None: all white space."""
    text = ""
    for is_marked, run in groupby(zip(strings, marked), key=lambda pair: bool(pair[1])):
        joined = "".join(string for string, _ in run)
        if is_marked:
            core = joined.strip(outside) or joined
            before, after = joined.split(core, 1)[0], joined[len(joined.rstrip(outside)) :] if core != joined else ""
            joined = f"{before}{{{{{core}}}}}{after}"
        text += joined
    return text


@dataclass(frozen=True, slots=True)
class Contribution:
    """A token, white space around it aside, and its part of all that a feature does on one side."""

    token: str
    share: float
    """Of the sum of activations over the train tokens that are not silent, estimated; in %."""
    active: int
    """Occurrences read at which the feature is not silent."""
    seen: int
    """Occurrences read."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What a prompt can show beside the excerpts."""

    contributions: tuple[Contribution, ...] = ()
    silent: tuple[Excerpt, ...] = ()
    quiet: tuple[Excerpt, ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """How an excerpt is cut and its numbers are written; see ExplainerTemplate."""

    context: int | None = None
    scale: float | None = 10.0
    decimals: int = 0
    form: Form = "whole"

    def excerpt(self, strings: list[str], acts: np.ndarray, marked: np.ndarray, factor: float) -> Excerpt:
        """An exemplar as it is shown. strings: texts of its tokens; acts, marked: of each of them; factor: of numbers
        over activations."""
        if self.context is not None:
            places = np.flatnonzero(marked) if marked.any() else np.array([acts.argmax()])
            window = slice(max(0, int(places[0]) - self.context), int(places[-1]) + self.context + 1)
            strings, acts, marked = strings[window], acts[window], marked[window]
        numbers = [f"{max(0.0, float(a)) * factor:.{self.decimals}f}" for a in acts]
        text = highlight(strings, marked, " " if self.form == "published" else None)
        return Excerpt(text, tuple(zip(strings, numbers)), int(acts.argmax()) if len(acts) else 0)


def excerpts(
    tokenizer: Any,
    ids: list[list[int]],
    activations: list[np.ndarray],
    highlights: Highlights,
    context: int | None = None,
    scale: float | None = 10.0,
    decimals: int = 0,
    form: Form = "whole",
) -> list[Excerpt]:
    """Excerpts of one prompt. ids, activations: of the tokens shown, this sign upwards; context, scale, decimals, form:
    see ExplainerTemplate."""
    if form == "published":
        pairs = [([_alone(tokenizer, i) for i in row], acts) for row, acts in zip(ids, activations)]
    else:
        pairs = [whole_characters(token_strings(tokenizer, row), acts) for row, acts in zip(ids, activations)]
    all_marked = highlights.marked([strings for strings, _ in pairs], [acts for _, acts in pairs])
    peak = max(float(acts.max()) for _, acts in pairs)
    factor = 1.0 if scale is None else scale / peak
    window = Window(context, scale, decimals, form)
    return [window.excerpt(strings, acts, marked, factor) for (strings, acts), marked in zip(pairs, all_marked)]


@lru_cache(1 << 18)
def _alone(tokenizer: Any, token: int) -> str:
    """A token's text by itself: "�" for a part of a character."""
    text: str = tokenizer.decode([token])
    return text
