"""Batches of a corpus table, and which of them a shard runs.

B sequences of a batch, P tokens that all of them begin with, T tokens beyond these, E evidence tokens (those after the
template's prefix), N a batch's evidence tokens in a row, V the valid ones of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuron_descriptions.common.storage import read_table
from neuron_descriptions.common.vocabulary import LEAST_SHARED
from neuron_descriptions.corpus.tables import CORPUS


@dataclass(slots=True)
class Batch:
    """Sequences first..first+B-1, padded on the right."""

    first: int
    shared_P: Tensor  # read once for all of them; none of it is evidence
    input_ids_BT: Tensor
    evidence_N: Tensor  # the evidence tokens' places among the B * T; beyond a sequence's end, its last one's
    valid_BE: Tensor | None  # None: all are
    valid_V: Tensor | None  # the valid ones' places among the B * E

    def to(self, device: Any) -> "Batch":
        """The same on a device."""
        tensors = self.shared_P, self.input_ids_BT, self.evidence_N, self.valid_BE, self.valid_V
        return Batch(self.first, *(tensor if tensor is None else moved(tensor, device) for tensor in tensors))  # type: ignore[arg-type]


def moved(tensor: Tensor, device: Any) -> Tensor:
    """A tensor on a device. On its way up from main memory nothing is waited for: the copy takes the bytes at once;
    on the way down it has to be."""
    return tensor.to(device, non_blocking=tensor.device.type == "cpu")


def make_batch(
    first: int, input_ids: list[list[int]], prefix_len: np.ndarray, longest: int, share: bool = False
) -> Batch:
    """A batch of sequences, E = longest. share: with P of their first tokens apart, where these are a good part."""
    shared = shared_tokens(input_ids, int(prefix_len.min())) if share else 0
    lengths = np.array([len(ids) for ids in input_ids]) - shared
    input_ids_BT = np.zeros((len(input_ids), lengths.max()), dtype=np.int64)
    for b, ids in enumerate(input_ids):
        input_ids_BT[b, : lengths[b]] = ids[shared:]
    positions_BE = prefix_len[:, None] - shared + np.arange(longest)
    valid_BE = positions_BE < lengths[:, None]
    rows_B1 = np.arange(len(input_ids))[:, None]
    evidence_BE = rows_B1 * input_ids_BT.shape[1] + np.minimum(positions_BE, lengths[:, None] - 1)
    valid = (None, None) if valid_BE.all() else (valid_BE, valid_BE.ravel().nonzero()[0])
    shared_P = np.array(input_ids[0][:shared], dtype=np.int64)
    tensors = shared_P, input_ids_BT, evidence_BE.ravel(), *valid
    return Batch(first, *(array if array is None else torch.from_numpy(array) for array in tensors))  # type: ignore[arg-type]


def shared_tokens(input_ids: list[list[int]], most: int) -> int:
    """How many tokens all sequences begin with, of the first `most`; 0 where that is less than one in LEAST_SHARED of
    the longest's."""
    places = zip(*(ids[:most] for ids in input_ids))
    shared = sum(1 for _ in takewhile(lambda ids: len(set(ids)) == 1, places))
    return shared if shared * LEAST_SHARED >= max(map(len, input_ids)) else 0


def read_batches(
    corpus: str, first: int, last: int, batch_size: int, longest: int, share: bool = False
) -> Iterator[Batch]:
    """Batches of the sequences first..last-1 of a corpus table, in order. share: as make_batch takes it."""
    table = read_table(corpus, CORPUS, columns=["input_ids", "prefix_len"]).slice(first, last - first)
    for start in range(0, len(table), batch_size):
        rows = table.slice(start, batch_size)
        yield make_batch(first + start, rows["input_ids"].to_pylist(), np.array(rows["prefix_len"]), longest, share)


def shard_range(n_sequences: int, shard: int, shards: int, batch_size: int) -> tuple[int, int]:
    """First and past-the-last sequence of a shard: whole batches, so that sharding never changes a batch."""
    n_batches = -(-n_sequences // batch_size)
    first, last = (s * n_batches // shards * batch_size for s in (shard, shard + 1))
    return min(first, n_sequences), min(last, n_sequences)
