"""Features like one: those whose activations on a panel go with its own, over all layers.

I features of a layer, J of a block, N evidence tokens of the panel, P pairs.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.panel.tables import NEIGHBOURS

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

BLOCK = 1024  # features at a time, which bounds memory
# Products of float32 choose pairs, which are computed anew in float64: those this near to the last one kept are too.
SLACK = 1e-4
LEAST = 0.01  # size of a correlation that makes a neighbour
PAIRS = 256  # computed anew at a time


def find_neighbours(corpus: str, files: list[str], layer: int, kept: int, threads: int, output: str) -> None:
    """Write NEIGHBOURS of a layer's features: of each the `kept` features of all layers whose activations on the panel
    have the largest correlation (Pearson) with its own, in size: of either sign, since a negative one is of the other
    direction; at least LEAST. Equal ones (to the bits of float32) are ordered by layer and index. No feature is its own
    neighbour; one that does not vary has none and is none.

    corpus, files: the panel's table and the activations of all layers, in any order. The result depends on no block: a
    pair's correlation is computed of that pair alone. Raises ValueError where these do not belong together.
    """
    torch.set_num_threads(threads)
    panel = Panel(corpus, files)
    if len({panel.made_of(other) for other in panel.layers}) > 1:
        raise ValueError(f"the activations on {corpus} are not of one subject and seed; delete them and run again")
    own, found = _units(panel, layer, panel.neurons(layer)), _Kept(len(panel.neurons(layer)), kept)
    approximate_IN = own.float()
    blocks = [
        (other, neurons[first : first + BLOCK])
        for other in sorted(panel.layers)
        for neurons in [panel.neurons(other)]
        for first in range(0, len(neurons), BLOCK)
    ]
    for other, neurons in progress(blocks, sum(len(n) for _, n in blocks), "features", size=lambda b: len(b[1])):
        theirs = _units(panel, other, neurons)
        turned_NJ = theirs.float().T
        for first in range(0, len(own), BLOCK):
            rows = slice(first, first + BLOCK)
            r_IJ = (approximate_IN[rows] @ turned_NJ).abs()
            if other == layer:  # not itself
                place = {neuron: j for j, neuron in enumerate(neurons)}
                for i, neuron in enumerate(panel.neurons(layer)[rows]):
                    if neuron in place:
                        r_IJ[i, place[neuron]] = 0
            one_P, other_P = found.candidates(first, r_IJ)
            found.add(one_P + first, np.array(neurons)[other_P], other, _exact(own[rows], theirs, one_P, other_P))
    write_table(found.table(layer, panel.neurons(layer)), output)
    logger.info("layer %d: median correlation of the nearest %.2f", layer, found.median())


class _Kept:
    """The nearest so far."""

    def __init__(self, features: int, kept: int):
        self.kept = kept
        self.layer_IK = np.full((features, kept), np.iinfo(np.int16).max, np.int16)
        self.neuron_IK = np.zeros((features, kept), np.int32)
        self.r_IK = np.zeros((features, kept), np.float32)  # 0: none

    def candidates(self, first: int, r_IJ: torch.Tensor) -> tuple[Places, Places]:
        """(rows, columns) of a block that may be among the nearest. r_IJ: sizes of approximate correlations."""
        least_I = torch.from_numpy(np.abs(self.r_IK[first : first + len(r_IJ), -1]))
        if r_IJ.shape[1] > self.kept:
            least_I = torch.maximum(least_I, r_IJ.topk(self.kept, dim=1).values[:, -1])
        near_IJ = (r_IJ >= (least_I - SLACK)[:, None]) & (r_IJ >= LEAST - SLACK)
        one_P, other_P = near_IJ.nonzero(as_tuple=True)
        return one_P.numpy(), other_P.numpy()

    def add(self, row_P: Places, neuron_P: Places, layer: int, r_P: Floats) -> None:
        """Take in pairs, ordered by row."""
        enough_P = np.abs(r_P) >= LEAST
        row_P, neuron_P, r_P = row_P[enough_P], neuron_P[enough_P], r_P[enough_P]
        starts: list[int] = np.flatnonzero(np.diff(row_P, prepend=-1)).tolist()
        for start, end in zip(starts, [*starts[1:], len(row_P)]):
            row, several = row_P[start], end - start
            r = np.r_[self.r_IK[row], r_P[start:end].astype(np.float32)]
            layers = np.r_[self.layer_IK[row], np.full(several, layer, np.int16)]
            neurons = np.r_[self.neuron_IK[row], neuron_P[start:end].astype(np.int32)]
            best = np.lexsort((neurons, layers, -np.abs(r)))[: self.kept]
            self.r_IK[row], self.layer_IK[row], self.neuron_IK[row] = r[best], layers[best], neurons[best]

    def table(self, layer: int, neurons: list[int]) -> pa.Table:
        """Rows of NEIGHBOURS."""
        row_P, rank_P = (self.r_IK != 0).nonzero()
        columns = {
            "layer": np.full(len(row_P), layer, np.int16),
            "neuron": np.array(neurons, np.int32)[row_P],
            "rank": rank_P.astype(np.int16),
            "neighbour_layer": self.layer_IK[row_P, rank_P],
            "neighbour": self.neuron_IK[row_P, rank_P],
            "correlation": self.r_IK[row_P, rank_P],
        }
        return pa.table(columns, schema=NEIGHBOURS)

    def median(self) -> float:
        """Of the sizes of the nearest ones' correlations."""
        return float(np.median(np.abs(self.r_IK[:, 0]))) if len(self.r_IK) else float("nan")


def _units(panel: Panel, layer: int, neurons: list[int]) -> torch.Tensor:
    """Activations (J, N) without their mean, of length 1, float64; of a feature that does not vary zeros."""
    acts_JN = panel.acts(layer, neurons).astype(np.float64)
    acts_JN -= acts_JN.mean(1, keepdims=True)
    length_J1 = np.sqrt((acts_JN * acts_JN).sum(1, keepdims=True))
    return torch.from_numpy(np.divide(acts_JN, length_J1, out=np.zeros_like(acts_JN), where=length_J1 > 0))


def _exact(own: torch.Tensor, theirs: torch.Tensor, one_P: Places, other_P: Places) -> Floats:
    """Correlations (P,) of pairs of rows, each summed by itself, in one order."""
    parts: Iterator[Floats] = (
        (own[one_P[at : at + PAIRS]].numpy() * theirs[other_P[at : at + PAIRS]].numpy()).sum(1)
        for at in range(0, len(one_P), PAIRS)
    )
    return np.concatenate([np.zeros(0), *parts])
