"""What Delphi's own tests ask of its cache, for every kind of feature: an exemplar's tokens are the text's, its peak is
its maximum, top ones come in order, and what is saved is what the model computes."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from safetensors.numpy import load_file
from safetensors.torch import save_file
from test_features import FAMILIES, HIDDEN, LAYERS, NEURONS
from tokenizers import Tokenizer, models
from transformers import AutoModel, PreTrainedTokenizerFast

from neuron_descriptions.common.storage import write_table
from neuron_descriptions.config.base import restored
from neuron_descriptions.config.features import Features, FeaturesOfFiles
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.features.converting import convert_dictionary
from neuron_descriptions.features.opening import SOURCES
from neuron_descriptions.features.planted import PlantedSource
from neuron_descriptions.harvest.exemplars import ExemplarStore
from neuron_descriptions.harvest.merging import merge
from neuron_descriptions.harvest.shard import Shard, harvest
from neuron_descriptions.harvest.subject import Subject, strings_of
from neuron_descriptions.run.memory import Keep

LAYER, SEQUENCES, LATENTS, K, HEADS, DIRECTIONS = 1, 40, 20, 4, 4, 3
KEEP = Keep(top=6, middle=3, random=4)
FORMS = {
    "mlp_neurons": NEURONS,
    "autoencoder": LATENTS,
    "transcoder": LATENTS,
    "directions": DIRECTIONS,
    "planted": 90,
    "attention_heads": HEADS,
    "attention_heads on directions": HEADS * DIRECTIONS,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model with a tokenizer, a corpus table of random tokens, two published dictionaries, and directions."""
    folder = tmp_path_factory.mktemp("kinds")
    name, settings, _ = FAMILIES["llama"]
    torch.manual_seed(0)
    AutoModel.from_config(getattr(transformers, name)(**settings)).save_pretrained(folder / "model")
    known = ["of", "the", ",", "state", "government", *(f"w{i}ing" for i in range(295))]
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, unk_token=known[0]))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder / "model")
    rng = np.random.default_rng(0)
    rows = [{"seq_id": i, "input_ids": rng.integers(1, 300, 8 + i % 5).tolist(), "prefix_len": i % 3,
             "source": "random", "document": i} for i in range(SEQUENCES)]  # fmt: skip
    tokens = sum(len(row["input_ids"]) - row["prefix_len"] for row in rows)
    about = {"sequences": str(SEQUENCES), "tokens": str(tokens), "longest": "12", "tokenizer": "", "seed": "0"}
    rows = [{field.name: row.get(field.name) for field in CORPUS} for row in rows]
    write_table(pa.Table.from_pylist(rows, schema=CORPUS.with_metadata(about)), str(folder / "corpus.parquet"))
    for kind, place in (("autoencoder", f"layers.{LAYER}"), ("transcoder", f"layers.{LAYER}.mlp")):
        (folder / place).mkdir()
        transcodes = str(kind == "transcoder").lower()
        (folder / place / "cfg.json").write_text(f'{{"activation": "topk", "k": {K}, "transcode": {transcodes}}}')
        held = {"encoder.weight": torch.randn(LATENTS, HIDDEN), "encoder.bias": torch.randn(LATENTS)}
        decoder = {"W_dec": torch.randn(LATENTS, HIDDEN), "b_dec": torch.randn(HIDDEN)}
        save_file(held | decoder, folder / place / "sae.safetensors")
    save_file({"directions": torch.randn(DIRECTIONS, HIDDEN)}, folder / "directions.safetensors")
    return folder


def section(form: str, folder) -> Features:
    """The config's `features` of a form."""
    places = {"autoencoder": f"layers.{LAYER}", "transcoder": f"layers.{LAYER}.mlp"}
    said = {"kind": form.partition(" ")[0]}
    if form != "mlp_neurons":
        said["count"] = FORMS[form]
    if form not in ("mlp_neurons", "attention_heads", "planted"):
        said["path"] = str(folder / places.get(form, "directions.safetensors"))
    if form == "autoencoder":
        said["hook"] = "residual_out"
    return restored(Features, said)


def computed(form: str, folder) -> list[np.ndarray]:
    """Every sequence's features by their formula, in numpy, from what transformers' own modules read and write:
    (evidence tokens, features). Planted ones by their source, each sequence for itself."""
    planted = PlantedSource(LAYERS, FORMS["planted"], strings_of(str(folder / "model")))
    model, seen = AutoModel.from_pretrained(folder / "model").eval(), {}
    block = model.layers[LAYER]
    for name, module in (("down", block.mlp.down_proj), ("mlp", block.mlp.up_proj), ("heads", block.self_attn.o_proj)):
        module.register_forward_pre_hook(lambda m, args, name=name: seen.update({name: args[0][0].double().numpy()}))
    directions = load_file(folder / "directions.safetensors")["directions"]
    write_ID = block.self_attn.o_proj.weight.detach().double().numpy().T
    found = []
    for row in pq.read_table(folder / "corpus.parquet").to_pylist():
        with torch.inference_mode():
            states = model(torch.tensor([row["input_ids"]]), output_hidden_states=True).hidden_states
        residual = states[LAYER + 1][0].double().numpy()
        if form == "planted":
            acts = planted.acts(LAYER, row["input_ids"])
        elif form == "mlp_neurons":
            acts = seen["down"]
        elif form == "directions":
            acts = residual @ directions.T
        elif form.startswith("attention_heads"):
            z, write = np.split(seen["heads"], HEADS, axis=1), np.split(write_ID, HEADS)
            wrote = [one @ by for one, by in zip(z, write)]
            acts = np.stack([np.linalg.norm(one, axis=1) for one in wrote], 1) if form == "attention_heads" else (
                np.concatenate([one @ directions.T for one in wrote], 1))  # fmt: skip
        else:
            acts = latents(form, folder, residual if form == "autoencoder" else seen["mlp"])
        found.append(acts[row["prefix_len"] :])
    return found


def latents(form: str, folder, read: np.ndarray) -> np.ndarray:
    """Of what is above 0, the K largest of each token."""
    held = load_file(f"{section(form, folder).path}/sae.safetensors")
    centred = read - held["b_dec"] if form == "autoencoder" else read
    acts = np.maximum(centred @ held["encoder.weight"].T.astype(float) + held["encoder.bias"], 0)
    return np.where(acts >= np.sort(acts, axis=1)[:, -K, None], acts, 0)


@pytest.mark.parametrize("form", FORMS)
def test_exemplars_are_the_text_s_and_the_model_s(form, folder, tmp_path):
    features, corpus = section(form, folder), {"train": str(folder / "corpus.parquet")}
    files = {LAYER: str(tmp_path / "converted")} if getattr(features, "path", None) else {}
    if files:
        assert isinstance(features, FeaturesOfFiles)
        convert_dictionary(features.path, LAYER, features, ["model"], files[LAYER])
    subject = Subject(str(folder / "model"), LAYERS, NEURONS, None, "float32", features=features, dictionaries=files)
    everything, state = list(range(FORMS[form])), str(tmp_path / "state")
    harvest(subject, corpus["train"], Shard("train", 0, 1, 8, 0), {LAYER: everything}, KEEP, 1, state)
    tables = str(tmp_path / "exemplars.parquet"), str(tmp_path / "statistics.parquet")
    merge({"train": [state]}, corpus, LAYER, everything, slice(0, len(everything)), 0, *tables)

    rows = {row["seq_id"]: row for row in pq.read_table(corpus["train"]).to_pylist()}
    expected = computed(form, folder)
    store = ExemplarStore([tables[0]], corpus)
    kinds, signs, firings = set(), set(), 0
    for layer, feature, sign in store.places():
        side = 1 if sign == "positive" else -1
        group = store.of(layer, feature, sign)
        for one in group:
            row, acts = rows[one.seq_id], expected[one.seq_id][:, feature]
            assert list(one.text.evidence) == row["input_ids"][row["prefix_len"] :]
            np.testing.assert_allclose(one.activations, acts, rtol=1e-4, atol=1e-5)
            assert one.peak == side * max(side * one.activations)
            kinds.add(one.kind)
        peaks = [side * one.peak for one in sorted(group, key=lambda e: e.rank) if one.kind == "top"]
        assert peaks == sorted(peaks, reverse=True)
        of_all = sorted((max(side * acts[:, feature]) for acts in expected), reverse=True)[: KEEP.top]
        kept = [peak for peak in of_all if peak > 0] if features.one_sided else of_all
        np.testing.assert_allclose(peaks, kept, rtol=1e-4, atol=1e-5)
        signs.add(sign)
        firings += len(peaks)
    assert kinds == {"top", "middle", "random"} and firings
    assert signs == ({"positive"} if features.one_sided else {"positive", "negative"})


def test_no_kind_is_left_out():
    assert {form.partition(" ")[0] for form in FORMS} == set(SOURCES)
