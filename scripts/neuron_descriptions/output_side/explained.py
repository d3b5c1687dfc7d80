"""Tokens that a feature writes, in an explainer's words: the table of answers, and which tokens are shown for them."""

from typing import Any

import pyarrow as pa

from neuron_descriptions.common.signs import direction
from neuron_descriptions.common.vocabulary import NEURON

# A row per feature and sign.
OUTPUT_EXPLAINED = pa.schema(
    [
        *NEURON,
        ("sign", pa.string()),
        ("description", pa.string()),  # null unless status is "ok"
        ("status", pa.string()),  # "ok" | "refused" | "unparsed" | "nothing_written"
        ("explainer", pa.string()),
        ("prompt_sha256", pa.string()),  # of the prompt's messages
        ("prompt_tokens", pa.int32()),  # over all attempts
        ("completion_tokens", pa.int32()),
        ("attempts", pa.int16()),
        ("held_out_ids", pa.list_(pa.int32())),  # tokens that it makes more likely and that were not shown
    ]
)


def more_and_less(row: dict[str, Any], sign: str) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Tokens (id, text) that a side of a feature makes more and less likely, the strongest first. row: of
    OUTPUT_SIDE."""
    ends = [list(zip(row[f"{end}_token_ids"], row[f"{end}_tokens"])) for end in ("top", "bottom")]
    more, less = ends if direction(sign) == 1 else ends[::-1]
    return more, less


def shown(tokens: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Every second of a list, the first one among them."""
    return tokens[::2]


def held_out(tokens: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """The others."""
    return tokens[1::2]
