"""Predicates over tokens: what can be said of a token from the text up to its word's end.

T tokens of a sequence. A predicate is true of some of them; `wording` says it as a person would.
"""

import re
import unicodedata
from functools import cache
from typing import NamedTuple

from neuron_descriptions.concepts.vocabulary import Vocabulary, stem_of

# Marks that have a name: one of them, many of them. No other is said alone.
MARKS = {
    ",": "comma", ".": "period", ":": "colon", ";": "semicolon", "?": "question mark", "!": "exclamation mark",
    "-": "hyphen", "–": "dash", "—": "dash", "--": "dash", "(": "opening parenthesis", ")": "closing parenthesis",
    "%": "percent sign", "$": "dollar sign", "'": "apostrophe", "’": "apostrophe", '"': "quotation mark",
    "“": "opening quotation mark", "”": "closing quotation mark", "/": "slash", "*": "asterisk", "\\": "backslash",
    "[": "opening bracket", "]": "closing bracket", "{": "opening brace", "}": "closing brace", "&": "ampersand",
    "=": "equals sign", "+": "plus sign", "_": "underscore", "#": "number sign", "@": "at sign", "|": "vertical bar",
    "<": "less-than sign", ">": "greater-than sign", "...": "ellipsis", "…": "ellipsis", "~": "tilde",
    "^": "caret", "`": "backtick", "°": "degree sign", "€": "euro sign", "£": "pound sign", "•": "bullet",
}  # fmt: skip
# From the plainest on.
KINDS = (
    "word", "list", "place", "mark", "family", "digits", "ending", "beginning", "piece", "after", "following", "in",
    "about",
)  # fmt: skip
# What narrows another predicate down, rather than standing for itself.
CONTEXTS = frozenset({"after", "following", "in", "about"})
SCRIPTS = ("cyrillic", "greek", "arabic", "hebrew", "devanagari", "cjk", "hiragana", "katakana", "hangul", "thai")
_SPECIAL = re.compile(r"<\|.*?\|>")
_YEAR = re.compile(r"(1[5-9]|20)\d\d")
# A text is about a list from so many of its words on; lists that name a subject.
ABOUT, SUBJECT = 3, "words about "
_CODE = re.compile(r"[a-z]\w*[A-Z]|\w_\w")


class Predicate(NamedTuple):
    """kind: "word", "family" (words of one stem), "list" (of the vocabulary), "place", "mark", "digits", "ending",
    "beginning", "piece", "after" (a word or mark), "following" (a list or place), "in", "about" (a list of which the
    text before has several words); value: which."""

    kind: str
    value: str


def words_of(tokens: list[str]) -> list[tuple[int, int]]:
    """(first, past the last) token of each word: letters that follow letters, digits that follow digits, with points
    and commas between digits, belong together; every other token stands alone."""
    spans, i, n = [], 0, len(tokens)
    while i < n:
        j = i + 1
        while j < n and _continues(tokens, i, j):
            j += 1
        spans.append((i, j))
        i = j
    return spans


def _continues(tokens: list[str], first: int, j: int) -> bool:
    here, last = tokens[j], tokens[j - 1]
    if here[:1].isalpha() and last[-1:].isalpha():
        return True
    if here[:1].isdigit():
        inner = last in (".", ",") and j - 2 >= first and tokens[j - 2][-1:].isdigit()
        return last[-1:].isdigit() or inner
    return here in (".", ",") and last[-1:].isdigit() and j + 1 < len(tokens) and tokens[j + 1][:1].isdigit()


_WORDS_OF_A_LETTER = frozenset("aiouy")  # in chats, too
_ROLE = Predicate("place", "role")


def _is_scrap(text: str, before: str) -> bool:
    """Whether letters are no word of their own: what an apostrophe cuts off (the "d" of "I'd"), or a single letter that
    is none; text: with the space before it; before: the token before."""
    cut_off = not text[:1].isspace() and before.strip() in ("'", "’")
    return cut_off or (len(text.strip()) == 1 and text.strip().lower() not in _WORDS_OF_A_LETTER)


class Reader:
    """Says what is true of the tokens of texts, by the lists of a vocabulary."""

    def __init__(self, vocabulary: Vocabulary):
        self.vocabulary = vocabulary
        self._of_text = cache(self._word_predicates)

    def held(self, tokens: list[str]) -> list[set[Predicate]]:
        """What is true of each token. tokens: texts (T), as token_strings gives them. A word's predicates hold at each
        of its tokens; what stands after a token's word changes nothing."""
        found: list[set[Predicate]] = []
        state = _State()
        for i, j in words_of(tokens):
            text = "".join(tokens[i:j])
            word = text.strip()
            if state.names_speaker(word):  # a header of the chat's form, not a word of what is said
                found += [{_ROLE} for _ in range(i, j)]
                state.pass_by(word, text, (_ROLE,))
                continue
            of_word = self._of_text(text)
            if _is_scrap(text, tokens[i - 1] if i else ""):
                of_word = tuple(Predicate("piece", p.value) if p.kind == "word" else p for p in of_word)
            before = state.before(word)
            for t in range(i, j):
                held = {*of_word, *before}
                _of_place(held, tokens, i, j, t, word)
                if t == i:
                    held |= state.first(word)
                found.append(held)
            state.pass_by(word, text, of_word)
        return found

    def _word_predicates(self, text: str) -> tuple[Predicate, ...]:
        """What is true of a word whatever its place; text: with the space before it."""
        word = text.strip()
        if _SPECIAL.search(word):
            return (Predicate("place", "turn"),)
        if not word:
            return (Predicate("place", "line break" if "\n" in text else "space"),)
        if word.isalpha():
            return tuple(self._of_letters(word))
        if word[0].isdigit():
            return tuple(_of_number(word))
        return tuple(_of_marks(word))

    def _of_letters(self, word: str) -> set[Predicate]:
        low = word.lower()
        held = {Predicate("word", low)}
        held |= {Predicate("list", phrase) for phrase in self.vocabulary.phrases(low)}
        if len(low) > 3:
            held.add(Predicate("family", stem_of(low)))
        for size in (2, 3, 4):
            if len(low) > size + 1:
                held |= {Predicate("ending", low[-size:]), Predicate("beginning", low[:size])}
        places = {
            "capitals": len(word) > 1 and word.isupper(),
            "capitalized": word[:1].isupper() and not (len(word) > 1 and word.isupper()),
            "lower case": word.islower(),
            "long word": len(word) >= 9,
            "short word": len(word) <= 2,
            "accents": any(c > "\x7f" for c in word) and word[0].isascii(),
            "plural": len(low) > 3 and low.endswith("s") and not low.endswith(("ss", "us", "is")),
            "code name": bool(_CODE.search(word)),
        }
        held |= {Predicate("place", place) for place, holds in places.items() if holds}
        if not word.isascii():
            script = unicodedata.name(next(c for c in word if not c.isascii()), "").split(" ")[0].lower()
            held |= {Predicate("place", script)} & {Predicate("place", s) for s in SCRIPTS}
        return held


def _of_number(word: str) -> set[Predicate]:
    held = {Predicate("place", "number")}
    if word.isdigit():
        held.add(Predicate("place", "single digit" if len(word) == 1 else "several digits"))
    places = {"year": bool(_YEAR.fullmatch(word)), "thousands": "," in word, "decimal number": "." in word}
    return held | {Predicate("place", place) for place, holds in places.items() if holds}


def _of_marks(word: str) -> set[Predicate]:
    if word.isalnum() or "\ufffd" in word:
        return set()
    held = {Predicate("mark", word)} if word in MARKS else set()
    held |= {Predicate("mark", c) for c in word if c in MARKS}
    if any(c.isalpha() for c in word):
        return held | ({Predicate("place", "code name")} if _CODE.search(word) else set())
    places = {
        "punctuation": True,
        "several marks": len(word) > 1,
        "end of sentence": any(c in ".!?" for c in word),
        "closing mark": any(c in ")]}”" for c in word),
        "opening mark": any(c in "([{“" for c in word),
        "mathematical sign": any(c in "+=<>×÷±*^" for c in word),
        "emoji": any(unicodedata.category(c) == "So" for c in word),
    }
    return held | {Predicate("place", place) for place, holds in places.items() if holds}


def _of_place(held: set[Predicate], tokens: list[str], i: int, j: int, t: int, word: str) -> None:
    """Add what the place of token t in its word, tokens i to j - 1, says."""
    piece = tokens[t].strip()
    if word.isalpha():
        if j - i > 1:
            held.add(Predicate("place", "first piece" if t == i else "last piece" if t == j - 1 else "middle piece"))
            if piece.isalpha():
                held.add(Predicate("piece", piece.lower()))
        return
    if not word[:1].isdigit():
        return
    if not piece.isdigit():
        held.add(Predicate("place", "mark in number"))
        return
    held.add(Predicate("digits", piece))
    if i and tokens[i - 1].strip().endswith("$"):
        held.add(Predicate("place", "money"))
    before = "".join(tokens[i:t])
    if "." in before:
        held.add(Predicate("place", "decimals"))
    elif "," in before:
        held.add(Predicate("place", "after thousands"))
    digits = sum(c.isdigit() for c in before)
    if j - i > 1:
        held.add(Predicate("place", ("first digit", "second digit", "third digit", "later digit")[min(digits, 3)]))
        if t == j - 1:
            held.add(Predicate("place", "last digit"))


class _State:
    """What the text before a word says about it."""

    def __init__(self) -> None:
        self.words, self.quoted, self.open = 0, False, ""
        self.sentence, self.line, self.role, self.speaker = True, True, False, ""
        self.seen: set[str] = set()
        self.counts: dict[str, int] = {}  # of a subject's words
        self.about: set[Predicate] = set()
        self.previous: set[Predicate] = set()  # what stands right before, as contexts
        self.comment = False

    def names_speaker(self, word: str) -> bool:
        """Whether a word is the name of a speaker at the beginning of a turn."""
        return self.role and word.isalpha()

    def before(self, word: str) -> set[Predicate]:
        """What holds of each of a word's tokens."""
        held = set(self.previous)
        if not word or _SPECIAL.search(word):
            return held
        low = word.lower()
        places = {
            "text": self.words < 3,
            "middle capital": word[:1].isupper() and not (self.sentence or self.line),
            "repeated": word.isalpha() and len(word) > 3 and low in self.seen,
            "first time": word.isalpha() and len(word) > 5 and low not in self.seen and self.words > 10,
        }
        held |= {Predicate("place", place) for place, holds in places.items() if holds}
        inside = {"quotes": self.quoted, "comment": self.comment, self.open: bool(self.open)}
        inside |= {f"turn of {self.speaker}": bool(self.speaker)}
        held |= {Predicate("in", place) for place, holds in inside.items() if holds}
        return held | self.about

    def first(self, word: str) -> set[Predicate]:
        """What holds of a word's first token alone."""
        if not word or _SPECIAL.search(word):
            return set()
        return {Predicate("place", p) for p, holds in (("sentence", self.sentence), ("line", self.line)) if holds}

    def pass_by(self, word: str, text: str, of_word: tuple[Predicate, ...]) -> None:
        """Take a word into what stands before the next one; of_word: what is true of it."""
        special = bool(_SPECIAL.search(word))
        if word:
            self.words += 1
            if self.names_speaker(word):
                self.speaker = {"user": "user", "assistant": "assistant", "system": "system"}.get(word.lower(), "")
            self.role = special and "start" in word
        if word.isalpha() and of_word != (_ROLE,):
            self._take_subjects(word.lower(), of_word)
        if word or "\n" in text:
            self.previous = _as_contexts(word, of_word)
        self._open_and_close(word, special or "\n" in text)
        if word[:1].isalnum():
            self.sentence = self.line = False
        if special or word[-1:] in (".", "!", "?") or "\n" in text:
            self.sentence = True
        if special or "\n" in text:
            self.line = True

    def _take_subjects(self, low: str, of_word: tuple[Predicate, ...]) -> None:
        if low in self.seen:
            return
        self.seen.add(low)
        for predicate in of_word:
            if predicate.kind == "list" and predicate.value.startswith(SUBJECT):
                count = self.counts[predicate.value] = self.counts.get(predicate.value, 0) + 1
                if count == ABOUT:
                    self.about.add(Predicate("about", predicate.value))

    def _open_and_close(self, word: str, new_line: bool) -> None:
        if new_line:
            self.quoted, self.open, self.comment = False, "", False
        if word in ('"', "“", "”"):
            self.quoted = word == "“" or (word == '"' and not self.quoted)
        elif word.startswith(("#", "//")) and len(word) <= 3:
            self.comment = True
        for c in word if not word.isalnum() else "":
            if c in "([{<":
                self.open = {"(": "parentheses", "[": "brackets", "{": "braces", "<": "tags"}[c]
            elif c in ")]}>":
                self.open = ""


_FOLLOWED = frozenset({
    "number", "year", "line break", "turn", "role", "capitalized", "capitals", "middle capital", "punctuation",
    "end of sentence", "opening mark", "closing mark",
})  # fmt: skip


def _as_contexts(word: str, of_word: tuple[Predicate, ...]) -> set[Predicate]:
    """What a word is to the next one."""
    held = {Predicate("following", p.value) for p in of_word if p.kind == "list" or p.value in _FOLLOWED}
    if of_word != (_ROLE,) and (word.isalpha() or word in MARKS):
        held.add(Predicate("after", word.lower()))
    return held
