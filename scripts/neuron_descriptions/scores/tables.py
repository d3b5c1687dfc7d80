"""Tables of nulls, scores and simulations."""

import pyarrow as pa

from neuron_descriptions.common.vocabulary import CANDIDATE, NEURON
from neuron_descriptions.descriptions.tables import FOUND_CONCEPTS

# What nulls are drawn from: of a neuron and sign at most one description, and one list of its tokens.
NULL_POOL = pa.schema(
    [
        *NEURON,
        ("sign", pa.string()),
        ("kind", pa.string()),  # "other": a description of the run's; "tokens": where it peaks, named without a model
        ("description", pa.string()),
    ]
)

SCORES = pa.schema(
    [
        *CANDIDATE,  # candidate -1: a null, -2: the token baseline
        ("kind", pa.string()),  # "candidate" | "null" | "token_baseline"
        ("description", pa.string()),
        ("null_kind", pa.string()),  # of a null: "other" | "tokens" | "empty"
        ("origin", pa.string()),  # of a null: "layer/neuron/sign" that it was written for, or "file"; null: none, empty
        ("split", pa.string()),  # "valid" chooses, "test" is reported
        ("simulator", pa.string()),
        ("correlation", pa.float64()),  # null where it is undefined
        ("correlation_low", pa.float64()),
        ("correlation_high", pa.float64()),
        ("natural", pa.float64()),  # the same over the whole split, estimated from top and random sequences
        ("natural_low", pa.float64()),
        ("natural_high", pa.float64()),
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

# Where a smaller simulator sorts candidates out: how they match the valid sequences by it. In SCORES, those that it did
# not keep have its name and no numbers.
SCREENED = pa.schema(
    [
        *CANDIDATE,
        ("description", pa.string()),
        ("simulator", pa.string()),
        ("correlation", pa.float64()),  # null where it is undefined
        ("n_sequences", pa.int32()),
        ("n_tokens", pa.int32()),
        ("kept", pa.bool_()),  # for the large simulator
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

# Scores of chosen descriptions on text as it comes: on sequences of panel_test that stand for all of it.
NATURAL = pa.schema(
    [
        *NEURON,
        ("sign", pa.string()),
        ("description", pa.string()),
        ("simulator", pa.string()),
        ("n_tried", pa.int16()),  # distinct candidates that it was chosen of
        ("score", pa.float64()),  # null where it is undefined
        ("score_low", pa.float64()),
        ("score_high", pa.float64()),
        ("token_baseline_score", pa.float64()),  # look-ups fitted on the whole panel, scored on the whole panel_test
        ("bigram_baseline_score", pa.float64()),
        ("share_of_baseline", pa.float64()),  # score / the better look-up's
        ("gain", pa.float64()),  # partial correlation beyond both look-ups
        ("gain_low", pa.float64()),
        ("gain_high", pa.float64()),
        ("sequence_auc", pa.float64()),  # mean predictions, for the tenth of sequences with the largest mean
        ("discrimination", pa.float64()),  # share of other features whose activations the predictions match less, in %
        ("n_discriminated", pa.int32()),
        ("n_sequences", pa.int32()),
        ("n_certain", pa.int32()),  # of them, those that are always simulated
        ("n_tokens", pa.int32()),
    ]
)

# Predictions on the sequences of panel_test that all descriptions are simulated on.
SHARED = pa.schema(
    [
        *NEURON,
        ("sign", pa.string()),
        ("description", pa.string()),
        ("simulated", pa.list_(pa.float32())),  # expected value, 0..10, per token
    ]
)

# The same of nulls that no feature has for its description: the empty one, and lists of some features' tokens.
SHARED_NULLS = pa.schema(
    [
        *NULL_POOL,  # kind also "empty": then of no neuron
        ("simulated", pa.list_(pa.float32())),
    ]
)

# The same with what other descriptions and other features have on those sequences.
COMPARED = pa.schema(
    [
        *NATURAL,
        ("panel_score", pa.float64()),  # correlation on the shared sequences alone
        ("panel_null_score", pa.float64()),  # mean of what descriptions of other neurons have there
        ("panel_null_tokens_score", pa.float64()),  # of lists of other neurons' tokens
        ("panel_null_empty_score", pa.float64()),  # of the empty description
        # of the best of as many as candidates, chosen on the other half; of the kind of nulls that gets most
        ("panel_best_null_score", pa.float64()),
        # share of such choices that panel_score lies above, in %; of the kind of nulls that leaves least
        ("panel_null_percentile", pa.float64()),
        ("n_panel_nulls", pa.int32()),
    ]
)
