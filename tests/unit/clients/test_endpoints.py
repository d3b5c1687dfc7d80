"""The openai and anthropic clients, through their SDKs, against a real server that misbehaves."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections import Counter
from email.utils import formatdate
from urllib.parse import quote

import pytest

from conftest import ROOT
from endpoint import COMPLETION_TOKENS, PROMPT_TOKENS, Reply, endpoint
from neuron_descriptions.clients import endpoint as module
from neuron_descriptions.clients.anthropic import AnthropicClient
from neuron_descriptions.clients.base import Answer, Prompt, Request
from neuron_descriptions.clients.endpoint import retry_after
from neuron_descriptions.clients.journal import Journal, Ledger, OverBudget
from neuron_descriptions.clients.openai import OpenaiClient
from neuron_descriptions.common.logs import job_log
from neuron_descriptions.config.explainers import Limits, Prices, clients
from neuron_descriptions.descriptions.asking import Tally, ask
from neuron_descriptions.descriptions.candidates import Candidate

KEY = "sk-very-secret-0123456789"
CLIENTS = {"openai": (OpenaiClient, "/v1"), "anthropic": (AnthropicClient, "")}
PRICES = Prices(prompt=10.0, completion=100.0)
COST = (PROMPT_TOKENS * 10 + COMPLETION_TOKENS * 100) / 1e6  # of an answer


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("TEST_KEY", KEY)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=CLIENTS)
def kind(request):
    return request.param


def explainer(kind, server, **more):
    base = {"client": kind, "model": "some-model", "base_url": server.base_url + CLIENTS[kind][1]}
    return clients()[kind](**base | {"key_variable": "TEST_KEY", "limits": Limits(timeout=5.0)} | more)


def client(kind, server, prices=None, ledger=None, body=None, max_tokens=20, **limits):
    wanted = Limits(**{"timeout": 5.0, "concurrency": 200, **limits})
    section = explainer(kind, server, body=body or {}, limits=wanted, prices=prices)
    return CLIENTS[kind][0](section, 0.7, max_tokens, ledger)


def request(text, seed=0, group=0):
    return Request(Prompt([{"role": "system", "content": "S"}, {"role": "user", "content": text}], "A:"), seed, group)


def requests(n):
    return [request(f"question {i}", seed=i, group=i // 10) for i in range(n)]


def answers(asked, wanted):
    found = {}
    asked.answer(wanted, found.update)
    return [found[i] for i in range(len(wanted))]


def echo(number, body):
    """Answers that tell which question they belong to."""
    return Reply(f"[DESCRIPTION]: {body['messages'][-1]['content']}")


# --- what is sent ------------------------------------------------------------------------------------


def test_chat_request_of_openai():
    with endpoint(echo) as server:
        (answer,) = answers(client("openai", server), [request("q", seed=2**40 + 5)])
        assert server.seen[0][1] == {
            "model": "some-model", "max_tokens": 20, "temperature": 0.7, "seed": 5,
            "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "q"}],
        }  # fmt: skip
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert answer == Answer("[DESCRIPTION]: q", PROMPT_TOKENS, COMPLETION_TOKENS, True)


def test_request_of_anthropic():
    with endpoint(echo) as server:
        (answer,) = answers(client("anthropic", server), [request("q")])
        assert server.seen[0][1] == {
            "model": "some-model", "max_tokens": 20, "temperature": 0.7, "system": "S",
            "messages": [{"role": "user", "content": "q"}],
        }  # fmt: skip
        assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert answer == Answer("[DESCRIPTION]: q", PROMPT_TOKENS, COMPLETION_TOKENS, True)


def test_body_adds_and_removes_fields(kind):
    with endpoint(echo) as server:
        answers(client(kind, server, body={"temperature": None, "top_p": 0.9, "mine": {"a": 1}}), [request("q")])
        body = server.seen[0][1]
    assert "temperature" not in body
    assert (body["top_p"], body["mine"]) == (0.9, {"a": 1})


def test_token_ids_go_to_a_completions_endpoint(tokenizer):
    with endpoint(lambda number, body: Reply(" months\nand")) as server:
        asked = OpenaiClient(explainer("openai", server), 0.7, 20, tokenizer=tokenizer, stop=("\n",))
        assert asked.begins
        answers(asked, [request("q")])
        body = server.seen[0][1]
    assert tokenizer.decode(body["prompt"]) == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nA:"
    )
    assert body["stop"] == ["\n"]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply("half a", finished=False), ("half a", False, False)),
        (Reply("", refused=True), ("", None, True)),
        (Reply(""), ("", True, False)),
    ],
)
def test_ends_refusals_and_empty_texts_are_told_apart(kind, reply, expected):
    with endpoint(lambda number, body: reply) as server:
        (answer,) = answers(client(kind, server), [request("q")])
    text, finished, refused = expected
    assert (answer.text, answer.refused) == (text, refused)
    assert finished is None or answer.finished == finished


# --- trouble -----------------------------------------------------------------------------------------

TROUBLES = {
    "429": Reply("slow down", 429, {"Retry-After": "0.2"}),
    "500": Reply("oops", 500),
    "503 in HTML": Reply(status=503, raw=b"<html>busy</html>", headers={"Content-Type": "text/html"}),
    "529": Reply("overloaded", 529),
    "garbage": Reply(raw=b"\x00\xff not json {"),
    "HTML with 200": Reply(raw=b"<html>hello</html>", headers={"Content-Type": "text/html"}),
    "other JSON": Reply(raw=b'{"hello": [1, 2]}'),
    "a list": Reply(raw=b"[]"),
    "null": Reply(raw=b"null"),
    "no choices": Reply(raw=b'{"choices": [], "content": null, "usage": null}'),
    "half a body": Reply(whole=False),
    "nothing": Reply(silent=True),
    "hangs": Reply(wait=3.0),
}


def test_every_trouble_is_overcome_at_200_in_flight(kind, monkeypatch):
    """Each of 400 questions meets one or two troubles first; every one gets its own answer in the end."""
    monkeypatch.setattr(module, "LONGEST_BACKOFF", 0.5)
    troubles = list(TROUBLES.values())
    tries, lock, full = Counter(), threading.Lock(), threading.Event()

    def behave(number, body):
        question = body["messages"][-1]["content"]
        with lock:
            tries[question] += 1
            attempt = tries[question]
        i = int(question.split()[1])
        if number == 199:
            full.set()
        full.wait(20)  # the first 200 are held until all of them are here
        if attempt <= 1 + i % 2:
            return troubles[(i + attempt) % len(troubles)]
        return echo(number, body)

    with endpoint(behave) as server:
        found = answers(client(kind, server, timeout=2.0, tries=6), requests(400))
        assert [a.text for a in found] == [f"[DESCRIPTION]: question {i}" for i in range(400)]
        assert server.most_in_flight == 200
    # A slow machine may answer some after the time-out: these are asked once more.
    assert all(2 + i % 2 <= tries[f"question {i}"] <= 6 for i in range(400))
    assert 1000 <= sum(tries.values()) < 1300


@pytest.mark.parametrize("trouble", TROUBLES)
def test_endless_trouble_ends_with_its_name(kind, trouble, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_BACKOFF", 0.01)
    reply = TROUBLES[trouble] if trouble != "hangs" else Reply(wait=0.6)
    with endpoint(lambda number, body: reply) as server:
        with pytest.raises(ValueError, match=r"no answer from http://127\.0\.0\.1.* in 2 tries") as error:
            answers(client(kind, server, timeout=0.3 if trouble == "hangs" else 5.0, tries=2), [request("q")])
        assert len(server.seen) == 2
    if reply.status != 200:
        assert str(reply.status) in str(error.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_refused_requests_are_not_tried_again(kind, status):
    with endpoint(lambda number, body: Reply("not like this", status)) as server:
        with pytest.raises(ValueError, match=f"refuses the request: .*{status}"):
            answers(client(kind, server, concurrency=1), requests(5))
        assert len(server.seen) == 1


def test_waiting_as_asked_holds_for_all_requests(kind):
    def behave(number, body):
        return Reply("wait", 429, {"Retry-After": "1"}) if number == 0 else echo(number, body)

    with endpoint(behave) as server:
        asked = client(kind, server, concurrency=1)
        assert len(answers(asked, requests(4))) == 4
        times = [when for when, _ in server.seen]
    assert times[1] - times[0] >= 1.0
    assert times[-1] - times[1] < 0.9


def test_pauses_grow():
    with endpoint(lambda number, body: Reply("oops", 500)) as server:
        with pytest.raises(ValueError, match="4 tries"):
            answers(client("openai", server, tries=4), [request("q")])
        times = [when for when, _ in server.seen]
    for i, (a, b) in enumerate(itertools.pairwise(times)):
        assert 0.25 * 2**i <= b - a < 0.5 * 2**i + 0.4


def test_retry_after_is_seconds_or_a_date():
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert 28 < retry_after({"retry-after": formatdate(time.time() + 30, usegmt=True)}) <= 30
    assert retry_after({"retry-after": formatdate(time.time() - 30, usegmt=True)}) == 0
    assert retry_after({"retry-after": "soon"}) is retry_after({}) is retry_after(None) is None


def test_a_wait_of_hours_ends_the_job(kind):
    with endpoint(lambda number, body: Reply("tomorrow", 429, {"Retry-After": "7200"})) as server:
        with pytest.raises(ValueError, match="come back in 7200 s"):
            answers(client(kind, server, concurrency=1), requests(3))
        assert len(server.seen) == 1


def test_requests_per_minute_are_spaced(kind):
    with endpoint(echo) as server:
        answers(client(kind, server, requests_per_minute=240), requests(5))
        times = [when for when, _ in server.seen]
    assert 0.9 < times[-1] - times[0] < 10
    assert all(b - a > 0.1 for a, b in itertools.pairwise(times))


def test_tokens_per_minute_are_spaced(kind):
    with endpoint(echo) as server:
        answers(client(kind, server, tokens_per_minute=60_000, max_tokens=100), requests(8))
        times = [when for when, _ in server.seen]
    assert 0.7 < times[-1] - times[0] < 10  # over 100 tokens each, 1000 a second


def test_a_failure_ends_all_waiting_at_once(kind):
    """Of requests that wait for their turn, for a ceiling or for another try, none goes on."""

    def behave(number, body):
        return Reply("no", 400, wait=1.0) if number == 0 else Reply("wait", 429, {"Retry-After": "300"})

    with endpoint(behave) as server:
        start = time.monotonic()
        with pytest.raises(ValueError, match="400"):
            answers(client(kind, server, concurrency=20, requests_per_minute=300), requests(60))
        assert time.monotonic() - start < 5
        assert len(server.seen) < 7


# --- answers kept ------------------------------------------------------------------------------------


def journaled(folder, asked, wanted, part="chunk-0"):
    """(answers, how many were fresh)."""
    found, fresh = {}, 0

    def done(answers, is_fresh):
        nonlocal fresh
        found.update(answers)
        fresh += len(answers) * is_fresh

    groups = {r.group for r in wanted}
    Journal(str(folder / f"requests/layer-1/{part}.jsonl"), groups).answer(asked, wanted, done)
    return [found[i] for i in range(len(wanted))], fresh


def test_what_is_known_is_not_asked_again(kind, tmp_path):
    with endpoint(echo) as server:
        first = journaled(tmp_path, client(kind, server), requests(30))
        assert first[1] == 30
        assert journaled(tmp_path, client(kind, server), requests(30)) == (first[0], 0)
        assert journaled(tmp_path, client(kind, server), requests(40), "chunk-1")[1] == 10
        assert len(server.seen) == 40
        other = [request("question 0", seed=1000), request("another", seed=0)]
        assert journaled(tmp_path, client(kind, server), other)[1] == 2
        assert journaled(tmp_path, client(kind, server, max_tokens=21), requests(1))[1] == 1


KILLED = """
import os, sys
sys.path[:0] = [{scripts!r}, {tests!r}, {unit!r}]
from types import SimpleNamespace
from pathlib import Path
os.environ["TEST_KEY"] = {key!r}
from test_endpoints import client, journaled, requests, PRICES
from neuron_descriptions.clients.journal import Ledger
folder = Path(sys.argv[1])
ledger = Ledger(str(folder / "requests/spending.sqlite"), "layer-1/chunk-0", None)
server = SimpleNamespace(base_url=sys.argv[2])
journaled(folder, client({kind!r}, server, PRICES, ledger, concurrency=20), requests(200))
"""


def test_a_killed_job_pays_for_nothing_twice(kind, tmp_path):
    code = KILLED.format(
        scripts=str(ROOT / "scripts"),
        tests=str(ROOT / "tests"),
        unit=str(ROOT / "tests/unit/clients"),
        key=KEY,
        kind=kind,
    )
    kept = tmp_path / "requests/layer-1/chunk-0.jsonl"

    def behave(number, body):
        return Reply(f"[DESCRIPTION]: {body['messages'][-1]['content']}", wait=0.05)

    with endpoint(behave) as server:
        for _ in range(2):
            before = len(kept.read_text().splitlines()) if kept.exists() else 0
            job = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), server.base_url])
            deadline = time.time() + 60
            while not kept.exists() or len(kept.read_text().splitlines()) < before + 40:
                assert job.poll() is None and time.time() < deadline
                time.sleep(0.01)
            os.kill(job.pid, signal.SIGKILL)
            job.wait()
        with open(kept, "a") as file:
            file.write('{"group": 1, "answers": {"abc": {"te')  # what a kill within a write leaves
        finished = [json.loads(line) for line in kept.read_text().splitlines()[:-1]]
        asked_before = Counter(body["messages"][-1]["content"] for _, body in server.seen)
        assert 80 <= len(finished) < 200
        time.sleep(0.3)
        killed_at = len(server.seen)
        ledger = Ledger(str(tmp_path / "requests/spending.sqlite"), "layer-1/chunk-0", None)
        unsure = ledger.spent()
        found, fresh = journaled(tmp_path, client(kind, server, PRICES, ledger, concurrency=20), requests(200))
        assert [a.text for a in found] == [f"[DESCRIPTION]: question {i}" for i in range(200)]
        assert fresh == 200 - len(finished) == len(server.seen) - killed_at
        texts = {a["text"] for line in finished for a in line["answers"].values()}
        again = {body["messages"][-1]["content"] for _, body in server.seen[killed_at:]}
        assert not {f"[DESCRIPTION]: {question}" for question in again} & texts
        assert max(asked_before.values()) <= 2 and sum(asked_before.values()) <= len(finished) + 40
        # What is known was paid, and what was on its way when the job was killed counts as paid.
        assert unsure >= len(finished) * COST
        assert ledger.spent() == pytest.approx(unsure + fresh * COST)
    assert KEY not in "".join(p.read_bytes().decode("latin-1") for p in tmp_path.rglob("*") if p.is_file())


def test_a_damaged_journal_is_named(tmp_path):
    path = tmp_path / "layer-1/chunk-0.jsonl"
    path.parent.mkdir()
    path.write_text('{"group": 0, "answers": {}}\n{"gro\n{"group": 0, "answers": {}}\n')
    with pytest.raises(ValueError, match=r"chunk-0\.jsonl, line 2, is damaged"):
        Journal(str(path), {0})


# --- money -------------------------------------------------------------------------------------------


def ledger_of(folder, budget, part="layer-1/chunk-0"):
    return Ledger(str(folder / "spending.sqlite"), part, budget)


@pytest.mark.parametrize("concurrency", [1, 50])
def test_the_ceiling_is_never_passed_and_little_is_left_below_it(kind, tmp_path, concurrency):
    budget = 40.5 * COST
    wanted = requests(100)
    with endpoint(echo) as server:
        ledger = ledger_of(tmp_path, budget)
        with pytest.raises(OverBudget, match=r"limits\.budget: \$.* of \$.* are spent.*raise it and run again"):
            journaled(tmp_path, client(kind, server, PRICES, ledger, concurrency=concurrency), wanted)
        billed = server.billed
        assert billed * COST <= budget
        assert ledger.spent() == pytest.approx(billed * COST)
        assert billed >= 34  # the next may cost up to 6 usual ones
        ledger.close()
        ledger = ledger_of(tmp_path, 200 * COST)
        found, fresh = journaled(tmp_path, client(kind, server, PRICES, ledger), wanted)
        assert fresh == 100 - billed
        assert server.billed == 100
        assert ledger.spent() == pytest.approx(100 * COST)
        assert len(found) == 100


def test_a_ceiling_of_nothing_asks_nothing(kind, tmp_path):
    with endpoint(echo) as server:
        with pytest.raises(OverBudget):
            answers(client(kind, server, PRICES, ledger_of(tmp_path, 0.0)), requests(5))
        assert not server.seen


def test_what_may_have_been_billed_counts_and_what_was_refused_does_not(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_BACKOFF", 0.01)
    replies = [Reply("oops", 500), Reply("slow", 429), Reply(whole=False), Reply()]
    with endpoint(lambda number, body: replies[number]) as server:
        ledger = ledger_of(tmp_path, 1.0)
        asked = client(kind, server, PRICES, ledger)
        answers(asked, [request("q")])
        most = asked._most(asked.payload(request("q")))[1]
        assert most > COST
        assert ledger.spent() == pytest.approx(COST + most)


def test_jobs_share_the_ceiling(tmp_path):
    one, two = (ledger_of(tmp_path, 1.0, f"layer-1/chunk-{i}") for i in range(2))
    assert one.reserve(0.6)
    assert not two.reserve(0.6)  # the other may turn out cheaper
    one.settle(0.6, 0.1)
    assert two.reserve(0.6)
    two.settle(0.6, 0.6)
    assert one.spent() == two.spent() == pytest.approx(0.7)
    with pytest.raises(OverBudget, match=r"\$0\.7000 of \$1\.0000"):
        one.reserve(0.4)


# --- the key -----------------------------------------------------------------------------------------


def test_missing_key_is_named(kind, monkeypatch):
    monkeypatch.delenv("TEST_KEY")
    with endpoint(echo) as server, pytest.raises(ValueError, match="the environment has no TEST_KEY"):
        client(kind, server)


@pytest.mark.parametrize("status", [401, 500])
def test_a_key_that_the_server_repeats_is_never_shown(kind, status, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(module, "LONGEST_BACKOFF", 0.01)
    reply = Reply(f"Incorrect API key provided: {KEY}.", status, {"X-Echo": KEY})
    log = str(tmp_path / "job.log")
    with endpoint(lambda number, body: reply) as server, pytest.raises(SystemExit), job_log(log, "describe"):
        journaled(tmp_path, client(kind, server, PRICES, ledger_of(tmp_path, 1.0), tries=2), requests(3))
    log = (tmp_path / "job.log").read_text()
    assert "Incorrect API key provided: ***" in log
    shown = capfd.readouterr()
    assert "Incorrect API key provided: ***" in shown.err
    files = "".join(p.read_bytes().decode("latin-1") for p in tmp_path.rglob("*") if p.is_file())
    assert KEY not in files + shown.out + shown.err


@pytest.mark.parametrize("form", [KEY, KEY.upper(), quote(KEY, safe=""), b64encode(KEY.encode()).decode().rstrip("=")])
def test_an_answer_that_repeats_the_key_is_kept_without_it(kind, form, tmp_path):
    with endpoint(lambda number, body: Reply(f"[DESCRIPTION]: Bearer {form} in headers")) as server:
        journaled(tmp_path, client(kind, server), requests(1))
    files = "".join(p.read_bytes().decode("latin-1") for p in tmp_path.rglob("*") if p.is_file())
    assert "Bearer *** in headers" in files and form not in files


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PROXY", "socks5://me:hush@localhost:1"),
        ("HTTP_PROXY", "htp://me:hush@localhost"),
        ("SSL_CERT_FILE", "/nowhere/certificates.pem"),
    ],
)
def test_an_environment_that_lets_no_connection_be_made_is_named(kind, name, value, tmp_path, monkeypatch):
    monkeypatch.setenv(name, value)
    with endpoint(lambda number, body: Reply("x")) as server:
        asked = client(kind, server)
        asked.base_url = asked.base_url.replace("http:", "https:") if name == "SSL_CERT_FILE" else asked.base_url
        with pytest.raises(ValueError, match=r"no connection can be prepared .*; see HTTP_PROXY") as caught:
            asked.answer(requests(1), lambda answers: None)
    assert "hush" not in str(caught.value)


# --- to the end --------------------------------------------------------------------------------------


def test_refused_empty_and_unreadable_answers_are_asked_for_again_with_new_seeds(kind, tmp_path):
    """Each candidate keeps its own exemplars."""
    firsts = [Reply("", refused=True), Reply(""), Reply("Marked: a, b.\nPattern: none"), Reply("I'm sorry, no.")]
    tries = Counter()

    def behave(number, body):
        question = body["messages"][-1]["content"]
        tries[question] += 1
        i = int(question.split()[1])
        return firsts[i] if tries[question] == 1 and i < 4 else Reply(f"So:\n**[DESCRIPTION]:** about {question}")

    found = [Candidate(1, 7, "positive", i, ranks=[i, i + 1], prompt=request(f"question {i}").prompt) for i in range(6)]
    tally = Tally(PRICES)
    with endpoint(behave) as server:
        asked = client(kind, server)
        journal = Journal(str(tmp_path / "layer-1/chunk-0.jsonl"), {7})
        ask(found, lambda wanted, done: journal.answer(asked, wanted, done), "", 0, 3, tally)
        if kind == "openai":
            assert len({body["seed"] for _, body in server.seen}) == 10
    assert [c.description for c in found] == [f"about question {i}" for i in range(6)]
    assert [c.ranks for c in found] == [[i, i + 1] for i in range(6)]
    assert [c.attempts for c in found] == [2, 2, 2, 2, 1, 1]
    assert (tally.answers, tally.refused, tally.unparsed) == (10, 2, 2)
    assert (tally.prompt_tokens, tally.completion_tokens) == (10 * PROMPT_TOKENS, 10 * COMPLETION_TOKENS)
    assert f"${10 * COST:.4f}" in str(tally)


# --- what an endpoint says ---------------------------------------------------------------------------


def chat(message=None, finish="stop", usage=True, **more):
    """A body of OpenAI's chat interface."""
    counts = {"usage": {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS}} if usage else {}
    return {"choices": [{"index": 0, "finish_reason": finish, "message": message, **more}], **counts}


def said(body, status=200):
    return Reply(status=status, raw=json.dumps(body).encode())


WELL = said(chat({"role": "assistant", "content": "months"}))
UPSTREAM = {"code": 502, "message": "Upstream provider failed"}
TRANSIENT = {
    "in the choice": said(chat({"content": ""}, "error", error=UPSTREAM)),
    "in the choice, with half an answer": said(chat({"content": "mon"}, "error", error=UPSTREAM)),
    "in the body": said({"id": None, "choices": None, "usage": None, "error": UPSTREAM}),
    "handed on": said({"error": {"error": UPSTREAM}}),
    "words": said({"error": "Upstream provider failed"}),
    "a list": said({"success": False, "errors": [{"code": 7003, "message": "Upstream provider failed"}]}),
    "a fault": said({"fault": {"faultstring": "Upstream provider failed"}}),
    "a message alone": said({"status": "error", "message": "Upstream provider failed"}),
    "a status in the body": said({"statusCode": 503, "message": "Upstream provider failed"}),
    "a type": said({"type": "error", "error": {"type": "overloaded_error", "message": "Upstream provider failed"}}),
}


@pytest.mark.parametrize("trouble", TRANSIENT)
def test_a_failure_under_200_is_tried_again_costs_nothing_and_is_not_kept(trouble, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_BACKOFF", 0.01)
    replies = [TRANSIENT[trouble], TRANSIENT[trouble], WELL]
    with endpoint(lambda number, body: replies[number]) as server:
        ledger = ledger_of(tmp_path, 1.0)
        with pytest.raises(ValueError, match=r"in 2 tries.*Upstream provider failed"):
            journaled(tmp_path, client("openai", server, PRICES, ledger, tries=2), [request("q")])
        assert ledger.spent() == 0
        found, fresh = journaled(tmp_path, client("openai", server, PRICES, ledger, tries=2), [request("q")])
    assert (found[0].text, fresh) == ("months", 1)
    assert ledger.spent() == pytest.approx(COST)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"<html>Log in</html>", r"no JSON: '<html>Log in</html>'"),
        (b'data: {"choices": []}\n\n', r"a stream of events: 'data: "),
        (b'{"response": {}}', r"no answer \(KeyError\('choices'\)\): '{\"response"),
        (f'["{KEY}"]'.encode(), r"no answer: '\[\"\*\*\*"),
        (b"\xff" * 999, "no JSON: '\ufffd{100}'"),
    ],
)
def test_a_body_that_is_no_answer_is_quoted(raw, words):
    with endpoint(lambda number, body: Reply(raw=raw)) as server, pytest.raises(ValueError, match=words):
        client("openai", server, tries=1).answer([request("q")], lambda answers: None)


FINAL = {
    "a fault": (401, {"fault": {"faultstring": "Invalid ApiKey"}}, "401: Invalid ApiKey"),
    "402 in the body": (200, {"error": {"code": 402, "message": "Insufficient credits."}}, "Insufficient"),
    "402 in the choice": (200, chat({}, "error", error={"code": 402, "message": "No credits"}), "402: No credits"),
    "401 as text": (200, {"error": {"code": "401", "message": "User not found."}}, "401: User not found"),
    "quota under 429": (429, {"error": {"code": "insufficient_quota", "message": "See your plan"}}, "See your plan"),
    "a key": (200, {"error": {"type": "authentication_error", "message": "invalid x-api-key"}}, "invalid x-api-key"),
    "length": (400, {"error": {"code": "context_length_exceeded", "message": "Too much"}}, "descriptions.evidence_max"),
    "length in words": (
        400, {"error": {"message": "This model's maximum context length is 4096 tokens."}}, "descriptions.evidence_max",
    ),
    "length under 200": (200, {"error": {"code": 400, "message": "prompt is too long"}}, "descriptions.evidence_max"),
    "a field": (400, {"error": {"code": "unsupported_parameter", "message": "Unsupported parameter: 'max_tokens'"}},
                "descriptions.explainer.body"),
    "an account": (403, {"error": {"message": "Your account has been flagged for usage policies"}}, "Your account"),
}  # fmt: skip


@pytest.mark.parametrize("trouble", FINAL)
def test_what_no_other_try_mends_stops_at_once_in_the_providers_words(kind, trouble):
    status, body, words = FINAL[trouble]
    with endpoint(lambda number, _: said(body, status)) as server:
        with pytest.raises(ValueError, match=words):
            answers(client(kind, server, concurrency=1), requests(3))
        assert len(server.seen) == 1


FILTERED = [
    (400, {"code": "content_filter", "message": "The response was filtered due to the prompt"}),
    (400, {"code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}, "message": "no"}),
    (400, {"code": "data_inspection_failed", "message": "Input data may contain inappropriate content"}),
    (400, {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"}),
    (403, {"code": 403, "message": "Your chosen model requires moderation and your input was flagged"}),
    (200, {"code": 400, "message": "Invalid prompt: flagged as potentially violating our usage policy"}),
]


@pytest.mark.parametrize(("status", "error"), FILTERED)
def test_a_guard_over_one_prompt_refuses_that_one_alone(kind, status, error, tmp_path):
    def behave(number, body):
        return said({"error": error}, status) if "question 1" in str(body) else echo(number, body)

    with endpoint(behave) as server:
        ledger = ledger_of(tmp_path, 1.0)
        found = answers(client(kind, server, PRICES, ledger), requests(3))
    assert [a.refused for a in found] == [False, True, False]
    assert found[1] == Answer("", 0, 0, True, True)
    assert ledger.spent() == pytest.approx(2 * COST)


THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
DIALECTS = {
    "parts": (chat({"content": [THINKING, {"type": "text", "text": "mon"}, "ths"]}), "months", True, False),
    "nested text": (chat({"content": [{"type": "text", "text": {"value": "months"}}]}), "months", True, False),
    "a refusing part": (chat({"content": [{"type": "refusal", "refusal": "no"}]}), "", True, True),
    "reasoning alone": (chat({"content": None, "reasoning_content": "Let me"}, "length"), "", False, False),
    "another end": (chat({"content": "months"}, "eos"), "months", True, False),
    "an end in capitals": (chat({"content": "mon"}, "MAX_TOKENS"), "mon", False, False),
    "safety": (chat({"content": None}, "SAFETY"), "", True, True),
    "a whole emoji": (chat({"content": "\ud83d\ude00"}), "\N{GRINNING FACE}", True, False),
    "half an emoji": (chat({"content": "a \ud83d"}), "a \ufffd", True, False),
}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_dialects_of_answers_are_read(dialect):
    body, *expected = DIALECTS[dialect]
    with endpoint(lambda number, _: said(body)) as server:
        (answer,) = answers(client("openai", server), [request("q")])
    assert [answer.text, answer.finished, answer.refused] == expected


@pytest.mark.parametrize(
    "usage",
    [None, {}, {"prompt_tokens": 10**30, "completion_tokens": -3}, {"prompt_tokens": None}, {"prompt_tokens": "x"}],
)
def test_tokens_that_are_not_counted_are_estimated_and_cost_the_most(kind, usage, tmp_path):
    body = chat({"content": "names of months"}) | {"content": [{"type": "text", "text": "names of months"}]}
    body |= {"usage": usage}
    with endpoint(lambda number, _: said(body)) as server:
        ledger = ledger_of(tmp_path, 1.0)
        asked = client(kind, server, PRICES, ledger)
        (answer,) = answers(asked, [request("q" * 400)])
        assert ledger.spent() == pytest.approx(asked._most(asked.payload(request("q" * 400)))[1])
    assert answer.completion_tokens == 4 and 100 < answer.prompt_tokens < 200


def test_what_older_journals_kept_is_mended(tmp_path):
    path = tmp_path / "layer-1/chunk-0.jsonl"
    path.parent.mkdir()
    whole = {"text": "a \ud83d", "prompt_tokens": 10**30, "completion_tokens": 5, "finished": True, "refused": False}
    empty = {"text": "", "prompt_tokens": 0, "completion_tokens": 0, "finished": False, "refused": False}
    path.write_text(json.dumps({"group": 0, "answers": {"a": whole, "b": empty}}) + "\n")
    assert Journal(str(path), {0}).answers == {"a": Answer("a \ufffd", 0, 5, True)}


@pytest.mark.parametrize("value", ["sk-a b", "sk-a\nb", "sk-ä", '"sk-ab"', "“sk-ab”"])
def test_malformed_key_is_said_at_once_and_not_shown(kind, value, monkeypatch):
    monkeypatch.setenv("TEST_KEY", value)
    with endpoint(echo) as server, pytest.raises(ValueError, match="TEST_KEY is no key") as error:
        client(kind, server)
    assert value not in str(error.value)


# --- several samples of one prompt -------------------------------------------------------------------


def samples(n, text="q"):
    return [Request(request(text).prompt, seed, 0, seed, n) for seed in range(n)]


def several(number, body):
    """As many choices as are asked for, of different lengths."""
    texts = [f"[DESCRIPTION]: {'a' * (i + 1)}" for i in range(body.get("n", 1))]
    choices = [{"index": i, "finish_reason": "stop", "message": {"content": t}} for i, t in enumerate(texts)]
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS * len(texts)}
    return Reply(raw=json.dumps({"choices": choices, "usage": usage}).encode())


def test_samples_of_a_prompt_are_one_request_that_the_journal_pays_once(tmp_path):
    with endpoint(several) as server:
        asked, ledger = samples(4), Ledger(str(tmp_path / "spending.sqlite"), "a", None)
        found, fresh = journaled(tmp_path, client("openai", server, PRICES, ledger), asked)
        assert (len(server.seen), server.seen[0][1]["n"], fresh) == (1, 4, 4)
        assert [a.text for a in found] == [f"[DESCRIPTION]: {'a' * n}" for n in (1, 2, 3, 4)]
        assert sum(a.prompt_tokens for a in found) == PROMPT_TOKENS
        assert sum(a.completion_tokens for a in found) == 4 * COMPLETION_TOKENS
        assert min(a.prompt_tokens for a in found) > 0
        assert ledger.spent() == pytest.approx((PROMPT_TOKENS * 10 + 4 * COMPLETION_TOKENS * 100) / 1e6)
        assert journaled(tmp_path, client("openai", server, PRICES, ledger), asked) == (found, 0)
        assert len(server.seen) == 1
        ledger.close()


def test_an_endpoint_that_gives_fewer_answers_is_asked_for_the_rest():
    with endpoint(lambda number, body: several(number, body | {"n": min(2, body.get("n", 1))})) as server:
        found = answers(client("openai", server), samples(5))
        assert [body.get("n") for _, body in server.seen] == [5, 3, None]
    assert all(answer.text for answer in found) and len(found) == 5


def test_samples_are_asked_for_one_by_one_where_the_interface_or_the_section_says_so(kind):
    with endpoint(echo) as server:
        single = {"several": False} if kind == "openai" else {}
        asked = CLIENTS[kind][0](explainer(kind, server, **single), 0.7, 20)
        found = answers(asked, samples(3))
        assert not any("n" in body for _, body in server.seen) and len(server.seen) == 3
    assert [a.prompt_tokens for a in found] == [PROMPT_TOKENS] * 3  # each has paid for it


def test_an_endpoint_that_refuses_several_is_told_apart():
    said = r"n must be 1.*descriptions\.explainer\.several: false"
    with endpoint(lambda number, body: Reply("n must be 1", 400)) as server, pytest.raises(ValueError, match=said):
        answers(client("openai", server), samples(2))
