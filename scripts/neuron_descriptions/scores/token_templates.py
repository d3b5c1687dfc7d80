"""Prompt files of judges of single tokens. Planning imports it: nothing heavy."""

from collections.abc import Sequence

from neuron_descriptions.clients.base import Prompt
from neuron_descriptions.descriptions.prompts import _rendered, prompt_file, read_template


@prompt_file
class TokenJudgeTemplate:
    """A prompt file about tokens. `next` is a jinja2 template over `description`: a text after which tokens that fit it
    come next; `neutral`: a description that says nothing. `system` and `several`, a template over `description` and
    `passages`, are for clients that are asked."""

    system: str
    several: str
    next: str
    neutral: str

    def prompt(self, description: str, passages: Sequence[str], several: bool = True) -> Prompt:
        """The question about several tokens."""
        user = _rendered(self.several, description=description, passages=list(passages)).strip()
        return Prompt([{"role": "system", "content": self.system.strip()}, {"role": "user", "content": user}], shared=1)

    def text(self, description: str) -> str:
        """What a local model goes on with."""
        return _rendered(self.next, description=description.strip().rstrip(".")).strip()


def read_token_judge_template(path: str, key: str = "output_side.judge_prompt") -> TokenJudgeTemplate:
    """Read a prompt file and try it. Raises ValueError that names the file and the key."""
    template = read_template(path, TokenJudgeTemplate, key)
    try:
        said = template.prompt("of the moon", ['" a moon"']).messages[-1]["content"]
        going_on = template.text("of the moon")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if "of the moon" not in said or '" a moon"' not in said or "of the moon" not in going_on:
        raise ValueError(f"{path}: `several` must show the description and the passages, `next` the description")
    return template
