"""Lists of words that belong together, from a file that users can extend, each with a phrase for it in plain words."""

import re
from dataclasses import dataclass

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass as checked

from neuron_descriptions.common.user_files import read_yaml

# What no description may hold: marks of models, half characters, scraps of mark-up, quotation marks that do not close.
_DEBRIS = re.compile(r"<\||\|>|\ufffd|[\x00-\x1f`<>]|^\s|\s$")


@checked(config=ConfigDict(extra="forbid"), frozen=True)
class _Entry:
    """An entry of the file: how to say it (the first of several ways), its words, and lists that it includes."""

    say: str | list[str]
    words: str = ""
    includes: tuple[str, ...] = ()

    @property
    def phrase(self) -> str:
        return self.say if isinstance(self.say, str) else (self.say or [""])[0]


@dataclass(slots=True, frozen=True)
class Vocabulary:
    """Lists by their phrases, and for each word the phrases of its lists."""

    lists: dict[str, frozenset[str]]
    of_word: dict[str, tuple[str, ...]]


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
        for word in entry.words.split():
            if fault := _fault(word):
                raise ValueError(f'{path}, "{entry.phrase}": the word {word!r} never holds: {fault}')
        by_phrase[entry.phrase] = entry
    lists = {phrase: _words(path, phrase, by_phrase, ()) for phrase in by_phrase}
    of_word: dict[str, list[str]] = {}
    for phrase in sorted(lists):
        for word in lists[phrase]:
            of_word.setdefault(word, []).append(phrase)
    return Vocabulary(lists, {word: tuple(phrases) for word, phrases in of_word.items()})


def _fault(word: str) -> str | None:
    """Why no word of a text can be this one, if so."""
    if word != word.lower():
        return "write it in lower case"
    if not (word.isalpha() or word.replace(",", "").replace(".", "").isdigit()):
        return "a word has letters only, or digits only; write its parts (don ' t) as words of their own"
    return None


def _words(path: str, phrase: str, entries: dict[str, _Entry], above: tuple[str, ...]) -> frozenset[str]:
    if phrase in above:
        raise ValueError(f"{path}: {' includes '.join(f'“{p}”' for p in (*above[above.index(phrase) :], phrase))}")
    if phrase not in entries:
        raise ValueError(f"{path}: “{above[-1]}” includes “{phrase}”, which no entry says")
    entry = entries[phrase]
    words = set(entry.words.split())
    for included in entry.includes:
        words |= _words(path, included, entries, (*above, phrase))
    if not words:
        raise ValueError(f"{path}: “{phrase}” never holds: it has neither words nor includes")
    return frozenset(words)
