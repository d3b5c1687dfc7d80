"""Anthropic's interface."""

from typing import Any

import anthropic

from .base import Answer, Request
from .endpoint import EndpointClient


class AnthropicClient(EndpointClient):
    """Chat messages. The interface takes no seed, and recent models no answer that is begun for them."""

    errors = anthropic.AnthropicError

    def open(self) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(
            api_key=self.key, base_url=self.base_url, max_retries=0, timeout=self.limits["timeout"]
        )

    def fields(self, request: Request) -> dict[str, Any]:
        system = [m["content"] for m in request.prompt.messages if m["role"] == "system"]
        return {
            "model": self.model,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "system": "\n\n".join(system) or None,
            "messages": [m for m in request.prompt.messages if m["role"] != "system"],
        }

    async def send(self, sdk: anthropic.AsyncAnthropic, payload: dict[str, Any]) -> Any:
        needed = {k: payload[k] for k in ("model", "messages", "max_tokens")}
        extra = {k: v for k, v in payload.items() if k not in needed}
        return await sdk.messages.create(**needed, extra_body=extra)

    def read(self, response: Any) -> Answer:
        text = "".join(block.text for block in response.content if block.type == "text")
        usage = response.usage
        # Tokens read from or written to the provider's cache are prompt tokens too.
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        return Answer(
            text,
            usage.input_tokens + cached,
            usage.output_tokens,
            finished=response.stop_reason in ("end_turn", "stop_sequence"),
            refused=response.stop_reason == "refusal",
        )
