"""A student that imitates a teacher: tiny ones, on neurons that fire on a word."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from conftest import ROOT
from neuron_descriptions.common.storage import read_table
from neuron_descriptions.concepts.rules import learnt_rules
from neuron_descriptions.config.scores import Simulator
from neuron_descriptions.config.training import Distillation
from neuron_descriptions.corpus.reading import read_texts
from neuron_descriptions.models.adapters import adapter_sha256, merge_adapter
from neuron_descriptions.models.cutting import cut
from neuron_descriptions.models.loading import load_model
from neuron_descriptions.simulators.expectation import Row
from neuron_descriptions.simulators.opening import Job
from neuron_descriptions.simulators.simulating import OUTPUTS, FinetunedSimulator, Task
from neuron_descriptions.training import distilling, teaching
from neuron_descriptions.training.distilling import distil_simulator, targets
from neuron_descriptions.training.fine_tuning import Checkpoints, is_held_out
from neuron_descriptions.training.halves import Halves
from neuron_descriptions.training.likeness import kind_of
from neuron_descriptions.training.material import Taught
from neuron_descriptions.training.tables import LESSONS
from neuron_descriptions.training.teaching import read_lessons, teach
from word_neurons import tiny_base, word_neurons

RULES = str(ROOT / "config/training/rules.yaml")
TEACHER = {"kind": "finetuned", "model": "teacher", "dtype": "float32"}
SETTINGS = {
    "teacher": TEACHER, "base": "a base", "layers": 1, "rank": 4, "descriptions": 40, "sequences": 2,
    "candidates_share": 0.0, "steps": 60, "batch_size": 8, "learning_rate": 0.01, "bins_learning_rate": 0.02,
    "judged_neurons": 6, "judged_sequences": 3, "validation_neurons": 2, "validate_every": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory, tokenizer):
    """Its head is louder than one drawn at random, so that there is something to imitate."""
    folder = tiny_base(tmp_path_factory.mktemp("base"), tokenizer)
    model = load_model(folder, "float32", head=True, threads=1)
    with torch.no_grad():
        model.get_output_embeddings().weight[:OUTPUTS] *= 30
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory, tokenizer):
    return word_neurons(tmp_path_factory.mktemp("data"), tokenizer)


def ask(base, data, folder, **changed):
    settings = Distillation(**SETTINGS | changed)
    job = Job(settings.teacher, base, None, base, 1)
    output = str(folder / "lessons.parquet")
    teach(Taught(data[0], data[1], RULES), job, settings, 0, Checkpoints(str(folder / "checkpoints"), "this"), output)
    return output


@pytest.fixture(scope="module")
def lessons(base, data, tmp_path_factory):
    return ask(base, data, tmp_path_factory.mktemp("lessons"))


def distil(base, data, lessons, folder, **changed):
    distil_simulator(
        base,
        {"lessons": lessons, "subject": base, "exemplars": data[0], "rules": RULES, **data[1]},
        Distillation(**SETTINGS | changed),
        {"subject": "tiny", "teacher": "teacher", "base": "a base"},
        seed=0,
        threads=1,
        checkpoints=Checkpoints(str(folder / "checkpoints"), "this"),
        output=str(folder / "student"),
    )
    return folder / "student"


@pytest.fixture(scope="module")
def student(base, data, lessons, tmp_path_factory):
    return distil(base, data, lessons, tmp_path_factory.mktemp("student"))


def test_lessons_are_what_the_teacher_says_and_what_rules_are(base, data, lessons, tokenizer):
    model = load_model(base, "float32", head=True, threads=1)
    train = read_lessons(lessons, "train", data[1]["train"])
    of_rules = [lesson for lesson in train if lesson.place[0] is None]
    assert 0 < len(of_rules) < len(train)
    for lesson in of_rules:
        assert set(np.unique(lesson.shares)) == {0.0, 1.0} and (lesson.shares.sum(1) == 1).all()
    ways = {way for rule in learnt_rules(RULES) for way in rule.say}
    assert {lesson.description for lesson in of_rules} <= ways
    others = [lesson for lesson in train if lesson.place[0] is not None]
    assert not any(is_held_out(*lesson.place[:2]) for lesson in others)
    for lesson in (others[0], others[-1]):
        ids = tokenizer(f"## Neuron Description: {lesson.description}\n\n ## Input: ")["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([ids + lesson.text.input_ids])).logits[0, -len(lesson.text.evidence) :]
        by_hand = logits[:, :OUTPUTS].softmax(1).numpy()
        assert lesson.shares == pytest.approx(by_hand, abs=2e-3)
    judged = read_lessons(lessons, "valid", data[1]["valid"])
    assert judged and all(is_held_out(*lesson.place[:2]) for lesson in judged)


def test_teacher_that_was_killed_is_not_asked_again(base, data, lessons, tmp_path, monkeypatch):
    """In whatever portions it is asked."""
    monkeypatch.setattr(teaching, "AT_ONCE", 10)
    real, asked = teaching._answered, []

    def dying(some, *rest):
        asked.append(len(some))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(some, *rest)

    monkeypatch.setattr(teaching, "_answered", dying)
    with pytest.raises(KeyboardInterrupt):
        ask(base, data, tmp_path)
    assert not (tmp_path / "lessons.parquet").exists()
    again = ask(base, data, tmp_path)
    whole, found = read_table(lessons, LESSONS), read_table(again, LESSONS)
    assert found.drop_columns("shares").equals(whole.drop_columns("shares"))
    said = [table["shares"].combine_chunks().values.to_numpy() for table in (whole, found)]
    assert said[1] == pytest.approx(said[0], abs=2e-3)  # rounded to 16 bits, from other batches
    assert asked == [10, 10, 10, 10, 10, 4]  # of 44 descriptions, 20 were recorded
    assert not list((tmp_path / "checkpoints").iterdir())


def test_student_learns_to_say_what_its_teacher_says(base, data, student, tmp_path, tokenizer):
    curve = json.loads((student / "curve.json").read_text())
    assert [point["step"] for point in curve] == [20, 40, 60]
    assert curve[-1]["loss"] < curve[0]["loss"]
    digest = adapter_sha256(student)
    merge_adapter(base, str(student), digest, str(tmp_path / "merged"), layers=1)
    merged = load_model(str(tmp_path / "merged"), "float32", head=True, threads=1)
    assert merged.config.num_hidden_layers == 1 == len(merged.model.layers)
    assert not any("layers.1." in name for name in load_file(tmp_path / "merged/model.safetensors"))
    teacher = load_model(base, "float32", head=True, threads=1)
    text = read_texts(data[1]["valid"], {0})[0]
    said = [
        np.array(FinetunedSimulator(model, tokenizer, 4096).simulate([Task("words for war", text)])[0])
        for model in (teacher, merged)
    ]
    # Before it has learnt anything it says 5 everywhere.
    assert np.abs(said[1] - said[0]).mean() < 0.6 * np.abs(5 - said[0]).mean()
    assert np.corrcoef(said)[0, 1] > 0.5
    with pytest.raises(ValueError, match="first 1 layers of its base, not on 2: say so there, `layers: 1`"):
        merge_adapter(base, str(student), digest, str(tmp_path / "whole"))


def test_student_that_was_killed_goes_on_to_the_same_weights(base, data, lessons, student, tmp_path, monkeypatch):
    real = distilling.batch_of
    taken = []

    def dying(*args):
        taken.append(1)
        if len(taken) == 25:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(distilling, "batch_of", dying)
    with pytest.raises(KeyboardInterrupt):
        distil(base, data, lessons, tmp_path)
    again = distil(base, data, lessons, tmp_path)
    assert len(taken) == 25 + 40
    for name in ("adapter_model.safetensors", "bins.safetensors", "curve.json", "README.md"):
        assert (again / name).read_bytes() == (student / name).read_bytes()


def test_card_says_how_like_the_teacher_it_is_and_where_deaf(student, base):
    card = (student / "README.md").read_text()
    for part in (
        "`layers: 1`",
        "Spearman",
        "held-out",
        "both choose the same description",
        "| a word |",
        "it was not taught",
        "| rules of | told | mean | below 0.3 |",
        "| words and forms | ",
        "Least heard: ",
    ):
        assert part in card, part
    assert base not in card


def test_frozen_layers_are_computed_once_to_the_same_student(base, data, lessons, tmp_path, monkeypatch):
    """Beside one whose layers are all computed in every step."""
    computed = []
    real = Halves.frozen
    monkeypatch.setattr(Halves, "frozen", lambda self, ids: computed.append(ids) or real(self, ids))
    changed = {"layers": 2, "adapted_blocks": 1, "steps": 12, "validate_every": 6}
    halves = distil(base, data, lessons, tmp_path / "halves", **changed)
    count = len(read_lessons(lessons, "train", data[1]["train"]))
    assert len(computed) == 1 + min(count, 12 * SETTINGS["batch_size"])  # the first one is tried
    monkeypatch.setattr(Halves, "agree", lambda self, ids: False)
    whole = distil(base, data, lessons, tmp_path / "whole", **changed)
    weights = [load_file(folder / "adapter_model.safetensors") for folder in (halves, whole)]
    assert weights[0].keys() == weights[1].keys() and all(".layers.1." in name for name in weights[0])
    curves = [json.loads((folder / "curve.json").read_text()) for folder in (halves, whole)]
    assert curves[0][-1]["loss"] == pytest.approx(curves[1][-1]["loss"], abs=0.01)
    assert curves[0][-1]["loss"] < curves[0][0]["loss"] or curves[0][-1]["loss"] < 0.1


def test_each_lesson_is_learnt_once_before_one_is_learnt_again(data, lessons):
    train = read_lessons(lessons, "train", data[1]["train"])
    learning = distilling.Learning(train, None, None, Distillation(**SETTINGS | {"batch_size": 7}), 0)
    steps = -(-len(train) // 7)
    drawn = [id(lesson) for step in range(steps) for lesson in learning.batch(step)][: len(train)]
    assert len(set(drawn)) == len(train)


def test_token_of_another_tokenizer_learns_the_strongest_of_the_subjects():
    """Three evidence tokens, of which the student's first shares bytes with two and its third with none."""
    shares = np.eye(OUTPUTS, dtype=np.float32)[[2, 7, 1]]
    row = Row((), [5, 6, 7], [0, 1, 2], [[0], [0], [1]])
    assert targets(row, shares).argmax(1).tolist() == [7, 1, 0]


def test_simulators_with_their_own_tokens_give_shares_of_the_subjects(base, tokenizer, data):
    text = read_texts(data[1]["valid"], {0})[0]
    model = load_model(base, "float32", head=True, threads=1)
    simulator = FinetunedSimulator(model, tokenizer, 4096)
    shares = simulator.distributions([Task("words for war", text)])[0]
    said = simulator.simulate([Task("words for war", text)])[0]
    assert (shares @ torch.arange(11.0)).tolist() == pytest.approx(said, abs=1e-5)


def test_model_that_cannot_be_cut_so_is_refused(base, tmp_path):
    model = load_model(base, "float32", head=True, threads=1)
    with pytest.raises(ValueError, match="3 are wanted, and the base has 2"):
        cut(model, 3)
    small = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=8, n_layer=3, n_head=2, n_positions=16))
    cut(small, 2).save_pretrained(tmp_path)
    assert load_model(str(tmp_path), "float32", head=True, threads=1).config.n_layer == 2
    small.twice = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(2))
    with pytest.raises(ValueError, match="has 2 lists of 2 layers, not one, so it cannot be cut"):
        cut(small, 1)


def test_teacher_that_is_asked_in_words_is_refused():
    client = {"client": "transformers", "model": "m"}
    with pytest.raises(ValueError, match="`asked` is no teacher"):
        Distillation(teacher=Simulator(kind="asked", model="m", client=client), base="m")


def test_kinds_of_tokens():
    tokens = ["The", " un", "usual", " 19", ",", "\n", " war"]
    kinds = [kind_of(tokens, i) for i in range(7)]
    assert kinds == [
        "a function word", "a word", "a piece of a word", "a number", "punctuation or a symbol", "whitespace", "a word",
    ]  # fmt: skip
