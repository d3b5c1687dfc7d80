"""Model folders: one that needs code of its own is refused, and the code never run."""

import io
import json

import pytest

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
    with pytest.raises(ValueError, match=r"config\.json cannot be read: "):
        check_folder(str(tmp_path))
