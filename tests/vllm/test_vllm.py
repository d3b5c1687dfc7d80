"""Real vLLM engines on a processor: offline, and as a server that the openai client talks to."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import torch

from conftest import ROOT, demo_config
from neuron_descriptions.clients.base import Prompt, Request
from neuron_descriptions.clients.openai import OpenaiClient
from neuron_descriptions.clients.token_ids import TokenIds
from neuron_descriptions.clients.transformers import TransformersClient
from neuron_descriptions.clients.vllm import VllmClient
from neuron_descriptions.config.explainers import Limits, OpenaiExplainer, VllmExplainer
from neuron_descriptions.descriptions.asking import Tally, ask
from neuron_descriptions.descriptions.candidates import Candidate
from neuron_descriptions.descriptions.excerpts import Excerpt
from neuron_descriptions.descriptions.prompts import ExplainerTemplate, read_template

pytestmark = pytest.mark.vllm
KEY = "a-key-of-the-test"
MAX_TOKENS, MAX_MODEL_LEN = 16, 2048
STOP = ("\n",)
ENGINE = VllmExplainer(client="vllm", model="smol", build="cpu", max_model_len=MAX_MODEL_LEN, eager=True)
MARGIN = 0.375  # in logits, three steps of bfloat16 here: by how much the best token must lead for these not to decide

WORDS = (
    ("March", "June", "October"), ("Berlin", "Paris", "Rome"), ("two", "seven", "nine"), ("run", "walk", "swim"),
    ("red", "blue", "green"), ("happy", "glad", "joyful"), ("Monday", "Friday", "Sunday"), ("doctor", "nurse", "ill"),
)  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def fetched() -> dict[str, Path]:
    """The demo's model, as `smollm2`, fetched by the project's own environment: vLLM's has no Snakemake."""
    from neuron_descriptions.config.sections import load_config
    from neuron_descriptions.config.sources import spec_key

    name, model = next(iter(load_config(demo_config()).models.items()))
    folder = f"resources/models/{name}-{spec_key(model)}"
    command = [ROOT / ".venv/bin/snakemake", "--configfile", "config/demo.yaml", "--nolock", "--quiet", "all", "--"]
    subprocess.run([*command, folder], cwd=ROOT, check=True)
    return {"smollm2": ROOT / folder}


@pytest.fixture(scope="session")
def template() -> ExplainerTemplate:
    return read_template(str(ROOT / "config/prompts/words.yaml"), ExplainerTemplate)


@pytest.fixture(scope="session")
def requests(template):
    """Real prompts of the demo's family."""
    texts = [[f" It was {{{{{word}}}}}, as they said." for word in words] for words in WORDS]
    prompts = [Prompt(template.messages([Excerpt(t) for t in ts], "positive"), template.answer, 1) for ts in texts]
    return [Request(prompt, seed, seed) for seed, prompt in enumerate(prompts)]


@pytest.fixture(scope="session")
def engines(smollm2, tokenizer):
    """Offline clients by temperature: one engine."""
    client = VllmClient(smollm2, tokenizer, ENGINE, 0.0, MAX_TOKENS, STOP)
    sampling = object.__new__(VllmClient)
    sampling.ids, sampling.engine = client.ids, client.engine
    sampling.settings = {**client.settings, "temperature": 1.0}
    return {0.0: client, 1.0: sampling}


@pytest.fixture(scope="session")
def address(smollm2, tmp_path_factory):
    """A vLLM server of the same model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", smollm2, "--served-model-name", "smol",
        "--host", "127.0.0.1", "--port", str(port), "--dtype", "bfloat16", "--max-model-len", str(MAX_MODEL_LEN),
        "--enforce-eager", "--no-enable-chunked-prefill", "--api-key", KEY,
    ]  # fmt: skip
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    environment.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    with open(log, "w") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.time() + 240
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
                break
            except OSError:
                assert server.poll() is None and time.time() < deadline, log.read_text()[-3000:]
                time.sleep(1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def openai_client(address, monkeypatch, tokenizer=None, temperature=0.0, key=KEY, **body):
    monkeypatch.setenv("VLLM_KEY", key)
    limits = Limits(timeout=60.0, concurrency=8)
    explainer = OpenaiExplainer(client="openai", model="smol", base_url=address, body=body, key_variable="VLLM_KEY",
                                limits=limits)  # fmt: skip
    return OpenaiClient(explainer, temperature, MAX_TOKENS, tokenizer=tokenizer, stop=STOP)


def answers(client, requests):
    found = {}
    client.answer(requests, found.update)
    return [found[i] for i in range(len(requests))]


@pytest.fixture(scope="session")
def greedy(smollm2, tokenizer, requests):
    """(transformers' answers, the least margin by which a token of each was chosen)."""
    from neuron_descriptions.models.loading import load_model

    model = load_model(smollm2, "bfloat16", head=True, threads=2)
    found = answers(TransformersClient(model, tokenizer, 0.0, MAX_TOKENS, STOP), requests)
    ids, margins = TokenIds(tokenizer), []
    for request, answer in zip(requests, found):
        shared, rest = ids.prompt(request.prompt)
        prompt = shared + rest
        whole = prompt + tokenizer(answer.text, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = model(torch.tensor([whole])).logits[0, len(prompt) - 1 :].float()
        best = logits.topk(2).values
        margins.append(float((best[:, 0] - best[:, 1]).min()))
    return found, margins


def test_transformers_offline_and_served_vllm_agree_on_greedy_text(
    engines, address, tokenizer, requests, greedy, monkeypatch
):
    local, margins = greedy
    offline = answers(engines[0.0], requests)
    served = answers(openai_client(address, monkeypatch, tokenizer), requests)
    clear = [i for i, margin in enumerate(margins) if margin >= MARGIN]
    for i, margin in enumerate(margins):
        print(f"margin {margin:.2f}  {local[i].text!r}  offline {offline[i].text!r}  served {served[i].text!r}")
    agree = sum(local[i].text == offline[i].text == served[i].text for i in range(len(requests)))
    print(f"{agree} of {len(requests)} agree; {len(clear)} have a margin of {MARGIN} throughout")
    assert len(clear) >= 2
    for i in clear:
        assert local[i].text == offline[i].text == served[i].text
        assert local[i].prompt_tokens == offline[i].prompt_tokens == served[i].prompt_tokens
        assert local[i].finished == offline[i].finished == served[i].finished


def test_seeds_decide_offline(engines, requests):
    again = [Request(requests[0].prompt, seed, 0) for seed in (1, 2, 1, 3)]
    first, second, third, fourth = answers(engines[1.0], again)
    assert first.text == third.text
    assert len({first.text, second.text, fourth.text}) > 1


def test_seeds_decide_served(address, tokenizer, requests, monkeypatch):
    again = [Request(requests[0].prompt, seed, 0) for seed in (1, 2, 1, 3)]
    first, second, third, fourth = answers(openai_client(address, monkeypatch, tokenizer, 1.0), again)
    assert first.text == third.text
    assert len({first.text, second.text, fourth.text}) > 1


def test_chat_messages_reach_the_server(address, requests, monkeypatch):
    found = answers(openai_client(address, monkeypatch), requests)
    assert all(0 < a.completion_tokens <= MAX_TOKENS and a.text for a in found)
    assert all(a.prompt_tokens > 50 for a in found)


def test_wrong_key_is_refused_and_not_shown(address, requests, monkeypatch):
    with pytest.raises(ValueError, match=r"refuses the request: .*401") as error:
        answers(openai_client(address, monkeypatch, key="a-wrong-key"), requests[:1])
    assert "a-wrong-key" not in str(error.value)


@pytest.mark.parametrize("how", ["offline", "served"])
def test_candidates_are_described(engines, address, tokenizer, template, requests, monkeypatch, how):
    client = engines[1.0] if how == "offline" else openai_client(address, monkeypatch, tokenizer, 1.0)
    found = [Candidate(1, r.group, "positive", c, prompt=r.prompt) for r in requests for c in range(3)]
    tally = Tally()
    ask(found, lambda asked, done: client.answer(asked, lambda a: done(a, True)), template.answer, 0, 3, tally)
    assert sum(c.status == "ok" for c in found) >= 20
    assert all(c.description.startswith("words like") for c in found if c.status == "ok")
    assert tally.completion_tokens > 24 and tally.prompt_tokens > 24 * 50
    print(tally, f"{tally.seconds:.1f} s", sorted({c.description for c in found if c.description})[:6])


def test_prompt_without_room_for_an_answer_is_named(engines, requests):
    long = Prompt([{"role": "user", "content": "word " * 2040}])
    with pytest.raises(ValueError, match=r"max_model_len: a prompt of \d+ tokens leaves no room for 16"):
        answers(engines[0.0], [Request(long, 0, 0)])
    assert answers(engines[0.0], requests[:1])[0].text
