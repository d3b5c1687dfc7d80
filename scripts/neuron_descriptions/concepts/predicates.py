"""Predicates over tokens: what can be said of a token from the text up to its word's end, each in plain words.

T tokens of a sequence. A predicate is true of some of them; `phrase` says it as a person would.
"""

import re
from dataclasses import dataclass
from functools import cache

from neuron_descriptions.concepts.rules_of_text import Rule

# Marks that have a name; others are quoted.
NAMES = {
    ",": "commas", ".": "periods", ":": "colons", ";": "semicolons", "?": "question marks", "!": "exclamation marks",
    "-": "hyphens", "–": "dashes", "—": "dashes", "(": "opening parentheses", ")": "closing parentheses",
    "%": "percent signs", "$": "dollar signs", "'": "apostrophes", "’": "apostrophes", '"': "quotation marks",
    "“": "opening quotation marks", "”": "closing quotation marks", "/": "slashes", "*": "asterisks",
    "[": "opening brackets", "]": "closing brackets", "&": "ampersands", "=": "equals signs", "+": "plus signs",
    "_": "underscores", "#": "number signs", "@": "at signs", "|": "vertical bars", "...": "ellipses", "…": "ellipses",
}  # fmt: skip
PLACES = {
    "text": "the first words of a text",
    "sentence": "the first words of sentences",
    "line": "the first words of lines",
    "line break": "line breaks",
    "quotes": "inside quotation marks",
    "parentheses": "inside parentheses",
    "turn": "the marks between the turns of a conversation",
    "role": "the beginnings of turns in a conversation",
    "number": "numbers written in digits",
    "year": "years",
    "money": "amounts of money",
    "decimals": "digits after a decimal point",
    "first digit": "the first digits of numbers",
    "second digit": "the second digits of numbers",
    "later digit": "the later digits of long numbers",
    "single digit": "numbers of one digit",
    "capitals": "words in capitals",
    "capitalized": "capitalized words",
    "middle capital": "names and other capitalized words within a sentence",
    "several marks": "several punctuation marks in a row",
}
# Rules that predicates of their own say as well.
_SAID = re.compile(
    r'the mark "|words (ending|beginning|in capitals)|(the word after|what follows) "|numbers$|capitalized words|'
    r"line breaks|the beginning of a sentence"
)
# What narrows another predicate down, rather than standing for itself.
CONTEXTS = frozenset({"after", "in", "mentioned"})
_SPECIAL = re.compile(r"<\|.*?\|>")
_YEAR = re.compile(r"(1[5-9]|20)\d\d")


@dataclass(slots=True, frozen=True, order=True)
class Predicate:
    """kind: one of "word", "piece", "mark", "place", "rule", "ending", "beginning", "after", "in", "mentioned"; value:
    which."""

    kind: str
    value: str

    @property
    def phrase(self) -> str:
        """It in plain words, for a list of such."""
        value = self.value
        match self.kind:
            case "word":
                return f'the word "{value}"'
            case "piece":
                return f'"{value}" within longer words'
            case "mark":
                return NAMES.get(value, f'the mark "{value}"')
            case "ending":
                return f'words ending in "{value}"'
            case "beginning":
                return f'words beginning with "{value}"'
            case "after":
                return f'the word after "{value}"'
            case "mentioned":
                return f'texts that mention "{value}"'
            case _:
                return PLACES.get(value, value)

    @property
    def narrowing(self) -> str:
        """It as what narrows another one down: `inside quotation marks`, `after "the"`."""
        match self.kind:
            case "after":
                return f'after "{self.value}"'
            case "mentioned":
                return f'in texts that mention "{self.value}"'
            case _:
                return PLACES[self.value]


@cache
def predicate(kind: str, value: str) -> Predicate:
    """The one object of a kind and value."""
    return Predicate(kind, value)


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


def predicates_of(tokens: list[str], rules: list[Rule]) -> list[list[Predicate]]:
    """What is true of each token. tokens: texts (T), as token_strings gives them; rules: see rules_of_text; the first
    way to say one is its phrase. A word's predicates hold at each of its tokens."""
    found: list[set[Predicate]] = [set() for _ in tokens]
    spans = words_of(tokens)
    words = ["".join(tokens[i:j]).strip() for i, j in spans]
    for rule in rules:
        if _SAID.match(rule.say[0]):
            continue
        for held, holds in zip(found, rule.holds(tokens)):
            if holds:
                held.add(predicate("rule", rule.say[0]))
    state = _State()
    for number, ((i, j), word) in enumerate(zip(spans, words)):
        before = words[number - 1].lower() if number else ""
        for t in range(i, j):
            held = found[t]
            _of_word(held, tokens, i, j, t, word)
            if number and (before[:1].isalnum() or before in NAMES) and not _SPECIAL.search(before):
                held.add(predicate("after", before))
            state.add_to(held, word, first=t == i)
        state.pass_by(word, "".join(tokens[i:j]))
    return [sorted(held) for held in found]


def _of_word(held: set[Predicate], tokens: list[str], i: int, j: int, t: int, word: str) -> None:
    low, piece = word.lower(), tokens[t].strip()
    if _SPECIAL.search(word):
        held.add(predicate("place", "turn"))
    elif word[:1].isalpha():
        held.add(predicate("word", low))
        if j - i > 1 and piece.isalpha() and len(piece) > 1:
            held.add(predicate("piece", piece))
        if low.isalpha():
            for size in (2, 3, 4):
                if len(low) > size + 1:
                    held.add(predicate("ending", low[-size:]))
                    held.add(predicate("beginning", low[:size]))
        if len(word) > 1 and word.isupper():
            held.add(predicate("place", "capitals"))
        elif word[:1].isupper():
            held.add(predicate("place", "capitalized"))
    elif word[:1].isdigit():
        _of_number(held, tokens, i, t, word)
    elif word and "�" not in word:
        held.add(predicate("mark", word))
        if len(word) > 1:
            held.add(predicate("place", "several marks"))
    elif "\n" in "".join(tokens[i:j]):
        held.add(predicate("place", "line break"))


def _of_number(held: set[Predicate], tokens: list[str], i: int, t: int, word: str) -> None:
    digits = sum(token.strip().isdigit() for token in tokens[i:t])
    held.add(predicate("place", "number"))
    if _YEAR.fullmatch(word):
        held.add(predicate("place", "year"))
    if tokens[max(0, i - 1)].strip().endswith("$") and i:
        held.add(predicate("place", "money"))
    if "." in "".join(tokens[i:t]):
        held.add(predicate("place", "decimals"))
    if len(word) == 1:
        held.add(predicate("place", "single digit"))
    elif tokens[t].strip().isdigit():
        held.add(predicate("place", ("first digit", "second digit", "later digit")[min(digits, 2)]))


class _State:
    """What the text before a word says about it."""

    def __init__(self) -> None:
        self.words, self.quoted, self.bracketed = 0, False, False
        self.sentence, self.line, self.role = True, True, False
        self.seen: set[str] = set()

    def add_to(self, held: set[Predicate], word: str, first: bool) -> None:
        """Add what holds of a word's token."""
        for place, holds in (
            ("text", self.words < 3), ("sentence", self.sentence and first), ("line", self.line and first),
            ("role", self.role),
            ("middle capital", word[:1].isupper() and not (self.sentence or self.line)),
        ):  # fmt: skip
            if holds and word and not _SPECIAL.search(word):
                held.add(predicate("place", place))
        if self.quoted:
            held.add(predicate("in", "quotes"))
        if self.bracketed:
            held.add(predicate("in", "parentheses"))
        for mentioned in self.seen:
            held.add(predicate("mentioned", mentioned))

    def pass_by(self, word: str, text: str) -> None:
        """Take a word into what stands before the next one."""
        special = bool(_SPECIAL.search(word))
        if word:
            self.words += 1
            self.role = special
        if word.isalpha() and len(word) > 5:
            self.seen.add(word.lower())
        if word[:1].isalnum():
            self.sentence = self.line = False
        if special or word[-1:] in (".", "!", "?") or "\n" in text:
            self.sentence = True
        if special or "\n" in text:
            self.line, self.quoted, self.bracketed = True, False, False
        if word in ('"', "“", "”"):
            self.quoted = word == "“" or (word == '"' and not self.quoted)
        if "(" in word or ")" in word:
            self.bracketed = word.rfind("(") > word.rfind(")")
