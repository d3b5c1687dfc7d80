"""Features that are known exactly: rules that a token obeys or not, each with ways to say it in plain language.

What a simulator learns language from, next to real neurons. T tokens of a sequence.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass as checked

from neuron_descriptions.common.user_files import read_yaml

Holds = Callable[[list[str]], Sequence[float]]


@dataclass(slots=True, frozen=True)
class Rule:
    """Ways to say it, and for each token of a sequence whether it holds, or how much, 0..1."""

    say: tuple[str, ...]
    holds: Holds

    def strengths(self, tokens: list[str]) -> NDArray[np.int64]:
        """(T), 0..10."""
        strengths: NDArray[np.int64] = np.rint(10 * np.array(self.holds(tokens), float)).astype(np.int64)
        return strengths


@checked(config=ConfigDict(extra="forbid"), frozen=True)
class _Words:
    """An entry of the file: words, separated by spaces; ways to say them, and what passages with them are about."""

    words: str
    say: list[str] = field(default_factory=list)
    subject: str | None = None

    @model_validator(mode="after")
    def _said(self) -> "_Words":
        if not (self.say or self.subject):
            raise ValueError("it has neither `say` nor `subject`")
        return self


def _each(holds: Callable[[str], bool]) -> Holds:
    return lambda tokens: [holds(token.strip()) for token in tokens]


def _after(holds: Callable[[str], bool]) -> Holds:
    return lambda tokens: [False, *(holds(token.strip()) for token in tokens[:-1])] if tokens else []


def _is(mark: str) -> Callable[[str], bool]:
    return lambda word: word.lower() == mark


def _ends(end: str) -> Callable[[str], bool]:
    return lambda word: len(word) > len(end) + 1 and word.lower().endswith(end)


def _begins(beginning: str) -> Callable[[str], bool]:
    return lambda word: len(word) > len(beginning) + 1 and word.lower().startswith(beginning)


def _repeated(tokens: list[str]) -> list[bool]:
    words = [token.strip().lower() for token in tokens]
    return [len(word) > 3 and word in words[:i] for i, word in enumerate(words)]


FORMS = (
    Rule(("numbers", "digits", "figures written in digits"), _each(str.isdigit)),
    Rule(("capitalized words", "words that begin with a capital letter", "names and beginnings of sentences"),
         _each(lambda w: w[:1].isupper())),
    Rule(("words in capitals", "all-caps words and abbreviations"), _each(lambda w: len(w) > 1 and w.isupper())),
    Rule(("punctuation", "punctuation marks"), _each(lambda w: bool(w) and not any(c.isalnum() for c in w))),
    Rule(("line breaks", "the ends of lines and paragraphs"), lambda tokens: ["\n" in t for t in tokens]),
    Rule(("words that occurred before", "repeated words"), _repeated),
    Rule(("long words", "words of many letters"), _each(lambda w: len(w) >= 9)),
    Rule(("the beginning of a sentence", "first words of sentences"), _after(lambda w: w in {".", "!", "?"})),
    Rule(("what follows a comma", "words right after a comma"), _after(_is(","))),
    Rule(("what follows a number", "words right after digits, such as units"), _after(str.isdigit)),
    Rule(("plural nouns", 'words ending in "s"'), _each(lambda w: len(w) > 3 and w.endswith("s") and w[-2:] != "ss")),
    *(Rule((f'the mark "{m}"', f"{name}s", f"each {name}"), _each(_is(m)))
      for m, name in ((",", "comma"), (".", "period"), (":", "colon"), (";", "semicolon"), ("?", "question mark"),
                      ("!", "exclamation mark"), ("-", "hyphen"), ("(", "opening parenthesis"), ("%", "percent sign"))),
    *(Rule((f'words ending in "{e}"', f'words with the ending "-{e}"', f'the suffix "-{e}"'),
           _each(_ends(e)))
      for e in ("ing", "ed", "tion", "ly", "ment", "ity", "er", "al", "ous", "ive", "able", "ance", "ence",
                "est", "ies")),
    *(Rule((f'words beginning with "{b}"', f'words that start with "{b}"', f'the prefix "{b}-"'),
           _each(_begins(b)))
      for b in ("un", "re", "in", "con", "pro", "pre", "dis", "com", "ex", "de", "im", "inter", "st", "th", "wh")),
    *(Rule((f'the word after "{b}"', f'what follows "{b}"', f'words preceded by "{b}"'),
           _after(_is(b)))
      for b in ("the", "of", "to", "in", "a", "and", "our", "is", "for", "by", "with", "that", "we", "you", "i", "have",
                "not", "my", "be", "this", "from", "are", "it", "its", "their", "on", "at", "united", "will", "has")),
)  # fmt: skip


def read_rules(path: str) -> list[Rule]:
    """The rules of form and those of a file of words. Raises ValueError that names the file where it is none."""
    said = (entry for entry in _read(path) if entry.say)
    return [*FORMS, *(Rule(tuple(entry.say), _one_of(frozenset(entry.words.split()))) for entry in said)]


def read_subjects(path: str) -> dict[str, list[str]]:
    """What passages can be about, and words for it, of a file of words. Raises ValueError as above."""
    return {entry.subject: entry.words.split() for entry in _read(path) if entry.subject}


def _read(path: str) -> list[_Words]:
    try:
        entries = TypeAdapter(list[_Words]).validate_python(read_yaml(path))
    except ValueError as error:
        raise ValueError(
            f"{path} is not a list of rules (words: the words; say: ways to say them; subject: what a passage with them"
            f" is about): {error}"
        ) from None
    # The same words may say what an entry's words are, and what a passage is about.
    said = Counter(way for entry in entries for way in entry.say)
    subjects = Counter(entry.subject for entry in entries if entry.subject)
    if doubled := [way for ways in (said, subjects) for way, times in ways.items() if times > 1]:
        raise ValueError(f"{path} says {doubled[0]!r} twice: its words would be one entry's or the other's; rename one")
    return entries


def _one_of(words: frozenset[str]) -> Holds:
    return _each(lambda word: word.lower() in words)


def table(rules: list[Rule], sequences: list[list[str]]) -> np.ndarray:
    """Which rules hold somewhere in which sequences, bool (rules, sequences)."""
    return np.array([[any(rule.holds(tokens)) for tokens in sequences] for rule in rules])
