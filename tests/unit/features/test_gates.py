"""The gates of neurons: found in every family that has them, by numbers, and kept with exemplars as a plain pass of the
whole model has them."""

import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from test_features import FAMILIES, KEEP, LAYERS, NEURONS, random_model
from torch import nn
from transformers import AutoModel

from neuron_descriptions.features.gates import NoGateError, find_gates
from neuron_descriptions.harvest.merging import merge
from neuron_descriptions.harvest.shard import Shard, harvest
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.harvest.tables import gate_column
from neuron_descriptions.models.loading import load_model
from neuron_descriptions.run.memory import Keep

UNGATED = {"phi", "gpt2", "gpt-neox", "opt", "falcon", "bloom"}
IDS = torch.tensor([[5, 17, 301, 9]])


@pytest.mark.parametrize("family", FAMILIES)
def test_gates_are_what_the_activation_function_reads(family):
    """Of every family, by a hook on the function itself; and a family without gates is refused."""
    name, settings, _ = FAMILIES[family]
    torch.manual_seed(0)
    model = AutoModel.from_config(getattr(transformers, name)(**settings)).eval()
    if family in UNGATED:
        with pytest.raises(NoGateError, match=re.escape("layer 0: no projection of its")):
            find_gates(model, range(LAYERS), LAYERS, NEURONS)
        return
    gates = find_gates(model, [0, 2], LAYERS, NEURONS)
    stack = model.get_submodule(FAMILIES[family][2].partition(".{}")[0])
    read: dict[int, torch.Tensor] = {}
    for layer, block in enumerate(stack):
        function = getattr(block.mlp, "act_fn", None) or block.mlp.activation_fn
        function.register_forward_hook(lambda module, args, out, layer=layer: read.__setitem__(layer, args[0]))
    with torch.inference_mode(), gates:
        model(input_ids=IDS, use_cache=False)
        for layer in (0, 2):
            assert torch.equal(gates.take(layer), read[layer].flatten(0, -2))
    with pytest.raises(KeyError):  # nothing is left, and nothing is watched any more
        gates.take(0)


def test_a_product_without_a_function_names_no_gate():
    model = AutoModel.from_config(transformers.LlamaConfig(**FAMILIES["llama"][1])).eval()
    for block in model.layers:
        block.mlp.act_fn = nn.Identity()  # either factor could be the gate
    with pytest.raises(NoGateError, match=r"layer 1: more than one projection of its LlamaMLP .*exemplars\.gates"):
        find_gates(model, [1], LAYERS, NEURONS)


def kept(folder, corpus, output, shards=1, layers=((0, 1, 2),), gates=True, chunk=NEURONS, neurons=range(NEURONS)):
    """Harvest and merge: {layer: (exemplars, statistics)} of each layer's chunks together."""
    neurons, found, output = list(neurons), {}, output / f"{shards}-{len(layers)}-{gates}-{chunk}-{len(neurons)}"
    for of_job in layers:
        files = []
        for shard in range(shards):
            files.append(str(output / f"{of_job}-{shard}.safetensors"))
            subject = Subject(str(folder), LAYERS, NEURONS, None, "bfloat16")
            part = Shard("test", shard, shards, 8, 0)
            harvest(
                subject, corpus["test"], part, dict.fromkeys(of_job, neurons), Keep(**KEEP, gates=gates), 1, files[-1]
            )
        for layer in of_job:
            tables = []
            for first in range(0, len(neurons), chunk):
                own = neurons[first : first + chunk]
                tables.append([str(output / f"{kind}-{layer}-{first}") for kind in ("exemplars", "statistics")])
                merge({"test": files}, corpus, layer, own, slice(first, first + len(own)), 0, *tables[-1])
            found[layer] = [pq.ParquetDataset([one[i] for one in tables]).read().to_pandas() for i in (0, 1)]
    return found


@pytest.fixture(scope="module")
def llama(corpus, tmp_path_factory):
    """(its folder, the test text's sequences, gates and activations of a plain pass by layer, what was kept)."""
    folder = tmp_path_factory.mktemp("gates")
    random_model("llama", folder / "model")
    model = load_model(str(folder / "model"), "bfloat16", head=False, threads=1)
    seen: dict = {}
    for layer, block in enumerate(model.layers):
        block.mlp.gate_proj.register_forward_hook(
            lambda m, args, out, layer=layer: seen.setdefault(("gate", layer), []).extend(out.float().numpy())
        )
        block.mlp.down_proj.register_forward_pre_hook(
            lambda m, args, layer=layer: seen.setdefault(("act", layer), []).extend(args[0].float().numpy())
        )
    rows = pq.read_table(corpus["test"]).to_pylist()
    with torch.inference_mode():
        for start in range(0, len(rows), 8):
            ids = [row["input_ids"] for row in rows[start : start + 8]]
            width = max(map(len, ids))
            model(torch.tensor([one + [0] * (width - len(one)) for one in ids]))
    return folder, rows, seen, kept(folder / "model", corpus, folder)


def test_every_exemplar_has_the_gate_at_its_strongest_token(llama):
    _, rows, seen, found = llama
    signs, ties = set(), 0
    for layer, (exemplars, statistics) in found.items():
        shares: dict = {}
        for row in exemplars.itertuples():
            own = slice(rows[row.seq_id]["prefix_len"], len(rows[row.seq_id]["input_ids"]))
            acts, gates = (seen[name, layer][row.seq_id][own, row.neuron] for name in ("act", "gate"))
            turn = 1 if row.sign == "positive" else -1
            strongest = max(range(len(acts)), key=lambda t: (turn * acts[t], -t))
            ties += int((acts == acts[strongest]).sum() > 1)
            assert np.array_equal(row.activations, acts) and row.peak == acts[strongest]
            assert row.gate == gates[strongest]
            signs.add((row.sign, row.gate > 0))
            if row.kind == "top":
                shares.setdefault((row.neuron, row.sign), []).append(row.gate > 0)
        for row in statistics.to_dict("records"):
            for sign in ("positive", "negative"):
                assert row[gate_column(sign)] == pytest.approx(np.mean(shares[row["neuron"], sign]))
    assert len(signs) == 4 and ties > 10  # all four quadrants; of equal tokens the first


def test_gates_are_the_same_however_the_harvest_is_cut(llama, corpus):
    folder, _, _, found = llama
    cut = kept(folder / "model", corpus, folder, shards=3, layers=((2,), (0, 1)), chunk=20)
    few = kept(folder / "model", corpus, folder, neurons=[7, 30])
    without = kept(folder / "model", corpus, folder, gates=False)
    for layer, (exemplars, statistics) in found.items():
        assert exemplars.equals(cut[layer][0]) and statistics.equals(cut[layer][1])
        among = exemplars[exemplars.neuron.isin([7, 30])].reset_index(drop=True)
        assert among.equals(few[layer][0])
        # All else is what a harvest without gates keeps.
        assert without[layer][0]["gate"].isna().all() and statistics[gate_column("negative")].notna().all()
        assert exemplars.drop(columns="gate").equals(without[layer][0].drop(columns="gate"))
        others = [name for name in statistics if not name.startswith("gate")]
        assert statistics[others].equals(without[layer][1][others])


def test_a_model_without_gates_is_refused_before_it_reads_text(corpus, tmp_path):
    random_model("gpt2", tmp_path / "model")
    with pytest.raises(ValueError, match=r"layer 0: no projection of its GPT2MLP .* set exemplars\.gates: false"):
        kept(tmp_path / "model", corpus, tmp_path)
    assert not list(tmp_path.rglob("*.safetensors.*")) and len(list(tmp_path.rglob("*.safetensors"))) == 1
