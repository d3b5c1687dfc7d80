"""The atlas's columns, declared once: table, legend of the pages and docs/reference/atlas.md are made from them."""

from pathlib import Path

import pyarrow as pa

from neuron_descriptions.scores.columns import Column

COLUMNS = (
    Column("layer", pa.int16(), "Layer", "Layer of the subject model; the first is 0."),
    Column("neuron", pa.int32(), "Neuron", "Index of the neuron in its layer; the first is 0."),
    Column(
        "sign",
        pa.string(),
        "Sign",
        "A neuron can be strongly positive on one kind of text and strongly negative on another. The two directions are"
        " described and scored separately, as + (positive) and − (negative).",
    ),
    Column(
        "description",
        pa.string(),
        "Description",
        "What the neuron responds to: of the candidates, the one with the best selection score.",
    ),
    Column(
        "score",
        pa.float64(),
        "Score",
        "A second model, the simulator, reads only the description and predicts how active the neuron is on each token."
        " The score is the correlation of these predictions with the real activations over text as it comes, which"
        " neither the description nor its choice has seen: 1 is a perfect match, 0 no relation. It is made on the"
        " sequences of the panel where the neuron is strongest and on some drawn at random, which count for all the"
        " others. Without a panel it is estimated from the scored top and random sequences, with a wide interval.",
    ),
    Column("score_low", pa.float64(), "Interval from", "Lower end of the score's interval (bootstrap over sequences)."),
    Column("score_high", pa.float64(), "Interval to", "Upper end of the score's interval."),
    Column("n_sequences", pa.int32(), "Sequences", "Sequences of the panel that the score was made on."),
    Column(
        "panel_null_score",
        pa.float64(),
        "Null on the panel",
        "What descriptions of other neurons get on the panel: their mean, over the sequences that all share.",
    ),
    Column(
        "panel_null_tokens_score",
        pa.float64(),
        "Others' tokens on the panel",
        "The same of lists of other neurons' tokens, named without a model.",
    ),
    Column(
        "panel_null_empty_score",
        pa.float64(),
        "Empty on the panel",
        "The same of the empty description: what the simulator gets that is told nothing.",
    ),
    Column(
        "panel_best_null_score",
        pa.float64(),
        "Chance on the panel",
        "The mean of what the best of as many of these as there are candidates get; chosen on one half of the shared"
        " sequences, compared on the other. Of the three kinds of nulls, descriptions, lists of tokens and the empty"
        " one, that which gets most. This is the mark that is drawn beside the score.",
    ),
    Column(
        "panel_null_percentile",
        pa.float64(),
        "Above chance on the panel",
        "Share of such choices, in %, that the description's own predictions lie above on the same sequences; of the"
        " three kinds the lowest.",
    ),
    Column(
        "discrimination",
        pa.float64(),
        "Discrimination",
        "Is the description about this neuron? Share of up to 99 other neurons of the layer, in %, whose activations"
        " its predictions match less, on the sequences that the score is made on; 50 by chance.",
    ),
    Column(
        "token_baseline_score",
        pa.float64(),
        "Token baseline",
        "The score of predicting for each token its mean activation on other text, from all tokens of the panel: no"
        " model, no description. A description that beats it says more than “these tokens”. Without a panel, from the"
        " exemplars.",
    ),
    Column(
        "bigram_baseline_score",
        pa.float64(),
        "Bigram baseline",
        "The same for pairs of tokens, backed off to the token.",
    ),
    Column(
        "share_of_baseline",
        pa.float64(),
        "Share of baseline",
        "The score divided by the better of these two, where that is at least 0.1.",
    ),
    Column(
        "gain",
        pa.float64(),
        "Gain",
        "What the description tells beyond both look-ups: the partial correlation of the predictions with the real"
        " activations, given what the look-ups say.",
    ),
    Column("gain_low", pa.float64(), "Gain from", "Lower end of its interval."),
    Column("gain_high", pa.float64(), "Gain to", "Upper end of its interval."),
    Column(
        "sequence_auc",
        pa.float64(),
        "Sequence AUC",
        "Do the predictions find the passages, if not the tokens? The chance that one of the tenth of sequences with"
        " the largest mean activation has a larger mean prediction than another one; 0.5 by chance. For neurons that"
        " follow what a text is about, this says more than the score.",
    ),
    Column(
        "score_contrast",
        pa.float64(),
        "Contrast score",
        "The correlation on a mixture of few sequences: the neuron's strongest ones, some from the middle and some at"
        " random, of held-out text (“test”). Higher than the score, since the strong ones are many among them;"
        " candidates are chosen by it, and chance is judged on it, as there the nulls are tried on the neuron's own"
        " text.",
    ),
    Column("score_contrast_low", pa.float64(), "Contrast from", "Lower end of the contrast score's interval."),
    Column("score_contrast_high", pa.float64(), "Contrast to", "Upper end of its interval."),
    Column(
        "null_score",
        pa.float64(),
        "Null",
        "The contrast score of descriptions written for other neurons (nulls), on the same text: their mean.",
    ),
    Column(
        "null_tokens_score",
        pa.float64(),
        "Others' tokens",
        "The same of lists of other neurons' tokens, named without a model: a simulator may follow any list.",
    ),
    Column(
        "null_empty_score",
        pa.float64(),
        "Empty",
        "The same of the empty description: what a simulator gets that is told nothing.",
    ),
    Column(
        "null_percentile",
        pa.float64(),
        "Above nulls",
        "Share of the nulls, in %, that the contrast score lies above; of their three kinds, descriptions of others,"
        " lists of others' tokens and the empty one, the lowest.",
    ),
    Column(
        "best_null_score",
        pa.float64(),
        "Chance",
        "A chosen description is the best of several, so it is compared with the best of as many nulls, chosen on the"
        " same text in the same way: the mean of what those get, of the kind of nulls that gets most. This is the mark"
        " that is drawn beside the contrast score.",
    ),
    Column(
        "best_null_percentile",
        pa.float64(),
        "Above chance",
        "Share of such choices among nulls, in %, that the contrast score lies above; of the three kinds the lowest.",
    ),
    Column(
        "chance",
        pa.string(),
        "Beats chance?",
        "“beats chance”: the contrast score lies above 95 % of the choices among nulls, and its whole interval above"
        " their mean and above 0. “not shown”: it lies above that mean, but one of these conditions fails. “at chance”:"
        " it does not even lie above that mean. Empty without nulls or without a score.",
    ),
    Column(
        "chance_failed",
        pa.string(),
        "What failed",
        "The conditions that failed: “interval” (it reaches down to chance), “rank” (above less than 95 % of the"
        " choices among nulls), or “interval, rank”.",
    ),
    Column("beats_chance", pa.bool_(), "Beats chance", "Whether the column `chance` says “beats chance”."),
    Column(
        "token_baseline_contrast",
        pa.float64(),
        "Token baseline, contrast",
        "The contrast score of predicting for each token its mean activation in the exemplars of the training text.",
    ),
    Column(
        "spearman",
        pa.float64(),
        "Spearman",
        "Correlation of the ranks instead of the values: does the simulator order the tokens as the neuron does?",
    ),
    Column(
        "average_precision",
        pa.float64(),
        "Average precision",
        "How well the predictions pick out the tokens beyond the strongest 1 in 10,000 of the training text: 1 where"
        " they come first; by chance, the share of such tokens.",
    ),
    Column(
        "r2",
        pa.float64(),
        "R²",
        "Share of the activations' variance that the predictions explain, after a linear fit made on other text. Below"
        " 0: worse than always predicting the mean.",
    ),
    Column(
        "abs_dev_explained",
        pa.float64(),
        "Absolute deviation explained",
        "As R², with absolute instead of squared errors: a few very strong tokens count less.",
    ),
    Column(
        "published_score",
        pa.float64(),
        "Published",
        "The score as the previously published pipeline computes it: in-sample (the description is chosen and reported"
        " on the same text) and blind to the sign; but without the chat template's prefix, which that pipeline scores"
        " too (up to 0.06 apart). For comparison only.",
    ),
    Column("published_score_test", pa.float64(), "Published, on test", "The same description's, on the held-out text."),
    Column(
        "selection_score",
        pa.float64(),
        "Selection score",
        "The contrast score on the text that the description was chosen by (“valid”): too good, as the best of"
        " several, and of concepts since their search has read it.",
    ),
    Column("n_candidates", pa.int16(), "Candidates", "Candidates that have a description."),
    Column("n_nulls", pa.int16(), "Nulls", "Nulls that the contrast score is compared with, of all kinds."),
    Column(
        "n_top",
        pa.int16(),
        "Top sequences",
        "Sequences behind the contrast score that are among the neuron's strongest; it has them as exemplars.",
    ),
    Column("n_middle", pa.int16(), "Middle sequences", "Sequences from between the strongest and the ordinary."),
    Column("n_random", pa.int16(), "Random sequences", "Sequences drawn at random."),
    Column("peak", pa.float32(), "Peak", "The most extreme activation of this sign on the training text."),
    Column(
        "log_density",
        pa.float64(),
        "Density",
        "Of a feature that is never negative, such as a latent: the share of the training text's tokens at which it"
        " fires, as a decadic logarithm. Empty for neurons.",
    ),
    Column(
        "gate_positive",
        pa.float64(),
        "Gate above 0",
        "Of the neuron's strongest sequences of this sign on the training text the share, in %, whose gate is above 0"
        " at the peak: of a gated MLP the activation is act(gate) * up, and neurons behave differently where the gate"
        " is below 0. Empty where the run keeps no gates (exemplars.gates).",
    ),
    Column(
        "type",
        pa.string(),
        "Type",
        "What tells most of the neuron's activation on held-out natural text: “token” (the token read), “bigram” (it"
        " and the one before), “context” (what the sequence is about), “position”, or “none” of these. Empty without a"
        " panel.",
    ),
    Column(
        "direct_score",
        pa.float64(),
        "Direct score",
        "A description made of concepts predicts activations by itself, without a simulator. This is the correlation of"
        " its own predictions with the real activations on held-out natural text (the panel). It is that of the chosen"
        " description where this one is made of concepts, and of the longest that was found where not. Empty without"
        " a panel, or where no concept fits.",
    ),
    Column(
        "direct_score_contrast",
        pa.float64(),
        "Direct score, contrast",
        "The same on the test sequences that the simulator's score is made on, of which many are strong.",
    ),
    Column(
        "explainer",
        pa.string(),
        "Explainer",
        "What wrote the description: a model; “tokens” and “concepts” need none.",
    ),
    Column("simulator", pa.string(), "Simulator", "The model that predicted activations from it."),
    Column(
        "status",
        pa.string(),
        "Status",
        "“ok”: described and scored; without a simulator, described: further scores have a status of their own."
        " “no_activation”: nothing of this sign to describe. “few_firings”: it fires in fewer train tokens than"
        " features.min_firings. “no_description”: no usable answer. “no_score”: the score is undefined, for instance"
        " because the predictions do not vary.",
    ),
)
ATLAS = pa.schema([(column.name, column.type) for column in COLUMNS])
# Those that need no simulator: a run without one has no others.
_UNSIMULATED = {
    "layer", "neuron", "sign", "description", "token_baseline_contrast", "n_candidates", "peak", "log_density",
    "gate_positive", "type", "direct_score", "direct_score_contrast", "explainer", "status",
}  # fmt: skip
ATLAS_UNSIMULATED = pa.schema([field for field in ATLAS if field.name in _UNSIMULATED])


def documentation() -> str:
    """docs/reference/atlas.md: the table's columns."""
    rows = (f"| `{c.name}` | {c.type} | {c.words} |" for c in COLUMNS)
    return "\n".join(
        [
            "# The atlas's columns",
            "",
            "Generated from scripts/neuron_descriptions/atlas/tables.py by `make docs`; do not edit.",
            "",
            "`atlas/atlas.parquet` has a row per neuron and sign. Empty means: not known, or not defined. Further"
            " scores add [columns of their own](scorers.md). A run without a simulator (`scores.simulator: null`) has"
            f" {', '.join(f'`{name}`' for name in ATLAS_UNSIMULATED.names)} and those.",
            "",
            "| column | type | meaning |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    (Path(__file__).parents[3] / "docs" / "reference" / "atlas.md").write_text(documentation())
