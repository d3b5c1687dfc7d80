"""Prompts in the chat templates of others: one that refuses the system's words, leaves them out, or does not render."""

import pytest

from neuron_descriptions.models.conversations import template_segments

TURNS = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] | trim }}</>{% endfor %}<assistant>"
GEMMA = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURNS
SILENT = TURNS.replace("messages %}", "messages if m['role'] != 'system' %}")
PROMPT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "see [M]"}]


@pytest.mark.parametrize(
    ("template", "begins"),
    [
        (TURNS, "<system>Be brief.</><user>see "),
        (GEMMA, "<user>Be brief.\n\nsee "),
        (SILENT, "<user>Be brief.\n\nsee "),
    ],
)
def test_the_systems_words_are_said_in_any_template(tokenizer, monkeypatch, template, begins):
    monkeypatch.setattr(tokenizer, "chat_template", template)
    segments = [tokenizer.decode(ids) for ids in template_segments(tokenizer, PROMPT, ["[M]"])]
    assert segments == [begins, "</><assistant>"]


@pytest.mark.parametrize(
    ("template", "said"), [("{{ 1 / 0 }}", "does not render the prompt"), ("hello", "leaves out a turn")]
)
def test_a_template_that_does_not_render_is_named(tokenizer, monkeypatch, template, said):
    monkeypatch.setattr(tokenizer, "chat_template", template)
    with pytest.raises(ValueError, match=said):
        template_segments(tokenizer, PROMPT, ["[M]"])
