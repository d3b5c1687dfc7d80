"""Tables of candidate descriptions and of what they took."""

import pyarrow as pa

from neuron_descriptions.common.vocabulary import CANDIDATE

DESCRIPTIONS = pa.schema(
    [
        *CANDIDATE,
        ("description", pa.string()),  # null unless status is "ok"
        (
            "exemplar_ranks",
            pa.list_(pa.int16()),
        ),  # of the train exemplars shown, in the order shown
        ("explainer", pa.string()),
        ("prompt_sha256", pa.string()),  # of the prompt's messages
        ("prompt_tokens", pa.int32()),  # over all attempts; of samples of one draw, its share
        ("completion_tokens", pa.int32()),
        ("attempts", pa.int16()),
        ("status", pa.string()),  # "ok" | "refused" | "unparsed" | "no_activation" | "few_firings"
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
        ("cut", pa.int64()),  # at max_tokens; whether or not they could be read
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

# Lists of concepts: candidate 0 is the best one, 1 and 2 are its first parts alone, where it has more.
FOUND_CONCEPTS = pa.schema(
    [
        *CANDIDATE,
        ("sentence", pa.string()),  # "no pattern found" where no concept fits
        ("parts", pa.string()),  # JSON, see concepts/execution.py: read back, it predicts activations
    ]
)
