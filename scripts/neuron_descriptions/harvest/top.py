"""The strongest sequences of each side, with their windows.

B sequences of a batch, E evidence tokens, S sides (see evidence.py), K kept, P (sequence, side) pairs, X the sides that
a batch changes.
"""

import numpy as np
import torch
from torch import Tensor

from neuron_descriptions.harvest.evidence import Evidence, zeros
from neuron_descriptions.harvest.keys import ABSENT, decode_keys


class TopK:
    """Per side, the K sequences with the highest peak and their windows; ties go to the earlier sequence."""

    def __init__(self, n_sides: int, k: int, longest: int, dtype: torch.dtype, device: torch.device):
        # Empty slots are all different and below any key, so that exactly K of any row's keys are its K best.
        self.key_SK = (ABSENT + 1 + torch.arange(k, device=device)).repeat(n_sides, 1)
        self.window_SKE = zeros(n_sides, k, longest, dtype=dtype, device=device)
        self.least_S = torch.full((n_sides,), ABSENT + 1, device=device)
        self.value_S = torch.full((n_sides,), -torch.inf, device=device)  # the K-th best peak

    def update(self, b_P: Tensor, side_P: Tensor, key_P: Tensor, batch: int, evidence: Evidence) -> None:
        """Take in pairs of a batch's sequences (0..batch-1) and sides, each at most once."""
        # Places, not masks, and of a known number if there is one: what a mask selects, a GPU's host has to wait for.
        enters = (key_P > self.least_S[side_P]).nonzero()[:, 0]
        b_P, side_P, key_P = b_P[enters], side_P[enters], key_P[enters]
        if not len(key_P):
            return
        touched_S = torch.zeros(len(self.least_S), dtype=torch.bool, device=key_P.device)
        touched_S[side_P] = True
        side_X = touched_S.nonzero()[:, 0]
        new_XB = torch.full((len(side_X), batch), ABSENT, device=key_P.device)
        new_XB[(touched_S.cumsum(0) - 1)[side_P], b_P] = key_P
        both = torch.cat([self.key_SK[side_X], new_XB], 1)
        k = self.key_SK.shape[1]
        least_X = kth_largest(both, k)
        kept = both >= least_X[:, None]
        # As many enter a row as are evicted from it; both lists are in row order, so they pair up.
        row, b = kept[:, k:].nonzero(as_tuple=True)
        slot_XB = torch.full_like(new_XB, -1)
        slot_XB[row, b] = torch.nonzero_static(~kept[:, :k], size=len(row))[:, 1]
        # Sequence by sequence, so that neighbouring neurons' windows are read from the same lines of memory.
        b, row = torch.nonzero_static(slot_XB.T >= 0, size=len(row)).unbind(1)
        side, slot = side_X[row], slot_XB[row, b]
        self.key_SK[side, slot] = new_XB[row, b]
        window = evidence.kept(b, side)
        self.window_SKE[side, slot, : window.shape[1]] = window
        self.least_S[side_X] = least_X
        self.value_S[side_X] = torch.where(least_X > ABSENT + k, decode_keys(least_X)[0], self.value_S[side_X])


def kth_largest(rows_XY: Tensor, k: int) -> Tensor:
    """K-th largest of each row of int64."""
    if rows_XY.is_cuda:
        return rows_XY.topk(k, sorted=False).values.amin(1)
    place = rows_XY.shape[1] - k  # numpy's selection takes a fifth of the time of torch's on a CPU
    return torch.from_numpy(np.partition(rows_XY.numpy(), place, axis=1)[:, place].copy())
