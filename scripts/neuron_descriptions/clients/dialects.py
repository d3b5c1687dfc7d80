"""What endpoints say, in their dialects: bodies, parts of a text, token counts, and failures, also those under 200."""

import json
import re
from dataclasses import dataclass
from typing import Any

# Statuses that another try may mend; 529 is "overloaded".
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
# Ends of an answer that was cut off; any other is its own end.
CUT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"})
REFUSED = frozenset({"refusal", "content_filter", "content_filtered", "safety", "prohibited_content", "blocklist"})
REFUSED |= {"recitation", "guardrail_intervened"}
MOST_TOKENS = 10_000_000  # of one prompt or answer; no model takes more

# Codes and types after which no further request can succeed, whatever the status.
_FINAL = frozenset({"insufficient_quota", "insufficient_credits", "insufficient_balance", "billing_hard_limit_reached"})
_FINAL |= {"billing_not_active", "billing_error", "payment_required", "account_deactivated", "invalid_api_key"}
_FINAL |= {"incorrect_api_key", "authentication_error", "unauthorized", "permission_error", "permission_denied"}
_FINAL |= {"access_denied", "model_not_found", "not_found_error", "unsupported_parameter", "unsupported_value"}
_FINAL |= {"invalid_request_error"}
# Of the provider's guard over one prompt; other prompts pass.
_FILTERED = re.compile(
    r"content[ _-]?filter|content[ _-]?policy|content management policy|filtering policy|usage polic(?:y|ies)"
    r"|responsible_?ai_?policy|data_?inspection_?failed|invalid_prompt|flagged|considered high risk",
    re.IGNORECASE,
)
_FILTERING = frozenset({None, 200, 400, 403, 422, 451})  # statuses that guards answer with
_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|window|size)|(?:prompt|input|request)\b.{0,20}\btoo (?:long|large|many tokens)"
    r"|too many (?:input|prompt) tokens|maximum (?:allowed )?(?:input|prompt) (?:length|tokens)|max_model_len"
    r"|reduce the length",
    re.IGNORECASE,
)
_FIELD = re.compile(
    r"unsupported[ _](?:parameter|value)|extra (?:inputs|fields)|unrecognized request arg", re.IGNORECASE
)
_NO_MONEY = re.compile(r"insufficient (?:credits?|quota|balance|funds)|credit balance is too low", re.IGNORECASE)

_MESSAGE = ("message", "detail", "msg", "faultstring", "error_description", "title")  # where the words stand


@dataclass(slots=True, frozen=True)
class Said:
    """An answer as the endpoint gave it; counts that it did not give are None."""

    text: str
    prompt_tokens: int | None
    completion_tokens: int | None
    finished: bool
    refused: bool


class Unreadable(Exception):
    """An answer came, and it is not what the interface promises."""


@dataclass(eq=False)  # as exceptions are compared
class Failure(Exception):
    """A failed request: the status, of HTTP or as the body tells it; the provider's code and words."""

    status_code: int | None
    code: str
    message: str

    def __str__(self) -> str:
        told = (
            f"{self.message} (code {self.code})" if self.code and self.code != str(self.status_code) else self.message
        )
        return told or "no reason given"

    @property
    def told(self) -> str:
        """All that may say what kind it is."""
        return f"{self.code} {self.message}"

    @property
    def filtered(self) -> bool:
        """A guard has refused this prompt, and it alone."""
        of_all = re.search(r"\b(?:account|organi[sz]ation|api key)\b", self.message, re.IGNORECASE)
        return self.status_code in _FILTERING and bool(_FILTERED.search(self.told)) and not of_all

    @property
    def too_long(self) -> bool:
        """The prompt does not fit into the model's context."""
        return self.status_code in (None, 200, 400, 413, 422, 500) and bool(_TOO_LONG.search(self.told))

    @property
    def of_a_field(self) -> bool:
        """A field of the request is none of the endpoint's."""
        return self.status_code in (None, 200, 400, 422) and bool(_FIELD.search(self.told))

    @property
    def final(self) -> bool:
        """Another try cannot mend it."""
        refused = self.status_code is not None and self.status_code >= 400 and self.status_code not in RETRIED
        said = set(self.code.lower().split()) & _FINAL
        if self.status_code is not None:  # which says more than so wide a word
            said.discard("invalid_request_error")
        return refused or bool(said) or bool(_NO_MONEY.search(self.message)) or self.too_long


def parsed(content: bytes) -> dict[str, Any]:
    """A body's JSON object. Raises Unreadable."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        kind = "a stream of events" if content.lstrip().startswith((b"data:", b"event:")) else "no JSON"
        raise Unreadable(f"a body that is {kind}{quoted(content)}") from None
    if not isinstance(body, dict):
        raise Unreadable(f"a body that is no answer{quoted(content)}")
    return body


def quoted(content: bytes) -> str:
    """How a body begins, for messages; empty where it is."""
    return f": {content[:400].decode(errors='replace')[:100]!r}" if content.strip() else ""


def failure(said: Any, status: int | None = None) -> Failure | None:
    """The failure that a body's or a choice's `error` tells of, if it does: an object, nested ones included, or words.
    status: of HTTP, where the request failed with one."""
    if not said:
        return None
    if not isinstance(said, dict):
        return Failure(status, "", str(said))
    inside = said.get("error") or said.get("fault") or said.get("errors")
    inside = inside[0] if isinstance(inside, list) and inside else inside
    if isinstance(inside, dict):  # as some gateways hand on another's body
        return failure(inside, status)
    names_of_codes = ("status", "statusCode", "code", "type")
    codes = [said.get(name) for name in names_of_codes if isinstance(said.get(name), str | int)]
    numbers = [n for n in (int(str(c)) for c in codes if str(c).isdecimal()) if 400 <= n < 600]
    inner = said.get("innererror") or said.get("inner_error")
    codes += [inner["code"]] if isinstance(inner, dict) and isinstance(inner.get("code"), str) else []
    names = " ".join(dict.fromkeys(str(c) for c in codes if not str(c).isdecimal()))
    message = next((said[name] for name in _MESSAGE if said.get(name)), inside or "")
    status = status if status is not None else next(iter(numbers), None)
    return Failure(status, names, message if isinstance(message, str) else json.dumps(message))


def check(body: dict[str, Any]) -> None:
    """Raise the Failure that a body under 200 tells of, itself or in its first choice."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    # An answer's own `error: null` is none.
    found = failure(body.get("error")) or failure(choice.get("error"))
    if found is None and body.get("type") == "error":
        found = failure(body)
    found = found or failure_of_choice(choice)
    if found is None and not {"choices", "content"} & set(body):
        told = failure(body)
        found = told if told and told.message else None
    if found is not None:
        raise found


def failure_of_choice(choice: dict[str, Any]) -> Failure | None:
    """The failure that a choice tells of, if it does; it may have left its reason in the message."""
    found = failure(choice.get("error"))
    if found is None and str(choice.get("finish_reason")).lower() == "error":
        message = choice.get("message")
        text = text_of(message.get("content")) if isinstance(message, dict) else ""
        found = Failure(None, "", text or "the answer ended with an error")
    return found


def text_of(content: Any) -> str:
    """An answer's text: as it is, or in parts, of which those of thinking, tools and pictures are passed over."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return ""
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type", "text") in ("text", "output_text"):
            text = part.get("text")
            text = text.get("value") if isinstance(text, dict) else text
            texts += [text] if isinstance(text, str) else []
    return "".join(texts)


def has_refusal(content: Any) -> bool:
    """Whether a part of the content is a refusal."""
    return isinstance(content, list) and any(isinstance(p, dict) and p.get("type") == "refusal" for p in content)


def tokens(usage: Any, *names: str) -> int | None:
    """The first of a usage's counts that is one, perhaps as text; None where there is none, or none that a model could
    reach."""
    for name in names:
        count = usage.get(name) if isinstance(usage, dict) else None
        count = int(count) if isinstance(count, str) and re.fullmatch("[0-9]{1,9}", count) else count
        if isinstance(count, int | float) and not isinstance(count, bool) and 0 <= count <= MOST_TOKENS:
            return int(count)
    return None


def reason(said: Any) -> str:
    """Why an answer ended, in small letters; empty where it is not told."""
    return said.lower() if isinstance(said, str) else ""


def clean(text: str) -> str:
    """Text without half characters: the pairs that JSON writes a character in are joined, a half is "\ufffd"."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
