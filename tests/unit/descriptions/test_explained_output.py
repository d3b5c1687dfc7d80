"""What an explainer is asked about the tokens that features write, and what becomes of its answers: by real clients, at
an endpoint on loopback."""

import json
import re

import pyarrow as pa
import pytest

from conftest import ROOT
from endpoint import COMPLETION_TOKENS, PROMPT_TOKENS, Reply, endpoint
from neuron_descriptions.common.storage import read_table, write_table
from neuron_descriptions.config.descriptions import Descriptions
from neuron_descriptions.config.explainers import Limits, Prices, clients
from neuron_descriptions.descriptions.asking import Part
from neuron_descriptions.descriptions.output_prompts import read_output_template
from neuron_descriptions.descriptions.output_tokens import explain_output_side
from neuron_descriptions.descriptions.tables import ACCOUNTING
from neuron_descriptions.output_side.explained import OUTPUT_EXPLAINED, held_out, shown
from neuron_descriptions.output_side.scaled import OUTPUT_SCALED
from neuron_descriptions.output_side.tables import OUTPUT_SIDE

PROMPT = str(ROOT / "config/prompts/output-tokens.yaml")
PATHS = {"openai": "/v1", "anthropic": ""}
LAYER, SILENT, TOKENS = 4, 9, 8


def side(neuron):
    """A row of OUTPUT_SIDE whose tokens tell whose they are."""
    row = {"layer": LAYER, "neuron": neuron, "std": 0.0 if neuron == SILENT else 1.0, "skew": 0.0, "kurtosis": 0.0}
    for end, first in (("top", 0), ("bottom", 50)):
        row |= {f"{end}_token_ids": list(range(first, first + TOKENS)), f"{end}_effects": [0.5] * TOKENS,
                f"{end}_tokens": [f" {end}{neuron}-{i}" for i in range(TOKENS)]}  # fmt: skip
    return row


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Explains neurons 3, 5 and one that writes nothing: (client, server, ...) -> both tables."""
    monkeypatch.setenv("TEST_KEY", "no-secret")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    written, scaled = str(tmp_path / "layer-4.parquet"), str(tmp_path / "scaled.parquet")
    write_table(pa.Table.from_pylist([side(n) for n in (3, 5, SILENT)], schema=OUTPUT_SIDE), written)
    measured = {"layer": LAYER, "neuron": 3, "sign": "positive", "up_tokens": [" seen", " top3-1"]}
    write_table(pa.Table.from_pylist([measured], schema=OUTPUT_SCALED), scaled)

    def explain(kind, server, one_sided=False, neurons=(3, 5, SILENT), output="out"):
        explainer = clients()[kind](
            client=kind, model="some-model", base_url=server.base_url + PATHS[kind], key_variable="TEST_KEY",
            limits=Limits(timeout=5.0, tries=1), prices=Prices(prompt=1.0, completion=10.0),
        )  # fmt: skip
        settings = Descriptions(explainer=explainer, attempts=3)
        outputs = {name: str(tmp_path / output / f"{name}.parquet") for name in ("explained", "accounting")}
        (tmp_path / output).mkdir(exist_ok=True)
        inputs = {"output_side": written, "scaled": [scaled], "prompt": PROMPT}
        part = Part(LAYER, "chunk-0", list(neurons), seed=0)
        explain_output_side(part, inputs, settings, one_sided, str(tmp_path / "requests"), "code", outputs)
        tables = {"explained": OUTPUT_EXPLAINED, "accounting": ACCOUNTING}
        return [read_table(outputs[name], schema).to_pylist() for name, schema in tables.items()]

    return explain


def whose(server, body):
    return re.findall(r'"( (?:top|bottom)\d+-\d+)"', server.asked(body))


@pytest.mark.parametrize("kind", PATHS)
def test_a_second_description_is_asked_for_shown_half_of_the_tokens_cleaned_and_accounted(kind, asked):
    """The first answer about neuron 5 is no description: it is asked again, and nothing else is."""
    tried = []

    def behave(number, body):
        text = json.dumps(body)
        if "top5-0" in text and text.index("top5-0") < text.index("bottom5-0"):
            tried.append(number)
            return Reply("[DESCRIPTION]: [DESCRIPTION]" if len(tried) == 1 else '<think>x</think>[DESCRIPTION]: "five"')
        return Reply("[DESCRIPTION]: - words about tops\n\n")

    with endpoint(behave) as server:
        rows, accounts = asked(kind, server)
    found = {(row["neuron"], row["sign"]): row for row in rows}
    assert [*found] == [(n, s) for n in (3, 5, SILENT) for s in ("positive", "negative")]
    assert found[5, "positive"]["description"] == "five" and found[5, "positive"]["attempts"] == 2
    assert found[3, "negative"]["description"] == "words about tops" and found[3, "negative"]["attempts"] == 1
    for sign in ("positive", "negative"):
        nothing = found[SILENT, sign]
        assert (nothing["status"], nothing["description"], nothing["attempts"]) == ("nothing_written", None, 0)
    assert (
        len(server.seen) == 5 == accounts[0]["answers"] and accounts[0]["described"] == 4 == accounts[0]["candidates"]
    )
    assert accounts[0]["prompt_tokens"] == 5 * PROMPT_TOKENS and accounts[0]["unparsed"] == 1
    assert sum(row["completion_tokens"] for row in rows) == 5 * COMPLETION_TOKENS
    shown_of = {tuple(whose(server, body)): server.asked(body) for _, body in server.seen}
    shown_ends = [[[f" {end}{n}-{i}" for i in range(0, TOKENS, 2)] for end in ("top", "bottom")] for n in (3, 5)]
    both_ways = [(*one, *other) for ends in shown_ends for one, other in (ends, ends[::-1])]
    assert {*shown_of} == {*both_ways}
    assert found[3, "positive"]["held_out_ids"] == [1, 3, 5, 7]
    assert found[3, "negative"]["held_out_ids"] == [51, 53, 55, 57]
    # What was measured is shown, but for what is held out.
    assert [" seen" in text for key, text in shown_of.items() if key[0] == " top3-0"] == [True]
    assert sum("in real text" in text for text in shown_of.values()) == 1


def test_what_was_paid_is_not_asked_again_whatever_the_part(asked):
    with endpoint(lambda number, body: Reply(f"[DESCRIPTION]: answer {number}")) as server:
        rows, _ = asked("openai", server)
        again, accounts = asked("openai", server, output="again")
        alone, _ = asked("openai", server, neurons=[5], output="alone")
        assert len(server.seen) == 4
    assert again == rows and alone == [row for row in rows if row["neuron"] == 5]
    assert accounts[0]["answers"] == 4 and accounts[0]["fresh_prompt_tokens"] == 0


def test_what_is_never_negative_has_one_side_and_a_refusal_is_no_description(asked):
    with endpoint(lambda number, body: Reply("I'm sorry, I cannot")) as server:
        rows, accounts = asked("openai", server, one_sided=True, neurons=[3])
    assert [(row["sign"], row["status"], row["description"]) for row in rows] == [("positive", "refused", None)]
    assert accounts[0]["answers"] == 3 == accounts[0]["refused"] and accounts[0]["described"] == 0


def test_tokens_are_shown_and_held_out_in_turn():
    tokens = [(i, str(i)) for i in range(7)]
    assert shown(tokens) + held_out(tokens) != tokens and sorted(shown(tokens) + held_out(tokens)) == tokens
    assert shown(tokens)[0] == (0, "0") and len(shown(tokens)) == 4


@pytest.mark.parametrize(
    ("text", "begins", "said"),
    [
        ("system: s\nuser: '{{ less }}'", True, "`user` must show the tokens of `more`"),
        ("system: s\nuser: '{{ more }}'", False, "never mentions"),
        ("system: s\nuser: '{{ most }}'", True, "its templates do not render"),
        ("system: s\nusers: x", True, "output_side.prompt|is not a prompt file"),
    ],
)
def test_a_prompt_file_is_tried_before_anything_is_asked(text, begins, said, tmp_path):
    (tmp_path / "prompt.yaml").write_text(text)
    with pytest.raises(ValueError, match=said):
        read_output_template(str(tmp_path / "prompt.yaml"), begins)
    assert read_output_template(PROMPT, False).stop == ("\n",)
