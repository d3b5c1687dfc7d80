"""A batch's activations, and windows of them: what the parts of the harvest's state take in.

A neuron has two sides, upwards and downwards, and each has a row of its own in what is kept: all neurons' upper sides,
then all their lower ones.

B sequences of a batch, E evidence tokens, I neurons, P (sequence, side) pairs.
"""

import numpy as np
import torch
from torch import Tensor


class Evidence:
    """A batch's activations, and the windows of them that are asked for."""

    def __init__(self, acts_BEI: Tensor, valid_BE: Tensor | None, gates_BEI: Tensor | None = None):
        """acts_BEI: beyond a sequence's end its last is repeated, and valid_BE false there; None: all are valid.
        gates_BEI: those of the same tokens and neurons, where they are kept."""
        self.acts_BEI, self.valid_BE, self.gates_BEI = acts_BEI, valid_BE, gates_BEI

    def windows(self, b_P: Tensor, side_P: Tensor) -> Tensor:
        """Signed activations (P, E) of pairs of sequence and side; zero beyond a sequence's end."""
        window_PE = self.acts_BEI[b_P, :, side_P % self.acts_BEI.shape[2]]
        return window_PE if self.valid_BE is None else window_PE.masked_fill_(~self.valid_BE[b_P], 0)

    def kept(self, b_P: Tensor, side_P: Tensor) -> Tensor:
        """What is kept of pairs: their windows (P, E); with gates (P, 1 + E): before a window the gate at the first of
        the tokens that are strongest on that side."""
        window_PE = self.windows(b_P, side_P)
        if self.gates_BEI is None:
            return window_PE
        n_neurons = self.acts_BEI.shape[2]
        upwards_PE = torch.where((side_P < n_neurons)[:, None], window_PE, -window_PE)
        if self.valid_BE is not None:
            upwards_PE.masked_fill_(~self.valid_BE[b_P], -torch.inf)
        gate_P = self.gates_BEI[b_P, upwards_PE.argmax(1), side_P % n_neurons]
        return torch.cat([gate_P[:, None], window_PE], 1)


def zeros(*shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros; in main memory from numpy, whose zeros cost nothing until they are touched."""
    if device.type != "cpu" or 0 in shape:
        return torch.zeros(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.zeros(int(np.prod(shape)) * dtype.itemsize, dtype=np.uint8)).view(dtype).view(shape)
