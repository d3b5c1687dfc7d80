"""Prompt files: what an explainer is asked, around the excerpts that it is shown."""

import json
import re
from dataclasses import fields
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar

import jinja2
import numpy as np
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from neuron_descriptions.common.user_files import read_yaml
from neuron_descriptions.common.vocabulary import Message, Sign
from neuron_descriptions.config.descriptions import FewShot
from neuron_descriptions.descriptions.excerpts import Beside, Contribution, Excerpt, Form, highlight

T = TypeVar("T")
MARKER = "[DESCRIPTION]:"
NOTHING = Beside()
prompt_file = dataclass(frozen=True, config=ConfigDict(extra="forbid"))


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
    tokens whose number is not zero) and `sign`; and over what goes beyond the exemplars drawn: `contributions` (the
    tokens that carry most of the activation, each with `.token`, `.share` in %, `.active` and `.seen`, how often it
    fires of how often it was read), `silent` (excerpts in which the same tokens, highlighted, leave the neuron silent)
    and `quiet` (whole texts that leave it silent). An excerpt also has `.plain`, its text, `.strongest`, its strongest
    token, and `.before`, what stands before that one. `answer` is how the answer begins, written for the model where
    the client can; an answer ends at the first of `stop`, or after `max_tokens`. An empty `answer` says that the model
    was trained to write the marker: then nothing needs to ask for it.

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

    @cached_property
    def wanted(self) -> frozenset[str]:
        """What it shows beyond excerpts: fields of Beside."""
        names = {f.name for f in fields(Beside)}
        try:
            return frozenset(meta.find_undeclared_variables(_Sandbox().parse(self.user)) & names)
        except jinja2.TemplateError:  # told when it is rendered
            return frozenset()

    def render(self, excerpts: list[Excerpt], sign: str, beside: Beside = NOTHING) -> str:
        """The user message."""
        found = dict.fromkeys(m for e in excerpts for m in re.findall(r"\{\{(.+?)\}\}", e.text, re.DOTALL))
        # Spaces alone would not be seen in a list.
        marked = dict.fromkeys(m.strip() or json.dumps(m) for m in found)
        tokens = sum(len(e.tokens) for e in excerpts)
        share = sum(len(e.active) for e in excerpts) / tokens if tokens else 0.0
        more = {f.name: getattr(beside, f.name) for f in fields(Beside)}
        text = _rendered(self.user, excerpts=excerpts, marked=list(marked), share=share, sign=sign, **more)
        return text if self.form == "published" else text.strip()

    def messages(
        self,
        excerpts: list[Excerpt],
        sign: str,
        examples: list[Example] | None = None,
        place: Literal["none", "system", "turns"] = "none",
        beside: Beside = NOTHING,
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
        user = {"role": "user", "content": self.render(excerpts, sign, beside)}
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


def read_templates_of_types(
    paths: dict[str, str], few_shot: FewShot, begins: bool, usual: ExplainerTemplate
) -> dict[str, ExplainerTemplate]:
    """Read and try the prompt files of types of neurons; usual: the one of all others. Raises ValueError where one is
    none, or its answers are not asked for as the usual one's."""
    found = {}
    for kind, path in paths.items():
        found[kind] = read_explainer_template(path, few_shot, begins, f"descriptions.prompts_by_type.{kind}")
        for name in ("answer", "stop", "max_tokens"):
            here, there = getattr(found[kind], name), getattr(usual, name)
            if here != there:
                raise ValueError(
                    f"descriptions.prompts_by_type.{kind}: {path} has {name} {here!r}, descriptions.prompt has"
                    f" {there!r}; one client answers both, so make them the same"
                )
    return found


def read_explainer_template(
    path: str, few_shot: FewShot, begins: bool, key: str = "descriptions.prompt"
) -> ExplainerTemplate:
    """Read an explainer's prompt file and try it; begins: whether the client writes `answer` for the model; key: names
    the file. Raises ValueError that names the file and the key."""
    template = read_template(path, ExplainerTemplate, key)
    examples, place = list(template.examples), few_shot.place
    if place != "none" and (few_shot.count or 0) > len(examples):
        raise ValueError(f"descriptions.few_shot.count is {few_shot.count}, but {path} has {len(examples)} examples")
    excerpt = Excerpt("a {{b}}", (("a", "0"), (" b", "1")))
    try:
        beside = Beside((Contribution("b", 100.0, 1, 2),), (excerpt,), (excerpt,))
        messages = template.messages([excerpt], "positive", examples[: few_shot.count], place, beside)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    asked = [message["content"] for message in messages] + ([template.answer] if begins else [])
    if template.answer and not any(MARKER in text for text in asked):
        raise ValueError(
            f"{path} never mentions {MARKER}, which every answer must have before the description: ask for it in"
            " `system` or `user`" + ("" if begins else "; `answer` does not reach the model of a chat endpoint")
        )
    return template
