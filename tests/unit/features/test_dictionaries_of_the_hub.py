"""Dictionaries from a hub: the real client against a server on loopback, then converted."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hub_server import ROOT, TOKEN, run_with, serve
from neuron_descriptions.config.features import AutoencoderFeatures
from neuron_descriptions.features.converting import read_published

MADE = ROOT / "tests/data/dictionaries/saelens-topk"


@pytest.fixture(scope="module")
def hub():
    """A repository with a dictionary of layer 1 and what nobody asks for."""
    files = {f"res/layer-1/{path.name}": path for path in MADE.iterdir() if path.name != "expected.safetensors"}
    others = {"README.md": b"about", "res/layer-1/train.py": b"raise SystemExit", "res/layer-10/cfg.json": b"{}"}
    with serve({"own/latents": files | others}) as address:
        yield address


def fetch(hub, folder, path, token=TOKEN):
    code = (
        "from neuron_descriptions.features.fetching import fetch_dictionary;"
        f"fetch_dictionary('own/latents', 'main', {path!r}, {str(folder / 'published')!r})"
    )
    return run_with(hub, token, folder, code)


def test_a_layer_s_files_come_and_nothing_else_and_are_read_as_those_on_disk(hub, tmp_path):
    done = fetch(hub, tmp_path, "res/layer-1")
    assert done.returncode == 0, done.stderr
    place = tmp_path / "published"
    fetched = sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())
    assert fetched == ["res/layer-1/cfg.json", "res/layer-1/sae_weights.safetensors"]
    settings = AutoencoderFeatures(kind="autoencoder", path="x", count=48, hook="residual_out")
    expected = load_file(MADE / "expected.safetensors")
    found = read_published(str(place / "res/layer-1"), settings).encode(expected["seen"])
    latents = next(tensor for name, tensor in expected.items() if name != "seen")
    np.testing.assert_allclose(found, latents, rtol=1e-5, atol=1e-5)
    assert torch.count_nonzero(found)


def test_a_place_without_a_dictionary_and_a_refused_token_are_errors_that_leave_nothing(hub, tmp_path):
    done = fetch(hub, tmp_path, "res/layer-2")
    assert "own/latents has no dictionary at res/layer-2 in revision main (it has README.md, res)" in done.stderr
    done = fetch(hub, tmp_path, "res/layer-1", "wrong-token")
    assert done.returncode != 0 and "wrong-token" not in done.stdout + done.stderr
    assert not (tmp_path / "published").exists()
