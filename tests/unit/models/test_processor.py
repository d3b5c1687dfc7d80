"""Reduced precision on processors: the same rounding without instructions for it, and in any batch."""

import os
import subprocess
import sys

import pytest
import torch

from conftest import ROOT
from neuron_descriptions.models import processor
from neuron_descriptions.models.processor import compute_in_float32
from word_neurons import tiny_base


@pytest.fixture(autouse=True)
def slow(monkeypatch):
    """Whatever the maker of this processor."""
    monkeypatch.setattr(processor, "is_slower_than_float32", lambda: True)


def test_half_precision_is_left_to_instructions_that_are_faster(monkeypatch):
    monkeypatch.setattr(processor, "is_slower_than_float32", lambda: False)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4).bfloat16(), torch.nn.Linear(4, 4))
    compute_in_float32(model)
    assert [type(layer) is torch.nn.Linear for layer in model] == [True, False]


@pytest.mark.parametrize("allowed", ["default", "avx2"])
def test_logs_say_what_kind_of_processor_a_model_runs_on(allowed, tokenizer, tmp_path):
    """That which torch takes it for, since another kind rounds otherwise."""
    folder = tiny_base(tmp_path, tokenizer)
    code = (
        "import logging; logging.basicConfig(level=logging.INFO, format='%(message)s')\n"
        "from neuron_descriptions.models.loading import load_model\n"
        f"load_model({folder!r}, 'float32', head=True, threads=1)"
    )
    kinds = {"ATEN_CPU_CAPABILITY": allowed, "PYTHONPATH": str(ROOT / "scripts"), "CUDA_VISIBLE_DEVICES": ""}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120, env=os.environ | kinds
    )
    assert f" as float32 on cpu ({allowed.upper()})" in found.stderr


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_products_are_summed_in_float32_and_rounded_once(dtype):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.ReLU(), torch.nn.Linear(48, 8, bias=False)).to(dtype)
    x_BD = torch.randn(100, 64).to(dtype)
    first, second = model[0], model[2]
    hidden = (x_BD.double() @ first.weight.double().T + first.bias.double()).to(dtype).relu()
    wanted = (hidden.double() @ second.weight.double().T).to(dtype)
    compute_in_float32(model)
    found = model(x_BD)
    assert found.dtype == dtype
    same = (found == wanted).double().mean()
    assert same > 0.98  # the others lie next to a boundary of rounding
    assert torch.allclose(found.float(), wanted.float(), rtol=2e-2, atol=1e-2)


def test_weights_and_what_is_no_layer_stay_as_they_are():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4)).bfloat16()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    compute_in_float32(model)
    model(torch.ones(3, 4, dtype=torch.bfloat16))
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) and after[name].dtype == value.dtype for name, value in before.items())
    assert type(model[1]) is torch.nn.LayerNorm


@pytest.mark.parametrize("shape", [(0, 4), (4,), (1, 4), (2, 3, 4), (2, 0, 4)])
def test_shapes_are_those_of_a_linear_layer(shape):
    model = torch.nn.Sequential(torch.nn.Linear(4, 3))
    x = torch.randn(shape)
    wanted = model(x)
    compute_in_float32(model)
    assert model(x).shape == wanted.shape
    assert torch.allclose(model(x), wanted, atol=1e-6)


def test_hooks_still_see_the_inputs_own_precision():
    seen = []
    model = torch.nn.Sequential(torch.nn.Linear(4, 4)).bfloat16()
    model[0].register_forward_pre_hook(lambda module, args: seen.append(args[0].dtype))
    compute_in_float32(model)
    model(torch.ones(1, 4, dtype=torch.bfloat16))
    assert seen == [torch.bfloat16]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_sequence_is_the_same_in_any_batch_and_in_several_threads(smollm2, dtype):
    """In a process of its own: the kernels are chosen once."""
    code = """
import sys, torch
from neuron_descriptions.models.loading import load_model
model = load_model(sys.argv[1], sys.argv[2], head=False, threads=1)
ids_BT = torch.randint(100, 40000, (16, 40), generator=torch.Generator().manual_seed(0))
states = lambda ids: model(input_ids=ids, use_cache=False).last_hidden_state
with torch.no_grad():
    alone = states(ids_BT)
    last = states(ids_BT[:, :1])  # rows of one token each
    differ = [n for n in (1, 2, 5, 12) if not torch.equal(states(ids_BT[:n, :1]), last[:n])]
    for threads in (1, 2):
        torch.set_num_threads(threads)
        differ += [n for n in (1, 2, 5, 12) if not torch.equal(states(ids_BT[:n]), alone[:n])]
    print(differ)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, smollm2, dtype], capture_output=True, text=True, check=True, cwd=ROOT / "scripts"
    )
    assert done.stdout.strip() == "[]"
