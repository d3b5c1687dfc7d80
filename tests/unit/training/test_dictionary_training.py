"""Training a dictionary: it finds what a sparse mixture was made of, and what is written is what was trained."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, LlamaConfig

from neuron_descriptions.common.storage import write_table
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.features import Features
from neuron_descriptions.config.training import DictionaryTraining
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.features.converting import read_published
from neuron_descriptions.features.hooks import find_taps
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.training.dictionary import (
    HOOKS,
    JUDGED,
    PLACES,
    fit,
    losses,
    read_tokens,
    train_dictionaries,
    write,
)

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
    found = read_published(str(folder), restored(Features, {"kind": kind, "path": "x", "count": 64, "hook": hook}))
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


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(folder of a tiny model, a corpus of random tokens with prefixes and of several lengths)."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2}
    AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=99, **shape)).save_pretrained(folder / "model")
    rng = np.random.default_rng(0)
    rows = [{"seq_id": i, "input_ids": rng.integers(3, 99, 9 + i % 4).tolist(), "prefix_len": 2, "source": "random",
             "document": i} for i in range(70)]  # fmt: skip
    tokens = sum(len(row["input_ids"]) - 2 for row in rows)
    schema = CORPUS.with_metadata({"tokens": str(tokens), "longest": "10", "tokenizer": ""})
    known = [{field.name: row.get(field.name) for field in CORPUS} for row in rows]
    write_table(pa.Table.from_pylist(known, schema=schema), str(folder / "corpus.parquet"))
    return folder, rows


class _Shifted(nn.Module):
    """In a dictionary's place: what it reads, plus a number."""

    def __init__(self, by):
        super().__init__()
        self.by, self.offset_D = by, torch.arange(32) / 9.0

    def forward(self, read_ND):
        return read_ND + self.by


def test_losses_are_those_of_the_model_with_other_numbers_in_the_layer_s_place(tiny):
    folder, rows = tiny
    model = AutoModelForCausalLM.from_pretrained(folder / "model").eval()
    taps = {hook: find_taps(model, 3, 48, hook, None)[1] for hook in HOOKS}
    seen = read_tokens(model, taps, str(folder / "corpus.parquet"), JUDGED)
    made = {"autoencoder": _Shifted(0.5), "transcoder": _Shifted(-0.5)}
    found, count = losses(model, taps, made, seen, str(folder / "corpus.parquet"))
    for kind, module in (("autoencoder", model.model.layers[1]), ("transcoder", model.model.layers[1].mlp)):
        reads = {"autoencoder": module, "transcoder": model.model.layers[1].post_attention_layernorm}[kind]
        sums, tokens = dict.fromkeys(found[kind], 0.0), 0
        for row in rows[:JUDGED]:  # one at a time, the place's output set by a hook of the test's own
            ids, after = torch.tensor([row["input_ids"]]), slice(2, None)
            kept = {}
            watch = reads.register_forward_hook(lambda m, a, out, kept=kept: kept.update(x=_first(out).clone()))
            with torch.inference_mode():
                logits = {"model": model(ids).logits[0]}
                watch.remove()
                others = {"dictionary": made[kind](kept["x"]), "zero": 0 * kept["x"],
                          "mean": made[kind].offset_D.expand_as(kept["x"])}  # fmt: skip
                for name, instead in others.items():

                    def put(m, a, out, instead=instead, after=after):
                        new = _first(out).clone()
                        new[:, after] = instead[:, after]
                        return (new, *out[1:]) if isinstance(out, tuple) else new

                    handle = module.register_forward_hook(put)
                    logits[name] = model(ids).logits[0]
                    handle.remove()
            for name, of in logits.items():
                sums[name] += float(F.cross_entropy(of[2:-1], ids[0, 3:], reduction="sum"))
            tokens += len(row["input_ids"]) - 3
        assert count == tokens
        for name, total in sums.items():
            assert found[kind][name] == pytest.approx(total / tokens, rel=1e-5)
        assert len({round(value, 6) for value in found[kind].values()}) == 4


def _first(out):
    return out[0] if isinstance(out, tuple) else out


def test_both_are_trained_from_one_reading_and_their_cards_say_what_they_are(tiny, tmp_path):
    folder, _ = tiny
    corpus = dict.fromkeys(("train", "test"), str(folder / "corpus.parquet"))
    settings = DictionaryTraining(layer=1, latents=40, k=3, steps=30, batch_tokens=64, learning_rate=0.01, sequences=66)
    outputs = {kind: str(tmp_path / kind) for kind in PLACES}
    train_dictionaries(Subject(str(folder / "model"), 3, 48, None, "float32"), "tiny", corpus, settings, 0, 1, outputs)
    model = AutoModelForCausalLM.from_pretrained(folder / "model").eval()
    taps = {hook: find_taps(model, 3, 48, hook, None)[1] for hook in HOOKS}
    train, test = (read_tokens(model, taps, corpus["train"], count) for count in (66, JUDGED))
    for kind, (reads, _) in PLACES.items():
        place = tmp_path / kind / ("layers.1" + ".mlp" * (kind == "transcoder"))
        card = json.loads((place / "card.json").read_text())
        section = restored(Features, {"kind": kind, "path": "x", "count": 40, "hook": reads})
        latents = read_published(str(place), section)
        assert (card["subject"], card["kind"], card["latents"], card["k"]) == ("tiny", kind, 40, 3)
        assert (card["train_tokens"], card["test_tokens"]) == (len(train[reads]), len(test[reads]))
        with torch.inference_mode():
            dead = float((latents.encode(train[reads]).amax(0) <= 0).float().mean())
            kept = float((latents.encode(test[reads]) > 0).sum(1).float().mean())
        assert (card["dead"], card["l0"]) == (pytest.approx(dead, abs=0.051), pytest.approx(kept, abs=0.05))
        gap, lost = card["loss_zero"] - card["loss_model"], card["loss_dictionary"] - card["loss_model"]
        # Of a model that has learnt nothing the gap is small, and the card's nats have four digits.
        assert card["loss_recovered"] * gap == pytest.approx(gap - lost, abs=5e-4)
        assert 0 < card["variance_explained"] < 1
