"""A random sample of the sequences in which a feature fires: the range between its strongest ones and silence.

B sequences of a batch, E evidence tokens, I features, K kept, P (sequence, feature) pairs.
"""

import torch
from torch import Tensor

from neuron_descriptions.common.streams import key
from neuron_descriptions.harvest.evidence import Evidence
from neuron_descriptions.harvest.top import TopK

_GOLDEN, _M1, _M2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_LOW = 0xFFFFFFFF


def drawn_keys(seq_ids: Tensor, features: Tensor, *what: object) -> Tensor:
    """int64 keys, not negative, that sort (sequence, feature) pairs at random: a function of (what, sequence, feature)
    alone. The low 32 bits say the sequence, as those of `keys.encode_keys` do.

    31 bits of SplitMix64 (Steele, Lea and Flood 2014), over a counter of both. seq_ids, features: int64 in 0..2**32-1
    and 0..2**31-1, of shapes that broadcast.
    """
    # In int64, which wraps around as uint64 does, for devices that have no other.
    z = ((features << 32) + seq_ids + 1) * _signed(_GOLDEN) + _signed(key(*what))
    for shift, factor in ((30, _M1), (27, _M2)):
        z = (z ^ _shifted(z, shift)) * _signed(factor)
    return (_shifted(z ^ _shifted(z, 31), 33) << 32) | (_LOW - seq_ids)


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits


def _shifted(z: Tensor, by: int) -> Tensor:
    """Shifted to the right, zeros coming in from the left."""
    return (z >> by) & ((1 << (64 - by)) - 1)


class Fired:
    """Per feature, K of the sequences in which it fires, each as likely as any other, and their windows; all where
    there are no more. Those with the largest of random keys: so shards and order change nothing (a bottom-k sample,
    Cohen and Kaplan 2007)."""

    def __init__(
        self,
        features_I: Tensor,
        k: int,
        longest: int,
        dtype: torch.dtype,
        device: torch.device,
        what: tuple[object, ...],
    ):
        """what: the draw is a function of, beside feature and sequence."""
        self.best = TopK(len(features_I), k, longest, dtype, device)
        self._features_I, self._what = features_I, what

    @property
    def key_SM(self) -> Tensor:
        """Keys (I, K) of the sequences kept, int64."""
        return self.best.key_SK

    @property
    def window_SME(self) -> Tensor:
        """Their windows (I, K, E)."""
        return self.best.window_SKE

    def update(self, peak_BI: Tensor, first: int, evidence: Evidence) -> None:
        """Take in the sequences first..first+B-1."""
        if not self.best.key_SK.shape[1]:
            return
        b_P, side_P = (peak_BI > 0).nonzero(as_tuple=True)
        key_P = drawn_keys(first + b_P, self._features_I[side_P], *self._what)
        self.best.update(b_P, side_P, key_P, len(peak_BI), evidence)
