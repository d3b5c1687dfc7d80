"""Where features are read: every family's MLP found by its shape, and a source that is no MLP at all."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModel

from neuron_descriptions.common.checksums import SUFFIX
from neuron_descriptions.corpus.reading import corpus_facts
from neuron_descriptions.features.neurons import MlpNeurons, Tap, down_projections
from neuron_descriptions.harvest.batches import read_batches
from neuron_descriptions.harvest.forward import run_layers, try_out
from neuron_descriptions.harvest.merging import merge
from neuron_descriptions.harvest.shard import Harvest, Shard, harvest, save
from neuron_descriptions.harvest.state import Split
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.models.loading import load_model
from neuron_descriptions.models.subjects import check_subject
from neuron_descriptions.run.memory import Keep

LAYERS, NEURONS, HIDDEN = 3, 48, 32
KEEP = {"top": 5, "middle": 3, "random": 2}
COMMON = {
    "hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": NEURONS,
    "vocab_size": 49_152, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GROUPED = COMMON | {"num_key_value_heads": 2, "head_dim": 8}
# Attention as wide as the MLP: its output projection has the down projection's shape.
WIDE = GROUPED | {"head_dim": 12}
VISION = {"hidden_size": HIDDEN, "intermediate_size": NEURONS, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
TOWERS = {
    "text_config": GROUPED | {"sliding_window": 8},
    "vision_config": VISION | {"image_size": 28, "patch_size": 14},
    "mm_tokens_per_image": 4,
}
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
    "opt": ("OPTConfig", COMMON | {"ffn_dim": NEURONS, "word_embed_proj_dim": HIDDEN}, "decoder.layers.{}.fc2"),
    "falcon": ("FalconConfig", COMMON | {"ffn_hidden_size": NEURONS}, "h.{}.mlp.dense_4h_to_h"),
    "bloom": ("BloomConfig", COMMON | {"hidden_size": NEURONS // 4}, "h.{}.mlp.dense_4h_to_h"),
    "gemma3 with a vision tower as deep": ("Gemma3Config", TOWERS, f"language_model.{DOWN}"),
}
# What cannot be a subject, and the words that say why.
REFUSED = {
    "t5": ("T5Config", {"d_model": HIDDEN, "d_ff": NEURONS, "num_layers": LAYERS}, "is an encoder-decoder model (t5)"),
    "mamba": ("MambaConfig", COMMON, "is a state-space model (mamba): it has no MLP neurons"),
    "olmoe": ("OlmoeConfig", COMMON | {"num_experts": 4}, "is a mixture of 4 experts (olmoe): neurons of experts"),
    "mixtral": ("MixtralConfig", GROUPED | {"num_local_experts": 4}, "is a mixture of 4 experts (mixtral)"),
    "qwen3-moe": (
        "Qwen3MoeConfig",
        GROUPED | {"num_experts": 4, "moe_intermediate_size": NEURONS},
        "is a mixture of 4 experts (qwen3_moe)",
    ),
}


def random_model(family, folder: Path) -> nn.Module:
    """A tiny model of a family, random weights, saved."""
    name, settings, _ = FAMILIES[family]
    torch.manual_seed(0)
    model = AutoModel.from_config(getattr(transformers, name)(**settings)).eval()
    model.save_pretrained(folder)
    return model


def harvested(folder, corpus, layers, output, **options) -> None:
    wanted = {layer: list(range(NEURONS)) for layer in layers}
    subject = Subject(str(folder), LAYERS, NEURONS, None, options.pop("dtype", "float32"), **options)
    harvest(subject, corpus, Shard("test", 0, 1, 8, 0), wanted, Keep(**KEEP), 2, str(output))


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
    model.get_submodule(found[1]).register_forward_hook(lambda module, args, out: seen.append(args[0].flatten(0, -2)))
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


@pytest.mark.parametrize("family", REFUSED)
def test_what_cannot_be_a_subject_is_refused_before_it_is_loaded(family, corpus, tmp_path):
    name, settings, said = REFUSED[family]
    getattr(transformers, name)(**settings).save_pretrained(tmp_path)  # no weights: planning needs none
    with pytest.raises(ValueError, match=re.escape(said)):
        check_subject(str(tmp_path), LAYERS, 40)
    with pytest.raises(ValueError, match=re.escape(said)):
        harvested(tmp_path, corpus["test"], [1], tmp_path / "unused")


@pytest.mark.parametrize(
    ("family", "said"),
    [("mamba", "layer 0 is a state-space layer"), ("olmoe", r"layer 0 is a mixture of experts \(.* has 4 of them\)")],
)
def test_what_a_config_does_not_tell_the_layers_do(family, said):
    name, settings, _ = REFUSED[family]
    config = getattr(transformers, name)(**settings)
    with pytest.raises(ValueError, match=said):
        down_projections(AutoModel.from_config(config), LAYERS, getattr(config, "intermediate_size", NEURONS))


def test_sequences_longer_than_the_positions_and_other_layers_are_refused(tmp_path):
    for name, settings in (
        ("GPT2Config", {"n_positions": 32, "n_layer": LAYERS}),
        ("Gemma3Config", {"text_config": COMMON | {"max_position_embeddings": 32}, "vision_config": VISION}),
    ):
        getattr(transformers, name)(**settings).save_pretrained(tmp_path)
        check_subject(str(tmp_path), LAYERS, 32)
        with pytest.raises(ValueError, match=r"corpus\.seq_len 33 is more than the 32 positions of the subject"):
            check_subject(str(tmp_path), LAYERS, 33)
        with pytest.raises(ValueError, match=r"subject\.layers is 4, but .* has 3 layers"):
            check_subject(str(tmp_path), 4)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config\.json holds no JSON object"):
        check_subject(str(tmp_path))


def test_a_model_that_reads_both_ways_is_refused(corpus, tmp_path):
    torch.manual_seed(0)
    AutoModel.from_config(transformers.BertConfig(**COMMON, initializer_range=0.5)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="layer 1: what a token activates depends on the tokens after it"):
        harvested(tmp_path, corpus["test"], [1], tmp_path / "unused")


def test_a_module_that_does_not_see_every_token_once_is_refused(tmp_path):
    """Layers that share a module, and a module that sees a part of the tokens, as an expert does."""
    model = random_model("llama", tmp_path)
    source = MlpNeurons(LAYERS, NEURONS)
    tap = source.taps(model)[1]
    model.layers[0].mlp = model.layers[1].mlp
    with pytest.raises(ValueError, match=r"layer 1: the module that is read runs 2 times in a forward pass"):
        try_out(model, source, {1: tap, 2: source.taps(model)[2]}, [5, 6], "float32")
    model.layers[1].mlp.register_forward_pre_hook(lambda module, args: (args[0][:, :1],))
    with pytest.raises(
        ValueError, match=r"layer 1: .* sees a tensor of shape \(2, 1, 48\), not one row for each of 2 x 2"
    ):
        try_out(model, source, {1: tap}, [5, 6], "float32")


@pytest.mark.parametrize("when", ["in every token", "in a token that comes later"])
def test_an_overflow_is_found_early_and_the_error_says_what_to_do(when, corpus, tmp_path):
    model = random_model("llama", tmp_path / "model")
    rows = pq.read_table(corpus["test"])["input_ids"].to_pylist()
    with torch.no_grad():
        if when == "in every token":
            model.layers[1].mlp.up_proj.weight *= 1e6
        else:
            model.embed_tokens.weight[:, 0] = 0
            model.embed_tokens.weight[rows[9][-1], 0] = 1e4
            model.layers[1].post_attention_layernorm.weight[0] = 3e4
            model.layers[1].mlp.up_proj.weight[:, 0] = 1
    model.save_pretrained(tmp_path / "model")
    said = r"layer 1 has activations that are not finite in float16; its range ends at 65,504: set subject\.dtype"
    with pytest.raises(ValueError, match=said):
        harvested(tmp_path / "model", corpus["test"], [0, 1], tmp_path / "unused", dtype="float16")
    harvested(tmp_path / "model", corpus["test"], [0, 1], tmp_path / "state", dtype="float32")


def test_where_it_is_not_found_the_error_says_what_was_seen_and_how_to_name_one(tmp_path):
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
    monkeypatch.setattr("neuron_descriptions.models.loading._room", lambda reserve: {"cpu": size - 10_000})
    loaded = load_model(str(tmp_path / "model"), "float32", head=False, threads=2, device_map="auto")
    assert "disk" in loaded.hf_device_map.values()
    harvested(tmp_path / "model", corpus["test"], [0, 2], tmp_path / "spilled.safetensors", device_map="auto")
    whole, spilled = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "spilled"))
    assert whole.keys() == spilled.keys() and sum(not name.endswith(SUFFIX) for name in whole) == 20
    assert all(torch.equal(whole[name], spilled[name]) for name in whole)


@dataclass
class Latents:
    """A sparse autoencoder's latents on a layer's output."""

    encoders: list[nn.Linear]
    one_sided = True

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
    split = Split("test", facts.sequences, facts.tokens, facts.longest, 0)
    kept = Harvest(source, {1: list(range(latents))}, split, Keep(5, 0, 2), "float32")
    batches = read_batches(corpus["test"], 0, facts.sequences, 8, facts.longest)
    run_layers(model, {1: source.taps(model)[1]}, batches, kept.take)
    state = str(tmp_path / "state.safetensors")
    save(kept, 0, facts.sequences, state)
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
    fires = expected[expected > 0]  # what is silent is not among the top
    np.testing.assert_allclose(top.peak, fires, rtol=1e-4, atol=1e-6)


def test_the_source_of_neurons_passes_them_on_as_they_are(model):
    taps = MlpNeurons(30, 1536).taps(model.model)
    assert [tap.module for tap in taps] == [block.mlp.down_proj for block in model.model.layers]
    assert {tap.side for tap in taps} == {"input"}
