"""Lists of words that belong together, from a file that users can extend, each with a phrase for it in plain words."""

import re
from dataclasses import dataclass, field

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass as checked

from neuron_descriptions.common.user_files import read_yaml

# What no description may hold: marks of models, half characters, scraps of mark-up, quotation marks that do not close.
_DEBRIS = re.compile(r"<\||\|>|\ufffd|[\x00-\x1f`<>]|^\s|\s$")


@checked(config=ConfigDict(extra="forbid"), frozen=True)
class _Entry:
    """An entry of the file: how to say it (the first of several ways), its words, words that stand for their families,
    and lists that it includes."""

    say: str | list[str]
    words: str = ""
    families: str = ""
    includes: tuple[str, ...] = ()

    @property
    def phrase(self) -> str:
        return self.say if isinstance(self.say, str) else (self.say or [""])[0]


@dataclass(slots=True, frozen=True)
class Vocabulary:
    """Lists by their phrases, with their words; for each word, and for each stem, the phrases of its lists."""

    lists: dict[str, frozenset[str]]
    of_word: dict[str, tuple[str, ...]]
    of_stem: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def phrases(self, word: str) -> set[str]:
        """Phrases of the lists that a word (lower case) is in, itself or by its family."""
        return {*self.of_word.get(word, ()), *self.of_stem.get(stem_of(word), ())}


# Words that only look like inflected ones, or whose family means something else.
_WHOLE = frozenset({
    "news", "goods", "arms", "united", "evening", "being", "during", "hundred", "indeed", "exceed", "proceed",
    "succeed", "sacred", "naked", "likely", "early", "perhaps", "always", "texas", "paris", "species", "series",
    "christmas", "something", "anything", "nothing", "everything", "morning", "spring",
})  # fmt: skip
_DOUBLED = re.compile(r"([^aeiouylsz])\1$")
_SHORT = re.compile(r"[^aeiouy][aeiouy][^aeiouywx]$")  # after it an e is sounded: rate, care


def stem_of(word: str) -> str:
    """A word's family: it without an ending of inflection, -ly, or a last e that says nothing; by the rules of "An
    algorithm for suffix stripping" (Porter 1980), steps 1 and 5, so that care is not cars, a plane no plan, and
    families are a family. word: lower case."""
    if len(word) < 4 or word in _WHOLE:
        return word
    stem = _singular(word)
    if stem not in _WHOLE:
        stem = _plain(stem)
    if stem.endswith("e") and len(stem) > 3 and _measure(stem[:-1]) > bool(_SHORT.search(stem[:-1])):
        stem = stem[:-1]
    if len(stem) > 3 and stem.endswith("i"):
        stem = stem[:-1] + "y"
    return stem[:-1] if stem.endswith("ll") and _measure(stem) > 1 else stem


def _measure(stem: str) -> int:
    """How many times a vowel is followed by a consonant."""
    return len(re.findall(r"[aeiouy][^aeiouy]", stem))


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith("sses"):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _plain(word: str) -> str:
    """A verb without -ed and -ing, an adverb without -ly."""
    if word.endswith("ied"):
        return word[:-3] + "y" if len(word) > 4 else word[:-1]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) else word
    for suffix in ("ing", "ed"):
        stem = word.removesuffix(suffix)
        if stem == word or len(stem) < 2 or not re.search("[aeiouy]", stem):
            continue
        if stem.endswith(("at", "bl", "iz")) or (len(stem) == 2 and stem[-1] not in "aeiouy"):
            return stem + "e"
        if len(stem) > 3 and _DOUBLED.search(stem):
            return stem[:-1]
        return stem + "e" if _measure(stem) == 1 and _SHORT.search(stem) else stem
    if word.endswith("ly") and len(word) > 5 and word[-3] in "cdeghklmnrt":
        return word[:-2]
    return word


def is_debris(text: str) -> bool:
    """Whether a text may not stand in a description: it is empty, or holds a special token, half a character, a scrap
    of mark-up, a control character, or a quotation mark that does not close."""
    return not text or bool(_DEBRIS.search(text)) or text.count('"') % 2 == 1


def read_vocabulary(path: str) -> Vocabulary:
    """The lists of a file (see config/concepts/lists.yaml). Raises ValueError that names the file and the entry where
    it is no such file, a phrase occurs twice or may not stand in a description, a list can never hold, includes one
    that there is not, or includes itself."""
    try:
        entries = TypeAdapter(list[_Entry]).validate_python(read_yaml(path))
    except ValueError as error:
        raise ValueError(
            f"{path} is not a list of word lists (say: the list in plain words, words: its words, includes: other"
            f" lists): {error}"
        ) from None
    by_phrase: dict[str, _Entry] = {}
    for number, entry in enumerate(entries, start=1):
        if is_debris(entry.phrase):
            raise ValueError(f"{path}, entry {number}: {entry.phrase!r} cannot stand in a sentence; mend `say`")
        if entry.phrase in by_phrase:
            raise ValueError(f'{path}, entry {number}: "{entry.phrase}" is said by an entry above already')
        for word in (*entry.words.split(), *entry.families.split()):
            if fault := _fault(word):
                raise ValueError(f'{path}, "{entry.phrase}": the word {word!r} never holds: {fault}')
        by_phrase[entry.phrase] = entry
    lists: dict[str, frozenset[str]] = {}
    of_word: dict[str, list[str]] = {}
    of_stem: dict[str, list[str]] = {}
    for phrase in sorted(by_phrase):
        words, families = _words(path, phrase, by_phrase, ())
        lists[phrase] = words | families
        for word in words:
            of_word.setdefault(word, []).append(phrase)
        for stem in {stem_of(word) for word in families}:
            of_stem.setdefault(stem, []).append(phrase)
    return Vocabulary(lists, *({name: tuple(phrases) for name, phrases in of.items()} for of in (of_word, of_stem)))


def _fault(word: str) -> str | None:
    """Why no word of a text can be this one, if so."""
    if word != word.lower():
        return "write it in lower case"
    if not (word.isalpha() or word.replace(",", "").replace(".", "").isdigit()):
        return "a word has letters only, or digits only; write its parts (don ' t) as words of their own"
    return None


def _words(
    path: str, phrase: str, entries: dict[str, _Entry], above: tuple[str, ...]
) -> tuple[frozenset[str], frozenset[str]]:
    """(words, words that stand for their families) of an entry and of what it includes."""
    if phrase in above:
        raise ValueError(f"{path}: {' includes '.join(f'“{p}”' for p in (*above[above.index(phrase) :], phrase))}")
    if phrase not in entries:
        raise ValueError(f"{path}: “{above[-1]}” includes “{phrase}”, which no entry says")
    entry = entries[phrase]
    words, families = set(entry.words.split()), set(entry.families.split())
    for included in entry.includes:
        more = _words(path, included, entries, (*above, phrase))
        words |= more[0]
        families |= more[1]
    if not words and not families:
        raise ValueError(f"{path}: “{phrase}” never holds: it has neither words nor families nor includes")
    return frozenset(words), frozenset(families)
