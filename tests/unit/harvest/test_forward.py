"""The forward pass: where it ends, and what it refuses."""

import pytest
import torch
from safetensors.torch import save_file

from neuron_descriptions.features.neurons import MlpNeurons, down_projections
from neuron_descriptions.harvest.batches import read_batches
from neuron_descriptions.harvest.forward import run_layers
from neuron_descriptions.harvest.shard import Shard, harvest
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.run.memory import Keep

LAYERS = (1, 3)
KEEP = Keep(2, 2, 1)
TEST = Shard("test", 0, 1, batch_size=8, seed=0)


def subject(folder, layers=30):
    return Subject(str(folder), layers, 1536, None, "float32")


def test_the_pass_stops_after_the_deepest_wanted_layer_and_runs_no_head(model, corpus):
    ran = []
    handles = [
        block.register_forward_hook(lambda m, a, o, layer=layer: ran.append(layer))
        for layer, block in enumerate(model.model.layers)
    ]
    batches = read_batches(corpus["test"], 0, 8, 8, 20)
    taps = MlpNeurons(30, 1536).taps(model.model)
    run_layers(model.model, {layer: taps[layer] for layer in LAYERS}, batches, lambda *a: None)
    for handle in handles:
        handle.remove()
    assert ran == [0, 1, 2]  # layer 3 is left at its down projection


def test_wrong_facts_about_the_model_are_errors_that_say_what_it_has(smollm2, corpus, tmp_path, model):
    with pytest.raises(ValueError, match=r"subject.layers is 31, but .* has 30 layers"):
        harvest(subject(smollm2, layers=31), corpus["test"], TEST, {1: [0]}, KEEP, 2, "unused")
    with pytest.raises(ValueError, match=r"0 modules .* of 1500 neurons.*mlp.down_proj 1536->576.*neurons_per_layer"):
        down_projections(model.model, 30, 1500)
    with pytest.raises(ValueError, match=r"no module layers.0.mlp.nothing"):
        down_projections(model.model, 30, 1536, "layers.{layer}.mlp.nothing")
    named = down_projections(model.model, 30, 1536, "model.layers.{layer}.mlp.down_proj")
    assert named == down_projections(model.model, 30, 1536)
    with pytest.raises(ValueError, match="holds no model"):
        harvest(subject(tmp_path), corpus["test"], TEST, {1: [0]}, KEEP, 2, "x")


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
        harvest(subject(broken), corpus["test"], TEST, {1: [7]}, KEEP, 2, str(tmp_path / "state.safetensors"))
    assert list(tmp_path.iterdir()) == [broken]
