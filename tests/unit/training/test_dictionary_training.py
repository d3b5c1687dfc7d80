"""Training a dictionary: it finds what a sparse mixture was made of, and what is written is what was trained."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from neuron_descriptions.config.training import DictionaryTraining
from neuron_descriptions.features.converting import read_published
from neuron_descriptions.training.dictionary import PLACES, fit, write

WIDTH, MADE_OF, LAYER = 24, 32, 3


@pytest.fixture(scope="module")
def tokens():
    """Sparse mixtures (4000, 24) of 32 directions, and what another matrix makes of the same mixtures."""
    torch.manual_seed(0)
    amounts = torch.rand(4000, MADE_OF) * (torch.rand(4000, MADE_OF) < 2 / MADE_OF)
    directions, written = (F.normalize(torch.randn(MADE_OF, WIDTH), dim=1) for _ in range(2))
    return 5 * amounts @ directions + 3, amounts @ written - 1


@pytest.mark.parametrize("kind", PLACES)
def test_most_is_explained_and_the_file_s_latents_are_those_that_were_trained(kind, tokens, tmp_path):
    read_ND, other_ND = tokens
    target_ND = read_ND if kind == "autoencoder" else other_ND
    settings = DictionaryTraining(layer=LAYER, latents=64, k=4, steps=400, batch_tokens=256, learning_rate=0.01)
    made = fit(read_ND, target_ND, settings, 0)
    left = (made(read_ND).detach() - target_ND).square().sum() / (target_ND - target_ND.mean(0)).square().sum()
    assert float(left) < 0.15

    folder = tmp_path / ("layers.3" + ".mlp" * (kind == "transcoder"))
    write(made, kind, {"layer": LAYER}, folder)
    hook = PLACES[kind][0]
    found = read_published(str(folder), {"kind": kind, "hook": hook, "format": "auto"})
    assert (found.about.kind, found.about.hook, found.about.layer, found.about.k) == (kind, hook, LAYER, 4)
    with torch.inference_mode():
        value_NK, latent_NK = made.encode(read_ND)
        expected = torch.zeros(len(read_ND), 64).scatter_(1, latent_NK, value_NK * made.scale)
        latents = found.encode(read_ND)
    close = np.isclose(latents, expected, rtol=0.02, atol=0.02).all(1)  # half precision; ties may fall otherwise
    assert close.mean() > 0.97
    assert json.loads((folder / "card.json").read_text()) == {"layer": LAYER}
    again = fit(read_ND, target_ND, settings, 0)
    assert torch.equal(again.encoder_SD, made.encoder_SD)
