"""Shards of the harvest merged into tables of exemplars and statistics.

I neurons of a chunk, K kept, R random sequences, E evidence tokens (X: with the gate before them, where exemplars have
one), H histogram bins, S shards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from neuron_descriptions.common.checksums import SUFFIX, row_checksums, tail_checksums
from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.signs import direction
from neuron_descriptions.common.storage import write_table
from neuron_descriptions.common.vocabulary import SIGNS, TAILS, Sign, quantile_column, tail_rank
from neuron_descriptions.corpus.reading import CorpusFacts, corpus_facts, evidence_lengths
from neuron_descriptions.harvest.drawn import random_sequences
from neuron_descriptions.harvest.keys import ABSENT, decode_keys, encode_keys
from neuron_descriptions.harvest.tables import EXEMPLARS, STATISTICS, gate_column
from neuron_descriptions.harvest.tail import bin_edges, highest_octaves
from neuron_descriptions.run.memory import FIRING_OCTAVES, N_BINS


class Shard:
    """A shard's saved state, of which only the wanted rows of one layer are read, and verified.

    Raises ValueError, as its methods do, where the file is not what was written.
    """

    def __init__(self, path: str, layer: int, rows: slice):
        self.path, self.layer, self.rows = path, layer, rows
        with self._named():
            self.file = safe_open(path, "pt")
            self.first, self.last = (int(self.file.metadata()[name]) for name in ("first", "last"))
            self.n_sides = self._slice("key").get_shape()[0]  # 1 of features that are never negative

    def neurons(self, name: str) -> Tensor:
        """The wanted neurons' rows."""
        with self._named():
            found: Tensor = self._slice(name)[self.rows]
            self._check(row_checksums(found, 1, self._about(name)), self._slice(name + SUFFIX)[self.rows])
            return found

    def sides(self, name: str, side: int) -> Tensor:
        """The wanted neurons' rows of one side: 0 upper, 1 lower."""
        with self._named():
            found: Tensor = self._slice(name)[side, self.rows]
            self._check(row_checksums(found, 1, self._about(name)), self._slice(name + SUFFIX)[side, self.rows])
            return found

    def tail(self, side: int) -> np.ndarray:
        """The wanted neurons' counts (I, H) of one side's tail."""
        with self._named():
            start = self._slice("tail_start")
            n_neurons = (start.get_shape()[0] - 1) // self.n_sides
            first = side * n_neurons + self.rows.start
            last = first + self.rows.stop - self.rows.start
            starts = start[first : last + 1].numpy()
            here = slice(int(starts[0]), int(starts[-1]))
            bins, found = (self._slice(f"tail_{name}")[here].numpy() for name in ("bin", "count"))
            sums = tail_checksums(starts, bins, found, self._about("tail_start"))
            self._check(sums, self._slice("tail_start" + SUFFIX)[first:last])
        counts = np.zeros((len(starts) - 1, N_BINS), dtype=np.int64)
        counts[np.repeat(np.arange(len(counts)), np.diff(starts)), bins] = found
        return counts

    def _slice(self, name: str) -> Any:
        return self.file.get_slice(f"{self.layer}.{name}")

    def _about(self, name: str) -> str:
        return f"{self.first} {self.last} {self.layer}.{name}"

    @staticmethod
    def _check(found: Tensor, expected: Tensor) -> None:
        if not torch.equal(found, expected):
            raise ValueError("its bytes are not those that were written")

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (SafetensorError, OSError, KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{self.path} is not a readable shard ({error}); delete it and run again") from None


def merge_top(shards: list[Shard], side: int) -> tuple[Tensor, Tensor, Tensor]:
    """(values IK upwards, seq_ids IK, windows IKE) of the K best over all shards, best first; where fewer entered, the
    last values are -inf."""
    key_IK, window_IKE = _largest(shards, "key", "window", side)
    lowest = encode_keys(torch.tensor(-torch.inf), 0)
    key_IK = torch.where(key_IK > ABSENT + key_IK.shape[1], key_IK, lowest)  # empty slots: see TopK
    return *decode_keys(key_IK), window_IKE


def _largest(shards: list[Shard], key: str, window: str, side: int) -> tuple[Tensor, Tensor]:
    """(keys IK, windows IKE) of the K largest keys over all shards, largest first."""
    key_IX = torch.cat([shard.sides(key, side) for shard in shards], 1)
    key_IK, place_IK = key_IX.topk(key_IX.shape[1] // len(shards), sorted=True)
    window_IXE = torch.cat([shard.sides(window, side) for shard in shards], 1)
    return key_IK, window_IXE.gather(1, place_IK[:, :, None].expand(-1, -1, window_IXE.shape[2]))


def merge_fired(shards: list[Shard], top_IK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(values IM, seq_ids IM, windows IME) of the sample of sequences in which a feature fires, best first, without
    those of top_IK (their seq_ids); where fewer are left, the last values are -inf."""
    key_IM, window_IME = _largest(shards, "middle_key", "middle", 0)
    ids_IM = decode_keys(key_IM)[1]
    absent_IM = (key_IM <= ABSENT + key_IM.shape[1]) | (ids_IM[:, :, None] == top_IK[:, None]).any(2)
    value_IM = window_IME.float().amax(2).masked_fill(absent_IM, -torch.inf)
    ids_IM = ids_IM.masked_fill(absent_IM, 0)
    order_IM = encode_keys(value_IM, ids_IM).argsort(1, descending=True)
    windows_IME = window_IME.gather(1, order_IM[:, :, None].expand_as(window_IME))
    return value_IM.gather(1, order_IM), ids_IM.gather(1, order_IM), windows_IME


def gate_and_window(kept_INX: Tensor, longest: int) -> tuple[Tensor | None, Tensor]:
    """(gates (I, N), windows (I, N, E)) of what is kept of sequences of at most `longest` tokens; None: no gates."""
    gated = kept_INX.shape[2] > longest
    return (kept_INX[:, :, 0], kept_INX[:, :, 1:]) if gated else (None, kept_INX)


def merge_random(shards: list[Shard], side: int, ids_IR: Tensor) -> Tensor:
    """Windows (I, R, E) of the random sequences: each from the shard that ran it."""
    window_IRE = torch.zeros_like(shards[0].sides("random", side))
    for shard in shards:
        here_IR = (ids_IR >= shard.first) & (ids_IR < shard.last)
        window_IRE[here_IR] = shard.sides("random", side)[here_IR]
    return window_IRE


def tail_quantiles(count_IH: np.ndarray, extreme_I: np.ndarray, tokens: int) -> np.ndarray:
    """Quantiles (I, len(TAILS)) of one side, upwards, float32.

    The nearest-rank quantile: the value of rank `tail_rank` from the extreme. Exact for bfloat16 activations and
    for rank 1, else the lower edge of its bin: at most QUANTILE_ERROR relatively below the exact value, never above;
    0 (or the extreme, where that is on the other side) where fewer tokens are beyond 2**-14 on this side of zero.
    """
    above_IH = count_IH[:, ::-1].cumsum(1)[:, ::-1]
    edges_H = bin_edges()
    quantiles = np.zeros((len(count_IH), len(TAILS)), dtype=np.float32)
    for column, tail in enumerate(TAILS):
        rank = tail_rank(tokens, tail)
        last_I = (above_IH >= rank).sum(1) - 1
        quantiles[:, column] = np.where(last_I >= 0, edges_H[last_I], 0)
        if rank == 1:
            quantiles[:, column] = extreme_I
    found: np.ndarray = np.minimum(quantiles, extreme_I[:, None])
    return found


def merge_middle(shards: list[Shard], side: int) -> tuple[Tensor, Tensor, Tensor]:
    """(values IM upwards, seq_ids IM, windows IME) of each stratum's best over all shards, best first."""
    key_XIM = torch.stack([shard.sides("middle_key", side) for shard in shards])
    best_IM = key_XIM.argmax(0)
    key_IM = key_XIM.gather(0, best_IM[None])[0]
    window_IME = torch.stack([shard.sides("middle", side) for shard in shards])
    rows, strata = torch.meshgrid(*map(torch.arange, best_IM.shape), indexing="ij")
    key_IM, order_IM = key_IM.sort(1, descending=True)
    return *decode_keys(key_IM), window_IME[best_IM, rows, strata][rows, order_IM]


def statistics_table(
    shards: list[Shard],
    split: str,
    layer: int,
    neurons: list[int],
    facts: CorpusFacts,
    gates: dict[str, np.ndarray] | None = None,
) -> pa.Table:
    """One row of STATISTICS per neuron. gates: columns of gates' shares, where exemplars have gates."""
    sums_I4 = torch.stack([shard.neurons("sums") for shard in shards]).sum(0).numpy()
    mean_I, square_I = (
        (sums_I4[:, c].astype(np.float64) + sums_I4[:, c + 1] * 2.0**-40) / facts.tokens for c in (0, 2)
    )
    range_SI2 = torch.stack([shard.neurons("range") for shard in shards])
    low_I, high_I = (
        range_SI2[:, :, 0].amin(0).numpy(),
        range_SI2[:, :, 1].amax(0).numpy(),
    )
    columns = {
        "split": [split] * len(neurons),
        "layer": [layer] * len(neurons),
        "neuron": neurons,
        "tokens": [facts.tokens] * len(neurons),
        "mean": mean_I,
        "std": np.sqrt(np.maximum(square_I - mean_I**2, 0)),
        "min": low_I,
        "max": high_I,
    }
    if one_sided := shards[0].n_sides == 1:
        firings_I2 = torch.stack([shard.neurons("firings") for shard in shards]).sum(0).numpy()
        rate_I = firings_I2[:, 0] / facts.tokens
        columns |= {"firings": firings_I2[:, 0], "firing_sequences": firings_I2[:, 1], "firing_rate": rate_I}
        columns["log_density"] = pa.array(np.log10(np.maximum(rate_I, 1e-300)), mask=rate_I == 0)
    for side, up, extreme_I in ((0, 1, high_I), (1, -1, -low_I)):
        if side < shards[0].n_sides:
            count_IH = np.sum([shard.tail(side) for shard in shards], axis=0)
        else:
            count_IH = np.zeros((len(neurons), N_BINS), np.int64)
        if one_sided:
            count_IH = highest_octaves(count_IH, FIRING_OCTAVES)
        quantiles = up * tail_quantiles(count_IH, extreme_I, facts.tokens)
        for column, tail in enumerate(TAILS):
            columns[quantile_column(tail, SIGNS[side])] = quantiles[:, column]
    columns |= gates or {}
    nothing = pa.nulls(len(neurons))
    return pa.table({name: columns.get(name, nothing) for name in STATISTICS.names}, schema=STATISTICS)


def merge(
    shards: dict[str, list[str]],
    corpus: dict[str, str],
    layer: int,
    neurons: list[int],
    rows: slice,
    seed: int,
    exemplars: str,
    statistics: str,
) -> None:
    """Merge all shards of all splits for one chunk and write its two tables.

    shards: split -> files; neurons: the chunk's; rows: their place among the file's neurons of that layer. The
    tables have the same bytes however the splits were sharded.
    """
    tables, statistics_tables = [], []
    for split, files in shards.items():
        facts = corpus_facts(corpus[split])
        lengths = evidence_lengths(corpus[split])
        opened = [Shard(file, layer, rows) for file in files]
        shares: dict[str, np.ndarray] = {}
        for side, sign in enumerate(SIGNS[: opened[0].n_sides]):
            up = direction(sign)
            ids_IR = torch.from_numpy(
                random_sequences(
                    np.array(neurons),
                    facts.sequences,
                    opened[0].sides("random", side).shape[1],
                    seed,
                    split,
                    layer,
                    sign,
                )
            )
            value_IK, top_IK, window_IKX = merge_top(opened, side)
            gate_IK = gate_and_window(window_IKX, facts.longest)[0]
            if gate_IK is not None:
                entered_IK = value_IK.isfinite()
                above_I = ((gate_IK > 0) & entered_IK).sum(1)
                shares[gate_column(sign)] = (above_I / entered_IK.sum(1)).double().numpy()
            one_sided = opened[0].n_sides == 1
            middle = merge_fired(opened, top_IK) if one_sided else merge_middle(opened, side)
            random_IRX = merge_random(opened, side, ids_IR)
            random_IRE = gate_and_window(random_IRX, facts.longest)[1]
            # Rank random sequences like the top ones.
            valid_IRE = torch.arange(random_IRE.shape[2]) < torch.from_numpy(lengths[ids_IR.numpy()])[:, :, None]
            peak_IR = (up * random_IRE.float()).masked_fill(~valid_IRE, -torch.inf).amax(2)
            order_IR = encode_keys(peak_IR, ids_IR).argsort(1, descending=True)
            random_IRX = random_IRX.gather(1, order_IR[:, :, None].expand_as(random_IRX))
            for kind, value_IN, ids_IN, kept_INX in (
                ("top", value_IK, top_IK, window_IKX),
                ("middle", *middle),
                (
                    "random",
                    peak_IR.gather(1, order_IR),
                    ids_IR.gather(1, order_IR),
                    random_IRX,
                ),
            ):
                tables.append(
                    _rows(
                        split,
                        layer,
                        neurons,
                        sign,
                        kind,
                        up * value_IN + 0.0,
                        ids_IN,
                        gate_and_window(kept_INX, facts.longest),
                        lengths,
                    )
                )
        statistics_tables.append(statistics_table(opened, split, layer, neurons, facts, shares))
    table = pa.concat_tables(tables)
    order = np.lexsort([np.arange(len(table)), table["neuron"].to_numpy()])
    write_table(table.take(order), exemplars)
    write_table(pa.concat_tables(statistics_tables).sort_by("neuron"), statistics)
    logger.info("layer %d: %d exemplars of %d neurons", layer, len(table), len(neurons))


def _rows(
    split: str,
    layer: int,
    neurons: list[int],
    sign: Sign,
    kind: str,
    peak_IN: Tensor,
    ids_IN: Tensor,
    gate_and_window: tuple[Tensor | None, Tensor],
    lengths: np.ndarray,
) -> pa.Table:
    """Rows of EXEMPLARS; none of a slot that no sequence entered, since the feature fired in fewer."""
    n, per_neuron = ids_IN.shape
    gate_IN, window_INE = gate_and_window
    total = n * per_neuron
    ids = ids_IN.flatten().numpy()
    length = lengths[ids]
    flat = window_INE.flatten(0, 1).float().numpy()
    within = np.arange(flat.shape[1]) < length[:, None]
    offsets = np.concatenate([[0], length.cumsum()]).astype(np.int32)
    table = pa.table(
        {
            "split": pa.array([split] * total),
            "layer": np.full(total, layer, np.int16),
            "neuron": np.repeat(np.array(neurons, np.int32), per_neuron),
            "sign": pa.array([sign] * total),
            "kind": pa.array([kind] * total),
            "rank": np.tile(np.arange(per_neuron, dtype=np.int16), n),
            "seq_id": ids,
            "peak": peak_IN.flatten().float().numpy(),
            "activations": pa.ListArray.from_arrays(offsets, flat[within]),
            "gate": pa.nulls(total) if gate_IN is None else gate_IN.flatten().float().numpy(),
        },
        schema=EXEMPLARS,
    )
    entered = peak_IN.flatten().isfinite().numpy()
    return table if entered.all() else table.filter(entered)
