"""The tables: one declared schema each, and what their columns mean.

A row's `activations` belong to `input_ids[prefix_len:]` of the corpus row `seq_id` of its split: the
template's prefix is no evidence and is not stored.
"""

from typing import Literal, get_args

import pyarrow as pa

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Sign = Literal["positive", "negative"]
SIGNS: tuple[Sign, ...] = ("positive", "negative")

Message = dict[str, str]  # role, content
Document = str | list[Message]

# Tails of the token distribution whose quantiles are kept, strictest first: the highlight ladder.
TAILS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4)


def quantile_column(tail: float, sign: Sign) -> str:
    """Column of the quantile that a share `tail` of the tokens lies beyond, on one side."""
    return f"{'upper' if sign == 'positive' else 'lower'}_{tail:.0e}".replace("e-0", "e-")


def tail_rank(tokens: int, tail: float) -> int:
    """Rank from the extreme end (1 is the extreme) of the quantile that a share `tail` of tokens lies beyond."""
    return int(tail * tokens * (1 + 1e-12)) + 1


DOCUMENTS = pa.schema(
    [
        ("text", pa.string()),  # prose, or null
        (
            "messages",
            pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
        ),
    ]
)

CORPUS = pa.schema(
    [
        ("seq_id", pa.int64()),  # ascending: 0..n-1; of imported sequences a hash of the tokens
        ("source", pa.string()),
        ("document", pa.int64()),  # fingerprint of the document; null where not known
        ("prefix_len", pa.int16()),  # leading template tokens
        ("input_ids", pa.list_(pa.int32())),
    ]
)

_NEURON = [("layer", pa.int16()), ("neuron", pa.int32())]

EXEMPLARS = pa.schema(
    [
        ("split", pa.string()),
        *_NEURON,
        ("sign", pa.string()),
        ("kind", pa.string()),  # "top" | "middle" (between them) | "random"
        ("rank", pa.int16()),
        ("seq_id", pa.int64()),
        ("peak", pa.float32()),  # the most extreme activation on this side; signed
        ("activations", pa.list_(pa.float32())),
    ]
)

# Null is what imported exemplars do not tell.
STATISTICS = pa.schema(
    [
        ("split", pa.string()),
        *_NEURON,
        ("tokens", pa.int64()),
        ("mean", pa.float64()),
        ("std", pa.float64()),
        ("min", pa.float32()),
        ("max", pa.float32()),
        *[(quantile_column(tail, sign), pa.float32()) for sign in SIGNS for tail in TAILS],
    ]
)

_CANDIDATE = [*_NEURON, ("sign", pa.string()), ("candidate", pa.int16())]

DESCRIPTIONS = pa.schema(
    [
        *_CANDIDATE,
        ("description", pa.string()),  # null unless status is "ok"
        (
            "exemplar_ranks",
            pa.list_(pa.int16()),
        ),  # of the train exemplars shown, in the order shown
        ("explainer", pa.string()),
        ("prompt_sha256", pa.string()),  # of the prompt's messages
        ("prompt_tokens", pa.int32()),  # over all attempts
        ("completion_tokens", pa.int32()),
        ("attempts", pa.int16()),
        ("status", pa.string()),  # "ok" | "refused" | "unparsed" | "no_activation"
    ]
)

# One row per part: what its descriptions took. Answers are those of all attempts; fresh ones this job waited for, the
# others it found in the journal of a killed job, or of an earlier one with a paid endpoint.
ACCOUNTING = pa.schema(
    [
        ("layer", pa.int16()),
        ("explainer", pa.string()),
        ("candidates", pa.int64()),  # that had something to describe
        ("described", pa.int64()),
        ("answers", pa.int64()),
        ("refused", pa.int64()),
        ("unparsed", pa.int64()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("fresh_prompt_tokens", pa.int64()),
        ("fresh_completion_tokens", pa.int64()),
        ("seconds", pa.float64()),  # of asking; loading the model is not in it
    ]
)

# The run's accounts: a row per layer, and one of the whole run, whose layer is null.
ACCOUNTS = pa.schema(
    [
        *ACCOUNTING,
        ("cost", pa.float64()),  # dollars, at the prices of the configuration; null where it has none
        ("prompt_tokens_per_second", pa.float64()),  # of the fresh ones, over all jobs' seconds
        ("completion_tokens_per_second", pa.float64()),
    ]
)

# Descriptions that the nulls of other neurons are drawn from: at most one of a neuron and sign.
NULL_POOL = pa.schema([*_NEURON, ("sign", pa.string()), ("description", pa.string())])

SCORES = pa.schema(
    [
        *_CANDIDATE,  # candidate -1: a null, -2: the token baseline
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
        ("published_score", pa.float64()),  # in-sample, without the sequences of the middle
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
        *_CANDIDATE,
        ("split", pa.string()),
        ("kind", pa.string()),
        ("rank", pa.int16()),
        ("seq_id", pa.int64()),
        ("activations", pa.list_(pa.float32())),  # true, signed
        ("simulated", pa.list_(pa.float32())),  # expected value, 0..10
    ]
)

ATLAS = pa.schema(
    [
        *_NEURON,
        ("sign", pa.string()),
        ("description", pa.string()),
        ("score", pa.float64()),  # signed correlation on test
        ("score_low", pa.float64()),
        ("score_high", pa.float64()),
        ("null_score", pa.float64()),  # mean over the nulls
        ("null_percentile", pa.float64()),  # 0..100: where the score lies among them
        ("best_null_score", pa.float64()),  # mean of the null chosen on valid among as many as there are candidates
        ("best_null_percentile", pa.float64()),
        ("beats_chance", pa.bool_()),  # see atlas.beats_chance; null without nulls or a score
        ("token_baseline_score", pa.float64()),
        ("spearman", pa.float64()),  # on test, as the next three
        ("average_precision", pa.float64()),
        ("r2", pa.float64()),
        ("abs_dev_explained", pa.float64()),
        ("published_score", pa.float64()),  # as published: chosen and reported on valid
        ("published_score_test", pa.float64()),  # of the same description, on test
        ("selection_score", pa.float64()),
        ("n_candidates", pa.int16()),  # with a description
        ("n_nulls", pa.int16()),
        ("n_top", pa.int16()),  # sequences of test that the score is made on
        ("n_middle", pa.int16()),
        ("n_random", pa.int16()),
        ("peak", pa.float32()),  # most extreme activation on the train split
        ("explainer", pa.string()),
        ("simulator", pa.string()),
        (
            "status",
            pa.string(),
        ),  # "ok" | "no_activation" | "no_description" | "no_score"
    ]
)
