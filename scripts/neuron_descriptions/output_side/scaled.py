"""The table of what changes when neurons are scaled."""

import pyarrow as pa

from neuron_descriptions.common.vocabulary import NEURON

# A row per neuron of the sample and sign. Changes are of the log probability of the next token, their mean over the
# places where the neuron is strongest. Tokens are chosen on one half of these; changes and effects are those of the
# other half. An effect is the mean change of the tokens, less that of other neurons of the layer for the same tokens,
# each scaled at its own places, in standard deviations of these. Null: it fires in too few sequences.
OUTPUT_SCALED = pa.schema(
    [
        *NEURON,
        ("sign", pa.string()),
        *[
            field
            for end in ("up", "down")  # tokens that become more likely, the most changed first; and less
            for field in (
                (f"{end}_tokens", pa.list_(pa.string())),
                (f"{end}_changes", pa.list_(pa.float32())),
                (f"{end}_effect", pa.float32()),
            )
        ],
        ("n_places", pa.int32()),  # of both halves
        ("n_others", pa.int32()),  # neurons of the layer that it is set against
        ("factor", pa.float32()),
    ]
)
