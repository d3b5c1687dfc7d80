"""The subject's chat template: what it puts around contents, as token ids."""

import re
from typing import Any

from .models import special_tokens
from .records import Message


class Template:
    """What the subject's chat template puts around contents; for a base model, just its begin-of-text token."""

    MARK = "\N{SYMBOL FOR SUBSTITUTE}"  # stands for a content

    def __init__(self, tokenizer: Any, chat_prefix: bool = True):
        """`chat_prefix`: whether prose, too, comes after the template's constant head."""
        self.tokenizer = tokenizer
        self.has_chat = tokenizer.chat_template is not None
        self.special_pattern = "|".join(map(re.escape, special_tokens(tokenizer).values())) or "(?!)"
        plain = tokenizer("")["input_ids"][:1]
        self.begin: list[int] = plain if plain and plain[0] == tokenizer.bos_token_id else []
        self.prose_prefix = self.begin
        self.turn_prefix: dict[str, list[int]] = {}
        if self.has_chat:
            self._headers()
            if chat_prefix:
                self.prose_prefix = self.turn_prefix["user"]

    def _render(self, messages: list[Message]) -> str:
        return self.tokenizer.apply_chat_template(messages, tokenize=False)

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
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def prose(self, text: str) -> list[int]:
        """Ids of a document's text: what looks like a special token in it is just text."""
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    def chat(self, messages: list[Message]) -> tuple[list[int], list[str | None]]:
        """Ids of the templated conversation, exactly as the template gives them, and per token the role whose
        content it belongs to (None: the template's own). Contents lose what looks like a special token."""
        cleaned = [{**m, "content": self._clean(m["content"])} for m in messages]
        text = self._render(cleaned)
        around = self._render([{**m, "content": self.MARK} for m in messages]).split(self.MARK)
        pieces = [piece for pair in zip(around, [m["content"] for m in cleaned]) for piece in pair] + around[-1:]
        if "".join(pieces) != text:
            return [], []  # the template changed the content: nothing to go by
        roles = [role for m in messages for role in (None, m["role"])] + [None]
        role_of_char = [role for piece, role in zip(pieces, roles) for _ in piece] + [None]
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return encoded["input_ids"], [
            role_of_char[start] if end > start else None for start, end in encoded["offset_mapping"]
        ]

    def _clean(self, text: str) -> str:
        # Again and again: taking one out may put another together.
        while (shorter := re.sub(self.special_pattern, "", text)) != text:
            text = shorter
        return text.strip()
