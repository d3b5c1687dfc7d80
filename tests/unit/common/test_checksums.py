"""A shard's state: what a flipped bit has changed is never merged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from neuron_descriptions.common.checksums import SIDED, checked
from neuron_descriptions.harvest.merging import Shard

NEURONS = 6


def written(path: Path) -> Path:
    """A state of two layers, of random numbers."""
    torch.manual_seed(0)
    tensors = {}
    for layer in (2, 3):
        shapes = {"key": (3,), "window": (3, 4), "middle_key": (2,), "middle": (2, 4), "random": (2, 4)}
        for name, shape in shapes.items():
            rows = torch.randn(2, NEURONS, *shape)
            tensors[f"{layer}.{name}"] = (rows * 1e6).long() if "key" in name else rows.bfloat16()
        tensors[f"{layer}.sums"] = torch.randint(0, 10**9, (NEURONS, 4))
        tensors[f"{layer}.range"] = torch.randn(NEURONS, 2)
        sizes = torch.randint(0, 5, (2 * NEURONS,))
        tensors[f"{layer}.tail_start"] = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        tensors[f"{layer}.tail_bin"] = torch.arange(int(sizes.sum()), dtype=torch.int16)
        tensors[f"{layer}.tail_count"] = torch.randint(1, 99, (int(sizes.sum()),), dtype=torch.int32)
    save_file(checked(tensors, 10, 20), path, metadata={"first": "10", "last": "20"})
    return path


def read(path: Path, rows: slice) -> list[np.ndarray]:
    """All that a merge reads of both layers."""
    found = []
    for layer in (2, 3):
        shard = Shard(str(path), layer, rows)
        found.append(np.array([shard.first, shard.last]))
        found += [shard.neurons(name).double().numpy() for name in ("sums", "range")]
        for side in (0, 1):
            found += [shard.sides(name, side).double().numpy() for name in SIDED] + [shard.tail(side)]
    return found


def test_flipped_bit_of_a_state_is_never_merged(tmp_path):
    path = written(tmp_path / "state.safetensors")
    good, expected, refused = path.read_bytes(), read(path, slice(0, NEURONS)), 0
    for place in np.random.default_rng(0).integers(0, len(good) * 8, 120):
        damaged = bytearray(good)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = read(path, slice(0, NEURONS))
        except ValueError:
            refused += 1
        else:  # padding, at most
            assert all(map(np.array_equal, found, expected))
    assert refused > 110


def test_chunk_reads_and_verifies_its_own_rows_alone(tmp_path):
    path = written(tmp_path / "state.safetensors")
    whole, part = read(path, slice(0, NEURONS)), read(path, slice(2, 5))
    for all_rows, rows in zip(whole, part):
        assert np.array_equal(rows, all_rows if all_rows.shape == (2,) else all_rows[2:5])


def test_state_of_other_sequences_is_refused(tmp_path):
    """They are in the header, which says which sequences a shard ran."""
    path = written(tmp_path / "state.safetensors")
    path.write_bytes(path.read_bytes().replace(b'"10"', b'"00"', 1))
    with pytest.raises(ValueError, match=r"state\.safetensors is not a readable shard \(its bytes are not those that"):
        Shard(str(path), 2, slice(0, 2)).neurons("sums")
