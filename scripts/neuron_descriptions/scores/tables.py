"""Tables of nulls, scores and simulations."""

import pyarrow as pa

from neuron_descriptions.common.vocabulary import CANDIDATE, NEURON
from neuron_descriptions.descriptions.tables import FOUND_CONCEPTS

# Descriptions that the nulls of other neurons are drawn from: at most one of a neuron and sign.
NULL_POOL = pa.schema([*NEURON, ("sign", pa.string()), ("description", pa.string())])

SCORES = pa.schema(
    [
        *CANDIDATE,  # candidate -1: a null, -2: the token baseline
        ("kind", pa.string()),  # "candidate" | "null" | "token_baseline"
        ("description", pa.string()),
        ("origin", pa.string()),  # of a null: "layer/neuron/sign" that it was written for, or "file"
        ("split", pa.string()),  # "valid" chooses, "test" is reported
        ("simulator", pa.string()),
        ("correlation", pa.float64()),  # null where it is undefined
        ("correlation_low", pa.float64()),
        ("correlation_high", pa.float64()),
        ("spearman", pa.float64()),
        ("average_precision", pa.float64()),  # for the tokens beyond the train split's 1e-4 quantile
        ("published_score", pa.float64()),  # in-sample, without the sequences of the middle and the prefix
        ("r2", pa.float64()),  # after the linear fit made on valid; null there
        ("abs_dev_explained", pa.float64()),
        ("n_sequences", pa.int32()),
        ("n_tokens", pa.int32()),
        ("n_top", pa.int16()),  # of the sequences
        ("n_middle", pa.int16()),
        ("n_random", pa.int16()),
        ("chosen", pa.bool_()),  # the candidate with the best correlation on valid
    ]
)

SIMULATIONS = pa.schema(
    [
        *CANDIDATE,
        ("split", pa.string()),
        ("kind", pa.string()),
        ("rank", pa.int16()),
        ("seq_id", pa.int64()),
        ("activations", pa.list_(pa.float32())),  # true, signed
        ("simulated", pa.list_(pa.float32())),  # expected value, 0..10
    ]
)

# Lists of concepts and how well their own predictions match, without a simulator.
CONCEPT_SCORES = pa.schema(
    [
        *FOUND_CONCEPTS,
        ("direct_score_contrast", pa.float64()),  # on the test sequences that a score is made on
        ("direct_score", pa.float64()),  # on the whole panel_test; null without a panel
    ]
)
