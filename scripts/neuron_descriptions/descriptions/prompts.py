"""Prompts: what an explainer is shown of a neuron, template files, and the token ids that a local model gets."""

import json
import re
from dataclasses import fields
from functools import lru_cache
from itertools import groupby
from typing import Annotated, Any, Literal, TypeVar

import jinja2
import numpy as np
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from neuron_descriptions.common.user_files import read_yaml
from neuron_descriptions.common.vocabulary import Message, Sign
from neuron_descriptions.models.loading import token_strings

T = TypeVar("T")
MARKER = "[DESCRIPTION]:"
Form = Literal["whole", "published"]
prompt_file = dataclass(frozen=True, config=ConfigDict(extra="forbid"))


# --- excerpts ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Excerpt:
    """An exemplar as templates show it: its text with {{ }} around what is highlighted, and its tokens, pairs of a
    text and a number as it is written."""

    text: str
    tokens: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.text

    @property
    def active(self) -> list[tuple[str, str]]:
        """The tokens whose number is not zero."""
        return [(token, number) for token, number in self.tokens if float(number) != 0]


def whole_characters(strings: list[str], activations: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Tokens that hold only part of a character put together, with the largest of their activations; a character
    that the window cuts off stands as "�". strings: as token_strings gives them, empty for the parts."""
    ends = [i for i, string in enumerate(strings, 1) if string or i == len(strings)]
    if not ends:
        return [], activations
    return [strings[end - 1] or "�" for end in ends], np.maximum.reduceat(activations, [0, *ends[:-1]])


def n_places(marked: np.ndarray) -> int:
    """Highlighted places, runs of marked tokens, of one excerpt; bool (tokens,)."""
    return int(marked[0]) + int((marked[1:] & ~marked[:-1]).sum()) if len(marked) else 0


@dataclass(frozen=True)
class Highlights:
    """Which tokens of a prompt's excerpts are highlighted.

    `ladder`: thresholds, the strictest first; `places`: so many are wanted over all excerpts; `near_misses`: see the
    config's `descriptions.near_misses`; 1: none.
    """

    ladder: list[float]
    places: int
    near_misses: float = 1.0

    def threshold(self, activations: list[np.ndarray]) -> float:
        """Activation from which a token is highlighted.

        The strictest of `ladder` with at least `places` places over all excerpts, repeats of a string counted. Where
        none has so many (a small corpus; a looser threshold can have fewer, since neighbouring places merge), the one
        with most places, the strictest of equals; the smallest of the excerpts' peaks, with which every excerpt shows
        one, is tried too. activations: one array per excerpt, this sign upwards.
        """
        rungs = [*self.ladder, min(float(a.max()) for a in activations)]
        places = [sum(n_places((a >= threshold) & (a > 0)) for a in activations) for threshold in rungs]
        for threshold, n in zip(self.ladder, places):
            if n >= self.places:
                return threshold
        return max(threshold for threshold, n in zip(rungs, places) if n == max(places))

    def marked(self, strings: list[list[str]], activations: list[np.ndarray]) -> list[np.ndarray]:
        """Which tokens are highlighted, one bool array per excerpt. strings: texts of the tokens.

        What reaches the threshold; and of what nearly does, tokens that are one of those again, whatever their case and
        spaces, and the peak of an excerpt that would show nothing: left unmarked, they would speak against the word.
        """
        threshold = self.threshold(activations)
        marked = [(a >= threshold) & (a > 0) for a in activations]
        again = {_plain(s) for row, m in zip(strings, marked) for s, is_marked in zip(row, m) if is_marked} - {""}
        for row, a, m in zip(strings, activations, marked):
            near = (a >= self.near_misses * threshold) & (a > 0)
            m |= near & np.array([_plain(string) in again for string in row], dtype=bool)
            if not m.any():
                m |= near & (a == a.max())
        return marked


def _plain(string: str) -> str:
    return string.strip().casefold()


def highlight(strings: list[str], marked: np.ndarray, outside: str | None = None) -> str:
    """Tokens joined, runs of marked ones in {{ }}, spaces at a run's ends kept outside, unless it is all spaces.
    outside: the characters that are such spaces; None: all white space."""
    text = ""
    for is_marked, run in groupby(zip(strings, marked), key=lambda pair: bool(pair[1])):
        joined = "".join(string for string, _ in run)
        if is_marked:
            core = joined.strip(outside) or joined
            before, after = joined.split(core, 1)[0], joined[len(joined.rstrip(outside)) :] if core != joined else ""
            joined = f"{before}{{{{{core}}}}}{after}"
        text += joined
    return text


def excerpts(
    tokenizer: Any,
    ids: list[list[int]],
    activations: list[np.ndarray],
    highlights: Highlights,
    context: int | None = None,
    scale: float | None = 10.0,
    decimals: int = 0,
    form: Form = "whole",
) -> list[Excerpt]:
    """Excerpts of one prompt. ids, activations: of the tokens shown, this sign upwards; context, scale, decimals, form:
    see ExplainerTemplate."""
    if form == "published":
        pairs = [([_alone(tokenizer, i) for i in row], acts) for row, acts in zip(ids, activations)]
    else:
        pairs = [whole_characters(token_strings(tokenizer, row), acts) for row, acts in zip(ids, activations)]
    all_marked = highlights.marked([strings for strings, _ in pairs], [acts for _, acts in pairs])
    peak = max(float(acts.max()) for _, acts in pairs)
    factor = 1.0 if scale is None else scale / peak
    shown = []
    for (strings, acts), marked in zip(pairs, all_marked):
        if context is not None:
            places = np.flatnonzero(marked) if marked.any() else np.array([acts.argmax()])
            window = slice(max(0, int(places[0]) - context), int(places[-1]) + context + 1)
            strings, acts, marked = strings[window], acts[window], marked[window]
        numbers = [f"{max(0.0, float(a)) * factor:.{decimals}f}" for a in acts]
        text = highlight(strings, marked, " " if form == "published" else None)
        shown.append(Excerpt(text, tuple(zip(strings, numbers))))
    return shown


@lru_cache(1 << 18)
def _alone(tokenizer: Any, token: int) -> str:
    """A token's text by itself: "�" for a part of a character."""
    return tokenizer.decode([token])


# --- template files ----------------------------------------------------------------------------------


@prompt_file
class Example:
    """A solved example. An excerpt is a text with {{ }} in it, or a list of [token, number] pairs; `answer` is all that
    the model should have written."""

    excerpts: Annotated[tuple[str | tuple[tuple[str, float], ...], ...], Field(min_length=1)]
    answer: Annotated[str, Field(pattern=re.escape(MARKER))]
    sign: Sign = "positive"

    def shown(self, decimals: int) -> list[Excerpt]:
        """Its excerpts, as those of a neuron."""
        return [Excerpt(e) if isinstance(e, str) else self._listed(e, decimals) for e in self.excerpts]

    @staticmethod
    def _listed(pairs: tuple[tuple[str, float], ...], decimals: int) -> Excerpt:
        text = highlight([token for token, _ in pairs], np.array([number > 0 for _, number in pairs]))
        return Excerpt(text, tuple((token, f"{number:.{decimals}f}") for token, number in pairs))


@prompt_file
class ExplainerTemplate:
    """An explainer prompt file.

    `user` is a jinja2 template over `excerpts` (each with `.text`, highlighted; `.tokens`, pairs of a token and a
    number; `.active`, those that are not zero), `marked` (the highlighted strings, each once, in order), `share` (of
    tokens whose number is not zero) and `sign`. `answer` is how the answer begins, written for the model where the
    client can; an answer ends at the first of `stop`, or after `max_tokens`. An empty `answer` says that the model was
    trained to write the marker: then nothing needs to ask for it.

    `form` of an excerpt: `whole` shows the evidence, whole characters, no white space at the ends of what is in {{ }};
    `published`, the evidence as the published fine-tuned explainer was trained to read it: the chat template's prefix
    first, each token decoded by itself, line breaks within the {{ }} and at the end of the message.

    `context`: tokens shown before the first and after the last highlighted token of an excerpt; null: all. `scale`:
    the number of the strongest activation shown; null: activations as they are. `decimals` of these numbers.
    `examples`: solved ones; `example`, a jinja2 template over `number`, `question` and `answer`, is how one stands in
    the system prompt.
    """

    system: str
    user: str
    answer: str = MARKER
    stop: tuple[str, ...] = ("\n",)
    max_tokens: PositiveInt = 60
    context: NonNegativeInt | None = None
    scale: PositiveFloat | None = 10.0
    decimals: Annotated[int, Field(ge=0, le=6)] = 0
    form: Form = "whole"
    examples: tuple[Example, ...] = ()
    example: str = "Example {{ number }}\n\n{{ question }}\n\n{{ answer }}"

    def render(self, excerpts: list[Excerpt], sign: str) -> str:
        """The user message."""
        found = dict.fromkeys(m for e in excerpts for m in re.findall(r"\{\{(.+?)\}\}", e.text, re.DOTALL))
        # Spaces alone would not be seen in a list.
        marked = dict.fromkeys(m.strip() or json.dumps(m) for m in found)
        tokens = sum(len(e.tokens) for e in excerpts)
        share = sum(len(e.active) for e in excerpts) / tokens if tokens else 0.0
        text = _rendered(self.user, excerpts=excerpts, marked=list(marked), share=share, sign=sign)
        return text if self.form == "published" else text.strip()

    def messages(
        self,
        excerpts: list[Excerpt],
        sign: str,
        examples: list[Example] | None = None,
        place: Literal["none", "system", "turns"] = "none",
    ) -> list[Message]:
        """The conversation up to the answer, with the given examples at their place."""
        system, turns = self.system.strip(), []
        for number, example in enumerate(examples or [], 1):
            question = self.render(example.shown(self.decimals), example.sign)
            answer = example.answer.strip()
            if place == "system":
                example_text = _rendered(self.example, number=number, question=question, answer=answer)
                system += "\n\n" + example_text.strip()
            elif place == "turns":
                turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        user = {"role": "user", "content": self.render(excerpts, sign)}
        return [{"role": "system", "content": system}, *turns, user]


MOST = 100_000  # items that a template may count, characters that it may repeat


class _Sandbox(ImmutableSandboxedEnvironment):
    """Templates are other people's files, and are tried already when a run is planned: they reach their variables and
    nothing behind them, and neither count nor repeat without end."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self) -> None:
        super().__init__(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        self.counted = 0
        self.globals = {name: self.globals[name] for name in ("dict", "namespace")} | {"range": self._range}

    def _range(self, *ends: int) -> range:
        found = range(*ends)
        self.counted += len(found)
        if self.counted > MOST:
            raise OverflowError(f"its loops over `range` take more than {MOST:,} steps")
        return found

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The product of two numbers, or a text or list so many times; powers that fit into a number."""
        if operator == "**" and not (abs(left) <= MOST and abs(right) <= 10):
            raise OverflowError(f"{left} ** {right} is more than a prompt needs")
        for many, times in ((left, right), (right, left)):
            if hasattr(many, "__len__") and len(many) * times > MOST:
                raise OverflowError(f"it repeats something to more than {MOST:,} characters or items")
        return super().call_binop(context, operator, left, right)


def _rendered(template: str, **values: Any) -> str:
    """Raises ValueError, whatever goes wrong."""
    try:
        return _Sandbox().from_string(template).render(**values)
    except Exception as error:
        raise ValueError(f"its templates do not render: {type(error).__name__}: {error}") from None


def read_template(path: str, kind: type[T], key: str = "") -> T:
    """Read a prompt file as `kind`, a dataclass. key: what names it in the configuration.

    Raises ValueError that names the file and the key.
    """
    try:
        return TypeAdapter(kind).validate_python(read_yaml(path, key))
    except ValidationError as error:
        keys = ", ".join(field.name for field in fields(kind))  # type: ignore[arg-type]
        raise ValueError(f"{path} is not a prompt file with the keys {keys}: {error}") from None


def read_explainer_template(path: str, few_shot: dict[str, Any], begins: bool) -> ExplainerTemplate:
    """Read an explainer's prompt file and try it; few_shot: the config's `descriptions.few_shot`; begins: whether the
    client writes `answer` for the model. Raises ValueError that names the file and the key."""
    template = read_template(path, ExplainerTemplate, "descriptions.prompt")
    examples, place = list(template.examples), few_shot["place"]
    if place != "none" and (few_shot["count"] or 0) > len(examples):
        raise ValueError(f"descriptions.few_shot.count is {few_shot['count']}, but {path} has {len(examples)} examples")
    excerpt = Excerpt("a {{b}}", (("a", "0"), (" b", "1")))
    try:
        messages = template.messages([excerpt], "positive", examples[: few_shot["count"]], place)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    asked = [message["content"] for message in messages] + ([template.answer] if begins else [])
    if template.answer and not any(MARKER in text for text in asked):
        raise ValueError(
            f"{path} never mentions {MARKER}, which every answer must have before the description: ask for it in"
            " `system` or `user`" + ("" if begins else "; `answer` does not reach the model of a chat endpoint")
        )
    return template
