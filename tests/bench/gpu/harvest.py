"""The harvest at the published settings, all layers in one job, beside the bare forward pass.

The pass of a million sequences is not run. Most pairs of a sequence and a side enter at its start; the rate of its
middle is measured with bounds set so that as many pass as do on average over a whole split. Of n sequences in random
order, one belongs to the best r so far with probability r / i, so r (1 + ln(n / r)) do in all.

B sequences of a batch, E evidence tokens, I neurons, S = 2I sides, D whatever a tap sees.
"""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu.shapes import Shape, free, most_memory, random_llama, seconds_of
from neuron_descriptions.common.vocabulary import TAILS, tail_rank
from neuron_descriptions.features.neurons import MlpNeurons
from neuron_descriptions.harvest.batches import Batch, make_batch
from neuron_descriptions.harvest.forward import run_layers
from neuron_descriptions.harvest.keys import decode_keys, encode_keys
from neuron_descriptions.harvest.shard import Harvest
from neuron_descriptions.harvest.state import LayerState, Split
from neuron_descriptions.harvest.tail import bin_of

LEAST = 0.85  # of the bare pass's tokens per second


def measure(shape: Shape, scratch: Path) -> Iterator[dict[str, float]]:
    """Tokens per second of a harvest, of its start, and of the bare pass; memory. Yields figures as they come."""
    model = random_llama(shape, head=False)
    subject = Subject(model, shape)
    begun = subject.begun()
    yield {"start_seconds": begun[0], "start_seconds_bare": begun[1], "start_sequences": shape.start}
    rates = {}
    for size in shape.batch_sizes:
        free()
        found = subject.rates(size)
        rates[size] = found["tokens_per_second"]
        yield {f"{name}_batch{size}": value for name, value in found.items()}
    yield {"shared_prefix_speedup": subject.sharing()}
    best = max(rates.values())
    later = shape.start * shape.seq_len * (1 / best - 1 / found["bare_tokens_per_second"])
    beyond = max(begun[0] - begun[1] - later, 0)  # what the start takes more than as much of the middle
    hours = (shape.split * shape.seq_len / best + beyond) / 3600
    yield {"hours_of_a_split": hours, "start_share": beyond / 3600 / hours}


class Subject:
    """A model, where it is read, and what is kept of it."""

    def __init__(self, model: Any, shape: Shape):
        self.model, self.shape = model, shape
        self.layers, self.neurons = model.config.num_hidden_layers, model.config.intermediate_size
        self.source = MlpNeurons(self.layers, self.neurons)
        self.taps = dict(enumerate(self.source.taps(model)))
        evidence = shape.seq_len - shape.prefix
        self.bounds: dict[int, tuple[Tensor, Tensor]] = {}
        self.split = Split("train", shape.split, shape.split * evidence, evidence, 0)

    def harvest(self) -> Harvest:
        """An empty one, of all neurons of all layers."""
        every = {layer: list(range(self.neurons)) for layer in self.taps}
        return Harvest(self.source, every, self.split, self.shape.keep, str(self.model.dtype).removeprefix("torch."))

    def run(self, batches: list[Batch], take: Callable[[int, Tensor, Batch], None]) -> None:
        """A pass."""
        run_layers(self.model, self.taps, batches, take)

    def batches(self, size: int, count: int, first: int = 0, share: bool = False) -> list[Batch]:
        """Batches of random tokens, from sequence number `first` on. share: with one prefix, read once for a batch."""
        s, random = self.shape, np.random.default_rng(first)
        prefix = np.full(size, s.prefix)
        ids_NBT = random.integers(s.llama["vocab_size"], size=(count, size, s.seq_len))
        if share:
            ids_NBT[:, :, : s.prefix] = ids_NBT[0, 0, : s.prefix]
        return [
            make_batch(first + i * size, ids_BT.tolist(), prefix, s.seq_len - s.prefix, share)
            for i, ids_BT in enumerate(ids_NBT)
        ]

    def sharing(self) -> float:
        """How many times as fast the bare pass is where the template's prefix is read once for a batch."""
        seconds = []
        for share in (False, True):
            batches = self.batches(self.shape.published_batch, self.shape.batches, share=share)
            self.run(batches[:1], nothing)
            seconds.append(seconds_of(lambda batches=batches: self.run(batches, nothing)))
        return seconds[0] / seconds[1]

    def begun(self) -> tuple[float, float]:
        """Seconds of the first sequences of a split, and of the bare pass over them."""
        size = self.shape.published_batch
        batches = self.batches(size, self.shape.start // size)
        self.run(batches[:1], nothing)  # warm up
        bare = seconds_of(lambda: self.run(batches, nothing))
        kept = self.harvest()
        return seconds_of(lambda: self.run(batches, kept.take)), bare

    def settled(self) -> Harvest:
        """A harvest in the middle of a split: its bounds from peaks of other sequences."""
        kept, size = self.harvest(), self.shape.published_batch  # larger ones take more memory at a split's start
        if not self.bounds:
            peaks: dict[int, list[Tensor]] = {layer: [] for layer in self.taps}

            def look(layer: int, seen_BTD: Tensor, batch: Batch) -> None:
                acts_BEI = self.source.features(layer, seen_BTD)[:, self.shape.prefix :]
                peaks[layer].append(torch.cat([acts_BEI.amax(1), -acts_BEI.amin(1)], 1))

            self.run(self.batches(size, self.shape.start // size), look)
            self.bounds = {layer: bounds(torch.cat(found), self.split, kept.keep.top) for layer, found in peaks.items()}
        self.run(self.batches(size, 1), kept.take)
        for layer, (top_S, tail_S) in self.bounds.items():
            settle(kept.states[layer], top_S, tail_S)
        return kept

    def rates(self, size: int) -> dict[str, float]:
        """Tokens per second in the middle of a split, beside the bare pass, and what enters there."""
        kept = self.settled()
        first = -(-self.shape.start // size) * size  # behind whatever has a number in what is kept
        batches = self.batches(size, self.shape.batches, first)
        self.run(batches[:1], nothing)
        bare = seconds_of(lambda: self.run(batches, nothing))
        counted = sum(int(state.tail.count_RSM.sum()) for state in kept.states.values())
        harvest = seconds_of(lambda: self.run(batches, kept.take))
        tokens = size * self.shape.seq_len * len(batches)
        sides = 2 * self.neurons * self.layers
        entered = sum(int((decode_keys(s.top.key_SK)[1] >= first).sum()) for s in kept.states.values())
        counted = sum(int(state.tail.count_RSM.sum()) for state in kept.states.values()) - counted
        sequences = size * len(batches)
        return {
            "tokens_per_second": tokens / harvest,
            "bare_tokens_per_second": tokens / bare,
            "rate_to_bare": bare / harvest,
            "entered_over_expected": entered / sides / sequences / entering(self.shape.keep.top, self.split.sequences),
            "counted_over_expected": counted / sides / sequences / entering(self._rank(), self.split.sequences),
            "peak_gb": most_memory(),
        }

    def _rank(self) -> int:
        return tail_rank(self.split.tokens, TAILS[-1])


def entering(rank: int, sequences: int) -> float:
    """Share of a split's sequences that are among the best `rank` when they come, on average."""
    return 1.0 if rank >= sequences else rank * (1 + math.log(sequences / rank)) / sequences


def bounds(peak_NS: Tensor, split: Split, k: int) -> tuple[Tensor, Tensor]:
    """Quantiles (S) of some sequences' peaks, above which as many lie as on average enter the best k of a split, and
    its tail; of fewer sequences than it takes to tell, the largest."""
    sorted_NS = peak_NS.sort(0, descending=True).values
    shares = (entering(rank, split.sequences) for rank in (k, tail_rank(split.tokens, TAILS[-1])))
    top_S, tail_S = (sorted_NS[min(int(share * len(sorted_NS)), len(sorted_NS) - 1)].clone() for share in shares)
    return top_S, tail_S


@torch.inference_mode()
def settle(state: LayerState, top_S: Tensor, tail_S: Tensor) -> None:
    """Set a layer's bounds."""
    top, tail = state.top, state.tail
    top.key_SK[:] = encode_keys(top_S[:, None], torch.arange(top.key_SK.shape[1], device=top_S.device))
    top.least_S, top.value_S = top.key_SK.amin(1), top_S.float()
    tail.floor_S = bin_of(tail_S.clamp(min=0))
    tail.edge_S = tail.edges_H[tail.floor_S]
    tail.updates = 62  # the floor is tried once in what follows, more often than in a whole split


def nothing(layer: int, seen_BTD: Tensor, batch: Batch) -> None:
    """Take nothing: the bare pass."""
