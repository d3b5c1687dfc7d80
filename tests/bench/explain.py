"""The local explainer: prompts of a chunk in batches against the same prompts one by one.

Greedy, so that texts can be compared: where they differ, a float tie has decided.
"""

import time
from pathlib import Path

import numpy as np
import torch

from common import Clock, build
from neuron_descriptions.clients.base import Answer, Prompt, Request
from neuron_descriptions.clients.transformers import TransformersClient
from neuron_descriptions.corpus.reading import read_texts
from neuron_descriptions.descriptions.excerpts import Highlights, excerpts
from neuron_descriptions.descriptions.prompts import ExplainerTemplate, read_template
from neuron_descriptions.models.loading import load_model, load_tokenizer

NEURONS, CANDIDATES, EXCERPTS, SEQ_LEN, MAX_TOKENS = 2, 5, 10, 48, 30
PROMPTS = {"short": "config/prompts/short.yaml", "step_by_step": "config/prompts/step-by-step.yaml"}


def measure(scratch: Path) -> dict[str, float]:
    """The figures of this section; about 2 minutes on two cores."""
    folder, corpus = build(scratch, SEQ_LEN, 256)
    tokenizer = load_tokenizer(folder)
    figures: dict[str, float] = {}
    for dtype in ("bfloat16", "float32"):
        model = load_model(folder, dtype, head=True, threads=torch.get_num_threads())
        for name, path in PROMPTS.items():
            if dtype == "bfloat16" or name == "short":
                suffix = "" if (dtype, name) == ("bfloat16", "step_by_step") else f"_{name}_{dtype}"
                found = against_one_by_one(model, tokenizer, chunk(tokenizer, corpus["train"], path))
                figures |= {f"{figure}{suffix}": value for figure, value in found.items()}
                print(f"  {name}, {dtype}: {found}", flush=True)
    return figures


def chunk(tokenizer: object, corpus: str, prompt: str) -> list[Request]:
    """Prompts of a chunk: every neuron's candidates of both signs, over real text with invented activations."""
    root = Path(__file__).parents[2]
    template = read_template(str(root / prompt), ExplainerTemplate)
    random = np.random.default_rng(0)
    texts = read_texts(corpus, set(range(256)))
    requests = []
    for neuron in range(NEURONS):
        for number in range(2 * CANDIDATES):
            rows = [texts[int(i)].evidence for i in random.choice(256, EXCERPTS, replace=False)]
            acts = [random.exponential(size=len(row)) ** 3 for row in rows]
            shown = excerpts(tokenizer, rows, acts, Highlights([60.0, 30.0, 10.0], 12), template.context)
            messages = template.messages(shown, "positive", list(template.examples), "turns")
            requests.append(Request(Prompt(messages, template.answer, len(messages) - 1), number, neuron))
    return requests


def against_one_by_one(model: object, tokenizer: object, requests: list[Request]) -> dict[str, float]:
    """Processor time of single prompts, each computed whole, over that of the client; and whether texts are equal."""
    clock, alone = Clock(), Clock()
    answers: dict[int, Answer] = {}
    client = TransformersClient(model, tokenizer, 0.0, MAX_TOKENS, ("\n\n",))
    single = TransformersClient(model, tokenizer, 0.0, MAX_TOKENS, ("\n\n",))
    TransformersClient(model, tokenizer, 0.0, 2, ()).answer(requests[:1], lambda found: None)  # warm up
    start = time.monotonic()
    with clock:
        client.answer(requests, answers.update)
    seconds = time.monotonic() - start
    # Every other one stands for all: the groups are alike.
    sample: list[int] = list(range(0, len(requests), 2))
    texts: dict[int, Answer] = {}
    for i in sample:
        request = Request(Prompt(requests[i].prompt.messages, requests[i].prompt.answer), 0, 0)
        with alone:
            single.answer([request], lambda found, i=i: texts.update({i: found[0]}))
    prompt_tokens = sum(answer.prompt_tokens for answer in answers.values())
    same = sum(texts[i].text == answers[i].text for i in sample)
    return {
        "speedup_over_one_by_one": alone.seconds * len(requests) / len(sample) / clock.seconds,
        "prompt_tokens_per_second": prompt_tokens / seconds,
        "prompt_tokens_per_cpu_second": prompt_tokens / clock.seconds,
        "share_of_equal_texts": same / len(sample),
        "tokens_per_prompt": prompt_tokens / len(requests),
        "tokens_shared": float(len(next(iter(client.shared), ()))),
    }
