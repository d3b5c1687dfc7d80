"""What a simulator that is asked in words is asked, and how its answer is read. Planning imports it: nothing heavy.

T tokens of a sequence.
"""

import json

from neuron_descriptions.clients.base import Prompt
from neuron_descriptions.descriptions.answers import answered_list
from neuron_descriptions.descriptions.prompts import _rendered, prompt_file, read_template

HIGHEST = 10.0


@prompt_file
class AskedTemplate:
    """Its prompt file: `user` is a jinja2 template over `description`, `tokens` (texts as JSON) and `count`."""

    system: str
    user: str

    def prompt(self, description: str, tokens: list[str]) -> Prompt:
        """The question about a sequence."""
        shown = json.dumps(tokens, ensure_ascii=False)
        user = _rendered(self.user, description=description, tokens=shown, count=len(tokens))
        system = {"role": "system", "content": self.system.strip()}
        return Prompt([system, {"role": "user", "content": user.strip()}], shared=1)


def read_asked_template(path: str, name: str = "scores.simulator.prompt") -> AskedTemplate:
    """Read a prompt file and try it. name: its key. Raises ValueError that names the file."""
    template = read_template(path, AskedTemplate, name)
    try:
        said = template.prompt("of the moon", ["a", " crescent"]).messages[-1]["content"]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if "of the moon" not in said or '" crescent"' not in said:
        raise ValueError(f"{path}: `user` must show the description and the tokens")
    return template


def parse_numbers(text: str, count: int) -> list[float] | None:
    """(T,) numbers of 0 to 10 in a JSON list behind the last thought, each alone or in a list behind its token; None
    where the text is anything else, or of another length: what cannot be read is not guessed."""
    items = answered_list(text, count)
    if items is None:
        return None
    found = [item[-1] if isinstance(item, list) and len(item) == 2 else item for item in items]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n <= HIGHEST for n in found):
        return None
    return [float(n) for n in found]
