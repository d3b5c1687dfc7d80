"""The table of how well an explainer's words fit the tokens that features write: a scorer's, so that its columns reach
the atlas."""

import pyarrow as pa

from neuron_descriptions.scores.columns import Column, scorer_schema

NAME = "output_tokens"  # begins the columns' names in the atlas
COLUMNS = (
    Column("words", pa.string(), "explainer's words", "What the explainer says that the tokens have in common which"
           " the feature makes more likely."),
    Column("auc", pa.float64(), "AUC", "How often a token that the feature makes more likely, and that the explainer"
           " was not shown, fits these words better than a token drawn from the vocabulary, as a judge says; equal ones"
           " counted by half. By chance 0.5, or what the descriptions of other features get."),
    Column("auc_low", pa.float64(), "interval from", "Lower end of the AUC's interval (bootstrap over tokens)."),
    Column("auc_high", pa.float64(), "interval to", "Upper end of that interval."),
    Column("null_auc", pa.float64(), "null, AUC", "The mean AUC of what was said of other features of the layer, judged"
           " on the same tokens."),
    Column("null_percentile", pa.float64(), "above nulls", "Share of those, in %, above whose AUC this one lies."),
    Column("n_held_out", pa.int16(), "held-out tokens", "Tokens with an answer that it makes more likely."),
    Column("n_drawn", pa.int16(), "drawn tokens", "Tokens with an answer that were drawn from the vocabulary."),
    Column("n_unanswered", pa.int16(), "unanswered", "Tokens without an answer."),
)  # fmt: skip

OUTPUT_TOKENS = scorer_schema(NAME, COLUMNS, ())
