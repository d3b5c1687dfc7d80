"""The harvest and the merge against an independent brute force: a plain forward pass of the whole model, every
activation kept, everything sorted."""

import io
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from neuron_descriptions.common.vocabulary import TAILS, quantile_column, tail_rank
from neuron_descriptions.harvest.drawn import random_sequences
from neuron_descriptions.harvest.merging import merge
from neuron_descriptions.harvest.middle import middle_sequences
from neuron_descriptions.harvest.shard import Shard, harvest
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.models.loading import load_model
from neuron_descriptions.run.memory import Keep

LAYERS = (1, 3)
K, MIDDLE, RANDOM, BATCH = 12, 5, 4, 8
NEURONS = list(range(0, 1536, 3))
ALL = {"top": K, "middle": MIDDLE, "random": RANDOM}
SPLITS = ("train", "valid", "test")


def run(smollm2, corpus, folder, dtype="bfloat16", shards=1, layer_sets=(LAYERS,), neurons=NEURONS, chunk=None):
    """Harvest and merge; returns {layer: (exemplar files, statistics files)}, one per chunk."""
    files: dict = {}
    for split, shard, layers in itertools.product(SPLITS, range(shards), layer_sets):
        output = folder / f"{split}-{shard}-{layers[0]}.safetensors"
        harvest(
            Subject(smollm2, 30, 1536, None, dtype), corpus[split], Shard(split, shard, shards, BATCH, 0),
            dict.fromkeys(layers, neurons), Keep(**ALL), 2, str(output),
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
