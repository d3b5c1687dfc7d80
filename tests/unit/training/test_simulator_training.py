"""A simulator trained on exemplars: a tiny one, on neurons that fire on a word."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import ROOT
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.concepts.rules_of_text import FORMS
from neuron_descriptions.config.training import Ranked, Training
from neuron_descriptions.corpus.reading import read_texts
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.models.adapters import BINS, CONFIG, WEIGHTS, adapter_sha256, merge_adapter
from neuron_descriptions.models.loading import load_model, token_strings
from neuron_descriptions.simulators.simulating import FinetunedFormat, FinetunedSimulator, Task
from neuron_descriptions.training import simulator as simulator_training
from neuron_descriptions.training.fine_tuning import Checkpoints
from neuron_descriptions.training.material import Examples, Taught, read_material, strengths_of
from neuron_descriptions.training.simulator import rank, train_simulator
from word_neurons import NEURONS, SEQUENCES, WORDS, tiny_base, word_neurons

SETTINGS = {
    "base": "a base", "method": "lora", "rank": 4, "steps": 6, "batch_size": 4, "learning_rate": 0.01,
    "bins_learning_rate": 0.05,
    "rules_share": 0.3, "candidates_share": 0.0, "wrong_share": 0.0, "batch_tokens": 4096, "device_map": None,
    "second": None, "validation_neurons": 4, "validate_every": 3,
}  # fmt: skip
SHARES = Training(base="a base", rules_share=0.0, candidates_share=0.0, wrong_share=0.0)
SECOND = {
    "neurons": 20, "candidates": 3, "sequences": 4, "steps": 4, "batch_size": 4, "learning_rate": 0.005,
    "bins_learning_rate": 0.02,
}  # fmt: skip
ABOUT = {"subject": "tiny", "base": "a base", "texts": ["words"], "layers": [0]}


@pytest.fixture(scope="module")
def base(tmp_path_factory, tokenizer):
    return tiny_base(tmp_path_factory.mktemp("base"), tokenizer)


@pytest.fixture(scope="module")
def data(tmp_path_factory, tokenizer):
    return word_neurons(tmp_path_factory.mktemp("data"), tokenizer)


def train(base, data, folder, descriptions=(), code="this", **changed):
    train_simulator(
        folder=base,
        lessons=Taught(data[0], data[1], str(ROOT / "config/training/rules.yaml"), list(descriptions)),
        settings=Training(**SETTINGS | changed), about=ABOUT, seed=0, threads=1,
        checkpoints=Checkpoints(str(folder / "checkpoints"), code),
        output=str(folder / "simulator"),
    )  # fmt: skip
    return folder / "simulator"


def described(folder, texts):
    """Table of one candidate each; texts: (neuron, sign) -> description."""
    empty = dict.fromkeys(DESCRIPTIONS.names)
    rows = [
        empty | {"layer": 0, "neuron": neuron, "sign": sign, "candidate": 0, "description": text, "status": "ok"}
        for (neuron, sign), text in texts.items()
    ]
    write_table(pa.Table.from_pylist(rows, schema=DESCRIPTIONS), folder / "descriptions.parquet")
    return str(folder / "descriptions.parquet")


@pytest.fixture(scope="module")
def trained(base, data, tmp_path_factory):
    return train(base, data, tmp_path_factory.mktemp("trained"))


def weights(folder):
    return {
        name: (folder / name).read_bytes() for name in ("adapter_model.safetensors", "bins.safetensors", "curve.json")
    }


def test_examples_are_a_function_of_their_number(data, tokenizer):
    material = read_material(data[0], data[1]["train"], "train", tokenizer, False)
    shares = SHARES.model_copy(update={"rules_share": 0.4})
    first, again = (Examples(material, list(FORMS), shares, 0) for _ in range(2))
    drawn = [first[i] for i in range(200)]
    for i in (150, 3, 77):
        assert again[i].description == drawn[i].description
        assert np.array_equal(again[i].strengths, drawn[i].strengths)
    assert [Examples(material, list(FORMS), SHARES, 1)[i].description for i in range(20)] != [
        e.description for e in drawn[:20]
    ]
    ways = {way for rule in FORMS for way in rule.say}
    assert 0.25 < np.mean([e.description in ways for e in drawn]) < 0.55
    assert all(len(e.strengths) == len(e.text.evidence) for e in drawn)


def test_what_a_neuron_is_said_to_do_is_what_it_does(data, tokenizer):
    material = read_material(data[0], data[1]["train"], "train", tokenizer, False)
    examples = Examples(material, list(FORMS), SHARES, 0)
    right = []
    for i in range(100):
        example = examples[i]
        strong = {
            t.strip() for t, s in zip(token_strings(tokenizer, example.text.evidence), example.strengths) if s == 10
        }
        assert set(example.strengths) <= {0, 10}
        right.append(not strong or any(word in example.description for word in strong))
    assert all(right)


def test_wrong_descriptions_are_of_nothing_that_the_sequence_has(data, tokenizer):
    material = read_material(data[0], data[1]["train"], "train", tokenizer, False)
    examples = Examples(material, list(FORMS), SHARES.model_copy(update={"wrong_share": 1.0}), 0)
    wrong = 0
    for i in range(200):
        example = examples[i]
        words = {t.strip() for t in token_strings(tokenizer, example.text.evidence)}
        named = {word for word in WORDS if f'"{word}"' in example.description}
        if not example.strengths.any() and named:
            wrong += not named & words
    assert wrong > 20


def test_candidates_of_the_run_are_learnt_in_their_share(data, tokenizer, tmp_path):
    said = described(
        tmp_path, {(neuron, sign): f"said of {neuron} {sign}" for neuron in range(NEURONS) for sign in SIGNS}
    )
    material = read_material(data[0], data[1]["train"], "train", tokenizer, False, [said])
    examples = Examples(material, list(FORMS), SHARES.model_copy(update={"candidates_share": 0.5}), 0)
    drawn = [examples[i].description for i in range(300)]
    assert 0.4 < np.mean([d.startswith("said of") for d in drawn]) < 0.6
    held_out = {f"said of {f.neuron} {f.sign}" for f in material.features if f.held_out}
    assert held_out.isdisjoint(drawn)


def test_held_out_neurons_and_documents_are_never_learnt_from(data, tokenizer):
    material = read_material(data[0], data[1]["train"], "train", tokenizer, False)
    examples = Examples(material, list(FORMS), SHARES, 0)
    held_out = {f.neuron for f in material.features if f.held_out}
    assert held_out and held_out.isdisjoint(f.neuron for f in examples.features)
    train_texts = {tuple(t.input_ids) for t in read_texts(data[1]["train"], set(range(SEQUENCES))).values()}
    assert all(tuple(examples[i].text.input_ids) in train_texts for i in range(50))


def test_strengths_are_tenths_of_the_largest():
    assert strengths_of(np.array([-1.0, 0.0, 0.26, 2.0, 5.0, 9.0]), 5.0).tolist() == [0, 0, 1, 4, 10, 10]


class Killed(BaseException):
    pass


def killed_at(step, monkeypatch):
    """Training that dies at a step, once; the steps that it takes."""
    taken = []
    real = simulator_training.logits_of

    def dying(model, *batch):
        if model.training:
            taken.append(1)
            if len(taken) == step:
                raise Killed
        return real(model, *batch)

    monkeypatch.setattr(simulator_training, "logits_of", dying)
    return taken


def test_training_that_was_killed_goes_on_to_the_same_weights(base, data, trained, tmp_path, monkeypatch):
    taken = killed_at(5, monkeypatch)
    with pytest.raises(Killed):
        train(base, data, tmp_path)
    assert not (tmp_path / "simulator").exists()
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    assert weights(train(base, data, tmp_path)) == weights(trained)
    assert len(taken) == 5 + 3  # after the checkpoint at the third step
    assert not list((tmp_path / "checkpoints").iterdir())


def test_second_stage_that_was_killed_ranks_nothing_again(base, data, tmp_path, monkeypatch):
    said = described(tmp_path, {(neuron, "positive"): WORDS[neuron % 10] for neuron in range(NEURONS)})
    once = train(base, data, tmp_path / "once", [said], second=SECOND, candidates_share=0.5)
    curve = json.loads((once / "curve.json").read_text())
    assert [point["step"] for point in curve] == [3, 6, 9, 10]
    taken = killed_at(6 + 4, monkeypatch)
    with pytest.raises(Killed):
        train(base, data, tmp_path / "twice", [said], second=SECOND, candidates_share=0.5)
    monkeypatch.setattr(simulator_training, "rank", None)
    again = train(base, data, tmp_path / "twice", [said], second=SECOND, candidates_share=0.5)
    assert weights(again) == weights(once)
    assert len(taken) == 6 + 4 + 1
    assert "second" in (again / "README.md").read_text()


def test_best_description_is_the_one_predicted_best_from(base, data, trained, tmp_path, tokenizer):
    """By a simulator that hears: a table of words instead of a model."""
    material = read_material(data[0], data[1]["train"], "train", tokenizer, False)
    features = [f for f in material.features if f.sign == "positive"][:6]
    for feature in features:
        feature.candidates = ["nothing at all", WORDS[feature.neuron % 10], "no words"]

    class Hears:
        device = "cpu"

        def eval(self):
            return self

        train = eval

    def logits(_model, ids_BS, rows_E, places_E):
        logits_EN = torch.zeros(len(rows_E), 11)
        for at, (row, place) in enumerate(zip(rows_E, places_E)):
            said = tokenizer.decode(ids_BS[row]).partition("## Input")[0]
            token = tokenizer.decode(ids_BS[row, place]).strip()
            logits_EN[at, 10 if token in WORDS and f" {token}\n" in said else 0] = 9.0
        return logits_EN

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulator_training, "logits_of", logits)
        best = rank(Hears(), FinetunedFormat(tokenizer), features, Ranked(**SECOND), 0)
    assert best == {f.place: WORDS[f.neuron % 10] for f in features}


def test_step_in_several_passes_has_the_same_gradients(base, data, tmp_path, tokenizer):
    found = {}
    for tokens in (4096, 150):
        folder = train(base, data, tmp_path / str(tokens), batch_tokens=tokens)
        found[tokens] = json.loads((folder / "curve.json").read_text())
    for one, several in zip(found[4096], found[150]):
        assert several == pytest.approx(one, abs=0.02)


def test_base_that_accelerate_places_learns_the_same(base, data, trained, tmp_path):
    assert weights(train(base, data, tmp_path, device_map="auto")) == weights(trained)


def test_base_that_fits_into_no_device_is_refused(base, data, tmp_path, monkeypatch):
    monkeypatch.setattr("neuron_descriptions.models.loading._room", lambda reserve: {"cpu": 20_000})
    with pytest.raises(ValueError, match=r"does not fit into this job's devices.*ask for more GPUs"):
        train(base, data, tmp_path, device_map="auto")


@pytest.mark.parametrize("what", ["code", "exemplars", "steps"])
def test_checkpoint_of_other_inputs_is_not_gone_on_from(base, data, tmp_path, monkeypatch, what):
    killed_at(5, monkeypatch)
    with pytest.raises(Killed):
        train(base, data, tmp_path)
    (kept,) = (tmp_path / "checkpoints").iterdir()
    changed = {"code": {"code": "other"}, "steps": {"steps": 5}}.get(what, {})
    if what == "exemplars":
        table = pq.read_table(data[0][0])
        other = str(tmp_path / "chunk-0.parquet")
        write_table(table.slice(0, len(table) - 1), other)
        data = [other], data[1]
    taken = killed_at(99, monkeypatch)
    train(base, data, tmp_path, **changed)
    assert len(taken) == changed.get("steps", 6)
    assert list((tmp_path / "checkpoints").iterdir()) == [kept]


def test_base_with_another_tokenizer_is_refused(base, data, tmp_path):
    other = tmp_path / "base"
    shutil.copytree(base, other)
    parts = json.loads((other / "tokenizer.json").read_text())
    parts["model"]["merges"].pop()
    (other / "tokenizer.json").write_text(json.dumps(parts))
    with pytest.raises(ValueError, match=r"training\.base: its tokenizer is not the subject's"):
        train(str(other), data, tmp_path)


def test_adapter_merged_predicts_what_was_trained(base, data, trained, tmp_path, tokenizer):
    """The merged model read by the simulator, beside the adapter applied by hand."""
    digest = adapter_sha256(trained)
    merge_adapter(base, str(trained), digest, str(tmp_path / "merged"))
    merged = load_model(str(tmp_path / "merged"), "float32", head=True, threads=1)
    text = read_texts(data[1]["valid"], {0})[0]
    found = FinetunedSimulator(merged, tokenizer, 4096).simulate([Task("words for war", text)])[0]
    by_hand = load_model(base, "float32", head=True, threads=1)
    parts = {name: value.float() for name, value in load_file(trained / "adapter_model.safetensors").items()}
    changed = 0
    for name, module in by_hand.named_modules():
        a, b = (parts.get(f"base_model.model.{name}.lora_{side}.weight") for side in "AB")
        if a is not None:
            module.weight.data += 2 * b @ a
            changed += bool(b.abs().max() > 0)
    assert changed == 14
    ids = tokenizer("## Neuron Description: words for war\n\n ## Input: ")["input_ids"] + text.input_ids
    with torch.inference_mode():
        hidden_SH = by_hand.model(torch.tensor([ids])).last_hidden_state[0, -len(text.evidence) :]
    shares = (hidden_SH @ load_file(trained / "bins.safetensors")["weight"].T).softmax(-1)
    assert found == pytest.approx((shares @ torch.arange(11.0)).tolist(), abs=0.02)  # merged in bfloat16
    assert np.ptp(found) > 0.05


def test_other_adapter_than_the_configs_is_refused(base, trained, tmp_path):
    with pytest.raises(ValueError, match=r"bins\.safetensors\): sha256 is [0-9a-f]{64}, the config says 00"):
        merge_adapter(base, str(trained), "0" * 64, str(tmp_path / "merged"))
    digest = adapter_sha256(trained)
    shutil.copytree(trained, tmp_path / "other")
    content = bytearray((tmp_path / "other" / BINS).read_bytes())
    content[-1] ^= 1
    (tmp_path / "other" / BINS).write_bytes(content)
    with pytest.raises(ValueError, match=r"bins\.safetensors\): sha256 is"):
        merge_adapter(base, str(tmp_path / "other"), digest, str(tmp_path / "merged"))
    assert not (tmp_path / "merged").exists()


def test_configuration_is_part_of_an_adapters_checksum(base, trained, tmp_path):
    """lora_alpha times 1000 would be another model, of the same weights."""
    digest, other = adapter_sha256(trained), Path(shutil.copytree(trained, tmp_path / "other"))
    config = json.loads((other / CONFIG).read_text())
    (other / CONFIG).write_text(json.dumps(config | {"lora_alpha": 1000 * config["lora_alpha"]}))
    with pytest.raises(ValueError, match=r"adapter_config\.json and adapter_model\.safetensors and bins.*: sha256 is"):
        merge_adapter(base, str(other), digest, str(tmp_path / "merged"))


@pytest.mark.parametrize("missing", [CONFIG, WEIGHTS])
def test_folder_that_is_no_adapter_is_never_looked_up(base, trained, tmp_path, missing):
    other = Path(shutil.copytree(trained, tmp_path / "other"))
    (other / missing).unlink()
    with pytest.raises(ValueError, match=f"other holds no adapter: there is no {missing} in it"):
        merge_adapter(base, str(other), "0" * 64, str(tmp_path / "merged"))


def without_one(tensors):
    tensors.pop(min(tensors))


def with_one_more(tensors):
    tensors["base_model.model.other.lora_A.weight"] = torch.ones(4, 32)


def renamed(tensors):
    for name in list(tensors):
        tensors[name.replace("layers", "blocks")] = tensors.pop(name)


def cut(tensors):
    name = min(tensors)
    tensors[name] = tensors[name][:, :-1].contiguous()


def spoilt(tensors):
    tensors[min(tensors)][0, 0] = torch.nan


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (WEIGHTS, without_one, "does not fit .* 1 tensors are in one and not in the other, such as"),
        (WEIGHTS, with_one_more, "does not fit .* 1 tensors .* such as base_model.model.other.lora_A.weight"),
        (WEIGHTS, renamed, "does not fit .* 56 tensors"),
        (WEIGHTS, cut, "does not fit"),
        (WEIGHTS, spoilt, "has values that are not finite"),
        (BINS, spoilt, "has values that are not finite"),
        (BINS, lambda tensors: tensors.update(weight=torch.ones(5, 32)), r"\(11, 32\), 11 outputs of .*has \(5, 32\)"),
        (BINS, lambda tensors: tensors.update(weight=torch.ones(12, 32)), r"has \(12, 32\)"),
        (BINS, lambda tensors: tensors.update(weight=torch.ones(11, 31)), r"has \(11, 31\)"),
        (BINS, lambda tensors: tensors.update(other=tensors.pop("weight")), "has None"),
    ],
)
def test_weights_that_do_not_fit_are_refused(base, trained, tmp_path, file, change, said):
    other = Path(shutil.copytree(trained, tmp_path / "other"))
    tensors = load_file(other / file)
    change(tensors)
    save_file(tensors, other / file)
    with pytest.raises(ValueError, match=f"(?s){said}"):
        merge_adapter(base, str(other), adapter_sha256(other), str(tmp_path / "merged"))
    assert not (tmp_path / "merged").exists()


def test_all_weights_can_be_trained(base, data, tmp_path, tokenizer):
    folder = train(base, data, tmp_path, method="full", learning_rate=0.003, steps=40, validate_every=20)
    curve = json.loads((folder / "curve.json").read_text())
    assert [point["step"] for point in curve] == [20, 40]
    assert curve[1]["loss"] < curve[0]["loss"] < 2.5  # log 11 is 2.4
    model = load_model(str(folder), "float32", head=True, threads=1)
    assert model.get_output_embeddings().weight.shape == (len(tokenizer), 32)
    text = read_texts(data[1]["valid"], {0})[0]
    assert len(FinetunedSimulator(model, tokenizer, 4096).simulate([Task("war", text)])[0]) == len(text.evidence)


def test_card_says_what_it_is_and_no_path(trained, base):
    card = (trained / "README.md").read_text()
    for part in (
        "neurons of tiny",
        "base: a base",
        "steps: 6",
        "rank: 4",
        "seed: 0",
        "held-out neurons",
        "texts: ['words']",
    ):
        assert part in card
    assert base not in card and base not in (trained / "adapter_config.json").read_text()
