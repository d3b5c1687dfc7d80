"""Everything kept of one layer: what the harvest's state is made of.

B sequences of a batch, E evidence tokens, I neurons, S sides (see evidence.py), N a batch's evidence tokens in a row, P
(sequence, side) pairs.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.harvest.batches import Batch
from neuron_descriptions.harvest.drawn import Drawn, random_sequences
from neuron_descriptions.harvest.evidence import Evidence
from neuron_descriptions.harvest.fired import Fired
from neuron_descriptions.harvest.keys import encode_keys
from neuron_descriptions.harvest.middle import Middle, middle_sequences
from neuron_descriptions.harvest.moments import Moments
from neuron_descriptions.harvest.tail import Tail
from neuron_descriptions.harvest.top import TopK
from neuron_descriptions.run.memory import FIRING_OCTAVES, OCTAVES, Keep


@dataclass(slots=True)
class Split:
    """A split as the harvest sees it."""

    name: str
    sequences: int
    tokens: int
    longest: int
    seed: int


class LayerState:
    """Everything kept of one layer's selected neurons."""

    def __init__(
        self,
        layer: int,
        neurons: list[int],
        split: Split,
        keep: Keep,
        dtype: torch.dtype,
        device: torch.device,
        one_sided: bool = False,
    ):
        """one_sided: no feature is negative, and 0 is silence. There is one side then; what is silent is never among
        the top, and the middle is a sample of the sequences in which a feature fires."""
        self.one_sided, self.n_sides = one_sided, 1 if one_sided else 2
        n_sides = self.n_sides * len(neurons)
        self.batches = 0
        self.neurons_I = torch.tensor(neurons, device=device)
        width = split.longest + keep.gates  # of what is kept of a sequence: see Evidence.kept
        self.top = TopK(n_sides, keep.top, width, dtype, device)
        octaves = FIRING_OCTAVES if one_sided else OCTAVES
        self.tail = Tail(n_sides, split.tokens, dtype, device, octaves)
        self.moments = Moments(self.neurons_I, firings=one_sided)
        what = (split.seed, split.name, layer)
        self.middle: Middle | Fired
        if one_sided:
            self.middle = Fired(self.neurons_I, keep.middle, width, dtype, device, ("fired", *what))
        else:
            strata = middle_sequences(split.sequences, keep.middle, keep.top, split.seed, split.name)
            self.middle = Middle(n_sides, strata, width, dtype, device)
        ids = [
            random_sequences(np.array(neurons), split.sequences, keep.random, *what, sign)
            for sign in SIGNS[: self.n_sides]
        ]
        self.random = Drawn(np.concatenate(ids), width, dtype, device)

    def update(self, acts_NI: Tensor, batch: Batch, gates_NI: Tensor | None = None) -> None:
        """Take in a batch's activations at its evidence tokens, all neurons of the layer; gates_NI: their gates, where
        they are kept."""
        first, n_sequences, valid_BE = batch.first, len(batch.input_ids_BT), batch.valid_BE
        acts_BEI = self._wanted(acts_NI, n_sequences)
        high_BI, low_BI = acts_BEI.amax(1), acts_BEI.amin(1)
        self.moments.update(acts_NI, batch.valid_V, low_BI, high_BI)
        evidence = Evidence(acts_BEI, valid_BE, None if gates_NI is None else self._wanted(gates_NI, n_sequences))
        peak_BS = high_BI if self.one_sided else torch.cat([high_BI, -low_BI], 1)
        if self.tail.due():
            self.tail.raise_floor(self.top, peak_BS)
        least_S = torch.minimum(self.top.value_S.to(peak_BS.dtype), self.tail.edge_S)  # both are values of that type
        enters_BS = peak_BS >= least_S
        if self.one_sided:
            enters_BS &= peak_BS > 0
        b_P, side_P = enters_BS.nonzero(as_tuple=True)
        peak_P = peak_BS[b_P, side_P]
        self.top.update(b_P, side_P, encode_keys(peak_P, first + b_P), n_sequences, evidence)
        reaches = (peak_P >= self.tail.edge_S[side_P]).nonzero()[:, 0]
        self.tail.update(b_P[reaches], side_P[reaches], evidence)
        self.middle.update(peak_BS, first, evidence)
        self.random.update(first, n_sequences, evidence)

    def _wanted(self, values_NI: Tensor, n_sequences: int) -> Tensor:
        """The wanted neurons' (B, E, I)."""
        values_BEI = values_NI.view(n_sequences, -1, values_NI.shape[1])
        return values_BEI if len(self.neurons_I) == values_NI.shape[1] else values_BEI.index_select(2, self.neurons_I)

    def tensors(self) -> dict[str, Tensor]:
        """State to save, by name; rows of sides as (2, I, ...), of features that are never negative as (1, I, ...)."""
        named = {"sums": self.moments.sums_I4, "range": self.moments.range_I2}
        if self.moments.firings_I2 is not None:
            named["firings"] = self.moments.firings_I2
        for name, rows in (
            ("key", self.top.key_SK),
            ("window", self.top.window_SKE),
            ("middle_key", self.middle.key_SM),
            ("middle", self.middle.window_SME),
            ("random", self.random.window_SRE),
        ):
            named[name] = rows.view(self.n_sides, len(self.neurons_I), *rows.shape[1:])
        return named | {f"tail_{name}": tensor for name, tensor in self.tail.tensors().items()}
