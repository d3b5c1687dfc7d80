"""Tables that training makes for itself."""

import pyarrow as pa

from neuron_descriptions.common.vocabulary import CANDIDATE

# What a teacher says of a description and a text. A rule's has neither layer nor neuron nor sign nor candidate, and the
# shares are what is true. Rows of a description stand together.
LESSONS = pa.schema(
    [
        *CANDIDATE,
        ("description", pa.string()),
        ("split", pa.string()),  # "train": learnt from | "valid": of held-out neurons, for the curve and the card
        ("seq_id", pa.int64()),
        # At each evidence token the distribution over 0..10, 11 numbers a token, as exact as 16 bits.
        ("shares", pa.list_(pa.float32())),
    ]
)
