"""Conversations and texts from elsewhere as token ids."""

from typing import Any

from neuron_descriptions.common.vocabulary import Message
from neuron_descriptions.models.loading import render

# What special tokens in a text become for the published fine-tuned models, whose tokenizer has these added tokens.
STAND_INS = {
    "<|begin_of_text|>": "<||begin_of_text||>",
    "<|start_header_id|>": "<||start_header_id||>",
    "<|end_header_id|>": "<||end_header_id||>",
    "<|eot_id|>": "<||eot_id||>",
}


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of text that comes from elsewhere: what looks like a special token in it is just text."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def template_segments(tokenizer: Any, messages: list[Message], marks: list[str]) -> list[list[int]]:
    """Ids of a templated conversation around the given marks, which stand once each, in order, in the messages'
    contents; ends with the assistant's header. One begin-of-text token, where the template or the tokenizer has
    one."""
    if tokenizer.chat_template is not None:
        text = render(tokenizer, messages, add_generation_prompt=True)
        begin: list[int] = []
    else:
        text = "\n\n".join(message["content"] for message in messages) + "\n\n"
        begin = [i for i in tokenizer("")["input_ids"][:1] if i == tokenizer.bos_token_id]
    segments = []
    for mark in marks:
        before, text = text.split(mark, 1)
        segments.append(before)
    segments.append(text)
    ids = [tokenizer(s, add_special_tokens=False)["input_ids"] if s else [] for s in segments]
    return [begin + ids[0], *ids[1:]]
