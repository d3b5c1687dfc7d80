"""Checksums of a shard's state: one per neuron and tensor, so that a merge verifies what it reads and no more.

I neurons, C counts of their tails.
"""

import zlib

import numpy as np
import torch
from torch import Tensor

SIDED = ("key", "window", "middle_key", "middle", "random")  # (2, I, ...); all others (I, ...)
SUFFIX = ".crc32"


def row_checksums(tensor: Tensor, leading: int, about: str) -> Tensor:
    """CRC-32 of each row, int64 in the shape of the first `leading` dimensions; about: what the header of the file
    says of it, which is checked with it."""
    shape = tensor.shape[:leading]
    rows = tensor.contiguous().reshape(shape.numel(), tensor.shape[leading:].numel())
    seed = zlib.crc32(f"{about} {tensor.dtype} {tuple(tensor.shape[leading:])}".encode())
    found = [zlib.crc32(row, seed) for row in rows.view(torch.uint8).numpy()]
    return torch.tensor(found, dtype=torch.int64).reshape(shape)


def tail_checksums(start: np.ndarray, bins: np.ndarray, counts: np.ndarray, about: str) -> Tensor:
    """CRC-32 of each row of tails, int64; start: of I rows and their end, bins, counts (C): from the first row on."""
    seed, found = zlib.crc32(about.encode()), []
    for pair in np.stack([start[:-1], start[1:]], 1):
        here = slice(*(max(int(place - start[0]), 0) for place in pair))
        found.append(
            zlib.crc32(counts[here].tobytes(), zlib.crc32(bins[here].tobytes(), zlib.crc32(pair.tobytes(), seed)))
        )
    return torch.tensor(found, dtype=torch.int64)


def checked(tensors: dict[str, Tensor], first: int, last: int) -> dict[str, Tensor]:
    """The state of a shard that ran the sequences first..last-1, by layer and name, with its checksums."""
    sums = {}
    for name, tensor in tensors.items():
        layer, part = name.split(".", 1)
        about = f"{first} {last} {name}"
        if part == "tail_start":
            bins, counts = (tensors[f"{layer}.tail_{what}"].numpy() for what in ("bin", "count"))
            sums[name + SUFFIX] = tail_checksums(tensor.numpy(), bins, counts, about)
        elif not part.startswith("tail_"):
            sums[name + SUFFIX] = row_checksums(tensor, 2 if part in SIDED else 1, about)
    return tensors | sums
