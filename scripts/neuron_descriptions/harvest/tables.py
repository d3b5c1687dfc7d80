"""Tables of exemplars and statistics.

A row's `activations` belong to `input_ids[prefix_len:]` of the corpus row `seq_id` of its split: the
template's prefix is no evidence and is not stored.
"""

import pyarrow as pa

from neuron_descriptions.common.vocabulary import NEURON, SIGNS, TAILS, quantile_column


def gate_column(sign: str) -> str:
    """Column of the share of a side's top sequences whose gate is above 0."""
    return f"gate_positive_{'upper' if sign == 'positive' else 'lower'}"


EXEMPLARS = pa.schema(
    [
        ("split", pa.string()),
        *NEURON,
        ("sign", pa.string()),
        ("kind", pa.string()),  # "top" | "middle" (between them; of latents: those that fire, drawn) | "random"
        ("rank", pa.int16()),
        ("seq_id", pa.int64()),
        ("peak", pa.float32()),  # the most extreme activation on this side; signed
        ("activations", pa.list_(pa.float32())),
        # Of a gated MLP's neuron, act(gate) * up: the gate at the first token with that activation. Null: not kept.
        ("gate", pa.float32()),
    ]
)

# Null is what imported exemplars do not tell.
STATISTICS = pa.schema(
    [
        ("split", pa.string()),
        *NEURON,
        ("tokens", pa.int64()),
        ("mean", pa.float64()),
        ("std", pa.float64()),
        ("min", pa.float32()),
        ("max", pa.float32()),
        *[(quantile_column(tail, sign), pa.float32()) for sign in SIGNS for tail in TAILS],
        # Of features that are never negative: tokens and sequences in which one is above 0, the tokens' share, and its
        # decadic logarithm, null where it never fires.
        ("firings", pa.int64()),
        ("firing_sequences", pa.int64()),
        ("firing_rate", pa.float64()),
        ("log_density", pa.float64()),
        # Where exemplars have gates: the share of a side's top sequences whose gate is above 0.
        *[(gate_column(sign), pa.float64()) for sign in SIGNS],
    ]
)
