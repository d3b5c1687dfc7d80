"""The memory formula: true to what a harvest holds, and said before a run starts."""

import pytest
import torch

from conftest import changed, demo_config
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.harvest.state import LayerState, Split
from neuron_descriptions.run import memory
from neuron_descriptions.run.memory import Keep, check_memory, state_bytes
from neuron_descriptions.run.selection import check_plan, select_neurons


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
    state = LayerState(0, list(range(neurons)), split, keep, getattr(torch, dtype), torch.device("cpu"))
    held = sum(tensor.nbytes for tensor in tensors_of(state))
    assert held == pytest.approx(state_bytes(neurons, keep, evidence, dtype), rel=0.02)


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
