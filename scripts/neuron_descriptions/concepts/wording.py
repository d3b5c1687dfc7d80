"""Lists of concepts as sentences that a person would write.

A list is read from above: the first part that is true of a token decides. Parts of one kind are said together, what is
like them next, scraps of words last.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from neuron_descriptions.concepts.predicates import MARKS, SUBJECT, Predicate
from neuron_descriptions.concepts.vocabulary import is_debris

NO_PATTERN, UNCLEAR, MIXED = "no pattern found", "no clear pattern", "many different things, among them"
OFTEN = 0.25  # of the strongest activations
EXAMPLES = ", such as "
# What holds of whole words or marks, or of their places.
PLACES = {
    "text": "the first words of a text",
    "sentence": "the first words of sentences",
    "line": "the first words of lines",
    "line break": "line breaks",
    "space": "spaces that stand alone, as before numbers",
    "turn": "the marks between the turns of a conversation",
    "role": "the names of speakers at the beginning of a turn",
    "number": "numbers written in digits",
    "single digit": "numbers of one digit",
    "several digits": "numbers of several digits",
    "year": "years",
    "thousands": "numbers with commas",
    "decimal number": "decimal numbers",
    "money": "amounts of money",
    "decimals": "digits after a decimal point",
    "after thousands": "digits after the comma of a large number",
    "mark in number": "points and commas within numbers",
    "capitals": "words in capitals",
    "capitalized": "capitalized words",
    "lower case": "words in lower case",
    "long word": "long words",
    "short word": "words of one or two letters",
    "accents": "words with accents",
    "plural": "plurals and other words ending in s",
    "code name": "names in code",
    "middle capital": "names and other capitalized words within a sentence",
    "repeated": "words that occurred before",
    "first time": "long words that occur for the first time",
    "punctuation": "punctuation marks",
    "several marks": "several punctuation marks in a row",
    "end of sentence": "marks that end sentences",
    "closing mark": "closing brackets",
    "opening mark": "opening brackets",
    "mathematical sign": "mathematical signs",
    "emoji": "emoji",
} | {
    script: f"words in {name} letters"
    for script, name in {
        "cyrillic": "Cyrillic", "greek": "Greek", "arabic": "Arabic", "hebrew": "Hebrew", "devanagari": "Devanagari",
        "cjk": "Chinese", "hiragana": "Japanese", "katakana": "Japanese", "hangul": "Korean", "thai": "Thai",
    }.items()
}  # fmt: skip
INSIDE = {
    "quotes": "inside quotation marks",
    "parentheses": "inside parentheses",
    "brackets": "inside brackets",
    "braces": "inside braces",
    "tags": "inside mark-up",
    "comment": "in comments of code",
    "turn of user": "in what a user says",
    "turn of assistant": "in what an assistant says",
    "turn of system": "in a system prompt",
}
# Kinds that are said together: how one is said, how several are, and the word that joins the last.
_TOGETHER = {
    "word": ("the word {}", "the words {}", "and"),
    "family": ("forms of {}", "forms of {}", "and"),
    "ending": ("words ending in {}", "words ending in {}", "or"),
    "beginning": ("words beginning with {}", "words beginning with {}", "or"),
    "piece": ("the word piece {}", "the word pieces {}", "and"),
    "digits": ("the digit {}", "the digits {}", "and"),
    "after": ("what follows {}", "what follows {}", "or"),
    "following": ("what follows {}", "what follows {}", "or"),
}
# Endings and beginnings that people know as such; all others, and all pieces, are scraps: a word has to show them.
_ENDINGS = """able al ance ant ary ate ed ence ent er es est ful hood ial ian ible ic ical ing ion ise ish ism ity
ive ize less ly ment ness ory ous ship sion tion ward wise"""
_BEGINNINGS = "anti auto dis im in non over post pre re semi sub un"
AFFIXES = {
    "ending": frozenset(_ENDINGS.split()),
    "beginning": frozenset(_BEGINNINGS.split()),
    "piece": frozenset[str](),
}
# What is alike stands together; scraps stand last.
_ALIKE = {
    "word": "word", "family": "word", "list": "list", "place": "form", "mark": "form", "digits": "form",
    "ending": "form", "beginning": "form", "after": "context", "following": "context",
}  # fmt: skip
_SCRAP = "scrap"
_OF_WORDS = ("word", "after")  # kinds whose value is a word as it stands in a text
# Places that are said together: what they are places of, and the name of each.
SERIES = {
    "first piece": ("of uncommon words", "beginnings"),
    "middle piece": ("of uncommon words", "middles"),
    "last piece": ("of uncommon words", "endings"),
    "first digit": ("digits of numbers", "first"),
    "second digit": ("digits of numbers", "second"),
    "third digit": ("digits of numbers", "third"),
    "later digit": ("digits of numbers", "later"),
    "last digit": ("digits of numbers", "last"),
}


@dataclass(slots=True, frozen=True)
class Part:
    """What fires and how strongly, and what narrows it down, if anything does."""

    head: Predicate
    narrowed: Predicate | None = None
    weight: float = 1.0  # the activation that it predicts
    # Of a family: a word that it is said by; of a list: some of its words, between spaces; of a scrap: a word with it.
    word: str = ""

    @property
    def scrap(self) -> bool:
        """Whether it is a part of words that no reader knows as such."""
        return self.head.kind in AFFIXES and self.head.value not in AFFIXES[self.head.kind]

    def spelled(self, spellings: dict[str, str]) -> "Part":
        """It with names and the like spelled as the texts spell them. spellings: by word."""

        def of(predicate: Predicate) -> Predicate:
            known = predicate.kind in _OF_WORDS and predicate.value in spellings
            return predicate._replace(value=spellings[predicate.value]) if known else predicate

        words = " ".join(spellings.get(word, word) for word in self.word.split())
        return replace(self, head=of(self.head), narrowed=self.narrowed and of(self.narrowed), word=words)

    @property
    def words(self) -> set[str]:
        """The words that it is said with."""
        predicates = [self.head, self.narrowed] if self.narrowed else [self.head]
        return {p.value for p in predicates if p.kind in _OF_WORDS} | set(self.word.split())

    @property
    def alike(self) -> str:
        """Groups of the same name stand next to each other."""
        return _SCRAP if self.scrap else _ALIKE[self.head.kind]

    @property
    def group(self) -> tuple[str, ...]:
        """Parts of the same group are said together."""
        narrowed = () if self.narrowed is None else tuple(self.narrowed)
        kind = "following" if self.head.kind == "after" else self.head.kind
        if kind == "place" and self.head.value in SERIES:
            return kind, SERIES[self.head.value][0], *narrowed
        return (kind, *narrowed) if kind in _TOGETHER else (*self.head, *narrowed)


def sentence(parts: list[Part], peak: float = 0.0, doubt: bool = False) -> str:
    """The list in plain words, by groups, what is alike together; NO_PATTERN where there is no part.

    peak: activation where the feature is strongest: parts that predict less than OFTEN of it come last, as what it
    fires at sometimes; doubt: whether the list as a whole matches the feature but weakly: then what it says is among
    MIXED, or, where it says only what happens sometimes, there is UNCLEAR."""
    if not parts:
        return NO_PATTERN
    often = _listed(_phrases([part for part in parts if part.weight >= OFTEN * peak]))
    sometimes = _listed(_phrases([part for part in parts if part.weight < OFTEN * peak]))
    first = (f"{MIXED}: {often}" if often else UNCLEAR) if doubt else often
    last = sometimes and f"sometimes{' also' if often else ''}: {sometimes}"
    return "; ".join(said for said in (first, last) if said)


# What the next phrase, or this one, could be read together with.
_OPEN = re.compile(r",| and | after | in passages ")


def _listed(phrases: list[str]) -> str:
    if len(phrases) < 2 or any(_OPEN.search(phrase) for phrase in phrases):
        return "; ".join(phrases)
    return _joined(phrases, "and")


def _phrases(parts: list[Part]) -> list[str]:
    groups: dict[tuple[str, ...], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.alike, *part.group), []).append(part)
    alike = [name for name in dict.fromkeys(part.alike for part in parts) if name != _SCRAP] + [_SCRAP]
    ordered = sorted(groups.values(), key=lambda group: alike.index(group[0].alike))
    return list(dict.fromkeys(_phrase(group) for group in ordered))


def sayable(predicate: Predicate) -> bool:
    """Whether a predicate can stand in a sentence without debris."""
    if predicate.kind == "mark" or (predicate.kind == "after" and not predicate.value.isalpha()):
        return predicate.value in MARKS
    return not is_debris(predicate.value)


def _phrase(parts: list[Part]) -> str:
    head, narrowed = parts[0].head, parts[0].narrowed
    if head.kind in _TOGETHER:
        one, several, last = _TOGETHER[head.kind]
        # Plain words first: `"general" or words about health and welfare`.
        ordered = sorted(parts, key=lambda part: part.head.kind == "following")
        names = list(dict.fromkeys(_name(part) for part in ordered))
        said = (one if len(names) == 1 else several).format(_joined(names, last))
    elif head.kind == "place" and head.value in SERIES:
        names = [name for value, (_, name) in SERIES.items() if any(part.head.value == value for part in parts)]
        said = f"the {_joined(names, 'and')} {SERIES[head.value][0]}"
    elif head.kind == "mark":
        said = _marks(head.value)
    elif head.kind == "list":  # a list's own examples give way to those of the feature
        said, own = _examples(head.value)
        words = parts[0].word.split() or own
        return f"{said}{_narrowed(head, narrowed)}{f'{EXAMPLES}{_quoted(words)}' if words else ''}"
    else:
        said = PLACES[head.value]
    words = list(dict.fromkeys(part.word for part in parts if part.scrap and part.word))
    return f"{said}{_narrowed(head, narrowed)}{f', as in {_quoted(words)}' if words else ''}"


def _narrowed(head: Predicate, narrowed: Predicate | None) -> str:
    """What follows a part's own words, where something narrows it down."""
    if narrowed is None:
        return ""
    if head.kind == narrowed.kind == "following":  # both are said of the same word, the one before
        return f" that are also {_name(Part(narrowed))}"
    return f" {narrowing(narrowed)}"


def _examples(value: str) -> tuple[str, list[str]]:
    """The phrase of a list without the examples that it has of its own, and these."""
    said, _, words = value.partition(EXAMPLES)
    return said, re.split(", | and ", words) if words else []


def _quoted(words: Iterable[str]) -> str:
    return _joined([f'"{word}"' for word in words], "and")


def _name(part: Part) -> str:
    head = part.head
    if head.kind == "following":
        said, own = _examples(PLACES.get(head.value, head.value))
        return f"{said} ({EXAMPLES.removeprefix(', ')}{_quoted(own)})" if own else said
    if head.kind == "after" and head.value in MARKS:
        return _marks(head.value)
    named = part.word if head.kind == "family" else ""
    return head.value if head.kind == "digits" else f'"{named or head.value}"'


def _marks(value: str) -> str:
    return plural(MARKS[value])


def plural(name: str) -> str:
    """The plural of a mark's name."""
    for end, many in (("sis", "ses"), ("sh", "shes")):
        if name.endswith(end):
            return name.removesuffix(end) + many
    return f"{name}s"


def narrowing(context: Predicate) -> str:
    """A context as what narrows another predicate down: `inside quotation marks`, `after "the"`."""
    match context.kind:
        case "after" | "following":
            return f"after {_name(Part(context))}"
        case "about":
            return f"in passages about {context.value.removeprefix(SUBJECT)}"
        case _:
            return INSIDE[context.value]


def _joined(phrases: Iterable[str], last: str) -> str:
    """phrases: at least one."""
    *first, end = phrases
    return f"{', '.join(first)} {last} {end}" if first else end


READABLE_GROUPS, READABLE_NAMES = 3, 8


def readable(parts: list[Part]) -> bool:
    """A mechanical rule, no person's judgment: whether a sentence has at least one and at most READABLE_GROUPS groups,
    at most READABLE_NAMES parts, and no piece, ending or beginning of a single or of two letters."""
    bits = {"piece", "ending", "beginning"}
    return (
        0 < len({part.group for part in parts}) <= READABLE_GROUPS
        and len(parts) <= READABLE_NAMES
        and not any(part.head.kind in bits and len(part.head.value) < 3 for part in parts)
    )
