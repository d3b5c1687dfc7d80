"""Hook points in plain terms, and heads: found in every architecture that neurons are found for, or refused clearly."""

import re
from contextlib import suppress

import numpy as np
import pytest
import torch
import transformers
from test_features import FAMILIES, LAYERS, NEURONS
from torch import nn
from transformers import AutoModel

from neuron_descriptions.config.features import HOOKS, HeadFeatures
from neuron_descriptions.features.converting import convert_dictionary
from neuron_descriptions.features.heads import AttentionHeads
from neuron_descriptions.features.hooks import find_taps
from neuron_descriptions.features.neurons import down_projections, projection_shape
from neuron_descriptions.features.opening import SourceJob, open_source

# Attention and MLP read the same: there is no place between them.
SIDE_BY_SIDE = {"phi", "gpt-neox", "falcon"}
IDS = torch.tensor([[5, 17, 301, 9]])


def tiny(family: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A model of a family with random weights, whose norms and biases do something."""
    name, settings, _ = FAMILIES[family]
    torch.manual_seed(0)
    model = AutoModel.from_config(getattr(transformers, name)(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.to(dtype)


def seen(model: nn.Module, hook: str) -> list[torch.Tensor]:
    """What every layer's tap of a hook point sees, (T, D)."""
    found: dict[int, torch.Tensor] = {}

    def keep(layer, value):
        value = value[0] if isinstance(value, tuple) else value
        found[layer] = value.detach().reshape(IDS.shape[1], -1).float().clone()

    handles = []
    for layer, tap in enumerate(find_taps(model, LAYERS, NEURONS, hook)):
        if tap.side == "input":

            def before(module, args, named, layer=layer):
                keep(layer, args or named["hidden_states"])

            handles.append(tap.module.register_forward_pre_hook(before, with_kwargs=True))
        else:
            handles.append(tap.module.register_forward_hook(lambda m, args, out, layer=layer: keep(layer, out)))
    with torch.inference_mode():
        model(input_ids=IDS, use_cache=False)
    for handle in handles:
        handle.remove()
    return [found[layer] for layer in range(LAYERS)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_hook_points_are_where_the_residual_stream_says(family, dtype):
    model = tiny(family, dtype)
    taps = {hook: seen(model, hook) for hook in HOOKS if hook != "residual_mid" or family not in SIDE_BY_SIDE}
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.05}
    with torch.inference_mode():
        states = model(input_ids=IDS, use_cache=False, output_hidden_states=True).hidden_states
    downs = down_projections(model, LAYERS, NEURONS)
    for layer in range(LAYERS):
        at = {hook: found[layer] for hook, found in taps.items()}
        # The stream as transformers itself gives it: the input of every layer.
        torch.testing.assert_close(at["residual_in"], states[layer][0].float(), **close)
        if layer + 1 < LAYERS:
            torch.testing.assert_close(at["residual_out"], states[layer + 1][0].float(), **close)
        torch.testing.assert_close(at["residual_in"] + at["attention_out"] + at["mlp_out"], at["residual_out"], **close)
        if "residual_mid" in at:
            torch.testing.assert_close(at["residual_in"] + at["attention_out"], at["residual_mid"], **close)
        assert float(at["attention_out"].abs().max()) > 0 and float(at["mlp_out"].abs().max()) > 0
        assert at["mlp_in"].shape == at["residual_in"].shape
        assert (
            at["attention_z"].shape[1]
            == projection_shape(find_taps(model, LAYERS, NEURONS, "attention_z")[layer].module)[0]
        )
    assert all(at.shape == taps["residual_in"][0].shape for at in taps["mlp_out"])
    assert len(downs) == LAYERS


@pytest.mark.parametrize("family", sorted(SIDE_BY_SIDE))
def test_where_nothing_lies_between_attention_and_mlp_the_error_says_so(family):
    with pytest.raises(
        ValueError, match=r"layer 0: features\.hook is residual_mid, but attention and MLP .* side by side"
    ):
        find_taps(tiny(family), LAYERS, NEURONS, "residual_mid")


def test_mlp_in_is_what_the_mlp_computes_its_neurons_from():
    model = tiny("llama")
    read, down = seen(model, "mlp_in"), [block.mlp for block in model.layers]
    z: dict[int, torch.Tensor] = {}
    for layer, mlp in enumerate(down):
        mlp.down_proj.register_forward_hook(lambda m, args, out, layer=layer: z.update({layer: args[0][0]}))
    with torch.inference_mode():
        model(input_ids=IDS, use_cache=False)
        for layer, mlp in enumerate(down):
            torch.testing.assert_close(mlp.act_fn(mlp.gate_proj(read[layer])) * mlp.up_proj(read[layer]), z[layer])


def test_a_module_may_be_named_with_its_side_and_an_unknown_one_is_refused():
    model = tiny("llama")
    taps = find_taps(model, LAYERS, NEURONS, "model.layers.{layer}.mlp.up_proj:output")
    assert [tap.module for tap in taps] == [block.mlp.up_proj for block in model.layers]
    assert {tap.side for tap in taps} == {"output"}
    with pytest.raises(
        ValueError, match=r"features\.hook: the model has no module layers\.0\.nowhere; layer 0 has .*gate_proj"
    ):
        find_taps(model, LAYERS, NEURONS, "layers.{layer}.nowhere:input")


def test_a_layer_that_is_no_sum_is_refused():
    model = tiny("llama")
    forward = type(model.layers[1]).forward
    model.layers[1].forward = lambda *args, **named: forward(model.layers[1], *args, **named) * 1.5
    with pytest.raises(ValueError, match=re.escape("layer 1: no modules were found whose outputs add up")):
        find_taps(model, LAYERS, NEURONS, "mlp_out")
    with suppress(ValueError):
        assert find_taps(model, LAYERS, NEURONS, "residual_out")


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "opt", "falcon"])
def test_heads_write_together_what_attention_writes(family):
    """Projections of all heads on the unit directions, summed over heads, are attention's output without its bias; and
    norms are those of each head's own part of it."""
    model = tiny(family)
    heads, width = 4, model.config.hidden_size
    unit = {layer: torch.eye(width) for layer in range(LAYERS)}
    source = AttentionHeads(LAYERS, NEURONS, heads * width, unit)
    norms = AttentionHeads(LAYERS, NEURONS, heads, {})
    taps = source.taps(model)
    assert (
        norms.one_sided and not source.one_sided and [t.module for t in norms.taps(model)] == [t.module for t in taps]
    )
    z, wrote = seen(model, "attention_z"), seen(model, "attention_out")
    for layer in range(LAYERS):
        with torch.inference_mode():
            parts = source.features(layer, z[layer][None])[0].unflatten(1, (heads, width))
            bias = getattr(taps[layer].module, "bias", None)
            torch.testing.assert_close(parts.sum(1) + (0 if bias is None else bias), wrote[layer], rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(
                norms.features(layer, z[layer][None])[0], parts.norm(dim=2), rtol=1e-4, atol=1e-4
            )


def test_heads_are_opened_with_directions_that_were_converted(tmp_path):
    model = tiny("llama")
    torch.manual_seed(3)
    directions = torch.randn(2, 32)
    np.save(tmp_path / "directions.npy", directions.numpy())
    section = HeadFeatures(kind="attention_heads", count=8, path=str(tmp_path / "directions.npy"))
    convert_dictionary(section.path, 1, section, ["any"], str(tmp_path / "converted"))
    source = open_source(SourceJob(section, LAYERS, NEURONS, files={1: str(tmp_path / "converted")}))
    source.taps(model)
    z, wrote = seen(model, "attention_z")[1], seen(model, "attention_out")[1]
    found = source.features(1, z[None])[0].unflatten(1, (4, 2)).sum(1)
    torch.testing.assert_close(found, wrote @ directions.T, rtol=1e-4, atol=1e-4)


def test_another_number_of_heads_or_other_directions_are_refused():
    model = tiny("llama")
    with pytest.raises(ValueError, match=r"features\.count is 5, but the subject has 4 heads in a layer"):
        AttentionHeads(LAYERS, NEURONS, 5, {}).taps(model)
    with pytest.raises(ValueError, match=r"features\.count is 4, but the subject has 4 heads times 2 directions"):
        AttentionHeads(LAYERS, NEURONS, 4, {0: torch.zeros(2, 32)}).taps(model)
    source = AttentionHeads(LAYERS, NEURONS, 8, {0: torch.zeros(2, 31)})
    source.taps(model)
    with pytest.raises(ValueError, match="layer 0: the directions have 31 numbers, but a head writes 32"):
        source.features(0, torch.zeros(1, 2, 32))
