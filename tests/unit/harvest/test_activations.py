"""The harvest and the merge against an independent brute force: a plain forward pass of the whole model, every
activation kept, everything sorted."""

import io
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from neuron_descriptions.common.checksums import checked
from neuron_descriptions.common.vocabulary import TAILS, quantile_column, tail_rank
from neuron_descriptions.features.neurons import MlpNeurons, down_projections
from neuron_descriptions.harvest import forward as harvesting
from neuron_descriptions.harvest.forward import (
    QUANTILE_ERROR,
    Evidence,
    Split,
    TopK,
    bin_edges,
    bin_of,
    decode_keys,
    encode_keys,
    harvest,
    middle_sequences,
    random_sequences,
    shard_range,
)
from neuron_descriptions.harvest.merging import Shard, merge, tail_quantiles
from neuron_descriptions.models.loading import load_model
from neuron_descriptions.run.memory import N_BINS, Keep

LAYERS = (1, 3)
K, MIDDLE, RANDOM, BATCH = 12, 5, 4, 8
NEURONS = list(range(0, 1536, 3))
ALL = {"top": K, "middle": MIDDLE, "random": RANDOM}
KEEP = {"top": 2, "middle": 2, "random": 1}
SPLITS = ("train", "valid", "test")


def run(smollm2, corpus, folder, dtype="bfloat16", shards=1, layer_sets=(LAYERS,), neurons=NEURONS, chunk=None):
    """Harvest and merge; returns {layer: (exemplar files, statistics files)}, one per chunk."""
    files: dict = {}
    for split, shard, layers in itertools.product(SPLITS, range(shards), layer_sets):
        output = folder / f"{split}-{shard}-{layers[0]}.safetensors"
        harvest(
            model_folder=smollm2, corpus=corpus[split], split=split, neurons=dict.fromkeys(layers, neurons),
            n_layers=30, n_neurons=1536, module=None, dtype=dtype, keep=ALL, shard=shard, shards=shards,
            batch_size=BATCH, seed=0, threads=2, output=str(output),
        )  # fmt: skip
        for layer in layers:
            files.setdefault(layer, {}).setdefault(split, []).append(str(output))
    results = {}
    for layer in files:
        size = chunk or len(neurons)
        results[layer] = ([], [])
        for c, first in enumerate(range(0, len(neurons), size)):
            outputs = [folder / f"{kind}-{layer}-{c}.parquet" for kind in ("exemplars", "statistics")]
            part = neurons[first : first + size]
            merge(files[layer], corpus, layer, part, slice(first, first + len(part)), 0, *map(str, outputs))
            for kept, path in zip(results[layer], outputs):
                kept.append(path)
    return results


@pytest.fixture(scope="module")
def harvested(smollm2, corpus, tmp_path_factory):
    return run(smollm2, corpus, tmp_path_factory.mktemp("harvest"))


@pytest.fixture(scope="module")
def brute(smollm2, corpus):
    """split -> (rows of the corpus, {layer: activations (sequences, tokens, neurons) of a plain forward pass})."""
    model = load_model(smollm2, "bfloat16", head=True, threads=2)
    seen: dict = {}
    for layer in LAYERS:
        model.model.layers[layer].mlp.down_proj.register_forward_hook(
            lambda module, args, output, layer=layer: seen.__setitem__(layer, args[0].float().numpy())
        )
    found = {}
    for split in SPLITS:
        rows = pq.read_table(corpus[split]).to_pylist()
        kept: dict = {layer: [] for layer in LAYERS}
        for start in range(0, len(rows), BATCH):
            batch = [row["input_ids"] for row in rows[start : start + BATCH]]
            width = max(map(len, batch))
            with torch.inference_mode():
                model(torch.tensor([ids + [0] * (width - len(ids)) for ids in batch]))
            for layer in LAYERS:
                kept[layer] += list(seen[layer])
        found[split] = rows, kept
    return found


def evidence(brute, split, layer, neuron):
    rows, kept = brute[split]
    return [
        acts[row["prefix_len"] : len(row["input_ids"]), neuron] for row, acts in zip(rows, kept[layer], strict=True)
    ]


def test_exemplars_equal_brute_force_ties_included(harvested, brute):
    ties_at_the_edge = 0
    for layer in LAYERS:
        table = pq.read_table(harvested[layer][0][0]).to_pandas()
        for (split, neuron, sign), rows in table[table.kind == "top"].groupby(["split", "neuron", "sign"]):
            sequences = evidence(brute, split, layer, neuron)
            direction = 1 if sign == "positive" else -1
            peaks = np.array([(direction * acts).max() for acts in sequences])
            order = sorted(range(len(peaks)), key=lambda i: (-peaks[i], i))
            ties_at_the_edge += peaks[order[K - 1]] == peaks[order[K]]
            assert rows.sort_values("rank").seq_id.tolist() == order[:K]
            for row in rows.itertuples():
                assert row.peak == direction * peaks[row.seq_id]
                assert np.array_equal(row.activations, sequences[row.seq_id])
    assert ties_at_the_edge > 100  # the data does test ties


def test_random_exemplars_are_the_drawn_sequences_with_their_activations(harvested, brute):
    for layer in LAYERS:
        table = pq.read_table(harvested[layer][0][0]).to_pandas()
        table = table[(table.kind == "random") & table.neuron.isin(NEURONS[:40])]
        for (split, neuron, sign), rows in table.groupby(["split", "neuron", "sign"]):
            sequences = evidence(brute, split, layer, neuron)
            drawn = random_sequences(np.array([neuron]), len(sequences), RANDOM, 0, split, layer, sign)[0]
            assert sorted(rows.seq_id) == sorted(drawn)
            direction = 1 if sign == "positive" else -1
            ranked = (direction * rows.sort_values("rank").peak).tolist()
            assert ranked == sorted(ranked, reverse=True)
            for row in rows.itertuples():
                assert np.array_equal(row.activations, sequences[row.seq_id])


def test_middle_exemplars_are_the_best_of_each_strata(harvested, brute):
    for layer in LAYERS:
        table = pq.read_table(harvested[layer][0][0]).to_pandas()
        table = table[(table.kind == "middle") & table.neuron.isin(NEURONS[:40])]
        for (split, neuron, sign), rows in table.groupby(["split", "neuron", "sign"]):
            sequences = evidence(brute, split, layer, neuron)
            direction = 1 if sign == "positive" else -1
            peaks = [(direction * acts).max() for acts in sequences]
            strata = middle_sequences(len(sequences), MIDDLE, K, 0, split)
            best = [max(stratum.tolist(), key=lambda i: (peaks[i], -i)) for stratum in strata]
            assert rows.sort_values("rank").seq_id.tolist() == sorted(best, key=lambda i: (-peaks[i], i))
            for row in rows.itertuples():
                assert row.peak == direction * peaks[row.seq_id]
                assert np.array_equal(row.activations, sequences[row.seq_id])


def test_the_middles_strata_are_disjoint_and_reach_from_the_median_to_the_top():
    for n, strata, k in ((1_000_000, 10, 100), (1280, 10, 20), (40, 5, 12), (12, 10, 12), (5, 0, 2)):
        drawn = middle_sequences(n, strata, k, 0, "train")
        ids = np.concatenate([*drawn, np.zeros(0)])
        assert len(drawn) == strata and len(set(ids)) == len(ids) and all(ids >= 0) and all(ids < n)
    sizes = [len(stratum) for stratum in middle_sequences(1_000_000, 10, 100, 0, "train")]
    assert sizes[0] == 2 and sizes[-1] == 10_000
    assert all(2 < b / a < 3.5 for a, b in itertools.pairwise(sizes[1:]))


def test_statistics_equal_brute_force_and_leave_out_prefix_and_padding(harvested, brute):
    for layer in LAYERS:
        table = pq.read_table(harvested[layer][1][0]).to_pandas()
        for row in table.itertuples():
            values = np.concatenate(evidence(brute, row.split, layer, row.neuron)).astype(np.float64)
            assert row.tokens == len(values)
            assert (row.min, row.max) == (values.min(), values.max())
            assert row.mean == pytest.approx(values.mean(), rel=1e-4, abs=1e-7)
            assert row.std == pytest.approx(values.std(), rel=1e-4)
            for sign, upwards in (("positive", values), ("negative", -values)):
                for tail in TAILS:
                    exact = np.sort(upwards)[-tail_rank(len(values), tail)]
                    found = table.loc[row.Index, quantile_column(tail, sign)] * (1 if sign == "positive" else -1)
                    assert found == (
                        exact if exact >= 2**-14 else min(0, upwards.max())
                    )  # bfloat16: a bin holds one value


def test_activations_equal_a_plain_forward_of_each_sequence_alone(smollm2, corpus, tmp_path, model):
    """In float32, where a batch's rounding is small: nothing leaks between the sequences of a batch."""
    results = run(smollm2, corpus, tmp_path, dtype="float32", layer_sets=((3,),), neurons=[5, 699])
    rows = pq.read_table(corpus["test"]).to_pylist()
    seen = []
    handle = model.model.layers[3].mlp.down_proj.register_forward_hook(lambda m, args, out: seen.append(args[0][0]))
    with torch.inference_mode():
        for row in rows:
            model(torch.tensor([row["input_ids"]]))
    handle.remove()
    table = pq.read_table(results[3][0][0], filters=[("split", "=", "test")]).to_pandas()
    for row in table.itertuples():
        expected = seen[row.seq_id][rows[row.seq_id]["prefix_len"] :, row.neuron].numpy()
        np.testing.assert_allclose(row.activations, expected, rtol=1e-3, atol=1e-4)


def test_shards_layers_per_job_and_order_never_change_a_byte(smollm2, corpus, tmp_path, harvested):
    other = run(smollm2, corpus, tmp_path, shards=3, layer_sets=((3,), (1,)))
    for layer in LAYERS:
        for one, three in zip(harvested[layer], other[layer]):
            assert one[0].read_bytes() == three[0].read_bytes()


def test_chunk_size_never_changes_a_row(smollm2, corpus, tmp_path, harvested):
    other = run(smollm2, corpus, tmp_path, chunk=200)
    for layer in LAYERS:
        for one, many in zip(harvested[layer], other[layer]):
            assert len(many) == 3
            assert pq.read_table(one[0]).equals(pq.ParquetDataset(many).read())


def test_one_neuron_alone_equals_itself_among_all(smollm2, corpus, tmp_path, harvested):
    neuron = NEURONS[100]
    alone = run(smollm2, corpus, tmp_path, layer_sets=((1,),), neurons=[neuron])
    for among, single in zip(harvested[1], alone[1]):
        assert pq.read_table(among[0], filters=[("neuron", "=", neuron)]).equals(pq.read_table(single[0]))


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


def test_keys_sort_by_value_then_earlier_sequence():
    values = torch.tensor([-torch.inf, -3.5, -1e-38, -0.0, 0.0, 1e-38, 2.0, 2.0, torch.inf])
    seq_ids = torch.tensor([1, 2, 3, 9, 4, 5, 7, 6, 2**32 - 1])
    keys = encode_keys(values, seq_ids)
    assert keys.argsort().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    decoded = decode_keys(keys)
    assert torch.equal(decoded[0], values) and torch.equal(decoded[1], seq_ids)


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
            state = harvesting.LayerState(0, [0, 1, 2], split, Keep(k, 2, 1), dtype, torch.device("cpu"))
            for first, part in batches:
                places = np.zeros(len(part), dtype=int)
                batch = harvesting.make_batch(first, [[0] * 30] * len(part), places, 30)
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


def test_bins_hold_what_their_edges_say():
    edges = torch.from_numpy(bin_edges())
    assert bin_of(edges).tolist() == list(range(N_BINS))
    below = torch.nextafter(edges[1:], torch.tensor(0.0))
    assert bin_of(below).tolist() == list(range(N_BINS - 1))


def test_random_sequences_are_distinct_and_cover_the_corpus():
    drawn = random_sequences(np.arange(5000), 37, 10, 0, "train", 3, "positive")
    assert all(len(set(row)) == 10 for row in drawn.tolist())
    counts = np.bincount(drawn.ravel(), minlength=37)
    assert len(counts) == 37 and counts.min() > 0.8 * counts.mean() and counts.max() < 1.4 * counts.mean()


def test_shards_are_whole_batches_and_cover_everything():
    for n, shards, batch in itertools.product((1, 7, 64, 65), (1, 2, 3, 9), (8, 16)):
        ranges = [shard_range(n, s, shards, batch) for s in range(shards)]
        assert ranges[0][0] == 0 and ranges[-1][1] == n
        assert all(a[1] == b[0] for a, b in itertools.pairwise(ranges))
        assert all(first % batch == 0 or first == n for first, _ in ranges)


def test_the_pass_stops_after_the_deepest_wanted_layer_and_runs_no_head(model, corpus):
    ran = []
    handles = [
        block.register_forward_hook(lambda m, a, o, layer=layer: ran.append(layer))
        for layer, block in enumerate(model.model.layers)
    ]
    batches = harvesting.read_batches(corpus["test"], 0, 8, 8, 20)
    taps = MlpNeurons(30, 1536).taps(model.model)
    harvesting.run_layers(model.model, {layer: taps[layer] for layer in LAYERS}, batches, lambda *a: None)
    for handle in handles:
        handle.remove()
    assert ran == [0, 1, 2]  # layer 3 is left at its down projection


def test_wrong_facts_about_the_model_are_errors_that_say_what_it_has(smollm2, corpus, tmp_path, model):
    with pytest.raises(ValueError, match=r"subject.layers is 31, but .* has 30 layers"):
        harvest(smollm2, corpus["test"], "test", {1: [0]}, 31, 1536, None, "float32", KEEP, 0, 1, 8, 0, 2, "unused")
    with pytest.raises(ValueError, match=r"0 modules .* of 1500 neurons.*mlp.down_proj 1536->576.*neurons_per_layer"):
        down_projections(model.model, 30, 1500)
    with pytest.raises(ValueError, match=r"no module layers.0.mlp.nothing"):
        down_projections(model.model, 30, 1536, "layers.{layer}.mlp.nothing")
    named = down_projections(model.model, 30, 1536, "model.layers.{layer}.mlp.down_proj")
    assert named == down_projections(model.model, 30, 1536)
    with pytest.raises(ValueError, match="holds no model"):
        harvest(str(tmp_path), corpus["test"], "test", {1: [0]}, 30, 1536, None, "float32", KEEP, 0, 1, 8, 0, 2, "x")


def test_an_activation_that_is_not_finite_is_an_error_and_leaves_no_file(smollm2, corpus, tmp_path):
    from safetensors.torch import load_file

    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (broken / name).symlink_to(f"{smollm2}/{name}")
    weights = load_file(f"{smollm2}/model.safetensors")
    name = next(n for n in weights if n.endswith("layers.1.mlp.up_proj.weight"))
    weights[name][7, 7] = torch.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="layer 1 has activations that are not finite in float32"):
        harvest(
            str(broken), corpus["test"], "test", {1: [7]}, 30, 1536, None, "float32", KEEP, 0, 1, 8, 0, 2,
            str(tmp_path / "state.safetensors"),
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == [broken]


class CountingFile(io.FileIO):
    """A file that counts the bytes read of it."""

    total = 0

    def read(self, size=-1):
        data = super().read(size)
        CountingFile.total += len(data)
        return data


def test_reading_one_neuron_does_not_read_the_rest(harvested):
    file = harvested[1][0][0]
    with CountingFile(file) as counted:
        source = pa.PythonFile(counted, mode="r")
        rows = pq.read_table(source, filters=[("neuron", "=", NEURONS[100])], pre_buffer=False)
    assert len(rows) == len(SPLITS) * 2 * (K + MIDDLE + RANDOM)
    assert CountingFile.total < 0.15 * file.stat().st_size
