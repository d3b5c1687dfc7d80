"""The table of what neurons write."""

import pyarrow as pa

from neuron_descriptions.common.vocabulary import NEURON

_TOKENS = [("token_ids", pa.list_(pa.int32())), ("tokens", pa.list_(pa.string())), ("effects", pa.list_(pa.float32()))]

# A row per neuron. An effect is the change of a token's logit, beside the mean change of all tokens, for one more unit
# of activation, where the residual stream has a scale of 1 before the final norm. A negative activation does the
# opposite: its top tokens are the bottom ones here.
OUTPUT_SIDE = pa.schema(
    [
        *NEURON,
        *[(f"top_{name}", kind) for name, kind in _TOKENS],  # the largest effect first
        *[(f"bottom_{name}", kind) for name, kind in _TOKENS],  # the smallest effect first
        ("std", pa.float32()),  # of the effects over all tokens
        ("skew", pa.float32()),  # above 0: few tokens rise and many fall a little
        ("kurtosis", pa.float32()),  # in excess of a normal distribution's: large, if few tokens stand out
    ]
)
