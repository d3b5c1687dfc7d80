"""Types of neurons: which look-up tells most of an activation.

I features, N and M tokens of the two panels.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.panel.lookups import Array, Lookups
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.panel.tables import NEURON_TYPES, PANELS, TYPES

# Shares of an activation's held-out variance. A type tells at least LEAST of it (a correlation of 0.3); pairs of tokens
# count as bigrams where they tell GAIN more than their second tokens alone.
LEAST, GAIN = 0.09, 0.04
BLOCK = 2048  # features at a time, which bounds memory: each feature's figures are those that it has alone


def types_of(r: dict[str, Array]) -> NDArray[np.str_]:
    """Type (I,) of each feature: the look-up that tells the largest share of the variance, at least LEAST of it; ties
    go to the first of TYPES. r: held-out correlations, by name.

    A look-up's share is its squared correlation, 0 where that is negative or NaN; the sequence's is that of what the
    token leaves: r_sequence^2 (1 - r_token^2).
    """
    share = {name: np.maximum(np.nan_to_num(values), 0) ** 2 for name, values in r.items()}
    share_4I = np.stack([
        share["r_token"],
        np.where(share["r_bigram"] - share["r_token"] >= GAIN, share["r_bigram"], 0),
        share["r_sequence"] * (1 - share["r_token"]),
        share["r_position"],
    ])  # fmt: skip
    best_I = np.where(share_4I.max(0) >= LEAST, share_4I.argmax(0), TYPES.index("none"))
    return np.array(TYPES)[best_I]


def type_neurons(corpora: dict[str, str], files: dict[str, str], layer: int, output: str) -> None:
    """Write the types of a layer's kept neurons, by sign.

    corpora, files: by panel, its table and the layer's activations. A look-up is a mean, so that turning an activation
    turns what is looked up: both signs of a neuron have the same correlations and type. Raises ValueError where the two
    panels are not of the same neurons and subject.
    """
    fit, test = (Panel(corpora[panel], [files[panel]]) for panel in PANELS)
    if fit.made_of(layer) != test.made_of(layer) or fit.neurons(layer) != test.neurons(layer):
        raise ValueError(
            f"{files[PANELS[0]]} and {files[PANELS[1]]} are not of the same subject, seed and neurons; delete both and"
            " run again"
        )
    lookups, neurons = Lookups(fit, test), fit.neurons(layer)
    blocks = [neurons[first : first + BLOCK] for first in range(0, len(neurons), BLOCK)]
    parts = [
        lookups.correlations(fit.acts(layer, block), test.acts(layer, block))
        for block in progress(blocks, len(neurons), "neurons", size=len)
    ]
    r = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    write_table(types_table(layer, neurons, r), output)
    names, counts = np.unique(types_of(r), return_counts=True)
    logger.info("layer %d: %s", layer, ", ".join(f"{n} {name}" for name, n in zip(names, counts)))


def types_table(layer: int, neurons: list[int], r: dict[str, Array]) -> pa.Table:
    """Rows of NEURON_TYPES: each neuron's signs, one after the other."""
    several = len(SIGNS)
    r_by_sign = {name: np.repeat(values, several).astype(np.float32) for name, values in r.items()}
    columns = {
        "layer": np.full(several * len(neurons), layer, np.int16),
        "neuron": np.repeat(np.array(neurons, np.int32), several),
        "sign": pa.array(list(SIGNS) * len(neurons)),
        "type": pa.array(np.repeat(types_of(r), several).tolist()),
        **{name: pa.array(values, from_pandas=True) for name, values in r_by_sign.items()},
    }
    return pa.table({name: columns[name] for name in NEURON_TYPES.names}, schema=NEURON_TYPES)
