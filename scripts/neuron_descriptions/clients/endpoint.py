"""What clients of remote endpoints share: many requests at once, waiting, trying again, and a spending ceiling."""

import asyncio
import email.utils
import json
import os
import random
import time
from contextlib import suppress
from typing import Any

from .base import Answer, Done, Request, cost
from .journal import Ledger, OverBudget

# Statuses that another try may mend; 529 is "overloaded".
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
LONGEST_BACKOFF = 60.0  # seconds
LONGEST_RETRY_AFTER = 900.0


class Unreadable(Exception):
    """An answer came, and it is not what the interface promises."""


class _Stopped(Exception):
    """Another request has made going on pointless."""


def retry_after(headers: Any) -> float | None:
    """Seconds that the server asks to wait, if it does: a number or a date."""
    value = headers.get("retry-after", "") if headers is not None else ""
    try:
        return max(0.0, float(value))
    except (TypeError, ValueError):
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


class _Pace:
    """Spaces requests so that no minute has too many, or too many tokens; pauses all when the server says so. Times are
    time.monotonic()'s."""

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None):
        self.per_request = 60 / requests_per_minute if requests_per_minute else 0.0
        self.per_token = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self.next = self.resume = 0.0

    def turn(self, tokens: int) -> float:
        """When the next request may go."""
        mine = max(time.monotonic(), self.next)
        self.next = mine + max(self.per_request, tokens * self.per_token)
        return mine

    def pause(self, seconds: float) -> None:
        self.resume = max(self.resume, time.monotonic() + seconds)


class EndpointClient:
    """Asks an endpoint through its official SDK, with retries of our own: the SDKs' honour Retry-After only in part
    and know no ceiling, no common pause and no garbage."""

    begins, keeps = False, True
    errors: type[Exception] = Exception  # the SDK's

    def __init__(
        self,
        explainer: dict[str, Any],
        key_variable: str | None,
        limits: dict[str, Any],
        prices: dict[str, float] | None,
        temperature: float,
        max_tokens: int,
        ledger: Ledger | None = None,
    ):
        """explainer: model, base_url, body; limits, prices: of the config; ledger: with prices.

        Raises ValueError where the key is not in the environment.
        """
        self.model, self.base_url, self.body = explainer["model"], explainer["base_url"], explainer["body"]
        self.limits, self.prices, self.ledger = limits, prices, ledger
        self.temperature, self.max_tokens = temperature, max_tokens
        self.key = os.environ.get(key_variable, "").strip() if key_variable else "none"
        if not self.key:
            raise ValueError(
                f"descriptions.explainer: the environment has no {key_variable}; set it to the endpoint's key"
            )

    # What an interface differs in:

    def open(self) -> Any:
        """The SDK's client, an asynchronous context manager."""
        raise NotImplementedError

    def fields(self, request: Request) -> dict[str, Any]:
        """The request's fields."""
        raise NotImplementedError

    async def send(self, sdk: Any, payload: dict[str, Any]) -> Any:
        """Send it; returns what the SDK gives."""
        raise NotImplementedError

    def read(self, response: Any) -> Answer:
        """The answer in a response. Anything but Unreadable may be raised too where it is garbage."""
        raise NotImplementedError

    # What all have in common:

    def payload(self, request: Request) -> dict[str, Any]:
        """The request's fields, with those of the config's `body`; null leaves one out."""
        return {k: v for k, v in {**self.fields(request), **self.body}.items() if v is not None}

    def payloads(self, requests: list[Request]) -> list[dict[str, Any]]:
        """With the seed, which not every endpoint takes: the same prompt asked again is another request."""
        return [{"url": self.base_url, "seed": r.seed, "payload": self.payload(r)} for r in requests]

    def answer(self, requests: list[Request], done: Done) -> None:
        """Answer all, `limits.concurrency` at once; when one cannot be answered, what is on its way is waited for."""
        asyncio.run(self._answer(requests, done))

    async def _answer(self, requests: list[Request], done: Done) -> None:
        gate, self.halt = asyncio.Semaphore(self.limits["concurrency"]), asyncio.Event()
        failures: list[ValueError] = []
        self.pace = _Pace(self.limits["requests_per_minute"], self.limits["tokens_per_minute"])

        async def one(number: int, request: Request, sdk: Any) -> None:
            async with gate:
                try:
                    done({number: await self._ask(sdk, self.payload(request))})
                except _Stopped:
                    pass
                except ValueError as error:
                    failures.append(error)
                    self.halt.set()

        async with self.open() as sdk:
            await asyncio.gather(*(one(i, request, sdk) for i, request in enumerate(requests)))
        if failures:
            raise failures[0] from None

    async def _ask(self, sdk: Any, payload: dict[str, Any]) -> Answer:
        """One request until it is answered. Raises ValueError where it cannot be."""
        tokens, cost = self._most(payload)
        trouble = ""
        for attempt in range(self.limits["tries"]):
            await self._until(self.pace.turn(tokens))
            while self.pace.resume > time.monotonic():
                await self._until(self.pace.resume)
            await self._reserve(cost)
            try:
                async with asyncio.timeout(self.limits["timeout"]):
                    response = await self.send(sdk, payload)
                answer = self._checked(response)
            except (self.errors, TimeoutError, ValueError, Unreadable) as error:
                status = getattr(error, "status_code", None)
                refused = status is not None and status >= 400
                # An answer that never arrived whole may have been billed.
                self._settle(cost, 0.0 if refused else cost)
                trouble = self._said(error)
                if refused and status not in RETRIED:
                    raise ValueError(
                        f"descriptions.explainer: {self.base_url} refuses the request: {trouble}"
                    ) from None
                await self._until(time.monotonic() + self._wait(error, attempt))
            except BaseException:
                self._settle(cost, cost)
                raise
            else:
                self._settle(cost, self._price(answer.prompt_tokens, answer.completion_tokens))
                return answer
        raise ValueError(
            f"descriptions.explainer: no answer from {self.base_url} in {self.limits['tries']} tries; the last:"
            f" {trouble}; run again to go on: finished answers are kept"
        )

    def _checked(self, response: Any) -> Answer:
        try:
            answer = self.read(response)
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise Unreadable(f"a body that is no answer ({error})") from None
        counts = answer.prompt_tokens, answer.completion_tokens
        if not isinstance(answer.text, str) or any(not isinstance(n, int) or n < 0 for n in counts):
            raise Unreadable("a body that is no answer")
        return answer

    def _wait(self, error: Exception, attempt: int) -> float:
        """Seconds before the next try; what the server asks for holds for all requests."""
        backoff = min(LONGEST_BACKOFF, 0.5 * 2**attempt) * random.uniform(0.5, 1.0)
        asked = retry_after(getattr(getattr(error, "response", None), "headers", None))
        if asked is None:
            return backoff
        if asked > LONGEST_RETRY_AFTER:
            raise ValueError(
                f"descriptions.explainer: {self.base_url} asks to come back in {asked:.0f} s; run again then: finished"
                " answers are kept"
            )
        self.pace.pause(asked)
        return asked + backoff * 0.1

    async def _reserve(self, cost: float) -> None:
        deadline = time.monotonic() + 2 * self.limits["timeout"]
        while self.ledger is not None and not self.ledger.reserve(cost):
            if time.monotonic() > deadline:
                raise OverBudget(
                    "descriptions.explainer.limits.budget: what is left is promised to requests of other jobs, or of"
                    " killed ones; run again, or raise it: finished answers are kept"
                )
            await self._until(time.monotonic() + 0.05)

    async def _until(self, moment: float) -> None:
        """Wait. Raises _Stopped as soon as another request has failed for good."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.halt.wait(), max(0.0, moment - time.monotonic()))
        if self.halt.is_set():
            raise _Stopped

    def _settle(self, promised: float, spent: float) -> None:
        if self.ledger is not None:
            self.ledger.settle(promised, spent)

    def _price(self, prompt_tokens: int, completion_tokens: int) -> float:
        return cost(prompt_tokens, completion_tokens, self.prices) or 0.0

    def _most(self, payload: dict[str, Any]) -> tuple[int, float]:
        """(tokens, about; dollars, at most) of a request: no tokenizer makes more tokens than there are bytes."""
        size = len(json.dumps(payload, ensure_ascii=False).encode()) + 64
        answer = max([self.max_tokens, *(v for k, v in payload.items() if k.startswith("max_") and isinstance(v, int))])
        return size // 4 + answer, self._price(size, answer)

    def _said(self, error: Exception) -> str:
        """What went wrong, without the key, should the server repeat it."""
        status = f" {error.status_code}" if hasattr(error, "status_code") else ""
        text = f"{type(error).__name__}{status}: {error}" if str(error) else type(error).__name__
        return text.replace(self.key, "***")[:300] if self.key != "none" else text[:300]
