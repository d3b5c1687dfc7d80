"""Sequences drawn at random, for each side its own, and their windows.

E evidence tokens, S sides (see evidence.py), R random sequences.
"""

import numpy as np
import torch

from neuron_descriptions.common.streams import uniforms
from neuron_descriptions.harvest.batches import moved
from neuron_descriptions.harvest.evidence import Evidence, zeros


def random_sequences(neurons: np.ndarray, n_sequences: int, count: int, *what: object) -> np.ndarray:
    """`count` distinct sequences per neuron, int64 (neurons, count): one from each of `count` equal stretches of
    the (shuffled) corpus, so that every sequence is as likely as any other."""
    first = np.arange(count) * n_sequences // count
    size = (np.arange(count) + 1) * n_sequences // count - first
    places: np.ndarray = first + (uniforms(neurons, count, "random", *what) * size).astype(np.int64)
    return places


class Drawn:
    """Per side, the windows of sequences drawn beforehand."""

    def __init__(self, ids_SR: np.ndarray, longest: int, dtype: torch.dtype, device: torch.device):
        self.window_SRE = zeros(*ids_SR.shape, longest, dtype=dtype, device=device)
        self._order = np.argsort(ids_SR.ravel(), kind="stable")
        self._ids = ids_SR.ravel()[self._order]

    def update(self, first: int, batch: int, evidence: Evidence) -> None:
        """Take in the sequences first..first+batch-1."""
        low, high = np.searchsorted(self._ids, [first, first + batch])
        if low == high:
            return
        device, drawn = self.window_SRE.device, self.window_SRE.shape[1]
        place = moved(torch.from_numpy(self._order[low:high]), device)
        window = evidence.kept(moved(torch.from_numpy(self._ids[low:high] - first), device), place // drawn)
        self.window_SRE[place // drawn, place % drawn, : window.shape[1]] = window
