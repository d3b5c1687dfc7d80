"""Counts of the tail: complete however the text is sharded, exact where they claim to be."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from neuron_descriptions.common.checksums import checked
from neuron_descriptions.common.vocabulary import TAILS, tail_rank
from neuron_descriptions.harvest.batches import make_batch
from neuron_descriptions.harvest.evidence import Evidence
from neuron_descriptions.harvest.keys import decode_keys, encode_keys
from neuron_descriptions.harvest.merging import Shard, tail_quantiles
from neuron_descriptions.harvest.state import LayerState, Split
from neuron_descriptions.harvest.tail import QUANTILE_ERROR, bin_edges, bin_of, highest_octaves
from neuron_descriptions.harvest.top import TopK
from neuron_descriptions.run.memory import FIRING_OCTAVES, N_BINS, Keep


def test_a_constant_and_a_one_sided_neuron_are_data():
    acts_BEI = torch.tensor([[[0.0, -1.0], [0.0, -2.0]], [[0.0, -3.0], [0.0, -0.5]]])
    top = TopK(4, 2, 2, torch.float32, torch.device("cpu"))
    b, side = torch.arange(2).repeat_interleave(4), torch.arange(4).repeat(2)
    peak_BS = torch.cat([acts_BEI.amax(1), -acts_BEI.amin(1)], 1)
    top.update(b, side, encode_keys(peak_BS[b, side], b), 2, Evidence(acts_BEI, None))
    values, seq_ids = decode_keys(top.key_SK.sort(1, descending=True).values)
    assert values.tolist() == [[0.0, 0.0], [-0.5, -1.0], [0.0, 0.0], [3.0, 2.0]]
    assert seq_ids.tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    counts = np.zeros((2, N_BINS), dtype=np.int64)
    assert tail_quantiles(counts, np.array([0.0, -0.5]), 4).tolist() == [[0.0] * 5, [-0.5] * 5]


@pytest.mark.parametrize("k", [2, 100], ids=["floor from the counts", "floor from the peaks kept"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tail_counts_survive_any_sharding_and_order(k, dtype, tmp_path):
    generator = torch.Generator().manual_seed(0)
    acts = (torch.randn(4000, 30, 3, generator=generator).exp() * torch.tensor([1.0, 1e-4, -50.0])).to(dtype)
    tokens = acts.shape[0] * acts.shape[1]

    def quantiles(*shards):
        files = []
        for shard, batches in enumerate(shards):
            split = Split("train", 4000, tokens, 30, 0)
            state = LayerState(0, [0, 1, 2], split, Keep(k, 2, 1), dtype, torch.device("cpu"))
            for first, part in batches:
                places = np.zeros(len(part), dtype=int)
                batch = make_batch(first, [[0] * 30] * len(part), places, 30)
                state.update(part.flatten(0, 1), batch)
            files.append(str(tmp_path / f"{shard}.safetensors"))
            tensors = {f"0.{name}": tensor.contiguous() for name, tensor in state.tensors().items()}
            save_file(checked(tensors, 0, 0), files[-1], metadata={"first": "0", "last": "0"})
        opened = [Shard(file, 0, slice(0, 3)) for file in files]
        extremes = acts.float().amax((0, 1)).numpy(), -acts.float().amin((0, 1)).numpy()
        return [
            tail_quantiles(np.sum([shard.tail(side) for shard in opened], axis=0), extreme, tokens)
            for side, extreme in enumerate(extremes)
        ]

    batches = [(10 * i, part) for i, part in enumerate(acts.split(10))]
    one = quantiles(batches)
    for other in (quantiles(batches[:37], batches[37:250], [], batches[250:]), quantiles(batches[::-1])):
        assert np.array_equal(one, other)
    for side, upwards in enumerate((acts, -acts)):
        ranked = upwards.flatten(0, 1).float().sort(0, descending=True).values.numpy()
        for column, tail in enumerate(TAILS):
            exact, found = ranked[tail_rank(tokens, tail) - 1], one[side][:, column]
            inside = exact >= 2**-14
            error = 0 if dtype == torch.bfloat16 else QUANTILE_ERROR
            assert (found <= exact)[inside].all() and (found >= exact / (1 + error))[inside].all()
            assert np.array_equal(found[~inside], np.minimum(0, ranked[0])[~inside])


def test_of_a_few_octaves_the_highest_are_exact_and_what_is_smaller_is_none():
    """Tokens over 20 octaves, the largest late and in one shard only: any sharding and order give the same counts."""
    generator = torch.Generator().manual_seed(0)
    acts = (torch.randn(400, 20, 4, generator=generator) * 4).exp().to(torch.bfloat16)
    acts[:200] /= 64
    acts[..., 1] *= torch.rand(400, 20, generator=generator) < 0.01  # rare
    acts[..., 3] = 0  # silent
    split = Split("train", 400, 10**9, 20, 0)  # of a large split: no rank raises the floor

    def counted(*shards):
        together = np.zeros((4, N_BINS), np.int64)
        for parts in shards:
            state = LayerState(0, [0, 1, 2, 3], split, Keep(2, 1, 1), torch.bfloat16, torch.device("cpu"), True)
            for first, part in parts:
                state.update(
                    part.flatten(0, 1), make_batch(first, [[0] * 20] * len(part), np.zeros(len(part), int), 20)
                )
            tail = state.tensors()
            feature = np.repeat(np.arange(4), np.diff(tail["tail_start"]))
            np.add.at(together, (feature, tail["tail_bin"].numpy()), tail["tail_count"].numpy())
        return highest_octaves(together, FIRING_OCTAVES)

    parts = [(10 * i, part) for i, part in enumerate(acts.split(10))]
    expected = np.zeros((4, N_BINS), np.int64)
    for feature in range(4):
        values = acts[..., feature].flatten()
        bins = bin_of(values[values >= 2**-14]).numpy()
        highest = bins.max() // 128 if len(bins) else 0
        np.add.at(expected[feature], bins[bins // 128 > highest - FIRING_OCTAVES], 1)
    assert expected[0].sum() < (acts[..., 0] >= 2**-14).sum() and expected[1].sum() and not expected[3].any()
    for shards in ((parts,), (parts[::-1],), (parts[:7], parts[7:25], [], parts[25:])):
        assert np.array_equal(counted(*shards), expected)


def test_bins_hold_what_their_edges_say():
    edges = torch.from_numpy(bin_edges())
    assert bin_of(edges).tolist() == list(range(N_BINS))
    below = torch.nextafter(edges[1:], torch.tensor(0.0))
    assert bin_of(below).tolist() == list(range(N_BINS - 1))
