"""The table of what changed between two subjects."""

import pyarrow as pa

from neuron_descriptions.common.vocabulary import NEURON

# What of a feature changed. Gone: it varies before and is constant after; new: the other way round; silent: it is
# constant in both, or but for one group of documents, so that nothing can be said of it.
KINDS = ("meaning", "scale", "same", "gone", "new", "silent")

# A row per feature, ranked by `change_low`. "Before" is the run's own subject, "after" the other one. Null: not
# defined, since the feature is constant on the text.
DIFFERENCES = pa.schema(
    [
        *NEURON,
        ("rank", pa.int32()),  # 1 is the feature whose meaning changed most
        ("kind", pa.string()),  # of KINDS
        ("change", pa.float32()),  # 1 - the correlation of its activations before and after: 0 to 2
        ("change_low", pa.float32()),  # 95 % interval of that over documents
        ("change_high", pa.float32()),
        ("change_first", pa.float32()),  # the same of one half of the documents, and of the other
        ("change_second", pa.float32()),
        ("usual", pa.float32()),  # median change of its layer
        ("noise", pa.float32()),  # of its layer: 99 % of its features' two halves differ by less
        ("scale", pa.float32()),  # standard deviation after / before
        ("scale_low", pa.float32()),
        ("scale_high", pa.float32()),
        ("shift", pa.float32()),  # of the mean, in standard deviations before
        ("tokens_before", pa.list_(pa.string())),  # of the listed features: strongest tokens, the strongest first
        ("tokens_after", pa.list_(pa.string())),
    ]
)
