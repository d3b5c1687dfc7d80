"""Rules about whole passages."""

import numpy as np
import pytest

from conftest import ROOT
from neuron_descriptions.concepts.rules import held_out, learnt_rules, rules_by_group
from neuron_descriptions.concepts.rules_of_passages import PASSAGES, SUBJECTS
from neuron_descriptions.concepts.rules_of_text import read_rules, read_subjects
from neuron_descriptions.models.loading import token_strings

FILE = str(ROOT / "config/training/rules.yaml")
CHAT = """<|im_start|>user
hi, do you like dogs? lol i love my puppy<|im_end|>
<|im_start|>assistant
Yes! I have two cats.<|im_end|>
<|im_start|>user
nice"""
SPEECH = (
    "The revenue of the last fiscal year was larger than the expenditures, and the Treasury had a surplus. Taxes were"
    " reduced in 1890 and 1891; the debt fell."
)


def rule(said):
    groups = rules_by_group(FILE)
    return next(r for group in (*PASSAGES, SUBJECTS) for r in groups[group] if said in r.say)


@pytest.fixture(scope="module")
def cut(tokenizer):
    return lambda text: token_strings(tokenizer, tokenizer(text)["input_ids"])


def strong(said, tokens):
    """The text where a rule holds by half or more."""
    return "".join(token for token, x in zip(tokens, rule(said).holds(tokens), strict=True) if x >= 0.5)


def test_a_subject_needs_several_of_its_words_and_fades(cut):
    tokens = cut(SPEECH + " The weather of that long and quiet summer in the hills was fine." * 12)
    values = np.array(rule("passages about taxes and budgets").holds(tokens))
    second = tokens.index(" fiscal")
    assert values[0] == 0 and 0 < values[1:second].max() < 0.5 < values[second] and values.max() == 1
    behind = values[int(values.argmax()) + 60 :]
    assert (np.diff(behind) <= 0).all() and behind[0] > behind[-1] == 0
    assert max(rule("passages about pets").holds(tokens)) == 0


def test_who_speaks_is_told_from_the_marks_of_two_templates(cut):
    tokens = cut(CHAT)
    assert strong("what the user says", tokens) == "hi, do you like dogs? lol i love my puppynice"
    assert strong("what the assistant says", tokens) == "Yes! I have two cats."
    llama = (
        "<|start_header_id|>user<|end_header_id|>\n\nhi?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nYes"
    )
    tokens = ["<|start_header_id|>", "user", "<|end_header_id|>", "\n\n", "hi", "?", "<|eot_id|>",
              "<|start_header_id|>", "assistant", "<|end_header_id|>", "\n\n", "Yes"]  # fmt: skip
    assert "".join(tokens) == llama
    assert strong("what the user says", tokens) == "hi?"
    assert strong("what the assistant says", tokens) == "Yes"
    assert strong("answers to a question", tokens) == "Yes"
    assert strong("first words of a turn, fading", tokens) == "hi?<|eot_id|><|start_header_id|>Yes"


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ("the first words of a text, fading", [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]),
        ("all that follows the first comma", [0, 0, 0, 1, 1, 1, 1]),
        ("all that follows the first number", [0, 0, 0, 0, 0, 0, 1]),
        ("a comma and what follows, fading", [0, 0, 1, 0.606346, 0.358304, 0.202053, 0.103622]),
        ("numbers, each digit more than the one before", [0, 0, 0, 0, 0.25, 0.5, 0]),
        ("words, the longer the stronger", [0, 1, 0, 0, 0, 0, 0.25]),
    ],
)
def test_places_and_what_fades(said, where):
    tokens = ["An", " institution", ",", " in", "1", "2", " years"]
    assert rule(said).holds(tokens) == pytest.approx(where, abs=1e-3)


@pytest.mark.parametrize(
    ("register", "of", "not_of"),
    [
        ("informal chat", "yeah lol gonna go, ok haha that was fun", SPEECH),
        ("program code", "def f(x): return {x: (1, 2)}; y = f(3); z = (y)", SPEECH),
        ("formal writing with long words", "Notwithstanding administrative considerations, international arbitration"
         " notwithstanding", CHAT),
        ("denials and refusals", "No, I will never go. Nothing is wrong and none of us did not know", SPEECH),
        ("chronicles with years", SPEECH, CHAT),
    ],
)  # fmt: skip
def test_a_register_is_told_by_what_is_frequent_in_it(register, of, not_of, cut):
    assert max(rule(register).holds(cut(of))) > 0.6 and max(rule(register).holds(cut(not_of))) < 0.2


def test_all_are_graded_and_look_at_nothing_that_comes_later(cut):
    """But the rest of a word or of a mark of a turn, and what stands in quotes or brackets."""
    tokens = cut(CHAT.replace("\n<|im_start|>user\nnice", " ") + SPEECH)
    at = tokens.index(".") + 1
    for group in (*PASSAGES, SUBJECTS):
        for r in rules_by_group(FILE)[group]:
            values = np.array(r.holds(tokens), float)
            assert values.shape == (len(tokens),) and values.min() >= 0 and values.max() <= 1, r.say
            assert r.holds([]) == []
            assert r.holds(tokens[: at + 4])[:at] == pytest.approx(values[:at].tolist()), r.say
            halves = [part for token in tokens for part in ("", token)]
            assert r.holds(halves)[1::2] == pytest.approx(values.tolist()) and not any(r.holds(halves)[::2]), r.say
            assert set(r.strengths(tokens)) <= set(range(11))


def test_subjects_are_no_rules_of_words_where_nothing_is_said_of_them(tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text("- subject: pets\n  words: dog cat\n- say: [colours]\n  words: red\n")
    assert read_subjects(str(path)) == {"pets": ["dog", "cat"]}
    assert [r.say for r in read_rules(str(path))][-1] == ("colours",)
    assert ("pets",) not in {r.say for r in read_rules(str(path))}
    path.write_text("- words: dog cat\n")
    with pytest.raises(ValueError, match=r"(?s)rules\.yaml.*neither `say` nor `subject`"):
        read_rules(str(path))


@pytest.mark.parametrize("again", ["subject: pets", "say: [colours]", "say: [hues, hues]"])
def test_what_a_file_says_twice_is_refused(tmp_path, again):
    """One entry's words would silently stand for the other's."""
    path = tmp_path / "rules.yaml"
    path.write_text(f"- subject: pets\n  words: dog cat\n- say: [colours]\n  words: red\n- {again}\n  words: a b\n")
    with pytest.raises(ValueError, match=r"rules\.yaml says '(pets|colours|hues)' twice"):
        read_subjects(str(path))


def test_a_quarter_of_each_kind_of_passages_is_never_learnt():
    learnt = {r.say for r in learnt_rules(FILE)}
    for group in (*PASSAGES, SUBJECTS):
        rules = rules_by_group(FILE)[group]
        assert len({r.say[0] for r in rules} - {say[0] for say in learnt}) == len(rules) // 4 == len(held_out(rules))
    assert len(read_subjects(FILE)) > 150
