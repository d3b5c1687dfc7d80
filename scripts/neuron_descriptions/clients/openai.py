"""Any endpoint that speaks OpenAI's interface: OpenAI itself, OpenRouter, a vLLM server."""

from typing import Any

import openai

from .base import Answer, Request
from .endpoint import EndpointClient
from .token_ids import TokenIds


class OpenaiClient(EndpointClient):
    """Chat messages; or, with the model's tokenizer at hand, token ids to the completions interface, with the answer
    begun, which OpenAI's chat interface does not do."""

    errors = openai.OpenAIError

    def __init__(self, *args: Any, tokenizer: Any = None, stop: tuple[str, ...] = (), **kwargs: Any):
        """tokenizer: of the model that the endpoint serves, or None; stop: ends of an answer that is begun."""
        super().__init__(*args, **kwargs)
        self.ids = TokenIds(tokenizer) if tokenizer is not None else None
        self.stop = stop
        self.begins = tokenizer is not None

    def open(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            api_key=self.key, base_url=self.base_url, max_retries=0, timeout=self.limits["timeout"]
        )

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

    async def send(self, sdk: openai.AsyncOpenAI, payload: dict[str, Any]) -> Any:
        # Through extra_body: `body` may hold fields that the SDK does not know.
        if self.ids is None:
            needed = {k: payload[k] for k in ("model", "messages")}
            extra = {k: v for k, v in payload.items() if k not in needed}
            return await sdk.chat.completions.create(**needed, extra_body=extra)
        needed = {k: payload[k] for k in ("model", "prompt")}
        extra = {k: v for k, v in payload.items() if k not in needed}
        return await sdk.completions.create(**needed, extra_body=extra)

    def read(self, response: Any) -> Answer:
        choice, usage = response.choices[0], response.usage
        counts = usage.prompt_tokens, usage.completion_tokens
        ended = choice.finish_reason == "stop"
        if self.ids is None:
            refused = bool(choice.message.refusal) or choice.finish_reason == "content_filter"
            return Answer(choice.message.content or "", *counts, finished=ended, refused=refused)
        ids = getattr(choice, "token_ids", None)
        if ids is None:  # an endpoint that is not vLLM
            return Answer(choice.text, *counts, finished=ended)
        answer = self.ids.answer(counts[0], ids, self.stop, ended)
        return Answer(answer.text, *counts, finished=answer.finished)
