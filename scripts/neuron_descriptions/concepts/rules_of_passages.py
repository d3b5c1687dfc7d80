"""Rules about whole passages, for training alone: what they are about, how they are written, who speaks, where in them
a token stands, and what fades or grows along them.

They are graded, 0..1, and a token's value comes of what stands before it or in it: a neuron looks no further. Most
count cues, regular expressions whose matches fade: of each half is left after some tokens. T tokens of a sequence.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import accumulate

from neuron_descriptions.concepts.rules_of_symbols import matched, passing_by
from neuron_descriptions.concepts.rules_of_text import Holds, Rule, read_subjects

SUBJECTS = "subjects of passages"
HALF = 24  # tokens after which half of a cue is left
LITTLE = 0.5  # a sum of faded cues up to which nothing is said

Cues = str | frozenset[str]
"""A regular expression, or words in lower case."""


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _ending(pattern: re.Pattern[str], tokens: Sequence[str]) -> list[tuple[str, int]]:
    """Matches of a sequence's text, each with the token that it ends in."""
    ends = list(accumulate(map(len, tokens)))
    return [(match[0], bisect_left(ends, match.end())) for match in pattern.finditer("".join(tokens))]


@lru_cache(maxsize=4096)
def _words_of(tokens: tuple[str, ...]) -> list[tuple[str, int]]:
    """Words of a sequence, in lower case: read once for all lists of words."""
    return [(word.lower(), place) for word, place in _ending(re.compile(r"\w+"), tokens)]


def _counts(cues: Cues) -> Callable[[list[str]], list[int]]:
    """How many end in each token."""
    compiled = re.compile(cues, re.MULTILINE) if isinstance(cues, str) else None

    def found(tokens: list[str]) -> list[int]:
        if compiled:
            places = [place for _, place in _ending(compiled, tokens)]
        else:
            places = [place for word, place in _words_of(tuple(tokens)) if word in cues]
        counts = [0] * len(tokens)
        for place in places:
            counts[place] += 1
        return counts

    return found


def _running(cues: Cues, full: float, little: float = LITTLE, half: float = HALF) -> Holds:
    """The sum of faded cues: 0 up to `little`, 1 from `full` on."""
    counts, left = _counts(cues), 0.5 ** (1 / half)

    def found(tokens: list[str]) -> list[float]:
        sums = accumulate(counts(tokens), lambda total, count: left * total + count)
        return [round(min(max((total - little) / (full - little), 0), 1), 6) for total in sums]

    return passing_by(found)


def _fading(cues: Cues, half: float) -> Holds:
    """1 where a match ends, half of it after some tokens, nothing after four times as many."""
    return _running(cues, 1, 0.06, half)


def _since(pattern: str, value: Callable[[int], float], from_the_start: bool = True) -> Holds:
    """A function of how many tokens a token stands behind the last match, or else behind the start of the text."""
    counts, start = _counts(pattern), 0 if from_the_start else None

    def found(tokens: list[str]) -> list[float]:
        distance, values = start, []
        for count in counts(tokens):
            values.append(0.0 if distance is None else value(distance))
            distance = 0 if count else None if distance is None else distance + 1
        return values

    return passing_by(found)


def _once(pattern: str) -> Holds:
    """1 of all that stands behind the first match."""
    counts = _counts(pattern)
    return passing_by(lambda tokens: [float(seen > 0) for seen in [0, *accumulate(counts(tokens))][: len(tokens)]])


def _digits(tokens: list[str]) -> list[float]:
    """How many digits a number has had, of four."""
    counts = [sum(c.isdigit() for c in token) for token in tokens]
    return [min(seen / 4, 1) for seen in accumulate(counts, lambda seen, here: here and seen + here)]


def _first(length: int) -> Callable[[int], float]:
    return lambda distance: max(1 - distance / length, 0.0)


def _late(begins: int, full: int) -> Callable[[int], float]:
    return lambda distance: min(max((distance - begins) / (full - begins), 0.0), 1.0)


def _turn(role: str) -> str:
    """An expression for what a role says in a conversation, in the marks of two families of templates."""
    begins = rf"(?:<\|im_start\|>|<\|start_header_id\|>){role}(?:<\|end_header_id\|>)?\s*"
    return begins + r"((?:(?!<\|(?:im_end|eot_id)\|>)[\s\S])+)"


_SENTENCE, _LINE, _NEVER = r"[.!?](?=\s)", r"\n", r"(?!)"
_OPENS = r"<\|im_start\|>\w+\n|<\|end_header_id\|>\s*"  # a turn

_REGISTERS = tuple(
    Rule(tuple(say), _running(pattern, full))
    for pattern, full, *say in (
        (_words("lol haha hahaha yeah yep nah gonna wanna kinda gotta ok okay hey omg btw ur u im dont thats cant"), 2,
         "informal chat", "casual online talk", "chatty, colloquial writing", "messages between people who chat"),
        (r"(?:^|\n|[.!?]\s)\s*[a-z]", 2.5, "messages written without capitals", "careless writing in lower case"),
        (_words("fellow congress nation citizens americans america our republic administration senate"), 2.5,
         "political speeches", "a president's address", "speeches to a nation", "formal public addresses"),
        (_words("est sq km percent male female total note gdp rank nm country"), 3, "entries of an almanac",
         "reference entries with facts about countries", "statistics in short notes", "lists of facts and figures"),
        (_words("i me my mine myself"), 2.5, "talk about oneself",
         "first-person accounts", "people who speak of themselves"),
        (_words("we us our ours ourselves"), 2.5, "speech in the name of a group",
         "texts that say we and our all the time"),
        (_words("you your yours yourself"), 2, "texts that address the reader", "talk to somebody as you"),
        (_words("he she him her his hers himself herself"), 2, "stories about a person",
         "accounts of what he or she did"),
        (_words("they them their theirs themselves"), 2, "accounts of a group of others",
         "texts about them and theirs"),
        (r"\b(?:was|were|had|did|came|went|made|said|took|became|began|[a-z]{3,}ed)\b", 3,
         "narratives of the past",
         "accounts of what happened", "texts in the past tense", "history told in the past tense"),
        (_words("will shall going plan plans intend tomorrow soon"), 2, "plans and promises for the future",
         "texts about what will be done", "announcements of the future"),
        (_words("should must ought need needs recommend urge ask propose proposed request"), 2, "demands and advice",
         "texts that urge something", "calls for action"),
        (r"\?", 1.5, "passages with many questions", "dialogue full of questions", "questions one after another"),
        (r"!", 1.5, "excited writing with exclamations", "exclamations one after another", "enthusiastic messages"),
        (_words("not no never none nothing nor neither cannot don didn doesn won isn wasn"), 2, "denials and refusals",
         "passages full of negations"),
        (_words("think guess believe feel opinion honestly suppose seems maybe probably"), 1.8,
         "opinions and guesses", "people who say what they think", "subjective remarks"),
        (_words("love like enjoy favorite best awesome great cool nice fun amazing"), 2,
         "talk about likes and favorites", "positive, friendly chat", "enthusiasm for things one likes"),
        (_words("sorry sad hate bad worse worst terrible awful sucks unfortunately tired hard"), 1.8, "complaints",
         "gloomy or annoyed talk", "bad news and regrets"),
        (_words("shall herein hereby thereof therein whereas pursuant provisions act section law laws provided"), 2.5,
         "legal language", "wording of laws and contracts", "statutes and provisions"),
        (_words("upon whilst thereof therein hitherto thus such which whom hereafter ere manifest"), 2.5,
         "old-fashioned formal prose", "solemn writing of an earlier century", "stately long-winded prose"),
        (r"(?<!>)\b\w{9,}\b", 4, "formal writing with long words", "heavy, official language", "learned vocabulary"),
        (r"\d[\d,.]*", 3, "passages full of numbers", "figures and statistics", "numerical data"),
        (r"\b(?:1[5-9]|20)\d\d\b", 2, "chronicles with years", "dated events of history", "passages with many dates"),
        (r"[$€£]\s?\d|(?i:\bdollars?\b|\bmillion\b|\bbillion\b)", 2, "sums of money",
         "passages about amounts and costs"),
        (r",", 4, "long enumerations", "lists separated by commas", "sentences with many commas"),
        (r";", 1.8, "clauses joined by semicolons", "lists separated by semicolons"),
        (r"\([^()\n]*\)", 1.8, "text with many remarks in parentheses", "notes in brackets"),
        (r"[\"“][^\"“”\n]+[\"”]", 1.5, "passages with quotations", "quoted speech"),
        (r"(?<=[a-z,;] )[A-Z][a-z]+", 3, "passages full of proper names",
         "names of people and places in a row"),
        (r"\b[A-Z]{2,}\b", 2, "passages full of abbreviations", "acronyms and capitals"),
        (r"\n", 3, "text in short lines", "text that is broken into many lines", "short messages line by line"),
        (r"[{}();=]", 5, "program code", "source code", "passages of code rather than prose"),
        (_words("first second then next finally also moreover furthermore therefore"), 1.8, "ordered arguments",
         "explanations step by step"),
        (_words("more than most less greater larger higher increase increased growth lower highest"), 2.2,
         "comparisons of more and less", "reports of increase and growth"),
        (_words("god bless pray faith lord thank thanks grateful welcome congratulations hope wish"), 1.6,
         "thanks, wishes and blessings", "solemn or friendly good wishes"),
    )
)  # fmt: skip
_SPEAKERS = (
    Rule(("what the user says", "turns of the user in a conversation", "the user's messages"), matched(_turn("user"))),
    Rule(("what the assistant says", "turns of the assistant in a conversation", "the assistant's replies"),
         matched(_turn("assistant"))),
    Rule(("conversations with many turns", "dialogue where speakers alternate", "chat logs"), _running(_OPENS, 2)),
    Rule(("first words of a turn, fading", "beginnings of messages in a conversation"),
         _since(_OPENS, _first(6), False)),
    Rule(("long turns of a speaker", "messages that go on for long, more and more"),
         _since(_OPENS, _late(4, 24), False)),
    Rule(("everything after the first change of speaker", "text after somebody has answered"), _once(_OPENS)),
    Rule(("what follows a question of somebody else", "answers to a question"),
         matched(r"\?<\|(?:im_end|eot_id)\|>\s*(?:<\|im_start\|>\w+\n|<\|start_header_id\|>\w+<\|end_header_id\|>\s*)"
                 r"((?:(?!<\|(?:im_end|eot_id)\|>)[\s\S])+)")),
    Rule(("text inside quotation marks that goes on", "somebody's words as they are quoted"),
         matched(r"[\"“]([^\"“”]{1,300})")),
)  # fmt: skip
_PLACES = (
    Rule(("the first words of a text, fading", "the start of a passage", "tokens near the beginning"),
         _since(_NEVER, _first(10))),
    Rule(("the first quarter of a passage", "early in a passage, less and less"), _since(_NEVER, _first(24))),
    Rule(("late in a passage, more and more", "the later the token the stronger", "the end of a long passage"),
         _since(_NEVER, _late(16, 60))),
    Rule(("everything but the beginning of a passage", "tokens after the first ten"), _since(_NEVER, _late(8, 12))),
    Rule(("all that follows the first sentence", "text after the first full stop"), _once(_SENTENCE)),
    Rule(("all that follows the first line break", "the second paragraph and later ones"), _once(_LINE)),
    Rule(("all that follows the first comma", "text once a comma has been seen"), _once(",")),
    Rule(("all that follows the first number", "text once a number has been seen"), _once(r"\d+")),
    Rule(("beginnings of sentences, fading", "early words of a sentence"), _since(_SENTENCE, _first(6), False)),
    Rule(("late words of long sentences", "long sentences that go on, more and more"), _since(_SENTENCE, _late(8, 30))),
    Rule(("beginnings of lines, fading", "early words of a line or paragraph"), _since(_LINE, _first(8), False)),
    Rule(("late words of long paragraphs", "text far behind the last line break"), _since(_LINE, _late(10, 40))),
    Rule(("words far behind a comma", "long stretches without a comma"), _since(r"[,;:.]", _late(5, 15))),
)  # fmt: skip
_GRADED = (
    Rule(("words, the longer the stronger", "long words most, short ones least"),
         passing_by(lambda tokens: [min(max(len(token.strip()) - 3, 0) / 8, 1) for token in tokens])),
    Rule(("numbers, each digit more than the one before", "last digits of long numbers"), passing_by(_digits)),
    *(Rule((f"{what} and what follows, fading", f"words shortly after {what}", f"the neighborhood of {what}"),
           _fading(pattern, half))
      for what, pattern, half in (
          ("a question mark", r"\?", 3), ("an exclamation mark", "!", 3), ("a number", r"\d+", 3), ("a colon", ":", 4),
          ("a comma", ",", 1.5), ("a line break", r"\n", 3), ("a semicolon", ";", 4),
          ("a quotation mark", r"[\"“”]", 4),
          ("an opening parenthesis", r"\(", 3), ("a dollar sign", r"\$", 4),
          ("a negation", _words("not no never"), 3), ("the word I", r"\bI\b", 3), ("the word we", _words("we"), 3),
          ("the word you", _words("you"), 3), ("the word but", _words("but"), 3), ("the word of", _words("of"), 2),
          ("the word because", _words("because since"), 4), ("the word if", _words("if"), 4),
          ("a modal verb", _words("must should would could can may"), 3), ("a year", r"\b(?:1[5-9]|20)\d\d\b", 4),
          ("a name within a sentence", r"(?<=[a-z,;] )[A-Z][a-z]+", 2),
          ("an abbreviation in capitals", r"\b[A-Z]{2,}\b", 3),
          ("a form of to be", _words("is are was were be been"), 2), ("a greeting", _words("hi hello hey"), 6),
      )),
)  # fmt: skip
PASSAGES = {
    "registers of passages": _REGISTERS,
    "who speaks": _SPEAKERS,
    "places in passages": _PLACES,
    "what fades or grows": _GRADED,
}


def rules_of_subjects(path: str) -> list[Rule]:
    """Of a file of words: passages about its subjects, the more the more of the subject's words they have of late."""
    return [
        Rule(
            (f"passages about {subject}", f"text on {subject}", f"{subject} as the subject", f"talk of {subject}"),
            _running(frozenset(words), 2),
        )
        for subject, words in read_subjects(path).items()
    ]
