"""Rules of planted features (see planted.py): how strongly one fires on each word of a text.

They are written over words of the plain text, apart from the predicates that a search for concepts knows; some cannot
be said with these, and some features have none.

T tokens of a sequence.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Words = list[str]
Strength = Callable[[Words], list[float]]
_WORD = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)*|\S")
# Kinds whose features follow a single rule.
ONE_RULE = ("word", "family", "category", "context", "form")


@dataclass(slots=True, frozen=True)
class Planted:
    """A feature: the kind of its rule, the rule in words, how strongly it fires on each word of a text (None: it has no
    rule), and the words that it names, where it names words."""

    kind: str
    said: str
    strength: Strength | None
    words: tuple[str, ...] = ()

    def truth(self, tokens: Sequence[str]) -> NDArray[np.float64]:
        """How strongly it fires on each token, (T,), 0 where it is silent; a word's tokens all fire as the word does.
        tokens: texts, as token_strings gives them. Of a feature without a rule: zeros."""
        found = np.zeros(len(tokens))
        if self.strength is None:
            return found
        words, places = _cut(tuple(tokens))
        for (first, last), value in zip(places, self.strength(words)):
            if value:
                found[first : last + 1] = np.maximum(found[first : last + 1], value)
        return found


@lru_cache(maxsize=10_000)
def _cut(tokens: tuple[str, ...]) -> tuple[Words, list[tuple[int, int]]]:
    """Words of a text, and the first and last token of each."""
    text, ends = "".join(tokens), np.cumsum([len(token) for token in tokens])
    spans = [match.span() for match in _WORD.finditer(text)]
    firsts = np.searchsorted(ends, [a for a, _ in spans], "right").tolist()
    lasts = np.searchsorted(ends, [b - 1 for _, b in spans], "right").tolist()
    return [text[a:b] for a, b in spans], list(zip(firsts, lasts))


def _each(fires: Callable[[str], bool]) -> Strength:
    return lambda words: [float(fires(word)) for word in words]


def _ending(end: str) -> Strength:
    return _each(lambda word: len(word) > len(end) + 1 and word.lower().endswith(end))


def _one_of(names: str) -> Strength:
    known = frozenset(names.split())
    return _each(lambda word: word.lower() in known)


def _both(fires: Callable[[str], bool], before: Callable[[str], bool]) -> Strength:
    """On words that follow certain others."""
    return lambda words: [float(i > 0 and before(words[i - 1]) and fires(word)) for i, word in enumerate(words)]


def _after(before: Callable[[str], bool]) -> Strength:
    return _both(lambda word: True, before)


def _is(*names: str) -> Callable[[str], bool]:
    return lambda word: word.lower() in names


def _letters(word: str) -> bool:
    return word.isalpha()


def _number(word: str) -> bool:
    return word[0].isdigit()


def _capital(word: str) -> bool:
    return word[0].isupper()


def _since(starts: Callable[[str], bool], times: int = 1) -> Strength:
    """On all words after the first, or a later, one of some words."""

    def strength(words: Words) -> list[float]:
        counts = np.cumsum([starts(word) for word in words])
        return [float(i > 0 and counts[i - 1] >= times) for i in range(len(words))]

    return strength


def _inside(opening: str, closing: str) -> Strength:
    def strength(words: Words) -> list[float]:
        found, is_open = [], False
        for word in words:
            is_open = is_open and word != closing
            found.append(float(is_open))
            is_open = is_open or word == opening
        return found

    return strength


def _either(*rules: Strength) -> Strength:
    return lambda words: [max(values) for values in zip(*(rule(words) for rule in rules))]


def _graded(size: Callable[[str], float]) -> Strength:
    return lambda words: [size(word) for word in words]


def _weights(weak: str, strong: str) -> Strength:
    some, more = frozenset(weak.split()), frozenset(strong.split())
    return _graded(lambda word: 1.0 if word.lower() in more else 0.4 if word.lower() in some else 0.0)


_FAMILIES = (
    "nation nations national nationally", "year years yearly", "state states stated statement statements",
    "export exports exported exporting", "tax taxes taxed taxation", "law laws lawful lawfully",
    "great greater greatest", "work works worked working workers",
)  # fmt: skip
_CATEGORIES = {
    "directions of the compass": "north south east west northern southern eastern western northeast southwest",
    "members of a family": "father mother son daughter brother sister wife husband children child family parents",
    "fighting": "war wars army navy troops soldiers enemy battle military weapons attack",
    "buying and selling": "trade commerce market markets price prices sold buy sale goods",
    "water": "sea ocean river rivers lake water waters coast harbor bay gulf",
    "what a parliament does": "vote votes elected election elections bill bills amendment veto session legislature",
    "liking": "love like enjoy favorite fun cool awesome nice glad hope",
    "farming": "agriculture agricultural farm farms farmers wheat corn cotton cattle crops land",
    "money owed": "debt debts loan loans credit bonds revenue deficit budget treasury",
    "countries of Europe": "france germany spain italy russia britain england austria portugal greece poland sweden",
    "kinds of energy": "oil gas coal electricity nuclear fuel petroleum power hydroelectric",
    "quantities": "many few several most some all more less much",
}
# Words that nothing holds together.
_SEVERAL = (
    "order river ever small", "children before law island", "think north money under", "american rate long good",
    "year house very south", "public because water new", "war live first land", "trade never old system",
    "peace know total through", "coast time must area", "world school between gas", "during like party union",
)  # fmt: skip
_WORDS = (
    "government", "people", "congress", "of", "and", "that", "which", "you", "country", "population", "would", "it",
)  # fmt: skip


def rules() -> list[Planted]:
    """Every feature that has a rule."""
    found = [Planted("word", f'the word "{word}"', _one_of(word), (word,)) for word in _WORDS]
    found += [Planted("family", f"forms of {names.split()[0]}", _one_of(names), tuple(names.split()))
              for names in _FAMILIES]  # fmt: skip
    found += [Planted("category", said, _one_of(names), tuple(names.split())) for said, names in _CATEGORIES.items()]
    for kind, named in (
        ("context", _contexts()), ("form", _forms()), ("sequence", _sequences()), ("conjunction", _conjunctions()),
        ("two senses", _two_senses()), ("graded", _grades()), ("outside", _outside()),
    ):  # fmt: skip
        found += [Planted(kind, said, rule) for said, rule in named.items()]
    return found + [Planted("several words", f"any of {names}", _one_of(names), tuple(names.split()))
                    for names in _SEVERAL]  # fmt: skip


def without_rule(count: int) -> list[Planted]:
    """Features that have none."""
    return [Planted("none", "no rule", None) for _ in range(count)]


def _contexts() -> dict[str, Strength]:
    afters = {f'the word after "{word}"': _after(_is(word)) for word in ("the", "of", "to", "our", "i", "united")}
    return afters | {
        "what follows a comma": _after(_is(",")),
        "what follows a number": _after(_number),
        "what stands in parentheses": _inside("(", ")"),
    }


def _forms() -> dict[str, Strength]:
    return {
        'words ending in "tion"': _ending("tion"),
        'words ending in "ing"': _ending("ing"),
        "numbers": _each(_number),
        "capitalized words": _each(lambda word: _letters(word) and _capital(word)),
        "words of nine letters or more": _each(lambda word: _letters(word) and len(word) >= 9),
        "commas": _each(_is(",")),
    }


def _sequences() -> dict[str, Strength]:
    return {
        "all that follows a question mark": _since(_is("?")),
        "texts after three numbers": _since(_number, 3),
        'texts that have mentioned "congress"': _since(_is("congress")),
        "texts in which somebody says I": _since(_is("i")),
        "texts that have mentioned a percentage": _since(_is("%", "percent")),
    }


def _conjunctions() -> dict[str, Strength]:
    return {
        'capitalized words after "the"': _both(lambda word: _letters(word) and _capital(word), _is("the")),
        'capitalized words after "of"': _both(lambda word: _letters(word) and _capital(word), _is("of")),
        'long words after "the"': _both(lambda word: _letters(word) and len(word) >= 9, _is("the")),
        'words ending in s after "of"': _both(lambda word: len(word) > 3 and word.endswith("s"), _is("of")),
        "numbers after a comma": _both(_number, _is(",")),
        '"the" after a comma': _both(_is("the"), _is(",")),
    }


def _two_senses() -> dict[str, Strength]:
    return {
        '"government", and commas': _either(_one_of("government"), _each(_is(","))),
        "numbers, and words for you": _either(_each(_number), _one_of("you your yours")),
        'words ending in "ing", and fighting': _either(
            _forms()['words ending in "ing"'], _one_of(_CATEGORIES["fighting"])
        ),
        'the word after "of", and question marks': _either(_after(_is("of")), _each(_is("?"))),
        "water, and liking": _either(_one_of(_CATEGORIES["water"]), _one_of(_CATEGORIES["liking"])),
        '"that", and farming': _either(_one_of("that"), _one_of(_CATEGORIES["farming"])),
    }


def _grades() -> dict[str, Strength]:
    return {
        "longer words, the stronger": _graded(lambda word: max(len(word) - 6, 0) / 6 if _letters(word) else 0.0),
        "longer numbers, the stronger": _graded(lambda word: min(len(word), 5) / 5 if _number(word) else 0.0),
        "war, and weakly peace": _weights("peace treaty treaties", "war wars military army"),
        "you, and weakly I": _weights("i my me", "you your"),
        "the, and weakly a": _weights("a an", "the"),
    }


def _outside() -> dict[str, Strength]:
    """What no predicate of a search for concepts can say."""
    return {
        "words with a doubled letter": _each(lambda w: _letters(w) and any(a == b for a, b in pairwise(w))),
        "words of exactly five letters": _each(lambda w: _letters(w) and len(w) == 5),
        "words whose third letter is r": _each(lambda w: _letters(w) and w[2:3].lower() == "r"),
        "every seventh word": lambda words: [float(i % 7 == 6) for i in range(len(words))],
        'the second word after "the"': lambda words: [
            float(i > 1 and words[i - 2].lower() == "the") for i in range(len(words))
        ],
        "words of more vowels than consonants": _each(
            lambda w: _letters(w) and 2 * sum(c in "aeiouAEIOU" for c in w) > len(w)
        ),
    }
