"""Any endpoint that speaks OpenAI's interface: OpenAI itself, OpenRouter, a vLLM server."""

from dataclasses import replace
from typing import Any

import openai

from neuron_descriptions.clients.base import Request, parts
from neuron_descriptions.clients.dialects import (
    CUT,
    REFUSED,
    Said,
    failure_of_choice,
    has_refusal,
    reason,
    text_of,
    tokens,
)
from neuron_descriptions.clients.endpoint import EndpointClient
from neuron_descriptions.clients.token_ids import TokenIds
from neuron_descriptions.config.explainers import OpenaiExplainer


class OpenaiClient(EndpointClient):
    """Chat messages; or, with the model's tokenizer at hand, token ids to the completions interface, with the answer
    begun, which OpenAI's chat interface does not do."""

    errors = openai.OpenAIError

    def __init__(
        self, explainer: OpenaiExplainer, *args: Any, tokenizer: Any = None, stop: tuple[str, ...] = (), **kwargs: Any
    ):
        """tokenizer: of the model that the endpoint serves, or None; stop: ends of an answer that is begun."""
        super().__init__(explainer, *args, **kwargs)
        self.ids = TokenIds(tokenizer) if tokenizer is not None else None
        self.stop = stop
        self.several = explainer.several
        self.begins = tokenizer is not None

    def open(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(api_key=self.key, base_url=self.base_url, max_retries=0, timeout=self.limits.timeout)

    def fields(self, request: Request) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": request.seed % 2**31,
        }
        if self.ids is None:
            return fields | {"messages": request.prompt.messages}
        shared, rest = self.ids.prompt(request.prompt)
        # Of vLLM: ids come back, since text would lack the tokens that stand for special ones.
        extra = {"return_token_ids": True, "skip_special_tokens": False}
        return fields | {"prompt": shared + rest, "stop": list(self.stop) or None, **extra}

    async def send(self, sdk: openai.AsyncOpenAI, payload: dict[str, Any]) -> bytes:
        # Through extra_body: `body` may hold fields that the SDK does not know.
        api, asked = (sdk.chat.completions, "messages") if self.ids is None else (sdk.completions, "prompt")
        needed = {k: payload[k] for k in ("model", asked)}
        extra = {k: v for k, v in payload.items() if k not in needed}
        raw = await api.with_raw_response.create(**needed, extra_body=extra)
        content: bytes = raw.http_response.content
        return content

    def together(self, requests: list[Request]) -> list[list[int]]:
        """Those that one prompt is asked for."""
        if not self.several:
            return super().together(requests)
        found: dict[tuple[int, str], list[int]] = {}
        for number, request in enumerate(requests):
            key = (request.group, request.prompt.sha256()) if request.same > 1 else (-1 - number, "")
            found.setdefault(key, []).append(number)
        return list(found.values())

    def read(self, body: dict[str, Any]) -> list[Said]:
        found = []
        for number, choice in enumerate(body["choices"]):
            try:
                if number and failure_of_choice(choice):
                    break
                found.append(self._said_in(choice))
            except (AttributeError, IndexError, KeyError, TypeError):
                if not number:
                    raise
                break  # what came before is good, and the rest is asked for again
        usage = body.get("usage")
        prompt_tokens = tokens(usage, "prompt_tokens", "input_tokens")
        completion_tokens = tokens(usage, "completion_tokens", "output_tokens")
        # The endpoint counts all answers together.
        weights = [len(said.text) + 1 for said in found]
        asked = [None] * len(found) if prompt_tokens is None else parts(prompt_tokens, [1] * len(found))
        spent = [None] * len(found) if completion_tokens is None else parts(completion_tokens, weights)
        return [replace(s, prompt_tokens=a, completion_tokens=b) for s, a, b in zip(found, asked, spent)]

    def _said_in(self, choice: dict[str, Any]) -> Said:
        """A choice, without counts."""
        why = reason(choice.get("finish_reason"))
        ended, refused = why not in CUT, why in REFUSED
        if self.ids is None:
            message = choice["message"]
            content = message.get("content")
            refused = refused or bool(message.get("refusal")) or has_refusal(content)
            return Said(text_of(content), None, None, finished=ended, refused=refused)
        ids = choice.get("token_ids")
        if ids is None:  # an endpoint that is not vLLM
            return Said(choice["text"], None, None, finished=ended, refused=refused)
        answer = self.ids.answer(0, ids, self.stop, ended)
        return Said(answer.text, None, None, finished=answer.finished, refused=refused)
