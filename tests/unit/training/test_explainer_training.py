"""An explainer trained on its best candidates: a tiny one, on neurons that fire on a word."""

import pyarrow as pa
import pytest
import torch

from conftest import ROOT
from neuron_descriptions.clients.base import Request
from neuron_descriptions.clients.transformers import TransformersClient
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.common.vocabulary import SIGNS
from neuron_descriptions.config.descriptions import Descriptions, FewShot
from neuron_descriptions.config.training import ExplainerTraining
from neuron_descriptions.descriptions.answers import parse_answer
from neuron_descriptions.descriptions.evidence import EvidenceFiles, Prompting, prepare
from neuron_descriptions.descriptions.prompts import read_explainer_template
from neuron_descriptions.descriptions.tables import DESCRIPTIONS
from neuron_descriptions.harvest.tables import STATISTICS
from neuron_descriptions.models.adapters import adapter_sha256, merge_adapter
from neuron_descriptions.models.loading import load_model
from neuron_descriptions.scores.tables import SCORES
from neuron_descriptions.training.explainer import (
    answer_loss,
    continuation,
    read_lessons,
    train_explainer,
    winners,
    written,
)
from neuron_descriptions.training.fine_tuning import Checkpoints, is_held_out
from neuron_descriptions.training.rounds import gain
from word_neurons import NEURONS, tiny_base, word_neurons

PROMPT = str(ROOT / "config/prompts/words.yaml")
DESCRIBING = Descriptions(
    explainer={"client": "transformers", "model": "me"}, few_shot=FewShot(place="none"), pool=8,
    evidence_min=2, evidence_max=3, candidates=2, token_candidates=1, temperature=0.5, max_tokens=8, attempts=1,
)  # fmt: skip
SETTINGS = {
    "least_score": 0.2, "rank": 8, "steps": 40, "batch_size": 4, "batch_tokens": 4096, "device_map": None,
    "learning_rate": 0.01, "validate_every": 10,
}  # fmt: skip
ABOUT = {"subject": "tiny", "base": "a base", "simulator": "small", "prompt": "words.yaml", "layers": [0]}
WINNER = "words like peace and war"


def a_table(folder, name, schema, rows):
    empty = dict.fromkeys(schema.names)
    write_table(pa.Table.from_pylist([empty | row for row in rows], schema=schema), folder / name)
    return str(folder / name)


def judged(folder, candidates, layer=0):
    """(descriptions, scores). candidates: (neuron, sign) -> [(description, explainer, correlation on valid)]."""
    said, scored = [], []
    for (neuron, sign), several in candidates.items():
        for number, (description, explainer, correlation) in enumerate(several):
            place = {"layer": layer, "neuron": neuron, "sign": sign, "candidate": number, "description": description}
            said.append(place | {"explainer": explainer, "status": "ok" if description else "unparsed"})
            for split, value in (("valid", correlation), ("test", 0.99 - number)):
                scored.append(place | {"kind": "candidate", "split": split, "correlation": value, "chosen": False})
    tables = a_table(folder, "said.parquet", DESCRIPTIONS, said), a_table(folder, "scored.parquet", SCORES, scored)
    return [tables[0]], [tables[1]]


def test_best_candidates_of_the_explainer_itself_are_learnt(tmp_path):
    tables = judged(
        tmp_path,
        {
            (1, "positive"): [("a", "me", 0.3), ("b", "me", 0.5), ("c", "tokens", 0.9)],
            (1, "negative"): [("d", "me", 0.1), ("e", "me", 0.19)],
            (2, "positive"): [(None, "me", 0.9), ("g", "me", None), ("h", "me", 0.2)],
            (3, "positive"): [("first", "me", 0.4), ("second", "me", 0.4)],
        },
    )
    assert winners(*tables, "me", 0.2) == {
        (0, 1, "positive"): "b", (0, 2, "positive"): "h", (0, 3, "positive"): "first",
    }  # fmt: skip


@pytest.mark.parametrize("begun", ["[DESCRIPTION]: words like", "[DESCRIPTION]: words like ", "[DESCRIPTION]:", ""])
def test_what_is_learnt_reads_as_the_description(begun):
    rest = continuation(begun, WINNER)
    assert parse_answer(begun, rest, True) == (WINNER, "ok")
    assert "  " not in begun + rest


def test_description_that_begins_otherwise_is_not_learnt():
    assert continuation("[DESCRIPTION]: words like", "names of months") is None


@pytest.fixture(scope="module")
def base(tmp_path_factory, tokenizer):
    return tiny_base(tmp_path_factory.mktemp("base"), tokenizer)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, tokenizer, base):
    folder = tmp_path_factory.mktemp("data")
    exemplars, corpus = word_neurons(folder, tokenizer)
    statistics = a_table(
        folder / "layer-0", "statistics-chunk-0.parquet", STATISTICS,
        [{"split": "train", "layer": 0, "neuron": n, "tokens": 999, "upper_1e-4": 2.0, "lower_1e-4": -2.0}
         for n in range(NEURONS)],
    )  # fmt: skip
    worse, token = ("words like a", "me", 0.3), ('the word "of"', "tokens", 0.95)
    said, scored = judged(
        folder, {(n, sign): [worse, (WINNER, "me", 0.6), token] for n in range(NEURONS) for sign in SIGNS}
    )
    return {
        "base": base, "subject": base, "corpus": corpus["train"], "prompt": PROMPT, "exemplars": exemplars,
        "statistics": [statistics], "descriptions": said, "scores": scored,
    }  # fmt: skip


def test_all_prompts_of_a_neuron_are_answered_by_its_best_candidate(inputs, tokenizer):
    template = read_explainer_template(PROMPT, DESCRIBING.few_shot, begins=True)
    lessons = read_lessons({(0, 3, "negative"): WINNER}, inputs, template, DESCRIBING, tokenizer, 0)
    assert [lesson.place for lesson in lessons] == [(0, 3, "negative")]
    (lesson,) = lessons
    assert tokenizer.decode(lesson.answer) == " peace and war" + tokenizer.eos_token
    assert len(lesson.prompts) == 2 and lesson.prompts[0] != lesson.prompts[1]  # not of the one that names tokens
    text = tokenizer.decode(lesson.prompts[0])
    assert "{{" in text and text.endswith("assistant\n[DESCRIPTION]: words like")


def test_loss_of_a_padded_batch_is_that_of_each_alone(base):
    """Beside a plain forward, without padding, mask or positions."""
    model = load_model(base, "float32", head=True, threads=1)
    random = torch.Generator().manual_seed(0)
    examples = [
        tuple(torch.randint(1000, (length,), generator=random).tolist() for length in lengths)
        for lengths in ((30, 4), (7, 1), (12, 9))
    ]
    expected = 0.0
    with torch.inference_mode():
        for prompt, answer in examples:
            shares = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
            expected -= sum(float(shares[len(prompt) + i - 1, token]) for i, token in enumerate(answer))
        assert float(answer_loss(model, examples)) == pytest.approx(expected, rel=2e-3)  # autocast: bfloat16


def train(inputs, folder, **changed):
    train_explainer(
        inputs=inputs, descriptions=DESCRIBING,
        settings=ExplainerTraining(base="a base", **SETTINGS | changed), about=ABOUT, seed=0, threads=1,
        checkpoints=Checkpoints(str(folder / "checkpoints"), "this"), output=str(folder / "explainer"),
    )  # fmt: skip
    return folder / "explainer"


def shown_of(inputs):
    return EvidenceFiles(inputs["corpus"], inputs["exemplars"], inputs["statistics"])


def test_trained_explainer_says_what_scored_best(inputs, tmp_path, tokenizer):
    folder = train(inputs, tmp_path)
    assert not list((tmp_path / "checkpoints").iterdir())
    assert "best candidates of" in (folder / "README.md").read_text()
    assert inputs["base"] not in (folder / "README.md").read_text() + (folder / "adapter_config.json").read_text()
    merged = tmp_path / "merged"
    merge_adapter(inputs["base"], str(folder), adapter_sha256(folder), str(merged))
    template = read_explainer_template(PROMPT, DESCRIBING.few_shot, begins=True)
    held_out = next(n for n in range(NEURONS) if is_held_out(0, n))
    candidate = prepare([held_out], 0, shown_of(inputs), Prompting(tokenizer, template), DESCRIBING, 0)[0]
    said = {}
    for name, path in (("before", inputs["base"]), ("after", str(merged))):
        client = TransformersClient(load_model(path, "bfloat16", True, 1), tokenizer, 0.0, 8, template.stop)
        client.answer([Request(candidate.prompt, 0, 0)], lambda found, name=name: said.update({name: found[0]}))
    assert said["after"].finished
    assert parse_answer(template.answer, said["after"].text, True) == (WINNER, "ok")
    assert said["before"].text != said["after"].text


READ = "the words peace and war in speeches"


def readings(*neurons):
    return [{"layer": 0, "neuron": n, "sign": sign, "description": READ} for n in neurons for sign in SIGNS]


def test_of_several_written_descriptions_the_first_is_learnt():
    rows = [*readings(3), {"layer": 0, "neuron": 3, "sign": "positive", "description": "another"}]
    assert written(rows) == {(0, 3, "positive"): READ, (0, 3, "negative"): READ}


def test_trained_explainer_says_what_a_reader_wrote(inputs, tmp_path, tokenizer):
    """Of a neuron that nobody described: without any candidate or score, by a prompt that leaves the answer free."""
    prompt = str(ROOT / "config/prompts/reading.yaml")
    held_out = [n for n in range(NEURONS) if is_held_out(0, n)]
    rows = readings(*(n for n in range(NEURONS) if n != held_out[0])) + readings(held_out[1])
    folder = train(inputs | {"prompt": prompt, "descriptions": [], "scores": [], "readings": rows}, tmp_path)
    card = (folder / "README.md").read_text()
    assert (
        "what a reader wrote" in card
        and f"learnt from: the written descriptions of {2 * (NEURONS - len(held_out))}" in card
    )
    merged = str(tmp_path / "merged")
    merge_adapter(inputs["base"], str(folder), adapter_sha256(folder), merged)
    template = read_explainer_template(prompt, DESCRIBING.few_shot, begins=True)
    candidate = prepare([held_out[0]], 0, shown_of(inputs), Prompting(tokenizer, template), DESCRIBING, 0)[0]
    client = TransformersClient(load_model(merged, "bfloat16", True, 1), tokenizer, 0.0, 12, template.stop)
    said = []
    client.answer([Request(candidate.prompt, 0, 0)], lambda found: said.append(found[0]))
    assert parse_answer(template.answer, said[0].text, True) == (READ, "ok")


def test_readings_that_cannot_be_learnt_are_said(inputs, tmp_path):
    """The prompt begins the answer with other words than they begin with."""
    with pytest.raises(
        ValueError, match=r"explainer_training\.readings: 0 neurons .* descriptions\.prompt whose answer"
    ):
        train(inputs | {"descriptions": [], "scores": [], "readings": readings(*range(NEURONS))}, tmp_path)


def test_other_candidates_teach_nothing(inputs, tmp_path):
    with pytest.raises(ValueError, match=r"explainer_training: 0 neurons .* choose more neurons, or a lower"):
        train(inputs, tmp_path, least_score=0.7)
    assert not (tmp_path / "explainer").exists()


def test_gain_is_of_the_same_neurons():
    before = {(1, n, "positive"): 0.1 * n for n in range(20)}
    after = {place: score + 0.05 for place, score in before.items()} | {(9, 9, "positive"): 1.0}
    assert gain(before, after) == pytest.approx((0.05, 0.05, 0.05))
    with pytest.raises(ValueError, match="no held-out neuron"):
        gain(before, {(9, 9, "positive"): 1.0})


def test_a_model_that_says_nothing_before_it_has_learnt_scores_nothing():
    after = {(1, n, "positive"): 0.2 for n in range(9)}
    assert gain({}, after, silent=True) == pytest.approx((0.2, 0.2, 0.2))
    assert gain(after, {}, silent=True) == pytest.approx((-0.2, -0.2, -0.2))
    mean, low, high = gain({(1, 0, "positive"): 0.5}, {(1, 1, "positive"): 0.1}, silent=True)
    assert low <= mean <= high and mean == pytest.approx(-0.2)
    with pytest.raises(ValueError, match="no held-out neuron"):
        gain({}, {}, silent=True)
