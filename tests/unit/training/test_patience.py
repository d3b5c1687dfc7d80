"""Training that stops early, on one weight with losses that are told to it; and that of the last blocks alone."""

from dataclasses import dataclass

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from neuron_descriptions.training.fine_tuning import Fit, with_low_rank


@dataclass
class Steps:
    steps: int
    validate_every: int = 1


def weight_after(losses, patience, path, steps=6, until=None):
    """(the weight, losses of its curve, the weight before each step): each step adds to a weight; the loss after step i
    is the i-th. until: the step in which the job is killed."""
    model = torch.nn.Linear(1, 1, bias=False)
    model.device = torch.device("cpu")
    with torch.no_grad():
        model.weight.zero_()

    def gradients(step):
        if step == until:
            raise KeyboardInterrupt
        model.weight.grad = torch.full((1, 1), -1.0)
        seen.append(float(model.weight.detach()))
        return 0.0

    def measure():
        return {"loss": losses[fit.step - 1]}

    seen: list[float] = []
    fit = Fit(model, [{"params": [model.weight], "lr": 0.1}], gradients, measure, Steps(steps), path, patience)
    curve = fit.finish()
    return float(model.weight.detach()), [point["loss"] for point in curve], seen


LOSSES = [5.0, 3.0, 4.0, 3.0, 1.0, 0.5]


def test_weights_of_the_lowest_loss_are_kept(tmp_path):
    every, curve, seen = weight_after(LOSSES, None, tmp_path / "all.pt")
    assert curve == LOSSES and every > max(seen)
    weight, curve, seen = weight_after(LOSSES, 2, tmp_path / "early.pt")
    assert curve == LOSSES[:4]  # twice not below 3: an equal loss is not below
    assert weight == seen[2]  # what it was before the third step
    assert weight_after(LOSSES, 3, tmp_path / "later.pt")[:2] == (every, LOSSES)


def test_it_stops_alike_where_it_was_killed(tmp_path):
    whole = weight_after(LOSSES, 2, tmp_path / "whole.pt")
    for until in (1, 2, 3):
        path = tmp_path / f"{until}.pt"
        with pytest.raises(KeyboardInterrupt):
            weight_after(LOSSES, 2, path, until=until)
        assert weight_after(LOSSES, 2, path)[:2] == whole[:2]
    assert weight_after(LOSSES, 2, path)[:2] == whole[:2]  # all steps were taken


def test_adapters_of_the_last_blocks_alone():
    """Nothing below them learns, and the gradient goes no further."""
    sizes = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    model = with_low_rank(LlamaForCausalLM(LlamaConfig(num_hidden_layers=4, **sizes)), 2, 0, last=1)
    hidden = []
    for block in model.base_model.model.model.layers:
        block.register_forward_hook(lambda _, __, out: hidden.append(out))
    model(input_ids=torch.tensor([[1, 2, 3]])).logits.sum().backward()
    assert [out.requires_grad for out in hidden] == [False, False, False, True]
    learnt = {name for name, p in model.named_parameters() if p.grad is not None}
    assert len(learnt) == 2 * 7 and all(".layers.3." in name and "lora_" in name for name in learnt)
