"""What a judge is asked about passages, and how a list of answers is read. Planning imports it: nothing heavy."""

from collections.abc import Sequence
from dataclasses import dataclass

from neuron_descriptions.clients.base import Prompt
from neuron_descriptions.descriptions.answers import answered_list
from neuron_descriptions.descriptions.prompts import _rendered, prompt_file, read_template

_WORDS = {"yes": 1.0, "no": 0.0, "true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}


@prompt_file
class JudgeTemplate:
    """A judge's prompt file: `one` is a jinja2 template over `description` and `passage`, `several` over `description`
    and `passages`."""

    system: str
    one: str
    several: str

    def prompt(self, description: str, passages: Sequence[str], several: bool) -> Prompt:
        """The question about passages; about the only one where not several."""
        shown = {"passages": list(passages)} if several else {"passage": passages[0]}
        user = _rendered(self.several if several else self.one, description=description, **shown)
        system = {"role": "system", "content": self.system.strip()}
        return Prompt([system, {"role": "user", "content": user.strip()}], shared=1)


def read_judge_template(path: str) -> JudgeTemplate:
    """Read a judge's prompt file and try it. Raises ValueError that names the file."""
    template = read_template(path, JudgeTemplate, "scores.scorers")
    for several in (False, True):
        try:
            said = template.prompt("of the moon", ["a moon"], several).messages[-1]["content"]
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if "of the moon" not in said or "a moon" not in said:
            which = "several" if several else "one"
            raise ValueError(f"{path}: `{which}` must show the description and the passage")
    return template


@dataclass(slots=True, frozen=True)
class Question:
    """A description, and passages as text; who: the neuron and sign that the passages are of, and the description's
    role there."""

    description: str
    passages: tuple[str, ...]
    who: tuple[object, ...]


def parse_list(text: str, count: int) -> list[float] | None:
    """The answers behind the last thought, in a JSON list of `count` items, each yes or no (or true or false, 1
    or 0), a full stop behind it or none; None where the text is anything else, or of another length."""
    items = answered_list(text, count)
    if items is None:
        return None
    if not all(isinstance(item, str | bool) or (isinstance(item, int) and item in (0, 1)) for item in items):
        return None
    found = [_WORDS.get(str(item).strip().rstrip(".").lower()) for item in items]
    return None if None in found else [value for value in found if value is not None]
