"""Model folders: one that needs code of its own is refused, and the code never run."""

import io
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from neuron_descriptions.harvest.forward import check_architecture
from neuron_descriptions.models.loading import check_folder, load_model, load_tokenizer

EVIL = "from pathlib import Path\nPath('sprung').touch()\nclass EvilConfig: pass\nclass EvilModel: pass\n"


@pytest.mark.parametrize("model_type", ["evil", "llama"])
def test_model_with_code_of_its_own_is_refused_without_a_question(tmp_path, monkeypatch, model_type):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    auto_map = {"AutoConfig": "evil.EvilConfig", "AutoModelForCausalLM": "evil.EvilModel"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, "auto_map": auto_map}))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "evil.py").write_text(EVIL)
    folder = str(tmp_path)
    for use in (
        lambda: check_architecture(folder, 1),
        lambda: load_tokenizer(folder),
        lambda: load_model(folder, "float32", head=True, threads=1),
    ):
        with pytest.raises(ValueError, match=r"needs code of its own \(auto_map in its config\.json: AutoConfig is"):
            use()
    assert not (tmp_path / "sprung").exists()


def test_model_whose_code_transformers_has_is_taken_from_there(tmp_path):
    auto_map = {
        "AutoConfig": "configuration_phi3.Phi3Config",
        "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
        "AutoTokenizer": ["tokenization_phi3.Tokenizer", None],
    }
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "phi3", "auto_map": auto_map}))
    check_folder(str(tmp_path))


def test_broken_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: no JSON: "):
        check_folder(str(tmp_path))


def tiny(folder, **changes):
    """A model of two layers, as `save_pretrained` writes it; its tensors."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, max_position_embeddings=16))
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))
    return load_file(folder / "model.safetensors")


def test_weights_that_are_not_there_are_never_drawn_at_random(tmp_path):
    tensors = tiny(tmp_path)
    load_model(str(tmp_path), "float32", head=False, threads=1)  # the head that this leaves out is no loss
    for left_out, said in (
        ("layers.1.mlp", "lacks 3 of the weights of a LlamaModel, such as layers.1.mlp"),
        ("", "lacks"),
    ):
        kept = {name: tensor for name, tensor in tensors.items() if left_out not in name} or {
            "x": tensors["lm_head.weight"]
        }
        save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=said):
            load_model(str(tmp_path), "float32", head=False, threads=1)
    kept = {name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 of the weights of a LlamaForCausalLM, such as lm_head\.weight"):
        load_model(str(tmp_path), "float32", head=True, threads=1)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=f"the model in {tmp_path} cannot be loaded: "):
        load_model(str(tmp_path), "float32", head=False, threads=1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"_attn_implementation": "evil/kernel"}, "needs code from the hub"),
        ({"text_config": {"_experts_implementation": "evil/kernel"}}, "needs code from the hub"),
        ({"auto_map": "evil.Model"}, "names no classes"),
        ({"hidden_act": "unheard-of"}, "cannot be loaded"),
        ({"num_hidden_layers": 3}, "lacks 9 of the weights"),
    ],
)
def test_a_config_that_cannot_be_is_named(tmp_path, changes, said):
    tiny(tmp_path, **changes)
    with pytest.raises(ValueError, match=said):
        load_model(str(tmp_path), "float32", head=False, threads=1)


def test_a_damaged_tokenizer_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(ValueError, match=f"the tokenizer in {tmp_path} cannot be read"):
        load_tokenizer(str(tmp_path))
