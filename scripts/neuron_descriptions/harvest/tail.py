"""The tail of each side's distribution over tokens, as a histogram of which only the part that counts is kept.

B sequences of a batch, E evidence tokens, S sides (see evidence.py), P (sequence, side) pairs, H bins of the histogram:
O octaves of M each, of which R are kept at once.
"""

import numpy as np
import torch
from torch import Tensor

from neuron_descriptions.common.vocabulary import TAILS, tail_rank
from neuron_descriptions.harvest.evidence import Evidence, zeros
from neuron_descriptions.harvest.keys import ABSENT, decode_keys
from neuron_descriptions.harvest.top import TopK, kth_largest
from neuron_descriptions.run.memory import BINS, N_BINS, OCTAVES

# Histogram of |activation|: 128 bins per octave from 2**-14 to 2**16, so that a bin holds one bfloat16 value.
_MANTISSA, _LOWEST = 7, -14
_LOW_BITS = BINS - 1
QUANTILE_ERROR = 2.0**-_MANTISSA
_FIRST = (127 + _LOWEST) << _MANTISSA


def bin_of(values: Tensor) -> Tensor:
    """Bin of each positive value, int64; what is below the range falls in the first, above in the last."""
    return ((values.float().view(torch.int32) >> (23 - _MANTISSA)) - _FIRST).clamp(0, N_BINS - 1).long()


def bin_edges() -> np.ndarray:
    """Lower edges of the bins, float32; each is the only bfloat16 value of its bin."""
    return ((np.arange(N_BINS, dtype=np.int32) + _FIRST) << (23 - _MANTISSA)).view(np.float32)


class Tail:
    """Per side, token counts of the tail by size: exact in every bin that the quantiles can fall in.

    Bins below the deepest quantile's are given up as soon as enough tokens lie above them, in this shard alone
    already; so the bins that count are complete in every shard, and shards add up.
    """

    def __init__(self, n_sides: int, tokens: int, dtype: torch.dtype, device: torch.device, octaves: int = OCTAVES):
        """tokens: of the whole split; octaves: kept at once, the highest ones of each side: a token that is smaller
        counts as none, see `highest_octaves`."""
        # Octave by octave, since few are ever touched: memory that is not costs nothing in main memory. Octave o is in
        # row o % R, so that a side's lowest one makes room for its next higher.
        self.count_RSM = zeros(octaves, n_sides, BINS, dtype=torch.int32, device=device)
        self.lowest_S = torch.zeros(n_sides, dtype=torch.int64, device=device)  # octave of those kept
        self.floor_S = torch.zeros(n_sides, dtype=torch.int64, device=device)
        self.edges_H = torch.from_numpy(bin_edges()).to(dtype).to(device)
        self.edge_S = self.edges_H[self.floor_S]
        self.rank = tail_rank(tokens, TAILS[-1])
        self.updates = 0

    def update(self, b_P: Tensor, side_P: Tensor, evidence: Evidence) -> None:
        """Take in pairs of a batch: all whose peak reaches the side's `edge_S`, each once."""
        upwards_PE = evidence.windows(b_P, side_P)
        upwards_PE *= torch.where(side_P < evidence.acts_BEI.shape[2], 1, -1)[:, None]
        if len(self.count_RSM) < OCTAVES:
            self._make_room(side_P, upwards_PE.amax(1))
        p, e = (upwards_PE >= self.edge_S[side_P, None]).nonzero(as_tuple=True)
        bins = bin_of(upwards_PE[p, e])
        n_rows, n_sides = self.count_RSM.shape[:2]
        flat = (((bins >> _MANTISSA) % n_rows * n_sides + side_P[p]) << _MANTISSA) + (bins & _LOW_BITS)
        self.count_RSM.view(-1).index_add_(0, flat, torch.ones_like(flat, dtype=torch.int32))
        self.updates += 1

    def _make_room(self, side_P: Tensor, peak_P: Tensor) -> None:
        """Give up a side's lowest octaves where a peak lies above its highest."""
        n_rows, before_S = len(self.count_RSM), self.lowest_S
        lowest_P = (bin_of(peak_P) >> _MANTISSA) - (n_rows - 1)
        self.lowest_S = before_S.scatter_reduce(0, side_P, lowest_P, "amax")
        side_X = (self.lowest_S > before_S).nonzero()[:, 0]
        for row in range(n_rows):
            held_X = before_S[side_X] + (row - before_S[side_X]) % n_rows
            self.count_RSM[row, side_X[held_X < self.lowest_S[side_X]]] = 0
        self.floor_S = torch.maximum(self.floor_S, self.lowest_S << _MANTISSA)
        self.edge_S = self.edges_H[self.floor_S]

    def due(self) -> bool:
        """Whether to raise the floor now: it only saves work and costs a pass; often at first, then rarely."""
        return self.updates & (self.updates - 1) == 0 or self.updates % 64 == 0

    def raise_floor(self, top: TopK, peak_BS: Tensor) -> None:
        """Give up bins that `rank` tokens are known to lie above: by the peaks of as many sequences, kept or (first of
        all) of this batch, or by what was counted."""
        k = top.key_SK.shape[1]
        if self.updates == 0:
            if self.rank > len(peak_BS):
                return
            floor_S = bin_of(peak_BS.sort(0, descending=True).values[self.rank - 1].clamp(min=0))
        elif self.rank <= k:
            key_S = kth_largest(top.key_SK, self.rank)
            floor_S = bin_of(torch.where(key_S > ABSENT + k, decode_keys(key_S)[0], 0).clamp(min=0))
        else:
            floor_S = self._bin_of_rank()
        self.floor_S = torch.maximum(self.floor_S, floor_S)
        self.edge_S = self.edges_H[self.floor_S]

    def _bin_of_rank(self) -> Tensor:
        """The highest bin that, with those above it, holds at least `rank` tokens; 0 where none does."""
        n_rows = len(self.count_RSM)
        octave_SR = self.lowest_S[:, None] + torch.arange(n_rows, device=self.lowest_S.device)
        of_octave_SR = self.count_RSM.sum(2, dtype=torch.int32).T.gather(1, octave_SR % n_rows)
        above_SR = of_octave_SR.flip(1).cumsum(1).flip(1)
        which_S = ((above_SR >= self.rank).sum(1) - 1).clamp(min=0)
        octave_S = self.lowest_S + which_S
        rows_S = torch.arange(len(octave_S), device=octave_S.device)
        inside_SM = self.count_RSM[octave_S % n_rows, rows_S].flip(1).cumsum(1).flip(1)
        higher_S = above_SR[rows_S, which_S] - inside_SM[:, 0]
        place_S = ((inside_SM + higher_S[:, None] >= self.rank).sum(1) - 1).clamp(min=0)
        return (octave_S << _MANTISSA) + place_S

    def tensors(self) -> dict[str, Tensor]:
        """The counts from the floor upwards, row by row: `start` (S + 1) int64 into `bin` int16, `count` int32."""
        row, side, place = self.count_RSM.nonzero(as_tuple=True)
        lowest = self.lowest_S[side]
        bins = ((lowest + (row - lowest) % len(self.count_RSM)) << _MANTISSA) + place
        count, kept = self.count_RSM[row, side, place], bins >= self.floor_S[side]
        order = (side[kept] * N_BINS + bins[kept]).argsort()
        start = torch.cat([self.floor_S.new_zeros(1), side[kept].bincount(minlength=len(self.floor_S)).cumsum(0)])
        return {"start": start, "bin": bins[kept][order].to(torch.int16), "count": count[kept][order]}


def highest_octaves(count_SH: np.ndarray, octaves: int) -> np.ndarray:
    """Counts (S, H) without those below each row's `octaves` highest octaves, the highest being the one of its largest
    token: what is left of shards' counts together, whichever of them held the largest."""
    octave_S = (count_SH.shape[1] - 1 - (count_SH[:, ::-1] > 0).argmax(1)) // BINS
    first_S = (octave_S - (octaves - 1)) * BINS
    return np.where(np.arange(count_SH.shape[1]) < first_S[:, None], 0, count_SH)
