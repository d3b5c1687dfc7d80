"""The local client on the real model."""

import copy

import numpy as np
import pytest
import torch

from neuron_descriptions.clients import transformers as module
from neuron_descriptions.clients.base import Request
from neuron_descriptions.clients.transformers import TransformersClient, _Sampler
from neuron_descriptions.random_streams import key

TEXTS = ("The capital of France is", "Once upon a time, in a small", "1, 2, 3,", "Dear Sir or Madam,\n\nI am")


@pytest.fixture(scope="module")
def prompts(tokenizer):
    return [tokenizer(text)["input_ids"] for text in TEXTS]


@pytest.fixture(scope="module")
def client(model, tokenizer):
    def client(temperature=1.0, max_tokens=4, stop=(), tokenizer=tokenizer):
        return TransformersClient(model, tokenizer, temperature, max_tokens, stop)

    return client


@pytest.fixture(scope="module")
def greedy(model, prompts):
    """Ids that the model's own greedy decoding gives for the second prompt."""
    ids = torch.tensor([prompts[1]])
    with torch.inference_mode():
        output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8)
    return output[0, ids.shape[1] :].tolist()


@pytest.fixture(scope="module")
def greeting(tokenizer):
    """A prompt whose answer is short enough to reach its end."""
    messages = [{"role": "user", "content": "Hi"}]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]


# --- sampling ----------------------------------------------------------------------------------------


def test_low_temperature_is_greedy(client, prompts, greedy, tokenizer):
    (answer,) = client(temperature=1e-6, max_tokens=8).answer([Request(prompts[1], 0, 0)])
    assert answer.text == tokenizer.decode(greedy)
    assert (answer.tokens, answer.finished) == (8, False)


def test_seed_alone_decides_the_draw(client, prompts):
    first, other, again = client().answer([Request(prompts[1], seed, 0) for seed in (1, 2, 1)])
    assert first == again
    assert first.text != other.text
    repeated = client().answer([Request(prompts[1], seed, 0) for seed in (1, 2, 1)])
    assert repeated == [first, other, again]


def test_draws_follow_the_softmax():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, 0.5]])
    draws = 4000
    for temperature in (0.5, 1.0, 2.0):
        seeds = [key(0, temperature, i) for i in range(draws)]
        sampler = _Sampler(seeds, temperature)
        drawn = sampler(torch.zeros(draws, 1), logits.expand(draws, -1)).argmax(1).numpy()
        expected = draws * (logits[0] / temperature).softmax(0).numpy()
        chi2 = ((np.bincount(drawn, minlength=5) - expected) ** 2 / expected).sum()
        assert chi2 < 23.5  # 4 degrees of freedom: one in 10,000


def test_next_draw_of_a_seed_is_a_new_one():
    logits = torch.zeros(200, 5)
    sampler = _Sampler([key(i) for i in range(200)], 1.0)
    first, second = (sampler(torch.zeros(200, 1), logits).argmax(1) for _ in range(2))
    assert 15 < int((first == second).sum()) < 75  # 40 expected


def test_row_draws_the_same_whichever_rows_stand_beside_it():
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    together = _Sampler([7, 8, 2**64 - 1], 0.7)(torch.zeros(3, 1), logits)
    for row, seed in enumerate((7, 8, 2**64 - 1)):
        alone = _Sampler([seed], 0.7)(torch.zeros(1, 1), logits[row : row + 1])
        assert torch.equal(alone[0], together[row])
    assert not torch.equal(together[0] - logits[0] / 0.7, together[1] - logits[1] / 0.7)


# --- groups ------------------------------------------------------------------------------------------


def test_answers_do_not_depend_on_other_groups(client, prompts):
    groups = [
        [Request(prompts[0], 1, 4), Request(prompts[1], 2, 4)],
        [Request(prompts[2], 3, 9), Request(prompts[3], 4, 9)],
    ]
    together = client().answer(groups[0] + groups[1])
    alone = [answer for group in groups for answer in client().answer(group)]
    assert together == alone
    assert len({answer.text for answer in together}) == 4


def test_batches_never_mix_groups_and_keep_the_order(client, monkeypatch):
    lengths = [(3, 0), (3, 0), (9, 0), (2, 0), (30, 1), (1, 1), (1, 2)]
    requests = [Request([5] * length, i, group) for i, (length, group) in enumerate(lengths)]
    monkeypatch.setattr(module, "BATCH_TOKENS", 20)
    batches = list(client()._batches(requests))
    assert [request for batch in batches for request in batch] == requests
    assert all(len({request.group for request in batch}) == 1 for batch in batches)
    assert all(len(b) * max(len(r.prompt) for r in b) <= 20 for b in batches if len(b) > 1)
    assert [[r.seed for r in batch] for batch in batches] == [[0, 1], [2, 3], [4], [5], [6]]


def test_nothing_to_answer(client):
    assert client().answer([]) == []


# --- ends --------------------------------------------------------------------------------------------


def test_stop_string_ends_the_answer(client, prompts, greedy, tokenizer):
    full = tokenizer.decode(greedy)
    stop = tokenizer.decode(greedy[3:4])
    assert full.index(stop) == len(tokenizer.decode(greedy[:3]))
    (answer,) = client(1e-6, 8, ("never", stop)).answer([Request(prompts[1], 0, 0)])
    assert answer.text == tokenizer.decode(greedy[:3])
    assert answer.finished
    assert answer.tokens == 4  # what was generated: the stop string's token counts


def test_first_of_several_stops_ends_the_answer(client, prompts, greedy, tokenizer):
    stops = tuple(tokenizer.decode(greedy[i : i + 1]) for i in (5, 2))
    (answer,) = client(1e-6, 8, stops).answer([Request(prompts[1], 0, 0)])
    assert answer.text == tokenizer.decode(greedy[:2])


def test_stop_within_a_token_ends_the_answer(client, prompts, greedy, tokenizer):
    full = tokenizer.decode(greedy)
    word = tokenizer.decode(greedy[3:4])
    assert len(word) > 2
    (answer,) = client(1e-6, 8, (word[2:],)).answer([Request(prompts[1], 0, 0)])
    assert answer.text == full[: full.index(word[2:])]
    assert answer.finished


def test_first_of_two_stops_within_a_token_ends_the_answer(client, prompts, greedy, tokenizer):
    word = tokenizer.decode(greedy[3:4])
    (answer,) = client(1e-6, 8, (word[3:], word[2:3])).answer([Request(prompts[1], 0, 0)])
    assert answer.text == tokenizer.decode(greedy[:3]) + word[:2]


def test_nothing_after_the_end_counts(client, greedy, tokenizer):
    """Padding may be a token like any other."""
    answer = client()._read([*greedy[:3], tokenizer.eos_token_id, *greedy[3:]])
    assert (answer.text, answer.tokens, answer.finished) == (tokenizer.decode(greedy[:3]), 3, True)


def test_stop_in_the_prompt_does_not_count(client, prompts):
    (answer,) = client(1e-6, 2, ("small",)).answer([Request(prompts[1], 0, 0)])
    assert (answer.tokens, answer.finished) == (2, False)


def test_finished_says_whether_the_end_was_reached(client, greeting):
    ended, cut = (client(1e-6, n).answer([Request(greeting, 0, 0)])[0] for n in (16, 4))
    assert ended.finished
    assert ended.tokens < 16
    assert "<|im_end|>" not in ended.text
    assert not cut.finished
    assert cut.tokens == 4
    assert ended.text.startswith(cut.text)


@pytest.mark.parametrize("pad", [True, False])
def test_answer_that_stops_early_counts_its_own_tokens(client, tokenizer, prompts, greedy, pad):
    """Beside one that goes on, and for a tokenizer without a padding token, as Llama-3.1's."""
    stop = tokenizer.decode(greedy[3:4])
    if not pad:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.pad_token = None
        assert tokenizer.pad_token_id is None
    asked = [Request(prompts[1], 0, 0), Request(prompts[2], 0, 0)]
    stopped, long = client(1e-6, 8, (stop,), tokenizer).answer(asked)
    assert long.tokens == 8
    assert not long.finished
    assert (stopped.text, stopped.tokens, stopped.finished) == (tokenizer.decode(greedy[:3]), 4, True)
