"""The names of the panels, and the table of the neurons' types."""

import pyarrow as pa

from neuron_descriptions.common.vocabulary import NEURON

# Text that all features share: look-ups are fitted on the first and correlated on the second.
PANELS = ("panel", "panel_test")

# From the one whose reading explains an activation best to nothing of these.
TYPES = ("token", "bigram", "context", "position", "none")

# A row per neuron and sign; null is a correlation with something that does not vary.
NEURON_TYPES = pa.schema(
    [
        *NEURON,
        ("sign", pa.string()),
        ("type", pa.string()),  # of TYPES
        ("r_token", pa.float32()),  # held-out correlations, on panel_test
        ("r_bigram", pa.float32()),
        ("r_previous", pa.float32()),
        ("r_sequence", pa.float32()),
        ("r_position", pa.float32()),
    ]
)

# A row per feature and rank: the features of all layers whose activations on the panel go with its own most.
NEIGHBOURS = pa.schema(
    [
        *NEURON,
        ("rank", pa.int16()),  # from 0, the nearest
        ("neighbour_layer", pa.int16()),
        ("neighbour", pa.int32()),
        ("correlation", pa.float32()),  # signed: below 0 the one's positive side goes with the other's negative side
    ]
)
