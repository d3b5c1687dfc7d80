"""The local client: a transformers model in this process.

B rows of a batch, D distinct prompts of it, S tokens of a row, the shared ones and padding included.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from neuron_descriptions.clients.base import Answer, Done, Request
from neuron_descriptions.clients.token_ids import TokenIds

Ids = tuple[list[int], list[int]]  # of what all prompts share, of the rest
PROMPT_FILES = 6  # of a run at most: one for each type of neurons, and the usual one


class _Sampler(LogitsProcessor):
    """Makes greedy decoding sample: adds Gumbel noise from each row's own generator to its logits / temperature
    (the Gumbel-max trick; Maddison, Tarlow and Minka 2014, "A* Sampling"). A row's draws depend on its seed alone."""

    def __init__(self, seeds: list[int], temperature: float):
        self.generators = [torch.Generator().manual_seed(seed & (2**63 - 1)) for seed in seeds]
        self.temperature = temperature

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        shape = scores.shape[1:]
        noise = torch.stack([torch.rand(shape, generator=g, dtype=torch.float64) for g in self.generators])
        gumbel = -(-noise.clamp_min(1e-300).log()).log()
        return scores.float() / self.temperature + gumbel.float().to(scores.device)


class _Stop(StoppingCriteria):
    """Ends a row at the first stop string of its answer. (transformers' own rebuilds an index of the vocabulary for
    every batch.)"""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...], prompt_length: int):
        self.tokenizer, self.stop, self.prompt_length = tokenizer, stop, prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        texts = self.tokenizer.batch_decode(input_ids[:, self.prompt_length :])
        ended = [any(stop in text for stop in self.stop) for text in texts]
        return torch.tensor(ended, device=input_ids.device)


class TransformersClient:
    """Answers with a causal language model, in batches that never mix groups, sorted by length; keys and values of
    what all prompts share are computed once, and those of a prompt once for all its rows of a batch."""

    begins, keeps = True, False

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        temperature: float,
        max_tokens: int,
        stop: tuple[str, ...],
        batch_tokens: int = 65_536,
    ):
        """temperature 0 is greedy; batch_tokens: prompt tokens of one batch at most, which bounds memory."""
        self.model, self.tokenizer, self.ids = model, tokenizer, TokenIds(tokenizer)
        self.temperature, self.max_tokens, self.stop = temperature, max_tokens, stop
        self.batch_tokens = batch_tokens
        self.shared: dict[tuple[int, ...], DynamicCache] = {}

    def payloads(self, requests: list[Request]) -> list[dict[str, Any]]:
        """A request's group is part of what decides: in another batch, floats may round differently."""
        settings = [self.temperature, self.max_tokens, self.stop, self.batch_tokens, str(self.model.dtype)]
        payloads: list[dict[str, Any]] = []
        for _, requests_of_group in groupby(requests, key=lambda request: request.group):
            group = [(request.prompt.sha256(), request.seed) for request in requests_of_group]
            together = sha256(repr(group).encode()).hexdigest()
            payloads += [{"settings": settings, "group": together, "prompt": p, "seed": seed} for p, seed in group]
        return payloads

    def answer(self, requests: list[Request], done: Done) -> None:
        """Answer the requests, a group at a time."""
        for _, group in groupby(enumerate(requests), key=lambda pair: pair[1].group):
            numbers, members = zip(*group)
            ids = [self.ids.prompt(request.prompt) for request in members]
            answers: dict[int, Answer] = {}
            for batch in self._batches(ids):
                found = self._run([ids[i] for i in batch], [members[i].seed for i in batch])
                for i, answer in zip(batch, found):
                    answers[numbers[i]] = replace(answer, prompt_tokens=members[i].share(answer.prompt_tokens))
            done(answers)

    def _batches(self, ids: list[Ids]) -> Iterator[list[int]]:
        """Row numbers, longest first, in batches of at most batch_tokens, padding included. Rows of one prompt stand
        together, in one batch where they fit into one; rows of a batch have the same shared part."""
        prompts: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for i in sorted(range(len(ids)), key=lambda i: (-sum(map(len, ids[i])), i)):
            prompts.setdefault(tuple(map(tuple, ids[i])), []).append(i)
        batch: list[int] = []
        for rows in prompts.values():
            longest = sum(map(len, ids[(batch or rows)[0]]))
            other = batch and ids[batch[0]][0] != ids[rows[0]][0]
            if batch and (other or longest * (len(batch) + len(rows)) > self.batch_tokens):
                yield batch
                batch, longest = [], sum(map(len, ids[rows[0]]))
            batch += rows
            most = max(1, self.batch_tokens // longest)
            while len(batch) > most:
                yield batch[:most]
                batch = batch[most:]
        yield batch

    @torch.inference_mode()
    def _cache(self, shared: list[int], rows: int) -> DynamicCache:
        """Keys and values of the shared ids, for a batch; kept for the next, of PROMPT_FILES at most."""
        if tuple(shared) not in self.shared:
            if len(self.shared) == PROMPT_FILES:
                self.shared.clear()
            ids = torch.tensor([shared], device=self.model.device)
            self.shared[tuple(shared)] = self.model.base_model(input_ids=ids, use_cache=True).past_key_values
        cache = copy.deepcopy(self.shared[tuple(shared)])
        cache.batch_repeat_interleave(rows)
        return cache

    @torch.inference_mode()
    def _prefilled(self, ids: list[Ids], ids_BS: Tensor, mask_BS: Tensor) -> DynamicCache | None:
        """Keys and values for a batch: of what all rows share; and, where several rows have one prompt, of all but
        their last token, computed once for each prompt."""
        shared = ids[0][0]
        numbers = {rest: number for number, rest in enumerate(dict.fromkeys(tuple(rest) for _, rest in ids))}
        own = ids_BS.shape[1] - len(shared)
        if len(numbers) == len(ids) or own < 2:
            return self._cache(shared, len(ids)) if shared else None
        prompt_B = [numbers[tuple(rest)] for _, rest in ids]
        first = [prompt_B.index(number) for number in range(len(numbers))]
        cache = self._cache(shared, len(first)) if shared else None
        mask_DS = mask_BS[first]
        positions_DS = (mask_DS.cumsum(1) - 1).clamp_min(0)
        cache = self.model.base_model(
            input_ids=ids_BS[first, len(shared) : -1].to(self.model.device),
            attention_mask=mask_DS[:, :-1].to(self.model.device),
            position_ids=positions_DS[:, len(shared) : -1].to(self.model.device),
            past_key_values=cache,
            use_cache=True,
        ).past_key_values
        cache.batch_select_indices(torch.tensor(prompt_B, device=self.model.device))
        return cache

    @torch.inference_mode()
    def _run(self, ids: list[Ids], seeds: list[int]) -> list[Answer]:
        shared, own = ids[0][0], max(len(rest) for _, rest in ids)
        assert all(row[0] == shared for row in ids)
        longest = len(shared) + own
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0
        # Padding stands between what is shared and a row's own ids: nothing looks at it, and positions skip it.
        rows = [shared + [pad] * (own - len(rest)) + rest for _, rest in ids]
        ids_BS = torch.tensor(rows)
        mask_BS = torch.ones_like(ids_BS)
        for row, (_, rest) in zip(mask_BS, ids):
            row[len(shared) : longest - len(rest)] = 0
        sampler = [_Sampler(seeds, self.temperature)] if self.temperature else []
        output_BS = self.model.generate(
            input_ids=ids_BS.to(self.model.device),
            attention_mask=mask_BS.to(self.model.device),
            past_key_values=self._prefilled(ids, ids_BS, mask_BS),
            max_new_tokens=self.max_tokens,
            do_sample=False,
            pad_token_id=pad,
            stopping_criteria=StoppingCriteriaList([_Stop(self.tokenizer, self.stop, longest)]),
            logits_processor=LogitsProcessorList(sampler),
        )
        generated = output_BS[:, longest:].tolist()
        return [self._read(sum(map(len, row)), new) for row, new in zip(ids, generated)]

    def _read(self, prompt_tokens: int, generated: list[int]) -> Answer:
        """What follows the end is padding: no token of the answer."""
        ends = self.model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        end = next((i for i, token in enumerate(generated) if token in ends), None)
        return self.ids.answer(prompt_tokens, generated[:end], self.stop, ended=end is not None)
