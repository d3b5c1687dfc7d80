"""Anthropic's interface."""

from typing import Any

import anthropic

from neuron_descriptions.clients.base import Request
from neuron_descriptions.clients.dialects import CUT, REFUSED, Said, Unreadable, reason, text_of, tokens
from neuron_descriptions.clients.endpoint import EndpointClient


class AnthropicClient(EndpointClient):
    """Chat messages. The interface takes no seed, and recent models no answer that is begun for them."""

    errors = anthropic.AnthropicError

    def open(self) -> anthropic.AsyncAnthropic:
        return anthropic.AsyncAnthropic(
            api_key=self.key, base_url=self.base_url, max_retries=0, timeout=self.limits.timeout
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

    async def send(self, sdk: anthropic.AsyncAnthropic, payload: dict[str, Any]) -> bytes:
        needed = {k: payload[k] for k in ("model", "messages", "max_tokens")}
        extra = {k: v for k, v in payload.items() if k not in needed}
        raw = await sdk.messages.with_raw_response.create(**needed, extra_body=extra)
        content: bytes = raw.http_response.content
        return content

    def read(self, body: dict[str, Any]) -> list[Said]:
        usage, why = body.get("usage"), reason(body.get("stop_reason"))
        prompt_tokens = tokens(usage, "input_tokens", "prompt_tokens")
        if prompt_tokens is not None:
            # Tokens read from or written to the provider's cache are prompt tokens too.
            cached = ("cache_read_input_tokens", "cache_creation_input_tokens")
            prompt_tokens += sum(tokens(usage, name) or 0 for name in cached)
        if body["content"] is None and why not in REFUSED:
            raise Unreadable("a body that is no answer")
        said = Said(
            text_of(body["content"]),
            prompt_tokens,
            tokens(usage, "output_tokens", "completion_tokens"),
            finished=why not in CUT,
            refused=why in REFUSED,
        )
        return [said]
