"""The table of what neurons' output sides are called, and whether the model's predictions bear them out."""

import pyarrow as pa

from neuron_descriptions.common.vocabulary import NEURON

# Whether a neuron writes the tokens that it reads: more than other neurons' effects go with its activations, less, or
# neither.
AGREEMENTS = ("same", "opposite", "neither")

# A row per neuron and sign. Null: not defined, as of a neuron that fires at too few tokens.
OUTPUT_SCORES = pa.schema(
    [
        *NEURON,
        ("sign", pa.string()),
        ("description", pa.string()),  # of the tokens that it makes more likely, in words
        ("description_r", pa.float32()),  # correlation with the effects, on tokens that the words were not found on
        ("auc", pa.float32()),  # the predicted tokens' log probability where it fires, against elsewhere
        ("auc_low", pa.float32()),  # 95 % interval over documents
        ("auc_high", pa.float32()),
        ("auc_null", pa.float32()),  # the mean of other neurons' tokens at the same places
        ("auc_percentile", pa.float32()),  # share of these below `auc`, 0 to 1
        ("n_firing", pa.int32()),  # tokens of the panel
        ("n_documents", pa.int32()),  # that these stand in
        ("reads_r", pa.float32()),  # correlation of the activation at a token with the effect on that very token
        ("reads_percentile", pa.float32()),  # among other neurons' effects, 0 to 1
        ("agreement", pa.string()),  # of AGREEMENTS, by the percentile
        ("gate_positive", pa.float32()),  # of a gated MLP: share of the firing tokens at which the gate is above 0
    ]
)
