"""Lists of concepts as sentences that a person would write.

A list is read from above: the first part that is true of a token decides. Parts of one kind are said together.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from neuron_descriptions.concepts.predicates import MARKS, SUBJECT, Predicate
from neuron_descriptions.concepts.vocabulary import is_debris

NO_PATTERN, UNCLEAR = "no pattern found", "no clear pattern"
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
    word: str = ""  # of a family: one that it is said by; of a list: some of its words, between spaces

    @property
    def group(self) -> tuple[str, ...]:
        """Parts of the same group are said together."""
        narrowed = () if self.narrowed is None else tuple(self.narrowed)
        kind = "following" if self.head.kind == "after" else self.head.kind
        if kind == "place" and self.head.value in SERIES:
            return kind, SERIES[self.head.value][0], *narrowed
        return (kind, *narrowed) if kind in _TOGETHER else (*self.head, *narrowed)


def sentence(parts: list[Part], peak: float = 0.0, doubt: bool = False) -> str:
    """The list in plain words, by groups in the order of their first parts; NO_PATTERN where there is no part.

    peak: activation where the feature is strongest: parts that predict less than OFTEN of it come last, as what it
    fires at sometimes; doubt: whether the list as a whole matches the feature but weakly, which is said first."""
    if not parts:
        return NO_PATTERN
    often = [*([UNCLEAR] if doubt else []), *_phrases([part for part in parts if part.weight >= OFTEN * peak])]
    sometimes = _phrases([part for part in parts if part.weight < OFTEN * peak])
    if not sometimes:
        return _listed(often)
    return "; ".join([*often, f"sometimes{' also' if len(often) > doubt else ''}: {_listed(sometimes)}"])


def _listed(phrases: list[str]) -> str:
    return "; ".join(phrases) if any(" and " in s or "," in s for s in phrases) else _joined(phrases, "and")


def _phrases(parts: list[Part]) -> list[str]:
    groups: dict[tuple[str, ...], list[Part]] = {}
    for part in parts:
        groups.setdefault(part.group, []).append(part)
    return list(dict.fromkeys(_phrase(group) for group in groups.values()))


def sayable(predicate: Predicate) -> bool:
    """Whether a predicate can stand in a sentence without debris."""
    if predicate.kind == "mark" or (predicate.kind == "after" and not predicate.value.isalpha()):
        return predicate.value in MARKS
    return not is_debris(predicate.value)


def _phrase(parts: list[Part]) -> str:
    head, narrowed = parts[0].head, parts[0].narrowed
    if head.kind in _TOGETHER:
        one, several, last = _TOGETHER[head.kind]
        names = list(dict.fromkeys(_name(part) for part in parts))
        said = (one if len(names) == 1 else several).format(_joined(names, last))
    elif head.kind == "place" and head.value in SERIES:
        names = [name for value, (_, name) in SERIES.items() if any(part.head.value == value for part in parts)]
        said = f"the {_joined(names, 'and')} {SERIES[head.value][0]}"
    elif head.kind == "mark":
        said = _marks(head.value)
    else:
        said = head.value if head.kind == "list" else PLACES[head.value]
    said += "" if narrowed is None else f" {narrowing(narrowed)}"
    if head.kind != "list" or not parts[0].word:
        return said
    said = f"{head.value.split(EXAMPLES)[0]}{said.removeprefix(head.value)}"  # a list's own examples give way
    return f"{said}{EXAMPLES}" + _joined([f'"{word}"' for word in parts[0].word.split()], "and")


def _name(part: Part) -> str:
    head = part.head
    if head.kind == "following":
        return PLACES.get(head.value, head.value)
    if head.kind == "after" and head.value in MARKS:
        return _marks(head.value)
    return head.value if head.kind == "digits" else f'"{part.word or head.value}"'


def _marks(value: str) -> str:
    """The plural of a mark's name."""
    name = MARKS[value]
    for end, many in (("sis", "ses"), ("dash", "dashes"), ("slash", "slashes")):
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
