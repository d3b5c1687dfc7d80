"""What a writer of texts is asked, and how its answer is read. Planning imports it: nothing heavy."""

import json
import re
from dataclasses import dataclass

from neuron_descriptions.clients.base import Prompt
from neuron_descriptions.descriptions.answers import _REFUSAL, without_thoughts
from neuron_descriptions.descriptions.prompts import _rendered, prompt_file, read_template

KINDS = ("fits", "others")
_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)
_MARK = re.compile(r"^(?:[-*•‣–·]|\(?\d{1,3}[.):])\s+")
_QUOTES = (('"', '"'), ("“", "”"), ("'", "'"))


@prompt_file
class OneText:
    """What a writer is asked for a single text, by itself: `fits` and `others` are jinja2 templates over `description`;
    an answer begins with `fits_answer` or `others_answer`, and ends with its line. A client that cannot begin an answer
    reads that beginning behind the question."""

    system: str
    fits: str
    others: str
    fits_answer: str = ""
    others_answer: str = ""


@prompt_file
class WriterTemplate:
    """A writer's prompt file: `fits` and `others` are jinja2 templates over `description` and `count`; `answer` is how
    an answer begins, where the client can begin it. `one`, where it is there, asks for each text by itself."""

    system: str
    fits: str
    others: str
    answer: str = ""
    one: OneText | None = None

    def prompt(self, description: str, count: int, kind: str) -> Prompt:
        """The question for so many texts of a kind (one of KINDS)."""
        user = _rendered(self.fits if kind == "fits" else self.others, description=description, count=count)
        return _prompt(self.system, user, self.answer)

    def prompt_of_one(self, description: str, kind: str, begins: bool = True) -> Prompt:
        """The question for a single text of a kind; begins: whether the client begins an answer."""
        assert self.one is not None
        user, answer = _rendered(getattr(self.one, kind), description=description), self.begun_of_one(kind)
        return _prompt(self.one.system, user, answer) if begins else _prompt(self.one.system, f"{user}\n{answer}", "")

    def begun_of_one(self, kind: str) -> str:
        """How an answer of a single text begins."""
        return str(getattr(self.one, f"{kind}_answer", ""))


def _prompt(system: str, user: str, answer: str) -> Prompt:
    messages = [{"role": "system", "content": system.strip()}, {"role": "user", "content": user.strip()}]
    return Prompt(messages, answer, shared=1)


def read_writer_template(path: str) -> WriterTemplate:
    """Read a writer's prompt file and try it. Raises ValueError that names the file."""
    template = read_template(path, WriterTemplate, "scores.scorers")
    for kind in KINDS:
        try:
            said = template.prompt("of the moon", 13, kind).messages[-1]["content"]
            alone = template.prompt_of_one("of the moon", kind).messages[-1]["content"] if template.one else said
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if "of the moon" not in said or "13" not in said:
            raise ValueError(f"{path}: `{kind}` must show the description and the count")
        if "of the moon" not in alone:
            raise ValueError(f"{path}: `one.{kind}` must show the description")
    return template


@dataclass(slots=True, frozen=True)
class Said:
    """What an answer holds."""

    texts: list[str]
    refused: bool = False


def plain(text: str) -> str:
    """A text as it is compared with others: lower case, words alone."""
    return " ".join(re.findall(r"\w+", text.lower()))


def repeats(text: str, description: str) -> bool:
    """Whether a text is a description over again: nothing else, or less else than that."""
    own, said = plain(text), plain(description)
    return bool(said) and said in own and len(own) < 2 * len(said)


def parse_texts(begun: str, text: str, finished: bool, description: str) -> Said:
    """The texts in an answer that began with `begun`: a JSON list of strings, or one a line; where lines of it are
    marked as a list, these alone. Left out are lines without a word, the last one of an answer that was cut off, what
    stood before, and the description itself."""
    rest = without_thoughts(text)
    if rest is None:
        return Said([])
    whole = (begun + rest).strip()
    if _REFUSAL.match(whole) or _REFUSAL.match(rest.strip()):
        return Said([], refused=True)
    found: dict[str, str] = {}
    for line in _lines(whole, finished):
        if plain(line) and not repeats(line, description) and not _REFUSAL.match(line):
            found.setdefault(plain(line), line)
    return Said(list(found.values()))


def parse_text(text: str, description: str, begun: str = "") -> Said:
    """The text in an answer that holds one, on the first line that has a word; what was cut off is one too. begun: its
    beginning, which an answer may have again."""
    rest = without_thoughts(text)
    lines = [" ".join(line.split()).removeprefix(begun).strip() for line in (rest or "").splitlines()]
    line = next((_bare(_MARK.sub("", line)) for line in lines if plain(line)), "")
    for opening, closing in _QUOTES:  # a quotation that was cut off
        if line.startswith(opening) and closing not in line[1:]:
            line = line[1:].strip()
    if _REFUSAL.match(line):
        return Said([], refused=True)
    return Said([line] if plain(line) and not repeats(line, description) else [])


def _lines(whole: str, finished: bool) -> list[str]:
    if fenced := _FENCE.match(whole):
        whole = fenced[1]
    if whole.startswith("["):
        try:
            items = json.loads(whole)
        except (ValueError, RecursionError):
            items = None
        if isinstance(items, list):
            return [" ".join(item.split()) for item in items if isinstance(item, str)]
    lines = [" ".join(line.split()) for line in whole.splitlines()]
    lines = [line for line in (lines if finished else lines[:-1]) if line and not line.startswith("```")]
    if any(_MARK.match(line) for line in lines):
        lines = [line for line in lines if _MARK.match(line)]
    else:
        lines = [line for line in lines if not line.endswith(":")]
    return [_bare(_MARK.sub("", line)) for line in lines]


def _bare(line: str) -> str:
    """Without the quotes around all of it."""
    for opening, closing in _QUOTES:
        if len(line) > 2 and line.startswith(opening) and line.endswith(closing):
            return line[1:-1].strip()
    return line
