"""A client with its journal: what is asked again, and what is kept when the table is written."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from neuron_descriptions.clients import opening
from neuron_descriptions.clients.base import Answer, Prompt, Request
from neuron_descriptions.clients.journalled import open_journalled
from neuron_descriptions.clients.opening import Job
from neuron_descriptions.config.explainers import TransformersExplainer


class Echo:
    """Answers with the request's own words, and counts what it is asked."""

    begins = True

    def __init__(self, keeps: bool):
        self.keeps, self.asked = keeps, 0

    def payloads(self, requests):
        return [{"text": request.prompt.messages[0]["content"]} for request in requests]

    def answer(self, requests, done):
        self.asked += len(requests)
        done({i: Answer(r.prompt.messages[0]["content"], 1, 1, True) for i, r in enumerate(requests)})


def asked(folder: Path, client: Echo, words: list[str], monkeypatch, forget=False, code="1", **changes) -> list[str]:
    """What a job's client says to some words."""

    @contextmanager
    def opened(job):
        yield client

    monkeypatch.setitem(opening.CLIENTS, "transformers", opened)
    section = TransformersExplainer(client="transformers", model="echo", **changes)
    job = Job(section, "folder", (), 0.0, 9, str(folder), "layer-3/chunk-0", 1)
    said: dict[int, str] = {}
    with open_journalled(job, {0}, code) as found:
        assert found.begins
        requests = [Request(Prompt([{"role": "user", "content": word}]), 0, 0) for word in words]
        found.answer(requests, lambda answers, fresh: said.update({i: a.text for i, a in answers.items()}))
    if forget:
        found.forget()
    return [said[i] for i in range(len(words))]


@pytest.mark.parametrize("keeps", [False, True])
def test_what_was_answered_is_not_asked_again(keeps, tmp_path, monkeypatch):
    client = Echo(keeps)
    assert asked(tmp_path, client, ["a", "b"], monkeypatch) == ["a", "b"]
    assert asked(tmp_path, client, ["b", "c"], monkeypatch) == ["b", "c"]
    assert client.asked == 3


def test_free_answers_are_of_their_code_and_settings_and_end_with_the_table(tmp_path, monkeypatch):
    client, journal = Echo(keeps=False), tmp_path / "layer-3/chunk-0.jsonl"
    for number, changes in enumerate(({}, {"code": "2"}, {"dtype": "float32"}), 1):
        asked(tmp_path, client, ["a"], monkeypatch, **changes)
        assert client.asked == number
    asked(tmp_path, client, ["a"], monkeypatch, forget=True)
    assert client.asked == 3 and not journal.exists()


def test_answers_that_are_paid_for_outlive_code_and_job(tmp_path, monkeypatch):
    client = Echo(keeps=True)
    for changes in ({}, {"code": "2"}, {"dtype": "float32"}):
        asked(tmp_path, client, ["a"], monkeypatch, forget=True, **changes)
    assert client.asked == 1
