"""Published dictionaries that are damaged, hostile, or say what cannot be: named, and no code of theirs run."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from neuron_descriptions.config.features import AutoencoderFeatures
from neuron_descriptions.features.converting import convert_dictionary
from neuron_descriptions.features.published_files import read_tensors

D, S = 4, 6
FEATURES = AutoencoderFeatures(kind="autoencoder", count=S, hook="residual_out", path="x")
SAELENS = {"architecture": "standard", "d_in": D, "d_sae": S, "normalize_activations": "none"}


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def convert(source: Path) -> None:
    convert_dictionary(str(source), 3, FEATURES, ["gpt2"], str(source.parent / "out.safetensors"))


def saelens(folder: Path, config: dict, **tensors: torch.Tensor) -> Path:
    (folder / "sae").mkdir()
    made = {"W_enc": torch.ones(D, S), "b_enc": torch.zeros(S), "W_dec": torch.ones(S, D), "b_dec": torch.ones(D)}
    save_file(made | tensors, folder / "sae/sae_weights.safetensors")
    (folder / "sae/cfg.json").write_text(json.dumps(SAELENS | config))
    return folder / "sae"


@pytest.mark.parametrize("write", [torch.save, lambda trap, path: path.write_bytes(pickle.dumps(trap))])
def test_a_pickle_is_never_run(tmp_path, write):
    write(Trap(tmp_path / "sprung"), tmp_path / "ae.pt")
    np.savez(tmp_path / "params.npz", threshold=np.array([Trap(tmp_path / "sprung")], dtype=object))
    for name in ("ae.pt", "params.npz"):
        with pytest.raises(ValueError, match=rf"{name} holds more than tensors: to read that would run code"):
            read_tensors(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"{}" * 9])
@pytest.mark.parametrize("name", ["a.npz", "a.pt", "a.safetensors"])
def test_a_damaged_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} (cannot be read|holds more than tensors)"):
        read_tensors(tmp_path / name)


@pytest.mark.parametrize("k", [None, "5", 0, -1, True, 2.5, S + 1])
def test_a_top_k_without_a_k_that_can_be_is_refused_and_never_keeps_all(tmp_path, k):
    with pytest.raises(ValueError, match="of a token's features"):
        convert(saelens(tmp_path, {"architecture": "topk", "k": k}))


@pytest.mark.parametrize(
    ("config", "tensors", "said"),
    [
        ({}, {"b_dec": torch.ones(1)}, r"the encoder has shape \(6, 4\), its biases and thresholds \(6,\), \(1,\)"),
        ({}, {"W_enc": torch.ones(D, S, dtype=torch.complex64)}, "W_enc has complex numbers"),
        ({"metadata": "x"}, {}, "is not of the format saelens"),
        ({"metadata": {"model_name": ["gpt3"]}}, {}, "was made for"),
    ],
)
def test_what_cannot_be_is_named(tmp_path, config, tensors, said):
    with pytest.raises(ValueError, match=said):
        convert(saelens(tmp_path, config, **tensors))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dataset_average_activation_norm": {"in": 0}}, "activation_norm.in is 0, not a number above 0"),
        ({"d_model": D + 1}, "d_model is 5, but the encoder reads 4 numbers"),
        ({"jump_relu_threshold": "x"}, "jump_relu_threshold is 'x', not a number above 0"),
    ],
)
def test_scales_that_cannot_be_are_named(tmp_path, changes, said):
    (tmp_path / "ls/checkpoints").mkdir(parents=True)
    weights = {"encoder.weight": torch.ones(S, D), "encoder.bias": torch.zeros(S)}
    save_file(weights, tmp_path / "ls/checkpoints/final.safetensors")
    about = {"d_model": D, "dataset_average_activation_norm": {"in": 2.0}, "jump_relu_threshold": 0.5}
    (tmp_path / "ls/hyperparams.json").write_text(json.dumps(about))
    convert(tmp_path / "ls")
    (tmp_path / "ls/hyperparams.json").write_text(json.dumps(about | changes))
    with pytest.raises(ValueError, match=said):
        convert(tmp_path / "ls")
