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
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


def _rendered(tokenizer: Any, messages: list[Message]) -> str:
    """A prompt's text. The system's words go before the user's first where the template, such as Gemma's, refuses
    them or leaves them out. Raises ValueError where the template does not render the prompt."""
    try:
        text = render(tokenizer, messages, add_generation_prompt=True)
        if messages[0]["role"] != "system" or messages[0]["content"].strip() in text:
            return text
        trouble = "it leaves out what the system says"
    except Exception as error:  # a template may do anything
        trouble = str(error)
    if messages[0]["role"] == "system" and len(messages) > 1:
        told = f"{messages[0]['content'].strip()}\n\n{messages[1]['content']}"
        return _rendered(tokenizer, [{**messages[1], "content": told}, *messages[2:]])
    raise ValueError(f"the model's chat template does not render the prompt ({trouble}); correct it, or take another")


def template_segments(tokenizer: Any, messages: list[Message], marks: list[str]) -> list[list[int]]:
    """Ids of a templated conversation around the given marks, which stand once each, in order, in the messages'
    contents; ends with the assistant's header. One begin-of-text token, where the template or the tokenizer has
    one."""
    if tokenizer.chat_template is not None:
        text = _rendered(tokenizer, messages)
        begin: list[int] = []
    else:
        text = "\n\n".join(message["content"] for message in messages) + "\n\n"
        begin = [i for i in tokenizer("")["input_ids"][:1] if i == tokenizer.bos_token_id]
    segments = []
    for mark in marks:
        if mark not in text:
            raise ValueError("the chat template leaves out a turn of the prompt; correct it, or take another model")
        before, text = text.split(mark, 1)
        segments.append(before)
    segments.append(text)
    ids = [tokenizer(s, add_special_tokens=False)["input_ids"] if s else [] for s in segments]
    return [begin + ids[0], *ids[1:]]
