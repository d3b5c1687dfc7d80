"""What dictionaries of others write: by their formats' own formulas, and whether real activations come out again."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_dictionaries import DATA, FOUND, LAYER, converted, section

from conftest import ROOT
from neuron_descriptions.features.decoders import MLP_MODULE, least_changes, read_decoder
from neuron_descriptions.features.published_files import read_tensors

SHIPPED = ROOT / "config/dictionaries/smollm2-135m"


def file_of(folder: Path) -> Path:
    return next(p for p in folder.rglob("*") if p.suffix in (".safetensors", ".npz", ".pt") and p.stem != "expected")


@pytest.mark.parametrize("folder", FOUND, ids=lambda folder: str(folder.relative_to(DATA)))
def test_a_row_is_what_one_unit_of_a_latent_adds_to_the_output(folder):
    tensors = {name.lower(): tensor.double() for name, tensor in read_tensors(file_of(folder)).items()}
    decoder = read_decoder(str(folder), LAYER, section(folder))
    rows = tensors["w_dec"] if "w_dec" in tensors else tensors["decoder.weight"].T
    if folder.name == "saelens-topk-decoder-norm":  # features are counted by what they add
        rows = rows / rows.norm(dim=1, keepdim=True)
    if "llama_scope" in str(folder):
        rows = rows * 17.125 / 16**0.5
    torch.testing.assert_close(decoder.rows_SD.double(), rows, rtol=1e-6, atol=1e-7)
    transcoder = section(folder).kind == "transcoder"
    sparsify = "sparsify" in str(folder)
    assert decoder.place == ("residual_out" if not transcoder else MLP_MODULE if sparsify else "mlp_out")


def test_what_a_transcoder_says_of_where_it_writes_is_heard(tmp_path):
    folder = tmp_path / "saelens-transcoder"
    shutil.copytree(DATA / "saelens-transcoder", folder)
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"]["hook_name_out"] = "blocks.5.hook_resid_post"
    (folder / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"says that it writes at residual_out, not at mlp_out; leave output_side out"):
        read_decoder(str(folder), LAYER, section(folder))


def test_a_dictionary_without_a_decoder_is_refused(tmp_path):
    folder = tmp_path / "saelens-topk"
    shutil.copytree(DATA / "saelens-topk", folder)
    tensors = load_file(folder / "sae_weights.safetensors")
    save_file({k: v for k, v in tensors.items() if k != "W_dec"}, folder / "sae_weights.safetensors")
    with pytest.raises(ValueError, match=r"has no decoder that its format \(saelens\) has"):
        read_decoder(str(folder), LAYER, section(folder))
    save_file(tensors | {"W_dec": tensors["W_dec"][:7]}, folder / "sae_weights.safetensors")
    with pytest.raises(ValueError, match=r"its decoder has shape \(7, 16\), not 48 rows"):
        read_decoder(str(folder), LAYER, section(folder))


def test_real_activations_come_out_again(tmp_path, model, tokenizer):
    """Latents of the shipped autoencoder, as they are harvested, times its rows: as its card says of variance."""
    text = "In 1862 the Congress passed an act to aid the construction of a railroad from the Missouri River to the"
    ids = tokenizer(f"{text} Pacific Ocean, and the President signed it.", return_tensors="pt")["input_ids"]
    folder = SHIPPED / "layers.15"
    said = section(folder, count=2048)
    with torch.inference_mode():
        read = model(ids, output_hidden_states=True).hidden_states[16][0, 1:].float()  # the first is an outlier
    latents = converted(folder, tmp_path, layer=15, count=2048).encode(read)
    bias = load_file(folder / "sae.safetensors")["b_dec"].float()
    out = latents @ read_decoder(str(folder), 15, said).rows_SD + bias
    unexplained = ((read - out) ** 2).sum() / ((read - read.mean(0)) ** 2).sum()
    assert unexplained < 0.5


def test_the_least_change_raises_a_projection_by_one():
    directions = torch.randn(4, 9)
    directions[2] = 0
    changes = least_changes(directions)
    assert (changes * directions).sum(1) == pytest.approx([1, 1, 0, 1])
    for direction, change in zip(directions[:2], changes):  # anything across it only makes it longer
        across = torch.randn(9)
        across -= across @ direction / (direction @ direction) * direction
        assert (change + across).norm() > change.norm()
