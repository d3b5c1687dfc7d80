"""Where features are read: every family's MLP found by its shape, and a source that is no MLP at all."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel

from neuron_descriptions import activations
from neuron_descriptions.exemplars import merge
from neuron_descriptions.features import MlpNeurons, Tap, down_projections
from neuron_descriptions.memory import Keep
from neuron_descriptions.models import load_model
from neuron_descriptions.sequences import corpus_facts

LAYERS, NEURONS, HIDDEN = 3, 48, 32
KEEP = {"top": 5, "middle": 3, "random": 2}
COMMON = {
    "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": NEURONS,
    "vocab_size": 49_152, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROUPED = COMMON | {"num_key_value_heads": 2, "head_dim": 8}
# Attention as wide as the MLP: its output projection has the down projection's shape.
WIDE = GROUPED | {"head_dim": 12}
DOWN = "layers.{}.mlp.down_proj"
FAMILIES = {
    "llama": ("LlamaConfig", GROUPED, DOWN),
    "qwen2": ("Qwen2Config", COMMON | {"num_key_value_heads": 2}, DOWN),
    "qwen3": ("Qwen3Config", GROUPED, DOWN),
    "qwen3, attention as wide as the MLP": ("Qwen3Config", WIDE | {"num_key_value_heads": 4}, DOWN),
    "gemma2": ("Gemma2Config", GROUPED | {"sliding_window": 8}, DOWN),
    "gemma3": ("Gemma3TextConfig", GROUPED | {"sliding_window": 8}, DOWN),
    "gemma3, attention as wide as the MLP": ("Gemma3TextConfig", WIDE, DOWN),
    "mistral": ("MistralConfig", GROUPED | {"sliding_window": 8}, DOWN),
    "phi": ("PhiConfig", COMMON, "layers.{}.mlp.fc2"),
    "phi3": ("Phi3Config", COMMON | {"num_key_value_heads": 2}, DOWN),
    "gpt2": ("GPT2Config", COMMON | {"n_inner": NEURONS}, "h.{}.mlp.c_proj"),
    "gpt-neox": ("GPTNeoXConfig", COMMON, "layers.{}.mlp.dense_4h_to_h"),
    "olmo": ("OlmoConfig", COMMON, DOWN),
    "olmo2": ("Olmo2Config", COMMON, DOWN),
}


def random_model(family, folder: Path) -> nn.Module:
    """A tiny model of a family, random weights, saved."""
    import transformers

    name, settings, _ = FAMILIES[family]
    torch.manual_seed(0)
    model = AutoModel.from_config(getattr(transformers, name)(**settings)).eval()
    model.save_pretrained(folder)
    return model


def harvested(folder, corpus, layers, output, **options) -> None:
    wanted = {layer: list(range(NEURONS)) for layer in layers}
    settings = {"dtype": "float32", "keep": KEEP, "shard": 0, "shards": 1, "batch_size": 8, "seed": 0}
    activations.harvest(
        str(folder), corpus, "test", wanted, LAYERS, NEURONS, None, **settings, threads=2, output=str(output), **options
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_down_projection_is_found_and_its_input_is_harvested(family, corpus, tmp_path):
    model = random_model(family, tmp_path / "model")
    names = {module: name for name, module in model.named_modules()}
    found = [names[module] for module in down_projections(model, LAYERS, NEURONS)]
    assert found == [FAMILIES[family][2].format(layer) for layer in range(LAYERS)]

    harvested(tmp_path / "model", corpus["test"], [1], tmp_path / "state.safetensors")
    merge({"test": [str(tmp_path / "state.safetensors")]}, corpus, 1, list(range(NEURONS)), slice(0, NEURONS), 0,
          str(tmp_path / "exemplars.parquet"), str(tmp_path / "statistics.parquet"))  # fmt: skip
    seen = []
    model.get_submodule(found[1]).register_forward_hook(lambda module, args, out: seen.append(args[0][0]))
    rows = pq.read_table(corpus["test"]).to_pylist()
    with torch.inference_mode():
        for row in rows:
            model(torch.tensor([row["input_ids"]]))
    table = pq.read_table(tmp_path / "exemplars.parquet").to_pandas()
    assert len(table) == NEURONS * 2 * 10
    for row in table.itertuples():
        expected = seen[row.seq_id][rows[row.seq_id]["prefix_len"] :, row.neuron].numpy()
        np.testing.assert_allclose(row.activations, expected, rtol=1e-4, atol=1e-6)
    for neuron in range(NEURONS):
        peaks = [acts[row["prefix_len"] :, neuron].max().item() for acts, row in zip(seen, rows)]
        top = table[(table.neuron == neuron) & (table.sign == "positive") & (table.kind == "top")]
        np.testing.assert_allclose(top.peak, sorted(peaks, reverse=True)[:5], rtol=1e-4, atol=1e-6)


def test_where_it_is_not_found_the_error_says_what_was_seen_and_how_to_name_one(tmp_path):
    import transformers

    square = transformers.GPT2Config(**COMMON | {"n_inner": HIDDEN})
    model = AutoModel.from_config(square)
    with pytest.raises(
        ValueError, match=r"layer 0 has 2 modules.*mlp\.c_fc 32->32, mlp\.c_proj 32->32.*subject\.module"
    ):
        down_projections(model, LAYERS, HIDDEN)
    named = down_projections(model, LAYERS, HIDDEN, "h.{layer}.mlp.c_proj")
    assert named == [block.mlp.c_proj for block in model.h]
    with pytest.raises(ValueError, match=r"no module h\.0\.nowhere; layer 0 has .*h\.0\.mlp\.c_proj 32->32"):
        down_projections(model, LAYERS, HIDDEN, "h.{layer}.nowhere")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_subject_larger_than_memory_gives_the_same_state(family, corpus, tmp_path, monkeypatch):
    """accelerate spills most of the model to disk, as it does where a GPU and main memory are too small."""
    model = random_model(family, tmp_path / "model")
    harvested(tmp_path / "model", corpus["test"], [0, 2], tmp_path / "whole.safetensors")
    size = sum(parameter.nbytes for parameter in model.parameters())
    monkeypatch.setattr("neuron_descriptions.models._room", lambda reserve: {"cpu": size - 10_000})
    loaded = load_model(str(tmp_path / "model"), "float32", head=False, threads=2, device_map="auto")
    assert "disk" in loaded.hf_device_map.values()
    harvested(tmp_path / "model", corpus["test"], [0, 2], tmp_path / "spilled.safetensors", device_map="auto")
    whole, spilled = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "spilled"))
    assert whole.keys() == spilled.keys() and len(whole) == 20
    assert all(torch.equal(whole[name], spilled[name]) for name in whole)


@dataclass
class Latents:
    """A sparse autoencoder's latents on a layer's output: what a later source will look like."""

    encoders: list[nn.Linear]

    def taps(self, model):
        return [Tap(block, "output") for block in model.layers]

    def features(self, layer, seen_BTD):
        return self.encoders[layer](seen_BTD).relu()


def test_latents_of_an_autoencoder_need_no_change_of_a_later_stage(corpus, tmp_path):
    model = random_model("llama", tmp_path / "model")
    latents = 20
    torch.manual_seed(1)
    source = Latents([nn.Linear(HIDDEN, latents) for _ in range(LAYERS)])
    facts = corpus_facts(corpus["test"])
    split = activations.Split("test", facts.sequences, facts.tokens, facts.longest, 0)
    kept = activations.Harvest(source, {1: list(range(latents))}, split, Keep(5, 0, 2), "float32")
    batches = activations.read_batches(corpus["test"], 0, facts.sequences, 8, facts.longest)
    activations.run_layers(model, {1: source.taps(model)[1]}, batches, kept.take)
    state = str(tmp_path / "state.safetensors")
    activations.save(kept, 0, facts.sequences, state)
    merge({"test": [state]}, corpus, 1, list(range(latents)), slice(0, latents), 0,
          str(tmp_path / "exemplars.parquet"), str(tmp_path / "statistics.parquet"))  # fmt: skip
    rows = pq.read_table(corpus["test"]).to_pylist()
    peaks = []
    with torch.inference_mode():
        for row in rows:
            residual = model(torch.tensor([row["input_ids"]]), output_hidden_states=True).hidden_states[2][0]
            peaks.append(source.features(1, residual)[row["prefix_len"] :].amax(0).numpy())
    expected = -np.sort(-np.array(peaks), axis=0)[:5].T
    table = pq.read_table(tmp_path / "exemplars.parquet").to_pandas()
    top = table[(table.sign == "positive") & (table.kind == "top")].sort_values(["neuron", "rank"])
    np.testing.assert_allclose(top.peak.to_numpy().reshape(latents, 5), expected, rtol=1e-4, atol=1e-6)


def test_the_source_of_neurons_passes_them_on_as_they_are(model):
    taps = MlpNeurons(30, 1536).taps(model.model)
    assert [tap.module for tap in taps] == [block.mlp.down_proj for block in model.model.layers]
    assert {tap.side for tap in taps} == {"input"}
