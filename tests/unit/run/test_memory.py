"""The memory formula: true to what a harvest holds, and said before a run starts."""

import pytest
import torch

from conftest import changed, demo_config
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.harvest.state import LayerState, Split
from neuron_descriptions.run import memory
from neuron_descriptions.run.costs import make_plan
from neuron_descriptions.run.memory import Keep, check_memory, state_bytes
from neuron_descriptions.run.selection import check_plan, described_and_kept, select_neurons


def tensors_of(thing) -> list[torch.Tensor]:
    """Every tensor that an object holds, by way of its members."""
    if isinstance(thing, torch.Tensor):
        return [thing]
    return [tensor for member in vars(thing).values() for tensor in (tensors_of(member) if holds(member) else [])]


def holds(member) -> bool:
    return isinstance(member, torch.Tensor) or type(member).__module__.startswith(
        LayerState.__module__.rpartition(".")[0]
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("neurons", "keep", "evidence"), [(1536, Keep(20, 10, 10), 40), (64, Keep(100, 0, 5), 95)])
def test_formula_is_what_a_layer_holds(dtype, neurons, keep, evidence):
    split = Split("train", 1000, 1000 * evidence, evidence, 0)
    for one_sided in (False, True):
        of_layer = 0, list(range(neurons)), split, keep, getattr(torch, dtype), torch.device("cpu"), one_sided
        held = sum(tensor.nbytes for tensor in tensors_of(LayerState(*of_layer)))
        assert held == pytest.approx(state_bytes(neurons, keep, evidence, dtype, one_sided), rel=0.02)


def test_a_layer_of_131_072_latents_takes_less_than_4_gb_at_the_published_settings():
    keep = Keep(100, 10, 20)
    assert state_bytes(131_072, keep, 95, "bfloat16") > 10e9  # of features with two sides
    assert state_bytes(131_072, keep, 95, "bfloat16", one_sided=True) < 4e9


def test_the_plan_says_what_a_layer_s_state_takes():
    latents = {"kind": "autoencoder", "path": "sae", "count": 131_072, "hook": "residual_out"}
    few = {"layers": [2], "indices": ["0-9"]}
    config = load_config(changed(demo_config(), exemplars={"k": 100}, neurons=few, features=latents))
    said = next(line for line in make_plan(config, *described_and_kept(config)).assumptions if "state" in line)
    assert "a latent (one side of each), of all 131,072 of a layer" in said
    of_neurons = load_config(changed(demo_config(), exemplars={"k": 100}, neurons=few))
    said = next(line for line in make_plan(of_neurons, *described_and_kept(of_neurons)).assumptions if "state" in line)
    assert "a neuron (both sides of each), of all 1,536 of a layer" in said


def published(**changes):
    config = changed(
        demo_config(), exemplars={"k": 100}, corpus__seq_len=95, neurons={}, subject__neurons_per_layer=14_336,
        subject__layers=32, **changes,
    )  # fmt: skip
    config = load_config(config)
    return config, select_neurons(config)


def test_the_published_run_fits_as_one_job_and_a_smaller_limit_is_an_error_with_the_number_to_set():
    check_plan(*published())
    config, selected = published(exemplars__state_gb=10)
    with pytest.raises(ValueError, match=r"32 layers keeps 35\.9 GB, more than the 10 allowed: lower .*job to 8,"):
        check_plan(config, selected)
    check_plan(*published(exemplars__state_gb=10, exemplars__layers_per_job=8))
    with pytest.raises(ValueError, match=r"1 layers? keeps .*lower exemplars\.k or select fewer neurons"):
        check_plan(*published(exemplars__state_gb=1, exemplars__layers_per_job=1))


def test_a_job_that_finds_too_little_free_memory_says_so_at_its_start():
    check_memory(1)
    with pytest.raises(ValueError, match=r"takes 1000000\.0 GB, but only .* free: lower exemplars\.layers_per_job"):
        check_memory(10**15)


def test_planning_needs_nothing_heavy():
    assert not {"torch", "psutil"} & set(vars(memory))
