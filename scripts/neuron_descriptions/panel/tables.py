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
