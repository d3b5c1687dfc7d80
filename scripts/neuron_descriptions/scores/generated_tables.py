"""Tables of texts written from descriptions, and of what features make of them."""

import pyarrow as pa

from neuron_descriptions.common.streams import key
from neuron_descriptions.common.vocabulary import CANDIDATE, NEURON

# What a writer made of each chosen description.
GENERATED = pa.schema(
    [
        *CANDIDATE,
        ("description", pa.string()),
        ("writer", pa.string()),
        ("fits", pa.list_(pa.string())),  # texts that should drive the feature
        ("others", pa.list_(pa.string())),  # texts that should not
        ("prompt_tokens", pa.int64()),  # over all attempts at both
        ("completion_tokens", pa.int64()),
        ("attempts", pa.int16()),
        ("status", pa.string()),  # "ok" | "refused" | "unparsed" | "few_texts"
    ]
)

# How far each feature goes on the texts that it is tried on: its own, and those of descriptions that all share.
PEAKS = pa.schema(
    [
        *NEURON,
        ("text", pa.list_(pa.int64())),  # fingerprints
        ("highest", pa.list_(pa.float32())),  # activation, over the text's evidence tokens
        ("lowest", pa.list_(pa.float32())),
    ]
)


def fingerprint(text: str) -> int:
    """63 bits that stand for a text: the corpus table has them as `document`."""
    return key(text) >> 1
