"""The subject's chat template: what it puts around contents, as token ids."""

import re
from typing import Any, NamedTuple

from neuron_descriptions.common.vocabulary import Document, Message
from neuron_descriptions.corpus.left_out import LeftOut
from neuron_descriptions.models.loading import render, special_tokens


class Rendered(NamedTuple):
    """A document as it is tokenized."""

    text: str
    pieces: "list[tuple[str, str | None]] | None"
    """Of a conversation: the text in pieces, each with the role whose content it is, or None. None: of prose."""


Tokens = tuple[list[int], list[str | None]]  # ids, and of a conversation the role that each token is of


class Template:
    """What the subject's chat template puts around contents; for a base model, just its begin-of-text token."""

    MARK = "\N{SYMBOL FOR SUBSTITUTE}"  # stands for a content

    def __init__(self, tokenizer: Any, chat_prefix: bool = True):
        """`chat_prefix`: whether prose, too, comes after the template's constant head. Raises ValueError where the
        chat template does not render plain turns."""
        self.left_out = LeftOut()
        self.around: dict[tuple[str, ...], list[str]] = {}  # by roles: rendering takes as long as finding tokens does
        self.tokenizer = tokenizer
        self.has_chat = tokenizer.chat_template is not None
        self.special_pattern = "|".join(map(re.escape, special_tokens(tokenizer).values())) or "(?!)"
        plain = tokenizer("")["input_ids"][:1]
        self.begin: list[int] = plain if plain and plain[0] == tokenizer.bos_token_id else []
        self.prose_prefix = self.begin
        self.turn_prefix: dict[str, list[int]] = {}
        if self.has_chat:
            try:
                self._headers()
            except Exception as error:  # a template may do anything, such as add text to a number
                raise ValueError(
                    "the subject's chat template does not render the turns of a user and an assistant, each content"
                    f" once ({error}); correct it, or remove it from the model's folder"
                ) from None
            if chat_prefix:
                self.prose_prefix = self.turn_prefix["user"]

    def _render(self, messages: list[Message]) -> str:
        return render(self.tokenizer, messages)

    def _headers(self) -> None:
        """Find the constant head and each role's header by rendering marked messages."""
        user, assistant = ({"role": role, "content": self.MARK} for role in ("user", "assistant"))
        head, user_closing = self._render([user]).split(self.MARK)
        _, between, assistant_closing = self._render([user, assistant]).split(self.MARK)
        back = self._render([user, assistant, user]).split(self.MARK)[2]
        header = {
            "user": back.removeprefix(assistant_closing),
            "assistant": between.removeprefix(user_closing),
        }
        system = head.removesuffix(header["user"])
        self.turn_prefix = {role: self.special(system + text) for role, text in header.items()}

    def prefixes(self) -> list[list[int]]:
        """Everything constant that a window may begin with: begin-of-text, or the head and a role's header."""
        return [prefix for prefix in (self.begin, *self.turn_prefix.values()) if prefix]

    def special(self, text: str) -> list[int]:
        """Ids of template text: special tokens in it are special, none is added."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def prose(self, text: str) -> list[int]:
        """Ids of a document's text: what looks like a special token in it is just text."""
        return self.tokens(Rendered(text, None))[0]

    def chat(self, messages: list[Message]) -> Tokens:
        """Ids of the templated conversation, exactly as the template gives them, and per token the role whose
        content it belongs to (None: the template's own). Contents lose what looks like a special token. Both are
        empty where the template refuses the conversation, or changes it so that nobody can tell whose words are
        whose; `left_out` counts that."""
        return self.tokens(self._conversation(messages))

    def rendered(self, document: Document) -> Rendered:
        """A document as `tokens` takes it; a conversation as prose where there is no chat template. Not to be called
        by two threads: `left_out` notes what comes first."""
        if isinstance(document, str):
            return Rendered(document, None)
        if not self.has_chat:
            return Rendered("\n\n".join(message["content"] for message in document), None)
        return self._conversation(document)

    def tokens(self, rendered: Rendered) -> Tokens:
        """Ids of a rendered document, as `prose` and `chat` say; of prose no roles. Several threads may call it at
        once, all with prose or all with conversations: the tokenizer is told whether text can hold special tokens."""
        text, pieces = rendered
        if pieces is None:
            return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"], []
        role_of_char = [role for piece, role in pieces for _ in piece] + [None]
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return encoded["input_ids"], [
            role_of_char[start] if end > start else None for start, end in encoded["offset_mapping"]
        ]

    def _conversation(self, messages: list[Message]) -> Rendered:
        cleaned = [{**m, "content": self._clean(m["content"])} for m in messages]
        try:
            text = self._render(cleaned)
            return Rendered(text, self._pieces(cleaned, text))
        except Exception as error:
            self._note(f"conversation that the chat template does not take ({error})", messages)
            return Rendered("", [])

    def _note(self, reason: str, messages: list[Message]) -> None:
        self.left_out.note(reason, f"one that begins {messages[0]['content'][:40]!r}")

    def _pieces(self, messages: list[Message], text: str) -> list[tuple[str, str | None]]:
        """A templated conversation in pieces, each with the role whose content it is, or None."""
        roles = tuple(m["role"] for m in messages)
        if roles not in self.around:
            self.around[roles] = self._render([{"role": r, "content": self.MARK} for r in roles]).split(self.MARK)
        around = self.around[roles]
        contents: list[tuple[str, str | None]] = [(m["content"], m["role"]) for m in messages]
        if len(around) == len(contents) + 1:
            pieces = _alternating(around, contents)
            if _joined(pieces) == text:
                return pieces
        return self._changed_pieces(messages, text)

    def _changed_pieces(self, messages: list[Message], text: str) -> list[tuple[str, str | None]]:
        """The same where the template changes a content, as those do that take out thinking, or leaves out a turn:
        each turn is rendered among marks, which shows what becomes of it. Raises ValueError where the turns so found
        are not the conversation."""
        marks = [f"{self.MARK}{i}{self.MARK}" for i in range(len(messages))]
        among_marks = [{**m, "content": mark} for m, mark in zip(messages, marks)]
        around = re.split(f"{self.MARK}(\\d+){self.MARK}", self._render(among_marks))
        shown = [int(i) for i in around[1::2]]
        around = around[::2]
        if shown != sorted(set(shown)):
            raise ValueError("it repeats or reorders turns")
        contents: list[tuple[str, str | None]] = []
        cuts = [[0, 0] for _ in around]  # characters of the template's own text that go with the content beside it
        for place, i in enumerate(shown):
            before = "".join(a + marks[j] for a, j in zip(around[:place], shown)) + around[place]
            after = around[place + 1] + "".join(marks[j] + a for a, j in zip(around[place + 2 :], shown[place + 1 :]))
            found = self._render([*among_marks[:i], messages[i], *among_marks[i + 1 :]])
            start = _shared(before, found)
            end = _shared(after[::-1], found[start:][::-1])
            cuts[place][1], cuts[place + 1][0] = len(before) - start, len(after) - end
            contents.append((found[start : len(found) - end], messages[i]["role"]))
        if any(sum(cut) > len(own) for own, cut in zip(around, cuts)):
            raise ValueError("one turn changes another")
        around = [own[first : len(own) - last] for own, (first, last) in zip(around, cuts)]
        pieces = _alternating(around, contents)
        if _joined(pieces) != text:
            raise ValueError("one turn changes another")
        for i in set(range(len(messages))) - set(shown):
            self._note(f"turn of role {messages[i]['role']} that the chat template does not show", messages)
        return pieces

    def _clean(self, text: str) -> str:
        # Again and again: taking one out may put another together.
        while (shorter := re.sub(self.special_pattern, "", text)) != text:
            text = shorter
        return text.strip()


def _alternating(around: list[str], contents: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
    """The template's own pieces with the contents between them."""
    return [piece for own, content in zip(around, contents) for piece in ((own, None), content)] + [(around[-1], None)]


def _shared(one: str, other: str) -> int:
    """Characters that both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other)) if a != b), min(len(one), len(other)))


def _joined(pieces: list[tuple[str, str | None]]) -> str:
    return "".join(piece for piece, _ in pieces)
