"""Dictionaries of others: latents are those of their authors' own code (tests/data/dictionaries/make.py), and what is
not what the configuration says is refused by name."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import ROOT
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.features import DirectionFeatures, Features
from neuron_descriptions.features.converting import convert_dictionary, read_published, same_model
from neuron_descriptions.features.dictionaries import DictionaryFeatures, read_dictionary

DATA = ROOT / "tests/data/dictionaries"
FOUND = sorted(path.parent for path in DATA.rglob("expected.safetensors"))
COUNT, LAYER = 48, 5


def section(folder: Path, **changes) -> Features:
    """The config's `features` for a folder of DATA."""
    transcoder = "transcoder" in folder.name or folder.name == "layers.5.mlp"
    kind, hook = ("transcoder", "mlp_in") if transcoder else ("autoencoder", "residual_out")
    settings = {"kind": kind, "path": str(folder), "count": COUNT, "hook": hook, "format": "auto"}
    return restored(Features, settings | changes)


def converted(folder: Path, tmp_path: Path, layer: int = LAYER, **changes):
    """A folder's dictionary after conversion."""
    settings, output = section(folder, **changes), str(tmp_path / "converted.safetensors")
    convert_dictionary(str(folder), layer, settings, ["tiny-model"], output)
    return read_dictionary(output, layer, settings)


@pytest.mark.parametrize("folder", FOUND, ids=lambda folder: str(folder.relative_to(DATA)))
def test_latents_are_those_of_the_authors_own_code(folder, tmp_path):
    expected = load_file(folder / "expected.safetensors")
    dictionary = converted(folder, tmp_path)
    found = dictionary.encode(expected["seen"])
    largest = float(expected["latents"].max())
    if "bfloat16" in folder.name:
        # Theirs are computed in bfloat16, ours in float32 from the same weights: only where they fire can be compared.
        agree = ((found > 0) == (expected["latents"] > 0)).float().mean()
        assert agree > 0.98
        assert float((found - expected["latents"]).abs().max()) < 0.02 * largest
        return
    assert torch.equal(found > 0, expected["latents"] > 0)
    np.testing.assert_allclose(found, expected["latents"], rtol=1e-5, atol=1e-6 * largest)


def test_every_format_of_the_golden_files_was_seen():
    assert len(FOUND) == 26
    assert {folder.relative_to(DATA).parts[0].split("-")[0] for folder in FOUND} == {
        "saelens", "sparsify", "dictionary_learning", "gemma_scope", "llama_scope"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "layer", "said"),
    [
        ({"count": 47}, LAYER, r"features\.count is 47, but .*saelens-standard has 48 features"),
        ({"hook": "mlp_out"}, LAYER, r"features\.hook is mlp_out, but .*saelens-standard was made for residual_out"),
        ({}, 4, r"saelens-standard was made for layer 5, but is named for layer 4"),
        ({"kind": "transcoder"}, LAYER, r"features\.kind is transcoder, but .*saelens-standard holds an autoencoder"),
        ({"format": "sparsify"}, LAYER, r"saelens-standard is not of the format sparsify .*correct features\.format"),
    ],
)
def test_another_dictionary_than_the_config_says_is_refused_and_both_are_named(changes, layer, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        converted(DATA / "saelens-standard", tmp_path, layer, **changes)


def test_a_dictionary_of_another_model_is_refused_unless_it_is_meant(tmp_path):
    folder, output = DATA / "saelens-standard", str(tmp_path / "converted")
    said = r"was made for some-org/Tiny-Model, but the subject is gpt2 or openai/gpt2; .*made_for: some-org/Tiny-Model"
    with pytest.raises(ValueError, match=said):
        convert_dictionary(str(folder), LAYER, section(folder), ["gpt2", "openai/gpt2"], output)
    meant = section(folder, made_for="some-org/Tiny-Model")
    convert_dictionary(str(folder), LAYER, meant, ["gpt2"], output)
    assert same_model("google/gemma-2-2b", ["gemma_2_2B"]) and not same_model("gemma-2-2b", ["gemma-2-2b-it"])


def edited(name: str, tmp_path: Path, **changes) -> Path:
    """A copy of a SAELens folder with other settings."""
    folder = tmp_path / name
    shutil.copytree(DATA / name, folder)
    config = json.loads((folder / "cfg.json").read_text())
    for key, value in changes.items():
        *sections, last = key.split("__")
        place = config
        for part in sections:
            place = place[part]
        place[last] = value
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"normalize_activations": "covariance_whitening"}, "normalize_activations covariance_whitening is not"),
        ({"normalize_activations": "expected_average_only_in"}, "normalize_activations expected_average_only_in is"),
        ({"architecture": "temporal"}, "the architecture temporal is not supported; known are standard, gated"),
        ({"architecture": "abstopk"}, "the architecture abstopk is not supported"),
        ({"activation_fn": "tanh-relu"}, "the activation tanh-relu is not supported"),
        ({"metadata__model_from_pretrained_kwargs": {"center_writing_weights": True}}, "of a changed model"),
        (
            {"metadata__hook_name": "blocks.5.ln2.hook_normalized"},
            "reads at blocks.5.ln2.hook_normalized, which is not known here; where features.hook (residual_out) is",
        ),
    ],
)
def test_a_convention_that_is_not_known_is_refused_by_name(changes, said, tmp_path):
    folder = edited("saelens-standard", tmp_path, **changes)
    with pytest.raises(ValueError, match=re.escape(said)):
        read_published(str(folder), section(folder))


def test_a_place_that_is_not_known_may_be_named_as_the_same(tmp_path):
    folder = edited("saelens-transcoder", tmp_path, metadata__hook_name="blocks.5.ln2.hook_normalized")
    assert converted(folder, tmp_path, made_at="blocks.5.ln2.hook_normalized").about.hook == "mlp_in"
    with pytest.raises(ValueError, match="was made for layer 5, but is named for layer 6"):
        converted(folder, tmp_path, layer=6, made_at="blocks.5.ln2.hook_normalized")


def test_a_pickle_that_runs_code_is_not_read(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "run",))

    folder = tmp_path / "AutoEncoder"
    shutil.copytree(DATA / "dictionary_learning/AutoEncoder", folder)
    torch.save({"encoder.weight": Evil()}, folder / "ae.pt")
    with pytest.raises(Exception, match=r"ae.pt holds more than tensors: to read that would run code"):
        read_published(str(folder), section(folder))
    assert not (tmp_path / "run").exists()


def test_directions_are_projections_with_their_bias(tmp_path):
    torch.manual_seed(0)
    matrix, bias, seen = torch.randn(6, 16), torch.randn(6), torch.randn(2, 3, 16)
    save_file({"directions": matrix, "bias": bias}, tmp_path / "probes.safetensors")
    np.save(tmp_path / "probes.npy", matrix.double().numpy())
    settings = DirectionFeatures(kind="directions", count=6, path="probes")
    for file, added in (("probes.safetensors", bias), ("probes.npy", 0)):
        convert_dictionary(str(tmp_path / file), 2, settings, ["any"], str(tmp_path / "out"))
        source = DictionaryFeatures(
            {2: read_dictionary(str(tmp_path / "out"), 2, settings)}, 3, 48, "residual_out", None
        )
        assert not source.one_sided
        torch.testing.assert_close(source.features(2, seen), seen @ matrix.T + added)
        with pytest.raises(
            ValueError, match=r"layer 2: .*out reads 16 numbers, but the subject has 20 at residual_out"
        ):
            source.features(2, torch.zeros(2, 3, 20))
    np.save(tmp_path / "bad.npy", np.zeros(4))
    with pytest.raises(ValueError, match=r"bad\.npy: directions have shape \(4,\), not \(count, width\)"):
        convert_dictionary(str(tmp_path / "bad.npy"), 2, settings, ["any"], str(tmp_path / "out"))


def test_features_that_are_not_finite_or_too_few_for_k_are_refused(tmp_path):
    folder = edited("saelens-topk", tmp_path, k=49)
    with pytest.raises(ValueError, match="keeps 49 of a token's features, but has only 48"):
        converted(folder, tmp_path)
    tensors = load_file(folder / "sae_weights.safetensors")
    tensors["b_enc"][3] = torch.nan
    save_file(tensors, folder / "sae_weights.safetensors")
    edited_config = json.loads((folder / "cfg.json").read_text()) | {"k": 5}
    (folder / "cfg.json").write_text(json.dumps(edited_config))
    with pytest.raises(ValueError, match="has numbers that are not finite"):
        converted(folder, tmp_path)
