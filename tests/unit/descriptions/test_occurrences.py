"""What prompts show beside exemplars: tokens by contribution, close negatives, silent texts."""

from typing import get_args

import numpy as np
import pyarrow as pa
import pytest

from conftest import ROOT, changed, tiny_config
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.config.descriptions import FewShot, NeuronType
from neuron_descriptions.config.sections import load_config
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.descriptions.excerpts import Beside, Contribution, Excerpt, Window
from neuron_descriptions.descriptions.occurrences import OccurrenceReader, Occurrences, Read
from neuron_descriptions.descriptions.prompts import (
    ExplainerTemplate,
    read_explainer_template,
    read_templates_of_types,
)
from neuron_descriptions.harvest.tables import EXEMPLARS
from neuron_descriptions.panel.reading import Panel
from neuron_descriptions.panel.tables import TYPES
from planted_panels import write_panel

LAYER = 2

NO_EXAMPLES = FewShot(place="none")
FILES = ("token-list", "left-contexts", "passages", "close-negatives")


def read(text, acts, weight=1.0):
    return Read([f" {word}" for word in text.split()], np.array(acts, float), weight)


@pytest.fixture
def occurrences():
    """Peaks at `right` after `all`, in two top sequences; two others, each standing for ten, have more of `left`."""
    return Occurrences(
        [
            read("all right now right", [0, 10, 0, 0.5]),
            read("all right then", [0, 8, 0]),
            read("to the left side", [0, 0, 2, 0], 10),
            read("a right angle left", [0.2, 0.9, 0, 0], 10),
            read("nothing at all here", [0, 0, 0, -3], 10),
        ]
    )


def test_contributions_are_sums_over_what_sequences_stand_for(occurrences):
    found = occurrences.contributions()
    assert [(c.token, c.active, c.seen) for c in found] == [("left", 1, 2), ("right", 2, 4)]
    assert [c.share for c in found] == pytest.approx([100 * 20 / 38, 100 * 18 / 38])  # below a tenth of 10: silence


def test_what_never_fires_has_no_contributions():
    for sequences in ([], [read("a b", [0, -1])]):
        found = Occurrences(sequences)
        random = np.random.default_rng(0)
        assert (found.contributions(), found.silent(random, Window()), found.quiet(random)) == ((), (), ())


def test_tokens_that_cannot_be_said_are_counted_and_not_listed():
    found = Occurrences([read("\ufffd a", [30, 10])]).contributions()
    assert [(c.token, c.share) for c in found] == [("a", pytest.approx(25))]


def test_white_space_and_special_tokens_are_listed_in_brackets():
    sequence = Read(["\n\n", "  ", "<|im_end|>", " a"], np.array([4.0, 2, 3, 1]), 1.0)
    found = Occurrences([sequence]).contributions()
    assert [(c.token, c.share) for c in found] == [("[line]", 40), ("[im_end]", 30), ("[space]", 20), ("a", 10)]


def test_close_negatives_are_the_same_tokens_where_they_are_silent(occurrences):
    drawn = {
        tuple(e.text for e in occurrences.silent(np.random.default_rng(seed), Window(context=1))) for seed in range(20)
    }
    # Every sequence at most once; the token that carries most goes first.
    assert drawn == {(" angle {{left}}", " now {{right}}")}
    (left, right) = occurrences.silent(np.random.default_rng(0), Window(scale=10.0, decimals=1))
    assert dict(right.tokens)[" all"] == "0.0" and dict(left.tokens)[" right"] == "0.9"
    again = occurrences.silent(np.random.default_rng(3), Window())
    assert again == occurrences.silent(np.random.default_rng(3), Window())


def test_quiet_texts_are_silent_at_every_token(occurrences):
    found = {e.plain for seed in range(9) for e in occurrences.quiet(np.random.default_rng(seed))}
    assert found == {" nothing at all here", " a right angle left"}


def test_an_excerpt_tells_its_strongest_token_and_what_stands_before():
    shown = Window(context=2, scale=10.0).excerpt(
        [" a", " b", " c", " d"], np.array([1.0, 0, 9, 3]), np.array([False, False, True, False]), 1.0
    )
    assert (shown.before, shown.strongest, shown.plain) == (" a b", " c", " a b c d")
    written = Excerpt("at {{least}} forty")
    assert (written.before, written.strongest, written.plain) == ("at ", "least", "at least forty")


# --- read from tables --------------------------------------------------------------------------------


@pytest.fixture
def tables(tmp_path):
    """A neuron that fires at token 65 of a train corpus of ten sequences and of a panel; (corpus, exemplars, panel)."""
    corpus, exemplars = str(tmp_path / "train.parquet"), str(tmp_path / "exemplars.parquet")
    rows = [{"seq_id": i, "source": "s", "document": i, "input_ids": [0, 60 + i, 65, 66], "prefix_len": 1}
            for i in range(10)]  # fmt: skip
    schema = CORPUS.with_metadata({"tokens": "30", "longest": "3", "tokenizer": "t"})
    write_table(pa.Table.from_pylist(rows, schema=schema), corpus)
    kept = [
        {"split": split, "layer": LAYER, "neuron": 11, "sign": sign, "kind": kind, "rank": rank}
        | {"seq_id": i, "peak": 9.0, "activations": [0.0, 9.0 - i, -5.0 if i else -6.0]}
        for split, sign, kind, ids in (
            ("train", "positive", "top", [0, 1]), ("train", "positive", "random", [1, 5, 6]),
            ("train", "negative", "top", [0]), ("train", "negative", "random", [7]), ("valid", "positive", "top", [2]),
        )
        for rank, i in enumerate(ids)
    ]  # fmt: skip
    write_table(pa.Table.from_pylist(kept, schema=EXEMPLARS), exemplars)
    return corpus, exemplars


def test_the_sequences_read_stand_for_all_of_train(tables, tokenizer):
    reader = OccurrenceReader([11, 12], tables[0], [tables[1]], tokenizer)
    found = dict(reader.of(11))
    # Of ten sequences two are on top; the other eight are told from those drawn at random that are not, of either sign.
    assert [(s.weight, float(s.acts.max())) for s in found["positive"].sequences] == [
        (1.0, 9.0), (1.0, 8.0), (8 / 3, 4.0), (8 / 3, 3.0), (8 / 3, 2.0)
    ]  # fmt: skip
    assert found["negative"].peak == 6.0 and found["negative"].sequences[0].weight == 1.0
    assert {s.weight for s in found["negative"].sequences[1:]} == {9 / 4}
    assert all(not o.sequences for _, o in reader.of(12))


def test_a_panel_counts_as_sequences_drawn_at_random(tables, tokenizer, tmp_path):
    rows = [(1, [0, 65, 70, 71]), (1, [0, 66, 65])]
    acts = np.array([[0.0] * 5, [4.0, 0, 0, 0, 3.0]])
    corpus, file = write_panel(tmp_path, "panel", rows, acts)
    neurons = Panel(corpus, [file]).neurons(LAYER)
    panel = Panel(corpus, [file])
    reader = OccurrenceReader([11], tables[0], [tables[1]], tokenizer, (panel, LAYER))
    found = dict(reader.of(neurons[1]))["positive"]
    assert [len(s.strings) for s in found.sequences[-2:]] == [3, 2]
    assert found.sequences[-1].acts.tolist() == [0, 3]
    assert {s.weight for s in found.sequences[2:]} == {8 / 5}


# --- prompt files ------------------------------------------------------------------------------------


def test_types_of_the_configuration_are_those_of_the_table():
    assert get_args(NeuronType) == TYPES


def test_types_with_prompts_need_a_panel_and_an_explainer():
    raw = changed(tiny_config(), descriptions__prompts_by_type={"token": "config/prompts/token-list.yaml"})
    assert raw.get("panel") is None
    with pytest.raises(ValueError, match=r"descriptions\.prompts_by_type: types .* add `panel`"):
        load_config(raw)
    raw = changed(raw, panel={"tokens": 2000})
    load_config(raw)
    nobody = changed(raw, descriptions__candidates=0, descriptions__token_candidates=1)
    with pytest.raises(ValueError, match=r"prompts_by_type: no explainer is asked"):
        load_config(nobody)
    with pytest.raises(ValueError, match="words"):
        load_config(changed(raw, descriptions__prompts_by_type={"words": "a.yaml"}))


@pytest.mark.parametrize("name", FILES)
def test_prompt_files_show_what_they_say(name, occurrences):
    usual = read_explainer_template(str(ROOT / "config/prompts/short.yaml"), NO_EXAMPLES, False)
    path = str(ROOT / f"config/prompts/{name}.yaml")
    template = read_templates_of_types({"token": path}, NO_EXAMPLES, False, usual)["token"]
    random, window = np.random.default_rng(0), Window(template.context)
    beside = Beside(occurrences.contributions(), occurrences.silent(random, window), occurrences.quiet(random))
    marked = np.array([False, True, False, False])
    shown = [window.excerpt(s.strings, s.acts, marked, 1.0) for s in occurrences.sequences[:1]]
    text = template.render(shown, "positive", beside)
    told = {
        "token-list": ['"left": 53 %, active at 1 of 2', "{{right}}"],
        "left-contexts": [' all --> " right"'],
        "passages": ["1.  all right now right", "silent:\n", "nothing at all here"],
        "close-negatives": ["{{right}}", "silent at the marked", "{{left}}"],
    }[name]
    assert all(part in text for part in told), text
    assert template.wanted == {
        "token-list": {"contributions"},
        "passages": {"quiet"},
        "close-negatives": {"silent"},
    }.get(name, set())
    template.render(shown, "positive")  # and does without


def test_prompt_files_that_one_client_cannot_answer_are_refused(tmp_path):
    usual = ExplainerTemplate("S [DESCRIPTION]:", "U", stop=("\n",), max_tokens=60)
    path = tmp_path / "mine.yaml"
    for line, name in (
        ("max_tokens: 61", "max_tokens"),
        ("stop: []", "stop"),
        ("answer: 'a [DESCRIPTION]:'", "answer"),
    ):
        path.write_text(f"system: 'S [DESCRIPTION]:'\nuser: U\n{line}\n")
        with pytest.raises(ValueError, match=rf"prompts_by_type\.context: .*mine\.yaml has {name} "):
            read_templates_of_types({"context": str(path)}, NO_EXAMPLES, True, usual)


def test_contributions_are_told_in_words():
    template = ExplainerTemplate("S", "{% for c in contributions %}{{ c.token }} {{ c.share }}{% endfor %}")
    assert template.render([], "positive", Beside((Contribution("a", 12.5, 1, 2),))) == "a 12.5"
    assert ExplainerTemplate("S", "{{ excerpts }} {% if").wanted == frozenset()
