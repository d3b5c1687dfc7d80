"""Sequences between the random and the strongest ones: the best of each of some strata.

B sequences of a batch, E evidence tokens, S sides (see evidence.py), M strata.
"""

import numpy as np
import torch
from torch import Tensor

from neuron_descriptions.common.streams import generator
from neuron_descriptions.harvest.drawn import random_sequences
from neuron_descriptions.harvest.evidence import Evidence, zeros
from neuron_descriptions.harvest.keys import ABSENT, encode_keys


def middle_sequences(n_sequences: int, strata: int, k: int, *what: object) -> list[np.ndarray]:
    """Distinct sequences, ascending, for each stratum of the middle: the best of so many is what a stratum keeps.

    The best of n random sequences has an expected rank of one in n + 1: from n = 2 up to one in k, in even steps of
    the logarithm, these cover what lies between the random sequences and the k top ones, whatever the neuron's
    distribution; deciles of it are what random sequences cover already, and say nothing of a rare feature's range.
    """
    sizes = np.geomspace(2, max(n_sequences / k, 2), strata).astype(int)
    if sizes.sum() > n_sequences:
        sizes[:] = max(n_sequences // max(strata, 1), 1)
    drawn = random_sequences(np.zeros(1), n_sequences, int(sizes.sum()), "middle", *what)[0]
    shares = np.split(generator("middle", *what).permutation(drawn), sizes.cumsum())[:strata]
    return [np.sort(share) for share in shares]


class Middle:
    """Per side, the best sequence of each stratum, and its window. The strata's sequences are all neurons' alike."""

    def __init__(self, n_sides: int, strata: list[np.ndarray], longest: int, dtype: torch.dtype, device: torch.device):
        self.key_SM = torch.full((n_sides, len(strata)), ABSENT, device=device)
        self.window_SME = zeros(n_sides, len(strata), longest, dtype=dtype, device=device)
        self._strata = strata

    def update(self, peak_BS: Tensor, first: int, evidence: Evidence) -> None:
        """Take in the sequences first..first+B-1."""
        for stratum, ids in enumerate(self._strata):
            low, high = np.searchsorted(ids, [first, first + len(peak_BS)])
            for seq_id in ids[low:high].tolist():
                key_S = encode_keys(peak_BS[seq_id - first], seq_id)
                side = (key_S > self.key_SM[:, stratum]).nonzero()[:, 0]
                self.key_SM[side, stratum] = key_S[side]
                window = evidence.kept(torch.full_like(side, seq_id - first), side)
                self.window_SME[side, stratum, : window.shape[1]] = window
