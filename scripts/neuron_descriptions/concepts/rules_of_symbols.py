"""Rules about symbols, whitespace, pieces of words, function words, code and mark-up, for training alone: next to those
of rules_of_text, which a simulator is also probed with.

Most are regular expressions over a sequence's text, so that they hold of the same characters whatever the tokenizer. T
tokens of a sequence.
"""

import re
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

from neuron_descriptions.concepts.predicates import MARKS
from neuron_descriptions.concepts.rules_of_text import FORMS, Holds, Rule
from neuron_descriptions.concepts.wording import plural


def matched(pattern: str) -> Holds:
    """True of tokens that share characters with a match, or with the first of its groups that matched; of a token that
    has more than whitespace, the characters that are none count."""
    compiled = re.compile(pattern, re.MULTILINE)

    def holds(tokens: list[str]) -> list[bool]:
        ends, found = list(accumulate(map(len, tokens))), [False] * len(tokens)
        for match in compiled.finditer("".join(tokens)):
            first, last = match.span(match.lastindex or 0)
            for i in range(bisect_right(ends, first), len(tokens)):
                start = ends[i] - len(tokens[i])
                core = tokens[i].strip() or tokens[i]
                start += tokens[i].find(core)
                if start >= last:
                    break
                found[i] |= bool(core) and start + len(core) > first
        return found

    return holds


def passing_by(holds: Holds) -> Holds:
    """The same of tokens that have a text: of a character that is split over tokens, only the last one has."""

    def found(tokens: list[str]) -> list[float]:
        said = iter(holds([token for token in tokens if token]))
        return [bool(token) and next(said) for token in tokens]

    return found


def _piece(holds: Callable[[str, bool], bool]) -> Holds:
    """True of tokens that go on a word of letters, by their text and by whether the word ends with them."""

    def found(tokens: list[str]) -> list[bool]:
        before = [False, *(token[-1:].isalpha() for token in tokens[:-1])]
        after = [*(token[:1].isalpha() for token in tokens[1:]), False]
        return [
            token[:1].isalpha() and b and holds(token.lower(), not (token[-1:].isalpha() and a))
            for token, a, b in zip(tokens, after, before)
        ]

    return passing_by(found)


def _piece_is(text: str) -> Holds:
    return _piece(lambda token, last: token == text)


def _piece_ends(end: str) -> Holds:
    return _piece(lambda token, last: len(token) > len(end) and token.endswith(end))


def _begins_word() -> Holds:
    """True of the first of several tokens of a word of letters."""
    goes_on = _piece(lambda token, last: True)

    def found(tokens: list[str]) -> list[float]:
        further = goes_on(tokens)
        return [not here and there for here, there in zip(further, [*further[1:], False])]

    return passing_by(found)


def _found(*rules: tuple[str, *tuple[str, ...]]) -> tuple[Rule, ...]:
    """Of (regular expression, ways to say it)."""
    return tuple(Rule(tuple(say), matched(pattern)) for pattern, *say in rules)


def _words(words: str) -> str:
    """An expression for any of some words, in lower case or capitalized."""
    return rf"(?i)(?<!\w)(?:{'|'.join(words.split())})(?!\w)"


def _marks() -> tuple[Rule, ...]:
    """Of each mark that has a name: tokens that contain it (`):` has a colon), and what follows it."""
    marks: dict[str, list[str]] = {}
    for mark, name in MARKS.items():
        if mark not in "“”•":  # said below
            name = name.replace(" bracket", " square bracket")
            marks.setdefault(name, []).append(re.escape(mark))
    found, known = [], {way for rule in FORMS for way in rule.say}
    for name, patterns in marks.items():
        a, many, pattern = "an" if name[0] in "aeiou" else "a", plural(name), "|".join(patterns)
        alone = f"tokens that contain {a} {name}", f"{many}, alone or beside other marks"
        plain = () if many in known else (many, f"the {name}", f"all {many}")
        found.append(Rule((*plain, *alone), matched(pattern)))
        after = f"the token after {a} {name}", f"what stands right behind {many}", f"what follows {many}"
        found.append(Rule(after, matched(rf"(?:{pattern})[ \t]*(\S)")))
    return tuple(found)


_UNITS = "km|m|cm|mm|kg|g|lb|ft|mi|miles|meters|feet|years|days|hours|minutes|seconds|percent|million|billion|GB|MB|px"
_SYMBOLS = (
    *_marks(),
    *_found(
        (r"[()\[\]{}]", "brackets of all kinds", "parentheses, brackets and braces", "opening and closing brackets"),
        (r"[(\[{]", "opening brackets", "opening brackets of any kind", "marks that open a bracket"),
        (r"[)\]}]", "closing brackets", "closing brackets of any kind", "marks that close a bracket"),
        (r"\(\s*\)|\[\s*\]|\{\s*\}", "empty brackets", "a pair of brackets with nothing inside"),
        (r"\(([^()\n]+)\)", "text inside parentheses", "what stands in parentheses", "remarks in parentheses"),
        (r"\[([^\[\]\n]+)\]", "text inside square brackets", "what stands in square brackets"),
        (r"\{([^{}\n]+)\}", "text inside braces", "what stands in curly braces"),
        (r"\(\s*(\w+)", "the word after an opening parenthesis", "first words in parentheses"),
        (r"\)\s*([^\s)])", "what comes after a remark in parentheses", "what continues after parentheses"),
        (r"[\"“”«»]|(?<!\w)['‘]|['’](?!\w)", "quotation marks of all kinds", "quotes, single or double"),
        (r"(?:^|(?<=[\s(\[{=,:]))[\"'“‘](?=\w)", "opening quotation marks", "quotes that open", "opening quotes"),
        (r"(?<=[\w.,!?…>])[\"'”’](?=[\s.,;:)\]}]|$)", "closing quotation marks", "quotes that close", "closing quotes"),
        (r"[\"“]([^\"“”\n]{1,80})[\"”]", "text inside quotation marks", "quoted words", "what stands in quotes"),
        (r"(?<=\w)['’](?=\w)", "apostrophes within words", "apostrophes as in don't", "apostrophes between letters"),
        (r"\w['’](\w{1,2})(?!\w)", "what follows an apostrophe in a word", "endings such as 's and 't"),
        (r"[^\w\s]{2,}", "several punctuation marks in a row", "runs of symbols", "mark after mark"),
        (r"[.!?…]", "marks that end sentences", "sentence-final punctuation", "ends of sentences"),
        (r"[+=<>×÷±*^]", "mathematical signs", "signs of arithmetic", "plus, equals and the like"),
        (r"[^\x00-\x7f]", "characters beyond ASCII", "accented letters and unusual symbols", "non-English characters"),
        (r"[-=*_~#]{3,}", "lines made of dashes or equals signs", "rules and underlines made of repeated marks"),
        (r"[^\w\s](?=[ \t]*$)", "punctuation at the end of a line", "marks right before a line break"),
        (r"^[ \t]*([^\w\s])", "marks at the beginning of a line", "lines that begin with a symbol"),
    ),
)  # fmt: skip
_WHITESPACE = (
    *_found(
        (r"\n[ \t]*\n\s*", "blank lines", "the gap between two paragraphs", "paragraph breaks", "empty lines"),
        (r"(?<!\n)\n(?!\s*\n)", "single line breaks", "line breaks within a paragraph", "new lines, not blank ones"),
        (r"^[ \t]+", "indentation", "spaces at the beginning of a line", "leading whitespace", "spaces before code"),
        (r"^(?: {8,}|\t\t+)", "deep indentation", "many spaces at the beginning of a line"),
        (r"(?<=\S)[ \t]{2,}(?=\S)", "several spaces within a line", "wide gaps between words"),
        (r"\s{2,}", "runs of whitespace", "several spaces or line breaks in a row", "long whitespace"),
        (r"(?<=[^\w\s])\n", "line breaks after punctuation", "new lines after a mark"),
        (r"(?<=\w)\n", "line breaks after a word", "lines that end in a word"),
        (r":[ \t]*(\n)", "line breaks after a colon", "new lines that follow a colon"),
        (r"^[ \t]*(\w+)", "the first words of lines", "beginnings of lines", "the word after a line break"),
        (r"^[ \t]+(\w+)", "first words of indented lines", "the word after indentation"),
        (r"\n[ \t]*\n\s*(\w+)", "beginnings of paragraphs", "the first word after a blank line"),
        (r"(\S)[ \t]*$", "the ends of lines", "the last character before a line break", "what ends a line"),
    ),
    Rule(("whitespace", "spaces and line breaks", "tokens without a visible character"),
         lambda tokens: [token.isspace() for token in tokens]),
    Rule(("spaces that stand alone", "spaces that stand alone, as before numbers", "a space as a token of its own"),
         lambda tokens: [token.isspace() and "\n" not in token for token in tokens]),
    *_found((r"[ \t]{2}(\S)|\n[ \t]*(\S)", "the token after whitespace", "what follows a line break or some spaces")),
)  # fmt: skip
_COMMON = "s ed ing er ers ly es al ation ic y able ity e a an in on t d or is o ens le"
_PIECES = (
    Rule(("word pieces", "tokens that continue a word", "parts of words after the first part"),
         _piece(lambda token, last: True)),
    Rule(("the beginnings of uncommon words", "first pieces of words that are cut in pieces"), _begins_word()),
    Rule(("the endings of uncommon words", "last pieces of words", "word endings that are tokens of their own"),
         _piece(lambda token, last: last)),
    Rule(("the middles of uncommon words", "pieces within words, neither first nor last"),
         _piece(lambda token, last: not last)),
    Rule(("short word pieces", "pieces of one or two letters within words"),
         _piece(lambda token, last: len(token) < 3)),
    Rule(("long word pieces", "pieces of four or more letters within words"),
         _piece(lambda token, last: len(token) > 3)),
    *(Rule((f'the word piece "{p}"', f'"{p}" as a piece of a word', f'the token "{p}" within a word'), _piece_is(p))
      for p in _COMMON.split()),
    *(Rule((f'word pieces ending in "{e}"', f'pieces within words that end in "{e}"'), _piece_ends(e))
      for e in ("s", "ed", "er", "ing", "al", "y", "n", "e")),
    *_found(
        (r"[A-Z]\w*-(\w+)|\w-(\w+)", "what follows a hyphen in a word", "second parts of hyphenated words"),
        (r"\w+-\w+", "hyphenated words", "words joined by a hyphen", "compounds such as well-known"),
        (r"\b\d(\d+)", "digits after the first one of a number", "later digits of numbers"),
        (r"\b(\d)\d", "first digits of longer numbers", "the digit that a number begins with"),
    ),
)  # fmt: skip
_SINGLE = """the of to in a and is for by with that we you i have not my be this from are it its their on at will has
was as or an but if can which all so do what no more they who"""
_FUNCTION = """a an the this that these those i me my we us our you your he him his she her it its they them their who
whom whose which what of to in on at by for from with about into over under between through after before during and or
but nor so yet if because as than while although is are was were be been being am do does did have has had will would
shall should can could may might must not no there here"""
_GRAMMAR = (
    *_found(
        (_words(_FUNCTION), "function words", "grammatical words", "small words such as of, the and is",
         "words of grammar, not of meaning"),
        (_words("which who whom whose that where"), "relative pronouns", "words that begin a relative clause"),
        (_words("have has had having"), "forms of the verb to have", "has, have and had"),
        (_words("do does did doing done"), "forms of the verb to do", "do, does and did"),
        (_words("and or"), "and and or", "words that join the parts of a list"),
        (_words("to of"), "to and of", "the little words to and of"),
        (_words("he she"), "he and she", "pronouns for a man or a woman as the subject"),
        (r"\b[a-zA-Z]{1,2}\b", "words of one or two letters", "short words", "very short words"),
        (r"\b[a-z]+\b", "words in lower case", "words without a capital letter"),
        (_words("than as like"), "words of comparison", "than, as and like"),
        (_words("there here"), "there and here", "words that point to a place"),
        (_words("will shall would should"), "auxiliaries of the future", "will, would, shall and should"),
        (_words("can could may might"), "auxiliaries of possibility", "can, could, may and might"),
        (r"\bto ([a-z]+)", "the word after \"to\", often a verb", "infinitives"),
        (r"\b(?:the|a|an) (\w+)", "words after an article", "nouns and adjectives after the, a or an"),
    ),
    *(Rule((f'the word "{w}"', f'"{w}"', f'each "{w}" in a text'), matched(_words(w))) for w in _SINGLE.split()),
)  # fmt: skip
_CODE = _found(
    (r"\"\"\"|'''", "triple quotation marks", "docstring quotes", "three quotation marks in a row"),
    (r"^[ \t]*[rf]?(\"\"\"|''')(?=\S)", "quotes that open a docstring", "opening triple quotes"),
    (r"(?<=[\w.)`!?\]])(\"\"\"|''')|^[ \t]*(\"\"\")[ \t]*$", "quotes that close a docstring", "closing triple quotes"),
    (r"`([^`\n]+)`", "text in backticks", "code within backticks"),
    (r"\"[^\"\n]*\"|'[^'\n]*'", "strings in code", "string literals", "text in quotes, the quotes included"),
    (r"(?<=\s)[-+*/%](?=\s)|\*\*|//", "arithmetic operators", "signs for adding, subtracting or multiplying"),
    (r"==|!=|<=|>=|(?<=\s)[<>](?=\s)", "comparison operators", "signs such as == and <="),
    (r"(?<![=!<>+*/-])=(?![=>])", "assignments", "equals signs that give a value", "the equals sign of an assignment"),
    (r"->|=>|→", "arrows", "arrows such as ->", "arrows before the type that a function returns"),
    (r"->\s*([\w.\[\]\"]+)", "types that functions return", "what follows an arrow"),
    (r"(?:^|\s)(#+|//+|/\*|\*/|<!--|-->)(?=\s|$)", "comment signs", "marks that begin a comment in code"),
    (r"(?:^|\s)(?:#|//)\s(.*)$", "comments in code", "words in code comments", "text after a comment sign"),
    (r"^\s*(@\w[\w.]*)", "decorators", "names after an at sign at the beginning of a line"),
    (r"\b([A-Za-z_]\w*)\(", "function calls", "names right before an opening parenthesis", "names of called functions"),
    (r"\.([A-Za-z_]\w*)\(", "method calls", "names between a dot and an opening parenthesis"),
    (r"(?<=\w)\.([A-Za-z_]\w*)", "attributes", "names after a dot", "what follows a dot within code"),
    (r"(?<=\w)\.(?=[A-Za-z_])", "dots within names", "dots between the parts of a name in code"),
    (r"\b(?:def|class|function|fn)\s+(\w+)", "names that are defined", "the name after def or class"),
    (r"\b(?:def|class|function|lambda|async)\b", "keywords that define functions or classes", "def, class and lambda"),
    (r"^\s*(if|elif|else|for|while|try|except|finally|with|return|raise|yield|break|continue|pass)\b",
     "keywords of control flow", "keywords such as if, return and for in code", "statements that begin with a keyword"),
    (r"^\s*(import|from)\b", "import statements", "import and from at the beginning of a line"),
    (r"^\s*(?:import|from)\s+([\w.]+)", "names of imported modules", "what is imported in code"),
    (r"\breturn\b", "return statements", "the keyword return"),
    (r"\b(?:True|False|None|null|true|false|nil)\b", "true, false and none", "constants such as True and None"),
    (r"\b(?:int|str|bool|float|list|dict|tuple|bytes|set|object|Any|Optional|Union|List|Dict|Tuple|Callable)\b",
     "names of types", "types such as int and str", "type annotations"),
    (r"\b(?:self|cls|this)\b", "self and cls", "the name of the object in its own methods"),
    (r"(\w+): (?:[A-Z]\w*|int|str|bool|float|list|dict)\b", "names of parameters with a type", "annotated names"),
    (r"(\w+)=(?=[^=\s])", "names of keyword arguments", "what stands right before an equals sign"),
    (r"(?<=\w)=([^=\s,)]+)", "values of keyword arguments", "what follows an equals sign without a space"),
    (r"\b[A-Z]\w*(?:Error|Exception|Warning)\b", "names of errors", "exceptions such as ValueError"),
    (r"\b[A-Za-z]\w*_\w+\b", "names in snake_case", "names joined by underscores", "identifiers with underscores"),
    (r"\b[A-Za-z]\w*_\w+\b|\b[a-z]+[A-Z]\w*", "names in code", "identifiers", "names of variables and functions"),
    (r"\b[a-z]+[A-Z]\w*|\b(?:[A-Z][a-z0-9]+){2,}\b", "names in camelCase", "identifiers with capitals in the middle"),
    (r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b", "constants in capitals with underscores", "names in UPPER_CASE"),
    (r"\b__\w+__\b", "names with double underscores", "special names such as __init__"),
    (r"(?<!\w)_[a-z]\w*", "private names", "names that begin with an underscore"),
    (r"\\[nrtux\"'\\]", "escape sequences", "backslashes and the letter after them in strings"),
    (r"\{\w*(?:[.:][^{}\n]*)?\}|%[sdrif]\b", "placeholders in strings", "braces that are filled in later"),
    (r"^(?:>>>|\.\.\.|\$)(?= )", "prompts of an interpreter", "signs that begin an example line"),
    (r"[;{}](?=\s*$)", "semicolons and braces at the ends of lines", "line endings of code"),
    (r"(?:,)(?=[ \t]*$)", "commas at the ends of lines", "trailing commas"),
    (r"[(\[{](?=[ \t]*$)", "brackets that open at the end of a line", "an open bracket before a line break"),
    (r"^[ \t]*([)\]}]+)", "brackets that close at the beginning of a line", "a line that begins by closing a bracket"),
    (r":(?=[ \t]*$)", "colons at the ends of lines", "colons that begin a block"),
    (r"https?://[^\s)>\"']+|www\.\S+", "web addresses", "URLs", "links to web pages"),
    (r"[\w.+-]+@[\w-]+\.\w+", "e-mail addresses", "addresses with an at sign"),
    (r"\b\w+\.(?:py|txt|json|html|md|ya?ml|js|css|csv|com|org)\b", "names of files and sites", "file names"),
    (r"(?:[\w.~-]*/){2,}[\w.-]*", "paths of files", "names joined by slashes"),
    (r"</?[a-zA-Z][^<>\n]*>", "HTML tags", "mark-up tags", "tags in angle brackets"),
    (r"</[a-zA-Z][^<>\n]*>", "closing tags", "tags that close an element"),
    (r"</?([a-zA-Z]\w*)", "names of tags", "the word after an angle bracket"),
    (r"\s([\w-]+)=[\"']", "names of attributes in tags", "names before a quoted value"),
    (r"&#?\w+;", "HTML entities", "entities such as &amp;"),
    (r"\{%.*?%\}|\{\{.*?\}\}", "template tags", "braces of a template and what is in them"),
    (r"^[ \t]*([-*•+])\s", "list bullets", "signs that begin an item of a list"),
    (r"^[ \t]*[-*•+]\s+(\w+)", "first words of list items", "the word after a bullet"),
    (r"^[ \t]*(\d+[.)])\s", "numbers of list items", "numbering at the beginning of a line"),
    (r"^(#{1,6})\s", "heading signs", "number signs at the beginning of a line"),
    (r"^(.+)\n[-=~]{3,}", "headings that are underlined", "titles of sections"),
    (r"^[ \t]*:(\w[^:\n]*):|^\s*\.\. (\w+)::", "field names between colons", "fields such as :param x:"),
    (r"\*\*?([^*\n]+)\*\*?", "text between asterisks", "bold or emphasized text"),
    (r"\|", "bars between the cells of a table", "column separators"),
)  # fmt: skip
_NUMBERS = _found(
    (r"\d+\.\d+", "decimal numbers", "numbers with a decimal point"),
    (r"(?<=\d)\.(?=\d)", "decimal points", "dots within numbers"),
    (r"\d\.(\d+)", "digits after a decimal point", "decimals"),
    (r"(?<=\d)[.,](?=\d)", "points and commas within numbers", "marks inside numbers"),
    *((rf"{d}", f'the digit "{d}"', f"each {d} in numbers", f"digits that are {d}") for d in range(10)),
    (r"(?<=\d),(?=\d)", "commas within numbers", "commas between thousands"),
    (r"\d{1,3}(?:,\d{3})+", "large numbers with commas", "numbers written with thousands separators"),
    (rf"\d[\d.,]*\s?({_UNITS})\b", "units after numbers", "units of measurement behind a number"),
    (rf"(\d[\d.,]*)\s?(?:{_UNITS})\b", "numbers before a unit", "amounts with a unit", "measured amounts"),
    (r"\d+\.\d+\.\d+", "version numbers", "numbers of releases such as 1.2.3"),
    (r"\b0x[0-9a-fA-F]+|#[0-9a-fA-F]{6}\b", "hexadecimal numbers", "colors written as #ff0000"),
    (r"\d+(?:\.\d+)?\s?%", "percentages", "numbers with a percent sign"),
    (r"[$€£]\s?\d[\d,.]*", "amounts of money", "sums with a dollar sign"),
    (r"\b(?:1[5-9]|20)\d\d\b", "four-digit years", "years such as 1945 and 2012"),
    (r"\b\d\b", "numbers of one digit", "single digits"),
    (r"\b\d{2,}\b", "numbers of several digits", "longer numbers"),
    (r"\((\d[^()\n]*)\)", "numbers in parentheses", "figures inside parentheses"),
    (r"\d+\s?[-–]\s?\d+", "ranges of numbers", "two numbers joined by a dash"),
    (r"\d+(?:st|[nr]d|th)\b", "ordinal numbers in digits", "ranks such as 1st and 20th"),
    (r"\b[01]\b", "the numbers 0 and 1", "zeros and ones"),
    (r"\[(-?\d+)\]", "numbers in square brackets", "indices in square brackets"),
)
SYMBOLS = {
    "symbols": _SYMBOLS,
    "whitespace and places in lines": _WHITESPACE,
    "pieces of words": _PIECES,
    "function words": _GRAMMAR,
    "code and mark-up": _CODE,
    "kinds of numbers": _NUMBERS,
}
