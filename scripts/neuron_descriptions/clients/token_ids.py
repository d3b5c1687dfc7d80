"""Prompts and answers of local engines as token ids."""

import re
from typing import Any

from neuron_descriptions.clients.base import Answer, Prompt
from neuron_descriptions.models.conversations import STAND_INS, plain_ids, template_segments

_MARKS = "\N{SYMBOL FOR SUBSTITUTE}0.", "\N{SYMBOL FOR SUBSTITUTE}1."


class TokenIds:
    """A local explainer's tokenizer: conversations to ids, ids to text."""

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        vocabulary = tokenizer.get_vocab()
        self.stand_ins = {special: vocabulary[added] for special, added in STAND_INS.items() if added in vocabulary}
        self.originals = {i: special for special, i in self.stand_ins.items()}

    def prompt(self, prompt: Prompt) -> tuple[list[int], list[int]]:
        """(ids of what is the same in every prompt of the run, the other ids). Only the last message holds text from
        elsewhere: what looks like a special token in it is just text, or its stand-in."""
        messages = [dict(message) for message in prompt.messages]
        # Stripped: a chat template that trims contents, as Llama's does, only ever sees the mark.
        user, messages[-1]["content"] = messages[-1]["content"].strip(), _MARKS[1]
        marks = [_MARKS[1]]
        if 0 < prompt.shared < len(messages) - 1:
            messages[prompt.shared]["content"] = _MARKS[0] + messages[prompt.shared]["content"]
            marks = [*_MARKS]
        *before, after = template_segments(self.tokenizer, messages, marks)
        shared = before.pop(0) if prompt.shared else []
        rest = [i for segment in before for i in segment] + self._foreign(user) + after
        return shared, rest + plain_ids(self.tokenizer, prompt.answer)

    def _foreign(self, text: str) -> list[int]:
        if not self.stand_ins:
            return plain_ids(self.tokenizer, text)
        parts = re.split("(" + "|".join(map(re.escape, self.stand_ins)) + ")", text)
        ids = [[self.stand_ins[p]] if p in self.stand_ins else plain_ids(self.tokenizer, p) for p in parts if p]
        return [i for part in ids for i in part]

    def text(self, ids: list[int]) -> str:
        """Text of an answer's ids: special tokens left out, stand-ins as what they stand for."""
        text, start = "", 0
        for place, i in enumerate([*ids, None]):
            if i is None or i in self.originals:
                text += self.tokenizer.decode(ids[start:place], skip_special_tokens=True)
                text += self.originals.get(i, "") if i is not None else ""
                start = place + 1
        return text

    def answer(self, prompt_tokens: int, ids: list[int], stop: tuple[str, ...], ended: bool) -> Answer:
        """The answer in the generated ids, which may go on behind a stop string; ended: they reached the end."""
        text = self.text(ids)
        stops = [text.index(s) for s in stop if s in text]
        if stops:
            ids = next(ids[:n] for n in range(len(ids) + 1) if any(s in self.text(ids[:n]) for s in stop))
            text = text[: min(stops)]
        return Answer(text, prompt_tokens, len(ids), finished=ended or bool(stops))
