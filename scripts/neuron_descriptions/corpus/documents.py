"""Documents out of rows: one normaliser for what a row may hold."""

import html
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from neuron_descriptions.common.vocabulary import Document, Message
from neuron_descriptions.config.corpus import Text

ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}
# Names that tell a role only beside others: of two parties, the first to speak is the user.
ALSO = {"prompter": "user", "model": "assistant", "bot": "assistant", "chatbot": "assistant", "ai": "assistant"}
# Parties of a conversation that neither ask nor answer.
ASIDE = re.compile(
    "system|developer|tools?|function|ipython|observation|environment|(tool|function)_(call|response|result)s?"
)
_WHO = ("role", "from", "sender", "author", "speaker")
_WHAT = ("content", "value", "text", "parts")
_TEXTS = ("text", "input_text", "output_text")  # types of parts
_MESSAGES = ("messages", "conversations", "conversation", "dialog", "turns")

Note = Callable[[str], None]  # takes down that something was left out


def document(row: Any, spec: Text, note: Note) -> Document:
    """The document that a row holds; empty where it is blank. spec: its source; what is left out of it goes to `note`.
    Raises ValueError that says what is wrong with the row."""
    if isinstance(row, ValueError):
        raise row
    found = list(_values(row, spec.field))
    if not found and (isinstance(row, str | bytes) or (spec.format == "chat" and isinstance(row, list))):
        found = [row]  # the row itself is the text, or the list of messages
    if not found:
        raise ValueError(f"it has no field {spec.field!r}; set `field`")
    if spec.format == "chat":
        return conversation(found[0], note)
    return prose(found, spec.html)


def prose(found: list[Any], remove_html: bool) -> str:
    """Texts (strings, bytes, or lists of these and of parts that have a text) as one. Raises ValueError where there
    are values, but no text."""
    skipped: list[str] = []
    texts = [text for value in found for text in _texts(value, skipped.append)]
    if skipped and not texts:
        raise ValueError(f"its text is {skipped[0]}")
    text = "\n\n".join(texts)
    if remove_html:
        text = re.sub(r"[ \t]+", " ", html.unescape(re.sub(r"<[^>]*>", " ", text)))
    return text.strip()


def clean(text: str) -> str:
    """Text that can be written: without a byte order mark or null characters, lines ended by line feeds alone, of
    halves of characters those that belong together joined and the others replaced by U+FFFD."""
    if re.search("[\ud800-\udfff]", text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").removeprefix("\ufeff")


def _values(value: Any, field: str | None) -> Iterator[Any]:
    """Values under a key, at any depth, in order."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == field:
                yield inner
            else:
                yield from _values(inner, field)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner, field)


def _texts(value: Any, skip: Note) -> Iterator[str]:
    """Texts in a value, at any depth; of what is none, `skip` gets a word."""
    if isinstance(value, str):
        yield clean(value)
    elif isinstance(value, bytes):
        yield clean(value.decode())
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, skip)
    elif isinstance(value, dict):
        # `content` is a text's own; a tool's answer has one too.
        names = ("text", "parts", "content") if value.get("type") in _TEXTS else ("text", "parts")
        inner = next((value[k] for k in names if value.get(k) is not None), None)
        if inner is None or str(value.get("type")) in ("thinking", "reasoning"):
            skip(f"a part of type {value['type']}" if "type" in value else "an object without `text`")
        else:
            yield from _texts(inner, skip)
    elif value is not None:
        skip(f"a {type(value).__name__}")


# --- conversations -----------------------------------------------------------------------------------


def conversation(messages: Any, note: Note = lambda reason: None) -> list[Message]:
    """Messages as alternating turns of a user and an assistant, a sender's consecutive messages joined.

    messages: dicts (role, from or sender; content, value or text: a string, or a list of parts), or strings that take
    turns; nested in lists or not; a table of columns; any of this as JSON text. Turns of a third party (system, tools,
    unknown ones beside a user and an assistant) are left out and told to `note`. Empty where there are not two
    parties. Raises ValueError where it is no conversation at all.
    """
    flat: list[tuple[str, str]] = []
    for who, content in _said(messages, note):
        party = who.strip()
        text = "\n".join(_texts(content, lambda part: note(f"{part} in a message"))).strip()
        if not text:
            continue
        if ASIDE.fullmatch(party.lower()):
            note(f"turn of role {party.lower()}")
        else:
            flat.append((ROLES.get(party.lower(), party), text))
    if len({party for party, _ in flat}) > 2:
        known = [(ROLES.get(party, ALSO.get(party.lower(), "")), text) for party, text in flat]
        flat = [(party, text) for party, text in known if party]
        for _ in range(len(known) - len(flat)):
            note("turn of an unknown role")
    asked = any(party == "user" for party, _ in flat)
    while flat and (flat[0][0] == "assistant" or (asked and flat[0][0] != "user")):
        flat.pop(0)
        note("turn before the user's first")
    parties = list(dict.fromkeys(party for party, _ in flat))
    if len(parties) != 2:
        if flat:
            note("conversation without two parties")
        return []
    turns: list[Message] = []
    for party, text in flat:
        role = ("user", "assistant")[parties.index(party)]
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += f"\n{text}"
        else:
            turns.append({"role": role, "content": text})
    return turns


def _said(messages: Any, note: Note) -> Iterator[tuple[str, Any]]:
    """Who said what, in order."""
    if isinstance(messages, str | bytes):
        messages = _parsed(messages.decode() if isinstance(messages, bytes) else messages)
        if messages is None:
            raise ValueError("its conversation is a string that holds no JSON")
    if not isinstance(messages, dict | list | None):
        raise ValueError(f"its conversation is a {type(messages).__name__}")
    leaves = list(_leaves(messages))
    dialog = all(isinstance(leaf, str) for leaf in leaves)
    for number, leaf in enumerate(leaves):
        if isinstance(leaf, dict):
            yield from _message(leaf, note)
        elif dialog:
            yield ("user", "assistant")[number % 2], leaf
        else:
            note("message without a role")


def _message(leaf: dict[str, Any], note: Note) -> Iterator[tuple[str, Any]]:
    """What one object says: a message, or a turn of each party under its own name."""
    known = {**ROLES, **ALSO}
    if not any(key in leaf for key in _WHAT):
        turns = [(key, content) for key, content in leaf.items() if str(key).lower() in known]
        if not turns:
            note("message without a text")
        yield from turns
        return
    party = next((leaf[k] for k in _WHO if leaf.get(k) is not None), "")
    party = party.get("role", "") if isinstance(party, dict) else party
    if party == "" and str(leaf.get("type")).lower() in known:  # as LangChain has it
        party = leaf["type"]
    yield str(party), next((leaf[k] for k in _WHAT if leaf.get(k) is not None), None)


def _leaves(value: Any) -> Iterator[Any]:
    """Single messages, dicts or strings, of lists in lists."""
    if isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, str | bytes):
        text = value.decode() if isinstance(value, bytes) else value
        parsed = _parsed(text)
        yield from _leaves(parsed) if isinstance(parsed, dict) else [text]
    elif isinstance(value, dict):
        columns = [next((value[k] for k in keys if k in value), None) for keys in (_WHO, _WHAT)]
        if all(isinstance(column, list) for column in columns):  # as data sets keep lists of records
            yield from ({"role": who, "content": what} for who, what in zip(*columns, strict=True))
        elif columns == [None, None] and (inner := next((value[k] for k in _MESSAGES if k in value), None)):
            yield from _leaves(inner)
        else:
            yield value
    elif value is not None:
        raise ValueError(f"a message of its conversation is a {type(value).__name__}")


def _parsed(text: str) -> Any:
    """The list or object that a JSON text holds, None where it holds none."""
    text = text.lstrip("\ufeff \t\r\n")
    try:
        return json.loads(text) if text.startswith(("{", "[")) else None
    except (ValueError, RecursionError):
        return None
