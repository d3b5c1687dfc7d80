"""Prompts: excerpts with highlights, template files, and the token ids that a model gets."""

import re
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import jinja2
import numpy as np
import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from .models import token_strings

T = TypeVar("T")
MARKER = "[DESCRIPTION]:"
prompt_file = dataclass(frozen=True, config=ConfigDict(extra="forbid"))


@prompt_file
class ExplainerTemplate:
    """An explainer prompt file. `user` is a jinja2 template over `excerpts`, `marked` (the highlighted strings, each
    once, in order) and `sign`; `answer` is how the answer begins, written for the model; an answer ends at the first
    of `stop`."""

    system: str
    user: str
    answer: str = MARKER
    stop: tuple[str, ...] = ("\n",)

    def render(self, excerpts: list[str], sign: str) -> str:
        """The user message."""
        marked = dict.fromkeys(m.strip() for e in excerpts for m in re.findall(r"\{\{(.+?)\}\}", e, re.DOTALL))
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(self.user).render(excerpts=excerpts, marked=list(marked), sign=sign).strip()


def read_template(path: str, kind: type[T]) -> T:
    """Read a prompt file as `kind`, a dataclass. Raises ValueError that names the file and the key."""
    try:
        return TypeAdapter(kind).validate_python(yaml.safe_load(Path(path).read_text()))
    except (yaml.YAMLError, ValidationError) as error:
        keys = ", ".join(field.name for field in fields(kind))  # type: ignore[arg-type]
        raise ValueError(f"{path} is not a prompt file with the keys {keys}: {error}") from None


# --- excerpts ----------------------------------------------------------------------------------------


def n_places(marked: np.ndarray) -> int:
    """Highlighted places, runs of marked tokens, of one excerpt; bool (tokens,)."""
    return int(marked[0]) + int((marked[1:] & ~marked[:-1]).sum()) if len(marked) else 0


def highlight_threshold(activations: list[np.ndarray], ladder: list[float], min_highlights: int) -> float:
    """Activation from which a token is highlighted.

    The strictest quantile of `ladder` (strictest first) with at least `min_highlights` places over all excerpts,
    repeats of a string counted; where even the loosest has fewer (a small corpus), the smallest of the excerpts'
    peaks, so that every excerpt shows one. activations: one array per excerpt, this sign upwards.
    """
    for threshold in ladder:
        if sum(n_places((a >= threshold) & (a > 0)) for a in activations) >= min_highlights:
            return threshold
    return min(float(a.max()) for a in activations)


def highlight(strings: list[str], marked: np.ndarray) -> str:
    """Tokens joined, runs of marked ones in {{ }}, spaces at a run's ends kept outside."""
    text = ""
    for is_marked, run in groupby(zip(strings, marked), key=lambda pair: bool(pair[1])):
        joined = "".join(string for string, _ in run)
        core = joined.strip()
        if is_marked and core:
            before, after = joined.split(core, 1)[0], joined[len(joined.rstrip()) :]
            joined = f"{before}{{{{{core}}}}}{after}"
        text += joined
    return text


def excerpts(
    tokenizer: Any,
    ids: list[list[int]],
    activations: list[np.ndarray],
    ladder: list[float],
    min_highlights: int,
) -> list[str]:
    """Excerpts of one prompt, highlighted with one threshold. ids, activations: of the evidence tokens."""
    threshold = highlight_threshold(activations, ladder, min_highlights)
    return [
        highlight(token_strings(tokenizer, row), (acts >= threshold) & (acts > 0))
        for row, acts in zip(ids, activations)
    ]


# --- token ids ---------------------------------------------------------------------------------------


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of text that comes from elsewhere: what looks like a special token in it is just text."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def template_segments(tokenizer: Any, messages: list[dict[str, str]], marks: list[str]) -> list[list[int]]:
    """Ids of a templated conversation around the given marks, which stand once each, in order, in the messages'
    contents; ends with the assistant's header. One begin-of-text token, where the template or the tokenizer has
    one."""
    if tokenizer.chat_template is not None:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
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


def explainer_prompt(tokenizer: Any, template: ExplainerTemplate, excerpts: list[str], sign: str) -> list[int]:
    """Ids of the prompt for one candidate."""
    mark = "\N{SYMBOL FOR SUBSTITUTE}"
    messages = [
        {"role": "system", "content": template.system.strip()},
        {"role": "user", "content": mark},
    ]
    before, after = template_segments(tokenizer, messages, [mark])
    user = plain_ids(tokenizer, template.render(excerpts, sign))
    return before + user + after + plain_ids(tokenizer, template.answer)
