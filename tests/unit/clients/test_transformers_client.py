"""The local client on the real model."""

import copy

import numpy as np
import pytest
import torch

from neuron_descriptions.clients.base import Prompt, Request
from neuron_descriptions.clients.journal import Journal
from neuron_descriptions.clients.token_ids import TokenIds
from neuron_descriptions.clients.transformers import TransformersClient, _Sampler
from neuron_descriptions.common.streams import key

TEXTS = ("The capital of France is", "Once upon a time, in a small", "1, 2, 3,", "Dear Sir or Madam,\n\nI am")


class Client(TransformersClient):
    """The client, with answers as a list."""

    def answers(self, requests):
        found = {}
        self.answer(requests, found.update)
        return [found[i] for i in range(len(requests))]


@pytest.fixture(scope="module")
def base(tokenizer):
    """The tokenizer of a model without a chat template."""
    base = copy.deepcopy(tokenizer)
    base.chat_template = None
    return base


@pytest.fixture(scope="module")
def prompts():
    return [Prompt([{"role": "user", "content": ""}], text) for text in TEXTS]


@pytest.fixture(scope="module")
def client(model, base):
    def client(temperature=1.0, max_tokens=4, stop=(), tokenizer=base, **settings):
        return Client(model, tokenizer, temperature, max_tokens, stop, **settings)

    return client


@pytest.fixture(scope="module")
def greedy(model, base, prompts):
    """Ids that the model's own greedy decoding gives for the second prompt."""
    ids = torch.tensor([TokenIds(base).prompt(prompts[1])[1]])
    with torch.inference_mode():
        output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8)
    return output[0, ids.shape[1] :].tolist()


@pytest.fixture(scope="module")
def greeting():
    """A prompt whose answer is short enough to reach its end."""
    return Prompt([{"role": "user", "content": "Hi"}])


# --- sampling ----------------------------------------------------------------------------------------


def test_temperature_of_zero_is_greedy(client, prompts, greedy, tokenizer):
    (answer,) = client(temperature=0, max_tokens=8).answers([Request(prompts[1], 0, 0)])
    assert answer.text == tokenizer.decode(greedy)
    assert (answer.completion_tokens, answer.finished) == (8, False)


def test_seed_alone_decides_the_draw(client, prompts):
    first, other, again = client().answers([Request(prompts[1], seed, 0) for seed in (1, 2, 1)])
    assert first == again
    assert first.text != other.text
    repeated = client().answers([Request(prompts[1], seed, 0) for seed in (1, 2, 1)])
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
    together = client().answers(groups[0] + groups[1])
    alone = [answer for group in groups for answer in client().answers(group)]
    assert together == alone
    assert len({answer.text for answer in together}) == 4


def test_batches_are_sorted_by_length_and_bounded(client):
    ids = [([], [i] * n) for i, n in enumerate((3, 3, 9, 2, 30, 1, 1))]
    batches = list(client(batch_tokens=20)._batches(ids))
    assert batches == [[4], [2, 0], [1, 3, 5, 6]]
    with_shared = [([7] * 4, rest) for _, rest in ids]
    assert list(client(batch_tokens=20)._batches(with_shared)) == [[4], [2], [0, 1], [3, 5, 6]]


def test_batches_never_mix_groups(client, prompts, monkeypatch):
    ran = []
    run = TransformersClient._run
    monkeypatch.setattr(TransformersClient, "_run", lambda self, ids, seeds: ran.append(seeds) or run(self, ids, seeds))
    groups = [Request(prompts[i % 4], i, i // 3) for i in range(7)]
    together = []
    client(max_tokens=1).answer(groups, together.append)
    assert [sorted(seeds) for seeds in ran] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [sorted(answers) for answers in together] == [[0, 1, 2], [3, 4, 5], [6]]


SYSTEM = {"role": "system", "content": "You answer in a few words. " * 20}


def questions(shared):
    return [
        Request(Prompt([SYSTEM, {"role": "user", "content": text}], "Well,", shared), seed, 0)
        for seed, text in enumerate(TEXTS)
    ]


def test_what_prompts_share_is_computed_once_and_changes_no_answer(client, tokenizer, model, monkeypatch):
    sizes = []
    forward = type(model.base_model).forward
    monkeypatch.setattr(
        type(model.base_model),
        "forward",
        lambda self, *args, **kwargs: sizes.append(kwargs["input_ids"].numel()) or forward(self, *args, **kwargs),
    )
    plain = client(0, 8, tokenizer=tokenizer).answers(questions(0))
    alone, sizes[:] = sum(sizes), []
    sharing = client(0, 8, tokenizer=tokenizer)
    assert sharing.answers(questions(1)) == plain
    once = sum(sizes)
    (sampled,) = {tuple(a.text for a in client(1.0, 8, tokenizer=tokenizer).answers(questions(s))) for s in (0, 1)}
    assert len(set(sampled)) > 2
    shared = len(TokenIds(tokenizer).prompt(questions(1)[0].prompt)[0])
    assert shared > 100
    assert alone - once >= 3 * shared - 40  # four rows' worth, and once more for the cache
    sizes[:] = []
    sharing.answers(questions(1))
    assert sum(sizes) == once - shared


def test_batches_by_tokens_change_no_answer(client, tokenizer):
    whole = client(0, 8, tokenizer=tokenizer).answers(questions(1))
    assert client(0, 8, tokenizer=tokenizer, batch_tokens=300).answers(questions(1)) == whole


def test_rows_of_one_prompt_stand_together_and_no_batch_mixes_what_is_shared(client):
    ids = [([], [1] * 4), ([], [2] * 4), ([], [1] * 4), ([], [3] * 5), ([], [2] * 4), ([], [1] * 4)]
    assert list(client(batch_tokens=20)._batches(ids)) == [[3, 0, 2, 5], [1, 4]]
    assert list(client(batch_tokens=15)._batches(ids)) == [[3], [0, 2, 5], [1, 4]]
    assert list(client(batch_tokens=10)._batches(ids)) == [[3], [0, 2], [5], [1, 4]]
    shared = [([7] * (i % 2), rest) for i, (_, rest) in enumerate(ids)]
    for batch in client(batch_tokens=99)._batches(shared):
        assert len({tuple(shared[i][0]) for i in batch}) == 1


def samples(shared, n=3):
    """n samples of each of two prompts of different lengths, and another prompt's single one."""
    return [
        Request(Prompt([SYSTEM, {"role": "user", "content": text}], "Well,", shared), 10 * i + s, 0, s, of)
        for i, (text, of) in enumerate(((TEXTS[0], n), (TEXTS[3] + " writing to you", n), (TEXTS[2], 1)))
        for s in range(of)
    ]


@pytest.mark.parametrize("shared", [0, 1])
def test_samples_of_a_prompt_differ_and_it_is_read_once(client, tokenizer, model, monkeypatch, shared):
    asked = samples(shared)
    alone = [a for r in asked for a in client(1.0, 6, tokenizer=tokenizer).answers([r])]
    sizes = []
    forward = type(model.base_model).forward
    monkeypatch.setattr(
        type(model.base_model),
        "forward",
        lambda self, *args, **kwargs: sizes.append(kwargs["input_ids"].numel()) or forward(self, *args, **kwargs),
    )
    together = client(1.0, 6, tokenizer=tokenizer).answers(asked)
    # Each seed's draw is its own, whatever is read together with it.
    assert [a.text for a in together] == [a.text for a in alone]
    assert len({a.text for a in together[:3]}) > 1 and len({a.text for a in together[3:6]}) > 1
    whole = [sum(map(len, TokenIds(tokenizer).prompt(r.prompt))) for r in asked]
    assert sum(a.prompt_tokens for a in together) == whole[0] + whole[3] + whole[6]
    longest = max(len(TokenIds(tokenizer).prompt(r.prompt)[1]) for r in asked)
    head = len(TokenIds(tokenizer).prompt(asked[0].prompt)[0])
    assert sum(sizes) == head + 3 * (longest - 1) + 7 * 6  # three prompts, then six steps of seven rows
    assert client(1.0, 6, tokenizer=tokenizer, batch_tokens=2 * max(whole)).answers(asked) == together


def test_a_request_s_group_and_settings_decide(client):
    requests = questions(1)
    payloads = client().payloads(requests)
    assert len({str(p) for p in payloads}) == 4
    assert client().payloads(requests) == payloads
    assert client().payloads(requests[:3])[0] != payloads[0]
    assert client(max_tokens=5).payloads(requests)[0] != payloads[0]


def test_nothing_to_answer(client):
    assert client().answers([]) == []


# --- ends --------------------------------------------------------------------------------------------


def test_stop_string_ends_the_answer(client, prompts, greedy, tokenizer):
    full = tokenizer.decode(greedy)
    stop = tokenizer.decode(greedy[3:4])
    assert full.index(stop) == len(tokenizer.decode(greedy[:3]))
    (answer,) = client(0, 8, ("never", stop)).answers([Request(prompts[1], 0, 0)])
    assert answer.text == tokenizer.decode(greedy[:3])
    assert answer.finished
    assert answer.completion_tokens == 4  # what was generated: the stop string's token counts


def test_first_of_several_stops_ends_the_answer(client, prompts, greedy, tokenizer):
    stops = tuple(tokenizer.decode(greedy[i : i + 1]) for i in (5, 2))
    (answer,) = client(0, 8, stops).answers([Request(prompts[1], 0, 0)])
    assert answer.text == tokenizer.decode(greedy[:2])


def test_stop_within_a_token_ends_the_answer(client, prompts, greedy, tokenizer):
    full = tokenizer.decode(greedy)
    word = tokenizer.decode(greedy[3:4])
    assert len(word) > 2
    (answer,) = client(0, 8, (word[2:],)).answers([Request(prompts[1], 0, 0)])
    assert answer.text == full[: full.index(word[2:])]
    assert answer.finished


def test_first_of_two_stops_within_a_token_ends_the_answer(client, prompts, greedy, tokenizer):
    word = tokenizer.decode(greedy[3:4])
    (answer,) = client(0, 8, (word[3:], word[2:3])).answers([Request(prompts[1], 0, 0)])
    assert answer.text == tokenizer.decode(greedy[:3]) + word[:2]


def test_nothing_after_the_end_counts(client, greedy, tokenizer):
    """Padding may be a token like any other."""
    answer = client()._read(5, [*greedy[:3], tokenizer.eos_token_id, *greedy[3:]])
    assert (answer.text, answer.completion_tokens, answer.finished) == (tokenizer.decode(greedy[:3]), 3, True)


def test_stop_in_the_prompt_does_not_count(client, prompts):
    (answer,) = client(0, 2, ("small",)).answers([Request(prompts[1], 0, 0)])
    assert (answer.completion_tokens, answer.finished) == (2, False)


def test_finished_says_whether_the_end_was_reached(client, greeting, tokenizer):
    ended, cut = (client(0, n, tokenizer=tokenizer).answers([Request(greeting, 0, 0)])[0] for n in (16, 4))
    assert ended.finished
    assert ended.completion_tokens < 16
    assert "<|im_end|>" not in ended.text
    assert not cut.finished
    assert cut.completion_tokens == 4
    assert ended.text.startswith(cut.text)


@pytest.mark.parametrize("pad", [True, False])
def test_answer_that_stops_early_counts_its_own_tokens(client, base, prompts, greedy, pad):
    """Beside one that goes on, and for a tokenizer without a padding token, as Llama-3.1's."""
    tokenizer = base
    stop = tokenizer.decode(greedy[3:4])
    if not pad:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.pad_token = None
        assert tokenizer.pad_token_id is None
    asked = [Request(prompts[1], 0, 0), Request(prompts[2], 0, 0)]
    stopped, long = client(0, 8, (stop,), tokenizer).answers(asked)
    assert long.completion_tokens == 8
    assert not long.finished
    assert (stopped.text, stopped.completion_tokens, stopped.finished) == (tokenizer.decode(greedy[:3]), 4, True)


# --- a job that dies ---------------------------------------------------------------------------------


def test_finished_answers_of_a_job_that_dies_are_kept_and_change_nothing(client, prompts, tmp_path, monkeypatch):
    requests = [Request(prompts[i % 4], i, i // 2) for i in range(8)]
    expected = client().answers(requests)
    path, runs = str(tmp_path / "layer-1/chunk-0.jsonl"), []
    run = TransformersClient._run

    def dying(self, ids, seeds):
        runs.append(seeds)
        if len(runs) == 3:
            raise RuntimeError("killed")
        return run(self, ids, seeds)

    monkeypatch.setattr(TransformersClient, "_run", dying)
    with pytest.raises(RuntimeError, match="killed"):
        Journal(path, set(range(4)), "code").answer(client(), requests, lambda answers, fresh: None)
    found, known = {}, []

    def done(answers, fresh):
        found.update(answers)
        known.extend([] if fresh else answers)

    Journal(path, set(range(4)), "code").answer(client(), requests, done)
    assert [found[i] for i in range(8)] == expected
    assert known == [0, 1, 2, 3]
    assert [sorted(seeds) for seeds in runs] == [[0, 1], [2, 3], [4, 5], [4, 5], [6, 7]]
    # Of other code, of another batch, or of another neuron's job: not the same answers.
    others = (range(4), "other", requests), (range(4), "code", requests[::2]), ([9], "code", requests)
    for groups, code, wanted in others:
        known.clear()
        Journal(path, set(groups), code).answer(client(), wanted, done)
        assert not known
