"""Rows through a model, and the number that it expects at each of their places.

B rows of a batch, P tokens of a prefix, D distinct prefixes, S tokens of a row's own part (after its prefix), N number
tokens, R read positions.
"""

import copy
import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuron_descriptions.models.prefixes import (
    KeysAndValues,
    WindowError,
    goes_on_from_keys_and_values,
    gone_on_from,
    keys_and_values,
)

SMALLEST = 6  # a batch of less than one in so many of batch_tokens takes in prefixes of another length


@dataclass(slots=True, frozen=True)
class Row:
    """A task as token ids: `prefix` is shared with other rows; `reads` are the places in `ids` where numbers are
    predicted, and evidence token i's is the largest of those of its `groups[i]` (its own alone, where groups is
    None: then the simulator has the subject's tokens)."""

    prefix: tuple[int, ...]
    ids: list[int]
    reads: list[int]
    groups: list[list[int]] | None = None


class Expectation:
    """Runs rows and reads the expected number. The keys and values of a prefix are computed once for all its rows."""

    def __init__(self, model: Any, numbers: list[int], batch_tokens: int):
        self.model, self.batch_tokens = _with_head_rows(model, numbers), batch_tokens
        self.tokens = self.shared_tokens = 0
        self.numbers_N = torch.arange(len(numbers), dtype=torch.float32, device=model.device)
        self.kept: tuple[list[tuple[int, ...]], Any] = ([], None)  # the last batch's prefixes, and their cache
        # A processor computes each prefix alone, which costs it nothing, and so keeps a batch's tokens of them for
        # later calls: an earlier call changes no bit of it.
        self.alone = model.device.type == "cpu" and goes_on_from_keys_and_values(model)
        self.prefixes: OrderedDict[tuple[int, ...], KeysAndValues] = OrderedDict()
        self.window = math.inf  # the shortest prefix that the model was seen not to keep whole

    def run(self, rows: list[Row]) -> list[list[float]]:
        """Expected number of every evidence token of every row."""
        # A row without reads has no evidence in the simulator's tokens: nothing to predict from.
        results = {i: [0.0] * len(row.groups or []) for i, row in enumerate(rows) if not row.reads}
        for i, shares_RN in self.shares(rows):
            expected, groups = (shares_RN @ self.numbers_N).tolist(), rows[i].groups
            results[i] = expected if groups is None else [max((expected[j] for j in g), default=0.0) for g in groups]
        return [results[i] for i in range(len(rows))]

    @torch.inference_mode()
    def shares(self, rows: list[Row]) -> Iterator[tuple[int, Tensor]]:
        """(number of a row, distribution over the numbers at each of its reads, float32 (R, N)), of all rows that have
        reads, in some order."""
        self.tokens += sum(len(row.ids) for row in rows)
        for batch in self._batches(rows):
            # What is computed once is as long as the batch's shortest prefix; what others have beyond it, rows read.
            size = min(len(rows[i].prefix) for i in batch)
            own = [[*rows[i].prefix[size:], *rows[i].ids] for i in batch]
            self.shared_tokens += sum(len(rows[i].prefix) - size for i in batch)
            longest = max(map(len, own))
            # Padding on the right: a causal model's tokens do not see what comes after them.
            ids_BS = torch.tensor([ids + [0] * (longest - len(ids)) for ids in own])
            cache = self._cache([rows[i].prefix[:size] for i in batch])
            logits_BSN = self.model(
                input_ids=ids_BS.to(self.model.device), past_key_values=cache, use_cache=cache is not None
            ).logits
            for b, i in enumerate(batch):
                reads = [place + len(rows[i].prefix) - size for place in rows[i].reads]
                yield i, logits_BSN[b, reads].float().softmax(-1)

    def _cache(self, prefixes_B: list[tuple[int, ...]]) -> Any:
        """Keys and values of the rows' prefixes, which are of one length; None where that is 0."""
        distinct = list(dict.fromkeys(prefixes_B))
        if not distinct[0]:
            return None
        which_B = [distinct.index(prefix) for prefix in prefixes_B]
        if self.alone and len(distinct[0]) < self.window:
            try:
                return gone_on_from(self.model.config, [self._prefix(prefix) for prefix in distinct], which_B)
            except WindowError:
                self.window = len(distinct[0])
        if self.kept[0] != distinct:
            ids_DP = torch.tensor(distinct, device=self.model.device)
            self.shared_tokens += ids_DP.numel()
            self.kept = distinct, self.model.base_model(input_ids=ids_DP, use_cache=True).past_key_values
        cache = copy.deepcopy(self.kept[1])
        cache.batch_select_indices(torch.tensor(which_B, device=self.model.device))
        return cache

    def _prefix(self, prefix: tuple[int, ...]) -> KeysAndValues:
        """Keys and values of a prefix, from an earlier call where they are kept still."""
        if prefix not in self.prefixes:
            ids_1P = torch.tensor([prefix], device=self.model.device)
            cache = self.model.base_model(input_ids=ids_1P, use_cache=True).past_key_values
            self.prefixes[prefix] = keys_and_values(cache, len(prefix), len(prefix))
            self.shared_tokens += len(prefix)
            while len(self.prefixes) > 1 and sum(map(len, self.prefixes)) > self.batch_tokens:
                self.prefixes.popitem(last=False)
        self.prefixes.move_to_end(prefix)
        return self.prefixes[prefix]

    def _batches(self, rows: list[Row]) -> Iterator[list[int]]:
        """Row numbers in batches of at most batch_tokens, padding and prefixes included: rows of one prefix together,
        longest first. Prefixes of one length need no padding, so they fill a batch; only one that would stay below a
        share of batch_tokens, too small for a GPU, takes rows of the next length in; on a processor none does."""
        batch: list[int] = []
        size = longest = 0  # of the batch's shortest prefix, of the longest row beyond that

        def order(i: int) -> tuple[int, tuple[int, ...], int, int]:
            return len(rows[i].prefix), rows[i].prefix, -len(rows[i].ids), i

        for i in sorted((i for i, row in enumerate(rows) if row.reads), key=order):
            prefix, ids = len(rows[i].prefix), len(rows[i].ids)
            grown = max(longest, prefix - size + ids)
            another = batch and prefix != len(rows[batch[-1]].prefix)
            filled = another and (self.alone or len(batch) * longest * SMALLEST >= self.batch_tokens)
            if batch and (filled or (size + grown) * (len(batch) + 1) > self.batch_tokens):
                yield batch
                batch = []
            if not batch:
                size, grown = prefix, ids
            longest = grown
            batch.append(i)
        if batch:
            yield batch


def _with_head_rows(model: Any, rows: list[int]) -> Any:
    """The same model, weights shared, whose head has these rows of the vocabulary alone; whatever else the model does
    to its logits (a factor, a cap) it goes on doing."""
    head = model.get_output_embeddings()
    part = type(head)(head.in_features, len(rows), bias=head.bias is not None, device="meta")
    part.weight = torch.nn.Parameter(head.weight[rows], requires_grad=False)
    if head.bias is not None:
        part.bias = torch.nn.Parameter(head.bias[rows], requires_grad=False)
    view = copy.copy(model)
    view._modules = dict(model._modules)
    view.set_output_embeddings(part)
    return view
