"""The local client: a transformers model in this process."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from ..logs import progress
from .base import Answer, Request

# Prompt tokens of one batch at most: bounds memory; a group larger than that is cut in order.
BATCH_TOKENS = 65_536


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
    """Answers with a causal language model, in batches that never mix groups."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        temperature: float,
        max_tokens: int,
        stop: tuple[str, ...],
    ):
        self.model, self.tokenizer = model, tokenizer
        self.temperature, self.max_tokens, self.stop = temperature, max_tokens, stop

    def answer(self, requests: list[Request]) -> list[Answer]:
        """Answers, one per request, in order; requests come sorted by group."""
        batches = list(self._batches(requests))
        answers = []
        for batch in progress(batches, len(requests), "answers", size=len):
            answers += self._run(batch)
        return answers

    def _batches(self, requests: list[Request]) -> Iterator[list[Request]]:
        for _, group in groupby(requests, key=lambda request: request.group):
            batch: list[Request] = []
            for request in group:
                longest = max(len(r.prompt) for r in [*batch, request])
                if batch and longest * (len(batch) + 1) > BATCH_TOKENS:
                    yield batch
                    batch = []
                batch.append(request)
            yield batch

    @torch.inference_mode()
    def _run(self, batch: list[Request]) -> list[Answer]:
        longest = max(len(request.prompt) for request in batch)
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0
        ids = torch.full((len(batch), longest), pad)
        mask = torch.zeros_like(ids)
        for row, request in enumerate(batch):
            ids[row, longest - len(request.prompt) :] = torch.tensor(request.prompt)
            mask[row, longest - len(request.prompt) :] = 1
        device = self.model.device
        output = self.model.generate(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=self.max_tokens,
            do_sample=False,
            pad_token_id=pad,
            stopping_criteria=StoppingCriteriaList([_Stop(self.tokenizer, self.stop, longest)]),
            logits_processor=LogitsProcessorList([_Sampler([r.seed for r in batch], self.temperature)]),
        )
        return [self._read(row.tolist()) for row in output[:, longest:]]

    def _read(self, ids: list[int]) -> Answer:
        ends = self.model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        end = next((i for i, token in enumerate(ids) if token in ends), None)
        kept = ids[:end]
        text = self._text(kept)
        stops = [text.index(stop) for stop in self.stop if stop in text]
        if stops:
            # What follows the stop is padding: no token of the answer.
            kept = next(kept[:n] for n in range(len(kept) + 1) if any(s in self._text(kept[:n]) for s in self.stop))
            text = text[: min(stops)]
        return Answer(text, len(kept), finished=end is not None or bool(stops))

    def _text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)
