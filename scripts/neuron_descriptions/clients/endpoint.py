"""What clients of remote endpoints share: many requests at once, waiting, trying again, and a spending ceiling."""

import asyncio
import email.utils
import json
import os
import random
import re
import time
from base64 import b64encode
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from neuron_descriptions.clients.base import Answer, Done, Request, cost, parts
from neuron_descriptions.clients.dialects import Failure, Said, Unreadable, check, clean, failure, parsed, quoted
from neuron_descriptions.clients.journal import Ledger, OverBudget
from neuron_descriptions.common.logs import logger
from neuron_descriptions.config.explainers import AnthropicExplainer, OpenaiExplainer

LONGEST_BACKOFF = 60.0  # seconds
LONGEST_RETRY_AFTER = 900.0
BYTES_PER_TOKEN = 4  # about, where an endpoint does not count


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
    except (TypeError, ValueError, OverflowError):
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
        explainer: OpenaiExplainer | AnthropicExplainer,
        temperature: float,
        max_tokens: int,
        ledger: Ledger | None = None,
    ):
        """ledger: where the section has prices.

        Raises ValueError where the key is not in the environment.
        """
        self.model, self.base_url, self.body = explainer.model, explainer.base_url, explainer.body
        self.limits, self.prices, self.ledger = explainer.limits, explainer.prices, ledger
        self.temperature, self.max_tokens = temperature, max_tokens
        key_variable = explainer.key_variable
        self.key = os.environ.get(key_variable, "").strip() if key_variable else "none"
        if not self.key:
            raise ValueError(
                f"descriptions.explainer: the environment has no {key_variable}; set it to the endpoint's key"
            )
        if not re.fullmatch(r"[!-~]+", self.key) or self.key[0] in "\"'":
            raise ValueError(
                f"descriptions.explainer: what the environment has as {key_variable} is no key: it has quotes around"
                " it, or a space, a line break or a foreign letter in it; set it to the endpoint's key alone"
            )
        self.estimates = False  # whether token counts had to be estimated, and this was said

    # What an interface differs in:

    def open(self) -> Any:
        """The SDK's client, an asynchronous context manager."""
        raise NotImplementedError

    def fields(self, request: Request) -> dict[str, Any]:
        """The request's fields."""
        raise NotImplementedError

    async def send(self, sdk: Any, payload: dict[str, Any]) -> bytes:
        """Send it; returns the body of the response."""
        raise NotImplementedError

    def read(self, body: dict[str, Any]) -> list[Said]:
        """The answers in a response, as many as were asked for, or the first of them. Anything but Unreadable may be
        raised too where it is garbage."""
        raise NotImplementedError

    def together(self, requests: list[Request]) -> list[list[int]]:
        """Numbers of the requests that are sent as one: each alone, where an interface gives one answer at a time."""
        return [[number] for number in range(len(requests))]

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
        gate, self.halt = asyncio.Semaphore(self.limits.concurrency), asyncio.Event()
        failures: list[ValueError] = []
        self.pace = _Pace(self.limits.requests_per_minute, self.limits.tokens_per_minute)

        async def some(numbers: list[int], sdk: Any) -> None:
            async with gate:
                try:
                    while numbers:  # again, where fewer answers come than were asked for
                        payload = self.payload(requests[numbers[0]])
                        several = {"n": len(numbers)} if len(numbers) > 1 else {}
                        answers = await self._ask(sdk, payload | several)
                        done(dict(zip(numbers, answers)))
                        numbers = numbers[len(answers) :]
                except _Stopped:
                    pass
                except ValueError as error:
                    failures.append(error)
                    self.halt.set()

        try:
            opened = self.open()
        except (ImportError, OSError, ValueError, TypeError) as error:
            raise ValueError(
                f"descriptions.explainer: no connection can be prepared ({self._said(error)}); see HTTP_PROXY,"
                " HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE in the environment"
            ) from None
        async with opened as sdk:
            await asyncio.gather(*(some(numbers, sdk) for numbers in self.together(requests)))
        if failures:
            raise failures[0] from None

    async def _ask(self, sdk: Any, payload: dict[str, Any]) -> list[Answer]:
        """One request until it is answered, by as many answers as it asks for, or fewer. Raises ValueError where it
        cannot be."""
        tokens, cost = self._most(payload)
        trouble = ""
        for attempt in range(self.limits.tries):
            await self._until(self.pace.turn(tokens))
            while self.pace.resume > time.monotonic():
                await self._until(self.pace.resume)
            await self._reserve(cost)
            try:
                async with asyncio.timeout(self.limits.timeout):
                    content = await self.send(sdk, payload)
                answers, counted = self._checked(content, payload)
            except (self.errors, TimeoutError, ValueError, Unreadable, Failure) as error:
                failed = self._failure(error)
                # An answer that never arrived whole may have been billed; one that was refused was not.
                self._settle(cost, cost if failed is None else 0.0)
                if failed is not None and failed.filtered and not failed.too_long:
                    return [Answer("", 0, 0, finished=True, refused=True)] * payload.get("n", 1)
                trouble = self._said(failed or error)
                if failed is not None and failed.final:
                    hint = "; if it gives one answer to a request, set descriptions.explainer.several: false"
                    raise ValueError(self._final(failed, trouble) + hint * ("n" in payload)) from None
                await self._until(time.monotonic() + self._wait(error, attempt))
            except BaseException:
                self._settle(cost, cost)
                raise
            else:
                # What is not counted may have cost the most it can.
                counts = sum(a.prompt_tokens for a in answers), sum(a.completion_tokens for a in answers)
                self._settle(cost, self._price(*counts) if counted else cost)
                return answers[: payload.get("n", 1)]
        raise ValueError(
            f"descriptions.explainer: no answer from {self.base_url} in {self.limits.tries} tries; the last:"
            f" {trouble}; run again to go on: finished answers are kept"
        )

    def _checked(self, content: bytes, payload: dict[str, Any]) -> tuple[list[Answer], bool]:
        """The answers in a body, fit to be kept; whether their tokens were counted. Raises Unreadable and Failure."""
        body = parsed(content)
        try:
            check(body)
            said = self.read(body)
        except (AttributeError, IndexError, KeyError, TypeError, RecursionError) as error:
            raise Unreadable(f"a body that is no answer ({error!r}){quoted(content)}") from None
        if not said or not all(isinstance(one.text, str) for one in said):
            raise Unreadable(f"a body that is no answer{quoted(content)}")
        counted = all(None not in (one.prompt_tokens, one.completion_tokens) for one in said)
        if not counted and not self.estimates:
            self.estimates = True
            logger.warning("%s gives no count of tokens that can be: they are estimated", self.base_url)
        asked = parts(-(-len(json.dumps(payload, ensure_ascii=False).encode()) // BYTES_PER_TOKEN), [1] * len(said))
        answers = []
        for one, share in zip(said, asked):
            text = self._hushed(clean(one.text))
            guesses = share, -(-len(text.encode()) // BYTES_PER_TOKEN)
            counts = one.prompt_tokens, one.completion_tokens
            prompt, completion = (guess if count is None else count for count, guess in zip(counts, guesses))
            answers.append(Answer(text, prompt, completion, one.finished, one.refused))
        return answers, counted

    @staticmethod
    def _failure(error: Exception) -> Failure | None:
        """What the endpoint said that went wrong, if it said so."""
        status = getattr(error, "status_code", None)
        if isinstance(error, Failure) or status is None or status < 400:
            return error if isinstance(error, Failure) else None
        found = failure(getattr(error, "body", None), status)
        return found if found and found.message else Failure(status, found.code if found else "", str(error))

    def _final(self, failed: Failure, trouble: str) -> str:
        """What to say, and do, of a failure that no other try mends."""
        said = f"{self.base_url} refuses the request: {trouble}"
        if failed.too_long:
            return (
                "descriptions.evidence_max: a prompt is too long for the explainer's context; lower it (and"
                f" evidence_min), or descriptions.max_tokens, and run again: finished answers are kept; {said}"
            )
        if failed.of_a_field:
            return f"descriptions.explainer.body: leave the field out there (null), or give it its other name; {said}"
        return f"descriptions.explainer: {said}"

    def _wait(self, error: Exception, attempt: int) -> float:
        """Seconds before the next try; what the server asks for holds for all requests."""
        backoff: float = min(LONGEST_BACKOFF, 0.5 * 2**attempt) * random.uniform(0.5, 1.0)
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
        deadline = time.monotonic() + 2 * self.limits.timeout
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
        answer *= payload.get("n", 1)
        return size // BYTES_PER_TOKEN + answer, self._price(size, answer)

    def _said(self, error: Exception) -> str:
        """What went wrong, without the key, should the server repeat it."""
        name = "" if isinstance(error, Failure) else type(error).__name__
        status = getattr(error, "status_code", None)
        what = " ".join(filter(None, (name, str(status or ""))))
        cause = error.__cause__ if status is None else None  # of a connection that failed
        text = ": ".join(filter(None, (what, str(error), str(cause or ""))))
        return self._hushed(clean(text))[:300]

    def _hushed(self, text: str) -> str:
        """A text without the key, should the server repeat it, as it is or in a form that headers and addresses have:
        answers are kept, as errors are shown."""
        text = re.sub(r"://[^/\s@]*@", "://***@", text)  # as a proxy's address may have it
        if self.key == "none":
            return text
        encoded = b64encode(self.key.encode()).decode().rstrip("=")
        for form in (self.key, quote(self.key, safe=""), encoded):
            text = re.sub(re.escape(form), "***", text, flags=re.IGNORECASE)
        return text
