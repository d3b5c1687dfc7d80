"""The dictionaries in config/dictionaries load as any other does, and are what their card says."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from neuron_descriptions.config.base import restored
from neuron_descriptions.config.features import Features
from neuron_descriptions.features.converting import convert_dictionary
from neuron_descriptions.features.dictionaries import DictionaryFeatures, read_dictionary

FOLDER = Path(__file__).parents[3] / "config/dictionaries/smollm2-135m"
LAYER = 15
KINDS = {"autoencoder": (f"layers.{LAYER}", "residual_out"), "transcoder": (f"layers.{LAYER}.mlp", "mlp_in")}


def card(kind: str) -> dict:
    return json.loads((FOLDER / KINDS[kind][0] / "card.json").read_text())


def converted(kind: str, folder: Path):
    place, hook = KINDS[kind]
    said = {"kind": kind, "path": str(FOLDER / place), "count": card(kind)["latents"], "hook": hook}
    section = restored(Features, said)
    convert_dictionary(section.path, LAYER, section, ["smollm2-135m-instruct"], str(folder / kind))
    return read_dictionary(str(folder / kind), LAYER, section)


@pytest.mark.parametrize("kind", KINDS)
def test_latents_of_a_few_tokens_are_those_of_the_formula(kind, tmp_path, model, tokenizer):
    """The real model's activations as transformers gives them, encoded by the formula in float64."""
    dictionary, held = converted(kind, tmp_path), load_file(FOLDER / KINDS[kind][0] / "sae.safetensors")
    ids = tokenizer("In 1862 the Congress passed an act.", return_tensors="pt")["input_ids"]
    layer, seen = model.model.layers[LAYER], []
    watch = layer.mlp.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.inference_mode():
        states = model(ids, output_hidden_states=True).hidden_states[LAYER + 1][0]
        watch.remove()
        read = states if kind == "autoencoder" else seen[0][0]
        source = DictionaryFeatures({LAYER: dictionary}, 30, 1536, KINDS[kind][1], None)
        found = source.features(LAYER, read[None])[0]
    read, held = read.double(), {name: tensor.double() for name, tensor in held.items()}
    centred = read - held["b_dec"] if kind == "autoencoder" else read
    before = (centred @ held["encoder.weight"].T + held["encoder.bias"]).relu()
    least = before.topk(card(kind)["k"], dim=1).values[:, -1:]
    expected = torch.where(before >= least, before, 0)
    assert (expected > 0).any(1).all()
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_card_s_figures_are_those_of_the_metadata_and_the_tensors(kind):
    said, held = card(kind), load_file(FOLDER / KINDS[kind][0] / "sae.safetensors")
    config = json.loads((FOLDER / KINDS[kind][0] / "cfg.json").read_text())
    assert (said["latents"], said["k"], said["kind"]) == (config["num_latents"], config["k"], kind)
    assert held["encoder.weight"].shape == held["W_dec"].shape == (said["latents"], 576)
    assert all(bool(tensor.isfinite().all()) for tensor in held.values())
    table = [[cell.strip() for cell in line.strip("| ").split("|")] for line in (FOLDER / "README.md").read_text()
             .splitlines() if line.startswith("|")]  # fmt: skip
    column = table[0].index(kind) + 1  # its first cell is empty
    rows = {row[0].split(":")[0]: row[column].split()[0].replace(",", "") for row in table[2:]}
    for name in ("train_tokens", "steps", "variance_explained", "loss_recovered", "loss_recovered_of_mean", "l0",
                 "dead", "loss_model", "loss_dictionary", "loss_zero", "loss_mean", "test_tokens"):  # fmt: skip
        assert float(rows[name]) == said[name], name


def test_they_are_small_and_say_their_licence():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 10_000_000
    assert "Licence: Apache-2.0" in (FOLDER / "README.md").read_text()
