"""Prompt files about tokens that a feature writes. They are read when jobs are planned: nothing heavy is imported."""

import json

from pydantic import PositiveInt

from neuron_descriptions.clients.base import Prompt
from neuron_descriptions.descriptions.prompts import MARKER, _rendered, prompt_file, read_template


@prompt_file
class OutputTemplate:
    """A prompt file about tokens that a feature writes.

    `user` is a jinja2 template over `more` and `less`, tokens that it makes more and less likely, the strongest first,
    and `measured`, those that became more likely when it was scaled on text, empty where the run does not measure that;
    each is a text in quotation marks, so that spaces show. `answer` is how the answer begins, written for the model
    where the client can; it ends at the first of `stop`, or after `max_tokens`.
    """

    system: str
    user: str
    answer: str = MARKER
    stop: tuple[str, ...] = ("\n",)
    max_tokens: PositiveInt = 60

    def prompt(self, more: list[str], less: list[str], measured: list[str]) -> Prompt:
        """What is asked about tokens. Raises ValueError where the template does not render."""
        quoted = {
            name: [json.dumps(token, ensure_ascii=False) for token in tokens]
            for name, tokens in (("more", more), ("less", less), ("measured", measured))
        }
        user = _rendered(self.user, **quoted).strip()
        messages = [{"role": "system", "content": self.system.strip()}, {"role": "user", "content": user}]
        return Prompt(messages, self.answer, shared=1)


def read_output_template(path: str, begins: bool, key: str = "output_side.prompt") -> OutputTemplate:
    """Read a prompt file and try it. begins: whether the client writes `answer` for the model. Raises ValueError that
    names the file and the key."""
    template = read_template(path, OutputTemplate, key)
    try:
        prompt = template.prompt([" one", "ones"], [" two"], [])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    asked = [message["content"] for message in prompt.messages]
    if json.dumps(" one") not in asked[1]:
        raise ValueError(f"{path}: `user` must show the tokens of `more`")
    if template.answer and not any(MARKER in text for text in asked + ([template.answer] if begins else [])):
        raise ValueError(
            f"{path} never mentions {MARKER}, which every answer must have before the description: ask for it in"
            " `system` or `user`" + ("" if begins else "; `answer` does not reach the model of a chat endpoint")
        )
    return template
