"""A simulator that is asked in words: what it is shown, how strictly it is read, what is kept and paid for."""

import json

import pytest

from conftest import ROOT
from endpoint import COMPLETION_TOKENS, PROMPT_TOKENS, Reply, endpoint
from neuron_descriptions.config.base import restored, tracked
from neuron_descriptions.config.scores import ASKED_PROMPT, Screen, Simulator
from neuron_descriptions.corpus.reading import Text
from neuron_descriptions.scores.predictions import kept_predictions
from neuron_descriptions.simulators import asked, opening
from neuron_descriptions.simulators.asked_prompts import parse_numbers, read_asked_template
from neuron_descriptions.simulators.opening import Asking, Job, load_simulator
from neuron_descriptions.simulators.simulating import Task

PROMPT = str(ROOT / ASKED_PROMPT)
WORDS = [" the", " a", " river", ' "', "\n"]
TEXTS = [Text("s", [1, 0, 2, 3], 1), Text("s", [0, 0, 1], 1), Text("s", [2], 1), Text("s", [4, 2], 0)]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ('[["a", 0], [" river", 10]]', [0.0, 10.0]),
        ("[0, 2.5]", [0.0, 2.5]),
        ("```json\n[0, 10]\n```", [0.0, 10.0]),
        ("<think>[1, 1]</think> [0, 10]", [0.0, 10.0]),
        ("[0, 10, 0]", None),
        ("[0]", None),
        ("[0, 11]", None),
        ("[0, -1]", None),
        ("[0, NaN]", None),
        ("[0, true]", None),
        ('[0, "10"]', None),
        ('{"a": 0, "b": 10}', None),
        ("The numbers are [0, 10].", None),
        ("[" * 100_000, None),
        ("", None),
    ],
)
def test_numbers_are_read_strictly(text, numbers):
    assert parse_numbers(text, 2) == numbers


def test_a_prompt_file_must_show_description_and_tokens(tmp_path):
    bad = tmp_path / "prompt.yaml"
    bad.write_text("system: s\nuser: '{{ description }}'\n")
    with pytest.raises(ValueError, match=r"prompt\.yaml: `user` must show the description and the tokens"):
        read_asked_template(str(bad))


@pytest.fixture(autouse=True)
def plain_tokens(monkeypatch):
    monkeypatch.setattr(opening, "load_tokenizer", lambda folder: None)
    monkeypatch.setattr(asked, "token_strings", lambda tokenizer, ids: [WORDS[i] for i in ids])


def section(url="http://127.0.0.1:1", **changes):
    client = {"client": "openai", "model": "m", "base_url": url, "key_variable": None,
              "prices": {"prompt": 1.0, "completion": 1.0}}  # fmt: skip
    return restored(Simulator, {"kind": "asked", "client": client | changes})


def simulator(served, folder, budget=None):
    limits = {"concurrency": 4, "requests_per_minute": None, "tokens_per_minute": None, "timeout": 20.0, "tries": 2}
    access = {"requests": str(folder), "part": "simulated/layer-0/chunk-0", "key_variable": None,
              "limits": limits | {"budget": budget}, "prices": {"prompt": 1.0, "completion": 1.0}}  # fmt: skip
    settings = section(served.base_url)
    return load_simulator(Job(settings, None, PROMPT, "none", 1, Asking.of(settings, access)))


def listening(number, body):
    """10 at the last word of the description, 0 elsewhere."""
    asked_about = body["messages"][-1]["content"]
    word = asked_about.split("responds to: ")[1].split("\n")[0].split()[-1]
    tokens = json.loads(asked_about.split("of them:\n")[1].split("\n\nHow")[0])
    return Reply(json.dumps([[t, 10 * (t.strip() == word)] for t in tokens]))


def test_predictions_are_the_answers_and_are_paid_for_once(tmp_path):
    tasks = [Task("the word river", text) for text in TEXTS] + [Task("the word a", TEXTS[0])]
    with endpoint(listening) as served:
        one = simulator(served, tmp_path)
        found = one.simulate(tasks)
        assert len(served.seen) == 4 and served.seen[0][1]["temperature"] == 0.0  # nothing is asked of no token
        assert simulator(served, tmp_path).simulate(tasks[::-1]) == found[::-1]
        assert len(served.seen) == 4
    assert found == [[0, 10, 0], [0, 0], [], [0, 10], [0, 0, 0]]
    assert (one.tokens, one.shared_tokens) == (4 * (PROMPT_TOKENS + COMPLETION_TOKENS), 0)


@pytest.mark.parametrize(
    "reply", [Reply("I cannot say."), Reply("", refused=True), Reply("[0, 10, 0]", finished=False)]
)
def test_what_cannot_be_read_predicts_nothing(tmp_path, reply):
    with endpoint(lambda number, body: reply) as served:
        one = simulator(served, tmp_path)
        assert one.simulate([Task("the word river", TEXTS[0])]) == [[0.0, 0.0, 0.0]]
        assert (one.asked, one.unread) == (1, 1)
        with pytest.raises(ValueError, match="none of 25 answers is a list of numbers"):
            one.simulate([Task(f"the word {n}", TEXTS[0]) for n in range(24)])


def test_the_budget_holds(tmp_path):
    with endpoint(listening) as served, pytest.raises(ValueError, match="budget"):
        simulator(served, tmp_path, budget=1e-6).simulate([Task("the word river", TEXTS[0])])
    assert served.seen == []


def test_without_access_nothing_is_asked():
    settings = section()
    with pytest.raises(ValueError, match="is not asked again here"):
        load_simulator(Job(settings, None, PROMPT, "none", 1))


def test_kept_predictions_follow_the_client_but_not_how_it_is_asked(tmp_path):
    def made_by(**changes):
        # As a job gets it: what decides nothing is not in its params.
        said = tracked(section(**changes), exclude=["client"])
        client = tracked(section(**changes).client, exclude=["limits", "prices", "key_variable"])
        settings = restored(Simulator, said | {"client": client})
        path = str(tmp_path / "kept.bin")
        return kept_predictions({"path": path, "made_by": "x"}, Job(settings, None, PROMPT, "none", 1)).start

    assert made_by() == made_by(limits={"tries": 3}) == made_by(prices=None)
    assert made_by() != made_by(model="other")


def test_a_section_is_told_what_is_wrong_with_it():
    assert (section().model, section().prompt, section().local_model(), section().remote) == (
        "m",
        ASKED_PROMPT,
        None,
        True,
    )
    for wrong in ({"kind": "asked", "model": "m"}, {"model": "m", "client": {"client": "openai", "model": "m"}}):
        with pytest.raises(ValueError, match="kind `asked`, and no other, needs a client"):
            restored(Simulator, wrong)
    with pytest.raises(ValueError, match="kind `asked` does not screen"):
        Screen(simulator=section())
    local = restored(Simulator, {"kind": "asked", "client": {"model": "here"}})
    assert (local.local_model(), local.remote) == ("here", False)
