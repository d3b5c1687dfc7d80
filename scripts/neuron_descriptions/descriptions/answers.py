"""What of an answer's text is a description: thoughts left out, quotes and lists made clean, junk told apart."""

import json
import re
from typing import Any

from neuron_descriptions.descriptions.prompts import MARKER

# At an answer's start: a description may speak of such words.
_REFUSAL = re.compile(
    r"\W*(sorry\b|I(?:['’]m| am) (?:very |so )?sorry|I apologi[sz]e|I can(?:not|['’]t)\b|"
    r"I(?:['’]m| am) (?:unable|not able)|as an AI\b|unfortunately, I\b)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?][\"')]*(?=\s)")

# Of thoughts: their beginnings and ends. One that stands in quotes is spoken of.
_THOUGHTS = r"think|thinking|thoughts?|reason|reasoning|reflection|scratchpad|analysis|inner_monologue"
_TAG = re.compile(
    rf"(?<![\"'`“])(?:<(?P<a>/?)(?:seed:|ant)?(?:{_THOUGHTS})(?:\s[^<>]*)?>|\[(?P<b>/?)THINK\]|◁(?P<c>/?)think▷"
    rf"|<\|(?:begin_of_|start_|(?P<d>/|end_of_|end_))?(?:{_THOUGHTS})\|>)(?![\"'`”])",
    re.IGNORECASE,
)
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>")  # of gpt-oss; what is said is in "final"

_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)
_BULLET = re.compile(r"(?:[-*•‣–·]|1[.)](?!.*\b2[.)]))\s+(?=[^\s\d])")
_LONE_QUOTE = re.compile(r"(?<=['`(\[]).(?=['`)\]])")  # spoken of
_INCH = re.compile(r"(?<![\w.\"])\d{1,2}(?:\.\d+)?\"(?!\w)")
_ECHO = re.compile(
    r"\bexcerpts? (?:\d|(?:one|two|three|[a-e])\b)|double (?:curly )?braces|\b(?:marked|highlighted) (?:words|tokens)\b"
    r"|what kind of words|one short phrase"
    r"|\[DESCRIPTION\]",
    re.IGNORECASE,
)
# The name of the answer, in its place or before it; words for having none.
_LABEL = re.compile(r"(?:the )?(?:short )?(?:description|explanation)(?: is)?\s*:\s*(?=\S)", re.IGNORECASE)
_NOTHING = re.compile(
    r"[\W_]*(?:(?:your|the|a|no|insert|short)\s+)*(?:description|explanation)(?:\s+(?:goes\s+)?here)?[\W_]*"
    r"|[\[<({]+\s*(?:(?:your|the|a|short)\s+)*(?:phrase|answer|text)(?:\s+here)?\s*[\])>}]+"
    r"|\W*(?:n/a|none|unknown|null|undefined)\W*",
    re.IGNORECASE,
)
_BRACES = re.compile(r"(?<![\"'`])\{\{|\}\}(?![\"'`])|[\"'`]\{\{[^\"'`%#]*\w")
_SPECIAL = re.compile(
    r"<\|[^|<>\s]{1,40}\|>|</?s>|<(?:unk|pad|bos|eos|mask|start_of_turn|end_of_turn)>"
    r"|\[(?:PAD|UNK|CLS|SEP|MASK|/?INST)\]|<0x[0-9A-F]{2}>",
)
_HALF = re.compile(r"(?<![\"'`(])\ufffd|\ufffd(?![\"'`)])")
_LOOP = re.compile(r"(.{1,20}?)\1{4,}", re.DOTALL)
_SPOKEN = re.compile(r"(?:^|[\s(\"'`,])$"), re.compile(r"^(?:$|[\s)\"'`,.:;])")


def without_thoughts(text: str) -> str | None:
    """What stands behind the last thought; None where a thought has no end."""
    channels = list(_CHANNEL.finditer(text))
    if channels:
        if channels[-1][1] != "final":
            return None
        text = text[channels[-1].end() :]
    tags = list(_TAG.finditer(text))
    ends = [tag for tag in tags if "/" in (tag["a"], tag["b"], tag["c"]) or tag["d"]]
    start = ends[-1].end() if ends else 0
    return None if any(tag.start() >= start for tag in tags) else text[start:]


def first_line(text: str) -> str:
    """The first line; of a list with a line for each item, all of it, with commas. text: not empty."""
    first, *lines = text.splitlines()
    if not (bullet := _BULLET.match(first)) or first.startswith("1"):
        return first
    items = [first]
    for line in lines:
        if not line.strip().startswith(bullet[0]):
            break
        items.append(line.strip())
    return ", ".join(item.removeprefix(bullet[0]).strip().rstrip(",;") for item in items)


def _without_dangling(line: str) -> str:
    """Without the quote that has no other."""
    for opening, closing in ("“”",):
        if abs(line.count(opening) - line.count(closing)) == 1:
            extra = opening if line.count(opening) > line.count(closing) else closing
            at = line.rfind(extra) if extra == opening else line.find(extra)
            line = line[:at] + line[at + 1 :]
    spoken = {at.start() for at in _LONE_QUOTE.finditer(line)} | {at.end() - 1 for at in _INCH.finditer(line)}
    quotes = [i for i, c in enumerate(line) if c == '"' and i not in spoken]
    # An inch is one only where the quotes are odd with it.
    if line.count('"') % 2 == 0 or len(quotes) % 2 == 0:
        return line

    def opens(i: int) -> bool:
        return (i == 0 or not line[i - 1].isalnum()) and i + 1 < len(line) and not line[i + 1].isspace()

    def closes(i: int) -> bool:
        return i > 0 and not line[i - 1].isspace() and not line[i + 1 : i + 2].isalnum()

    # The one without which the others come in pairs; else the last.
    for left_out in reversed(quotes):
        rest = [i for i in quotes if i != left_out]
        if all(opens(i) if n % 2 == 0 else closes(i) for n, i in enumerate(rest)):
            break
    else:
        left_out = quotes[-1]
    return (line[:left_out] + line[left_out + 1 :]).strip()


def _keys(items: list[str]) -> list[str]:
    """What items of a list are alike by; the first may have words before it."""
    keys = [item.strip("\"'. ").lower() for item in items]
    return [keys[0].split()[-1].strip("\"'") if keys[0].split() else "", *keys[1:]]


def _as_list(line: str) -> str:
    """Items apart by ", ", each once, where the line is a list of words."""
    if re.fullmatch(r"[^\W\d]+(?:,[^\W\d]+){2,}", line):
        line = line.replace(",", ", ")
    for mark in (" • ", " | ", " , ", "; "):
        parts = [part.strip() for part in line.split(mark)]
        if len(parts) >= 3 and all(re.fullmatch(r"[\w\"' -]+", part) and len(part.split()) <= 3 for part in parts):
            line = ", ".join(parts)
    items = line.split(", ")
    if len(items) >= 4 and all(0 < len(item.split()) <= 4 for item in items):
        keys = _keys(items)
        line = ", ".join(item for n, item in enumerate(items) if keys[n] not in keys[:n])
    return line


def clean_line(line: str) -> str:
    """A description in its one form: no bullet before it, no quote alone, no comma behind it, lists as "a, b, c".
    A good one stays as it is."""
    line = re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ufeff]", "", line).strip()
    bullet = _BULLET.match(line)
    if bullet and re.search(r"\w", line[bullet.end() :]):
        line = line[bullet.end() :]
    line = _without_dangling(line)
    # Behind a word: a comma with a space before it is spoken of.
    line = re.sub(r"(?<=[\w\"')])(?:[,;]\s*)+$", "", line)
    return _as_list(line)


def is_junk(line: str) -> bool:
    """Whether a line is no description: the prompt again, one thing over and over, special tokens, halves of
    characters."""
    if _NOTHING.fullmatch(line) or _ECHO.search(line) or _BRACES.search(line) or _HALF.search(line):
        return True
    words = re.findall(r"\w+", line.lower())
    for special in _SPECIAL.finditer(line):
        before, after = line[: special.start()], line[special.end() :]
        spoken = _SPOKEN[0].search(before) and _SPOKEN[1].search(after)
        others = re.findall(r"[^\W_]{2,}", before + " " + after)
        if not spoken or len(others) < 2:
            return True
    bare = re.sub(r"\s", "", line)
    if re.fullmatch(r"([^\d])\1{3,}", bare) or re.search(r"([^\W\d])\1{7,}", line):
        return True
    if any(len(loop[0]) > len(line) / 2 for loop in _LOOP.finditer(line)):
        return True
    items = [item for item in re.split(r",\s*", line) if item]
    if any(len(group) >= 3 and len(set(group)) == 1 for group in (words, _keys(items) if items else [])):
        return True
    return len(words) >= 8 and len(set(words)) <= len(words) / 4


def _unwrapped(text: str) -> str:
    """What stands inside of a fence, of an object with one text, or of a tag around all of it; text otherwise."""
    text = re.sub(r"^```\w*\s*\n|\n```\s*$", "", text).strip()
    if tagged := re.fullmatch(r"<(\w+)>(.*)</\1>", text, re.DOTALL):
        return tagged[2].strip()
    if text.startswith("{") and text.endswith("}"):
        try:
            found = list(json.loads(text).values())
        except (ValueError, RecursionError):
            return text
        if len(found) == 1 and isinstance(found[0], str) and found[0].strip():
            return found[0].strip()
    return text


def answered(begun: str, text: str) -> str | None:
    """What an answer that began with `begun` says behind its last thought and its last marker; None where it has no
    word there."""
    rest = without_thoughts(text)
    if rest is None or MARKER not in begun + rest:
        return None
    said = rest.rpartition(MARKER)[2].strip()
    return said if re.search(r"\w", said) else None


def parse_answer(begun: str, text: str, finished: bool) -> tuple[str | None, str]:
    """(description, status) of an answer that began with `begun`, where the client could begin it: what follows the
    last thought and the last marker; its first line, or list; an unfinished one up to its last full sentence, where it
    has one; in a clean form. What is no description, as the prompt again or one word over and over, is unparsed."""
    rest = without_thoughts(text)
    if rest is None:
        return None, "unparsed"
    if MARKER not in begun + rest:
        return None, "refused" if _REFUSAL.match(rest) else "unparsed"
    said = answered(begun, text)
    if said is None:
        return None, "unparsed"
    if _REFUSAL.match(said):
        return None, "refused"
    whole = _unwrapped((begun + rest).rpartition(MARKER)[2].strip().removeprefix("**").strip())  # of a marker in bold
    line = first_line(whole).strip() if whole else ""
    line = line[found.end() :] if (found := _LABEL.match(line)) else line
    if line.count("**") == 1:
        line = line.removesuffix("**").strip()
    if not finished and (ends := list(_SENTENCE_END.finditer(line))):
        line = line[: ends[-1].end()]
    for opening, closing in ('""', "“”"):
        quotes = [c for c in line if c in (opening, closing)]
        if len(quotes) == 2 and (line[0], line[-1]) == (opening, closing):
            line = line[1:-1].strip()
    words = "" if MARKER in rest else begun.rpartition(MARKER)[2].strip()  # not the model's
    if is_junk(line.removeprefix(words)):
        return None, "unparsed"
    line = clean_line(line)
    return (line, "ok") if re.search(r"\w", line) else (None, "unparsed")


def answered_list(text: str, count: int) -> list[Any] | None:
    """The items of the JSON list, of `count` of them, that is all of an answer behind its last thought, in a fence or
    not; None where the answer is anything else."""
    text = (without_thoughts(text) or "").strip()
    if fenced := _FENCE.match(text):
        text = fenced[1]
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return items if isinstance(items, list) and len(items) == count else None
