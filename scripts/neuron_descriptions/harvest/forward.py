"""The harvest: one forward pass serves every wanted layer; per neuron and side a running best is kept.

A neuron has two sides, upwards and downwards, and each has a row of its own in what is kept: all neurons' upper
sides, then all their lower ones.

B sequences of a batch, T tokens, E evidence tokens (those after the prefix), I neurons, S = 2I sides, K kept, R random
sequences, M strata of the middle, P (sequence, side) pairs, N a batch's evidence tokens in a row, V the valid ones of
them, H bins of the tail histogram: O octaves of M each.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from neuron_descriptions.common.checksums import checked
from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.storage import read_table, whole
from neuron_descriptions.common.streams import generator, uniforms
from neuron_descriptions.common.vocabulary import SIGNS, TAILS, tail_rank
from neuron_descriptions.corpus.reading import corpus_facts
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.features.neurons import FeatureSource, Tap
from neuron_descriptions.features.opening import NEURONS, SourceJob, open_source
from neuron_descriptions.models.loading import check_folder, load_model
from neuron_descriptions.models.subjects import check_subject
from neuron_descriptions.run.memory import N_BINS, Keep, check_memory, state_bytes

# --- keys: value and position in one integer -----------------------------------------------------------

ABSENT = torch.iinfo(torch.int64).min  # below any key, and below any empty slot
_LOW = 0xFFFFFFFF


def encode_keys(values: Tensor, seq_ids: Tensor | int) -> Tensor:
    """int64 keys that sort by value, then by position (the earlier sequence is the greater key).

    values: any float dtype up to 32 bits; seq_ids: int64 in 0..2**32-1, of a shape that broadcasts, or one number.
    """
    bits = (values.float() + 0.0).view(torch.int32)  # + 0.0 makes -0.0 equal 0.0
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    return (ordered << 32) | (_LOW - seq_ids)


def decode_keys(keys: Tensor) -> tuple[Tensor, Tensor]:
    """(values float32, seq_ids int64) of encoded keys."""
    ordered = (keys >> 32).int()
    bits = torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered)
    return bits.view(torch.float32), _LOW - (keys & _LOW)


# --- batches -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Batch:
    """Sequences first..first+B-1, padded on the right."""

    first: int
    input_ids_BT: Tensor
    evidence_N: Tensor  # the evidence tokens' places among the B * T; beyond a sequence's end, its last one's
    valid_BE: Tensor | None  # None: all are
    valid_V: Tensor | None  # the valid ones' places among the B * E

    def to(self, device: Any) -> "Batch":
        """The same on a device."""
        tensors = self.input_ids_BT, self.evidence_N, self.valid_BE, self.valid_V
        return Batch(self.first, *(tensor if tensor is None else moved(tensor, device) for tensor in tensors))  # type: ignore[arg-type]


def moved(tensor: Tensor, device: Any) -> Tensor:
    """A tensor on a device. On its way up from main memory nothing is waited for: the copy takes the bytes at once;
    on the way down it has to be."""
    return tensor.to(device, non_blocking=tensor.device.type == "cpu")


def make_batch(first: int, input_ids: list[list[int]], prefix_len: np.ndarray, longest: int) -> Batch:
    """A batch of sequences, E = longest."""
    lengths = np.array([len(ids) for ids in input_ids])
    input_ids_BT = np.zeros((len(input_ids), lengths.max()), dtype=np.int64)
    for b, ids in enumerate(input_ids):
        input_ids_BT[b, : len(ids)] = ids
    positions_BE = prefix_len[:, None] + np.arange(longest)
    valid_BE = positions_BE < lengths[:, None]
    rows_B1 = np.arange(len(input_ids))[:, None]
    evidence_BE = rows_B1 * input_ids_BT.shape[1] + np.minimum(positions_BE, lengths[:, None] - 1)
    valid = (None, None) if valid_BE.all() else (valid_BE, valid_BE.ravel().nonzero()[0])
    tensors = input_ids_BT, evidence_BE.ravel(), *valid
    return Batch(first, *(array if array is None else torch.from_numpy(array) for array in tensors))  # type: ignore[arg-type]


# --- what is kept ------------------------------------------------------------------------------------


class Evidence:
    """A batch's activations, and the windows of them that are asked for."""

    def __init__(self, acts_BEI: Tensor, valid_BE: Tensor | None):
        """acts_BEI: beyond a sequence's end its last is repeated, and valid_BE false there; None: all are valid."""
        self.acts_BEI, self.valid_BE = acts_BEI, valid_BE

    def windows(self, b_P: Tensor, side_P: Tensor) -> Tensor:
        """Signed activations (P, E) of pairs of sequence and side; zero beyond a sequence's end."""
        window_PE = self.acts_BEI[b_P, :, side_P % self.acts_BEI.shape[2]]
        return window_PE if self.valid_BE is None else window_PE.masked_fill_(~self.valid_BE[b_P], 0)


def _zeros(*shape: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros; in main memory from numpy, whose zeros cost nothing until they are touched."""
    if device.type != "cpu" or 0 in shape:
        return torch.zeros(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.zeros(int(np.prod(shape)) * dtype.itemsize, dtype=np.uint8)).view(dtype).view(shape)


class TopK:
    """Per side, the K sequences with the highest peak and their windows; ties go to the earlier sequence."""

    def __init__(self, n_sides: int, k: int, longest: int, dtype: torch.dtype, device: torch.device):
        # Empty slots are all different and below any key, so that exactly K of any row's keys are its K best.
        self.key_SK = (ABSENT + 1 + torch.arange(k, device=device)).repeat(n_sides, 1)
        self.window_SKE = _zeros(n_sides, k, longest, dtype=dtype, device=device)
        self.least_S = self.key_SK[:, 0].clone()
        self.value_S = torch.full((n_sides,), -torch.inf, device=device)  # the K-th best peak

    def update(self, b_P: Tensor, side_P: Tensor, key_P: Tensor, batch: int, evidence: Evidence) -> None:
        """Take in pairs of a batch's sequences (0..batch-1) and sides, each at most once."""
        # Places, not masks, and of a known number if there is one: what a mask selects, a GPU's host has to wait for.
        enters = (key_P > self.least_S[side_P]).nonzero()[:, 0]
        b_P, side_P, key_P = b_P[enters], side_P[enters], key_P[enters]
        if not len(key_P):
            return
        touched_S = torch.zeros(len(self.least_S), dtype=torch.bool, device=key_P.device)
        touched_S[side_P] = True
        side_X = touched_S.nonzero()[:, 0]
        new_XB = torch.full((len(side_X), batch), ABSENT, device=key_P.device)
        new_XB[(touched_S.cumsum(0) - 1)[side_P], b_P] = key_P
        both = torch.cat([self.key_SK[side_X], new_XB], 1)
        k = self.key_SK.shape[1]
        least_X = _kth_largest(both, k)
        kept = both >= least_X[:, None]
        # As many enter a row as are evicted from it; both lists are in row order, so they pair up.
        row, b = kept[:, k:].nonzero(as_tuple=True)
        slot_XB = torch.full_like(new_XB, -1)
        slot_XB[row, b] = torch.nonzero_static(~kept[:, :k], size=len(row))[:, 1]
        # Sequence by sequence, so that neighbouring neurons' windows are read from the same lines of memory.
        b, row = torch.nonzero_static(slot_XB.T >= 0, size=len(row)).unbind(1)
        side, slot = side_X[row], slot_XB[row, b]
        self.key_SK[side, slot] = new_XB[row, b]
        window = evidence.windows(b, side)
        self.window_SKE[side, slot, : window.shape[1]] = window
        self.least_S[side_X] = least_X
        self.value_S[side_X] = torch.where(least_X > ABSENT + k, decode_keys(least_X)[0], self.value_S[side_X])


def _kth_largest(rows_XY: Tensor, k: int) -> Tensor:
    """K-th largest of each row of int64."""
    if rows_XY.is_cuda:
        return rows_XY.topk(k, sorted=False).values.amin(1)
    place = rows_XY.shape[1] - k  # numpy's selection takes a fifth of the time of torch's on a CPU
    return torch.from_numpy(np.partition(rows_XY.numpy(), place, axis=1)[:, place].copy())


# Histogram of |activation|: 128 bins per octave from 2**-14 to 2**16, so that a bin holds one bfloat16 value.
_MANTISSA, _LOWEST = 7, -14
_OCTAVES, _LOW_BITS = N_BINS >> _MANTISSA, (1 << _MANTISSA) - 1
QUANTILE_ERROR = 2.0**-_MANTISSA
_FIRST = (127 + _LOWEST) << _MANTISSA


def bin_of(values: Tensor) -> Tensor:
    """Bin of each positive value, int64; what is below the range falls in the first, above in the last."""
    return ((values.float().view(torch.int32) >> (23 - _MANTISSA)) - _FIRST).clamp(0, N_BINS - 1).long()


def bin_edges() -> np.ndarray:
    """Lower edges of the bins, float32; each is the only bfloat16 value of its bin."""
    return ((np.arange(N_BINS, dtype=np.int32) + _FIRST) << (23 - _MANTISSA)).view(np.float32)


class Tail:
    """Per side, token counts of the tail by size: exact in every bin that the quantiles can fall in.

    Bins below the deepest quantile's are given up as soon as enough tokens lie above them, in this shard alone
    already; so the bins that count are complete in every shard, and shards add up.
    """

    def __init__(self, n_sides: int, tokens: int, dtype: torch.dtype, device: torch.device):
        """tokens: of the whole split."""
        # Octave by octave, since few are ever touched: memory that is not costs nothing in main memory.
        self.count_OSM = _zeros(_OCTAVES, n_sides, N_BINS // _OCTAVES, dtype=torch.int32, device=device)
        self.floor_S = torch.zeros(n_sides, dtype=torch.int64, device=device)
        self.edges_H = torch.from_numpy(bin_edges()).to(dtype).to(device)
        self.edge_S = self.edges_H[self.floor_S]
        self.rank = tail_rank(tokens, TAILS[-1])
        self.updates = 0

    def update(self, b_P: Tensor, side_P: Tensor, evidence: Evidence) -> None:
        """Take in pairs of a batch: all whose peak reaches the side's `edge_S`, each once."""
        upwards_PE = evidence.windows(b_P, side_P)
        upwards_PE *= torch.where(side_P < evidence.acts_BEI.shape[2], 1, -1)[:, None]
        p, e = (upwards_PE >= self.edge_S[side_P, None]).nonzero(as_tuple=True)
        bins = bin_of(upwards_PE[p, e])
        flat = (((bins >> _MANTISSA) * self.count_OSM.shape[1] + side_P[p]) << _MANTISSA) + (bins & _LOW_BITS)
        self.count_OSM.view(-1).index_add_(0, flat, torch.ones_like(flat, dtype=torch.int32))
        self.updates += 1

    def due(self) -> bool:
        """Whether to raise the floor now: it only saves work and costs a pass; often at first, then rarely."""
        return self.updates & (self.updates - 1) == 0 or self.updates % 64 == 0

    def raise_floor(self, top: TopK, peak_BS: Tensor) -> None:
        """Give up bins that `rank` tokens are known to lie above: by the peaks of as many sequences, kept or (first of
        all) of this batch, or by what was counted."""
        k = top.key_SK.shape[1]
        if self.updates == 0:
            if self.rank > len(peak_BS):
                return
            floor_S = bin_of(peak_BS.sort(0, descending=True).values[self.rank - 1].clamp(min=0))
        elif self.rank <= k:
            key_S = _kth_largest(top.key_SK, self.rank)
            floor_S = bin_of(torch.where(key_S > ABSENT + k, decode_keys(key_S)[0], 0).clamp(min=0))
        else:
            floor_S = self._bin_of_rank()
        self.floor_S = torch.maximum(self.floor_S, floor_S)
        self.edge_S = self.edges_H[self.floor_S]

    def _bin_of_rank(self) -> Tensor:
        """The highest bin that, with those above it, holds at least `rank` tokens; 0 where none does."""
        above_SO = self.count_OSM.sum(2, dtype=torch.int32).T.flip(1).cumsum(1).flip(1)
        octave_S = ((above_SO >= self.rank).sum(1) - 1).clamp(min=0)
        rows_S = torch.arange(len(octave_S), device=octave_S.device)
        inside_SM = self.count_OSM[octave_S, rows_S].flip(1).cumsum(1).flip(1)
        higher_S = above_SO[rows_S, octave_S] - inside_SM[:, 0]
        place_S = ((inside_SM + higher_S[:, None] >= self.rank).sum(1) - 1).clamp(min=0)
        return (octave_S << _MANTISSA) + place_S

    def tensors(self) -> dict[str, Tensor]:
        """The counts from the floor upwards, row by row: `start` (S + 1) int64 into `bin` int16, `count` int32."""
        octave, side, place = self.count_OSM.nonzero(as_tuple=True)
        bins, count = (octave << _MANTISSA) + place, self.count_OSM[octave, side, place]
        kept = bins >= self.floor_S[side]
        order = side[kept].argsort(stable=True)
        start = torch.cat([self.floor_S.new_zeros(1), side[kept].bincount(minlength=len(self.floor_S)).cumsum(0)])
        return {"start": start, "bin": bins[kept][order].to(torch.int16), "count": count[kept][order]}


_PART = 256  # tokens


class Moments:
    """Per neuron, sums of activations and of their squares, and the range; exact to merge in any order.

    A batch's sum is split in a whole part and a fraction of 2**-40ths, added up as integers. Sums run over the
    layer's full width, then the wanted columns are taken: a sum's rounding may depend on the width.
    """

    def __init__(self, columns_I: Tensor):
        self.columns_I = columns_I
        n, device = len(columns_I), columns_I.device
        self.sums_I4 = torch.zeros(n, 4, dtype=torch.int64, device=device)
        self.range_I2 = torch.tensor([torch.inf, -torch.inf], device=device).repeat(n, 1)

    def update(self, acts_NI: Tensor, places: Tensor | None, low_BI: Tensor, high_BI: Tensor) -> None:
        """Take in a batch: its tokens (of them those at `places`; None: all), all neurons of the layer; the wanted
        ones' extremes of each sequence."""
        sum_I, square_I = acts_NI.new_zeros(2, acts_NI.shape[1], dtype=torch.float32)
        # In parts that stay in a processor's cache: twice as fast there as the whole at once.
        for part in (acts_NI if places is None else places).split(_PART if acts_NI.is_cpu else len(acts_NI)):
            acts_VI = (part if places is None else acts_NI.index_select(0, part)).to(torch.float32, copy=True)
            sum_I += acts_VI.sum(0)
            square_I += acts_VI.square_().sum(0)
        for column, total_I in ((0, sum_I), (2, square_I)):
            total_I = total_I[self.columns_I].double()
            whole_I = total_I.floor()
            self.sums_I4[:, column] += whole_I.long()
            self.sums_I4[:, column + 1] += ((total_I - whole_I) * 2.0**40).round().long()
        self.range_I2[:, 0] = torch.minimum(self.range_I2[:, 0], low_BI.amin(0).float())
        self.range_I2[:, 1] = torch.maximum(self.range_I2[:, 1], high_BI.amax(0).float())


def random_sequences(neurons: np.ndarray, n_sequences: int, count: int, *what: object) -> np.ndarray:
    """`count` distinct sequences per neuron, int64 (neurons, count): one from each of `count` equal stretches of
    the (shuffled) corpus, so that every sequence is as likely as any other."""
    first = np.arange(count) * n_sequences // count
    size = (np.arange(count) + 1) * n_sequences // count - first
    return first + (uniforms(neurons, count, "random", *what) * size).astype(np.int64)


class Drawn:
    """Per side, the windows of sequences drawn beforehand."""

    def __init__(self, ids_SR: np.ndarray, longest: int, dtype: torch.dtype, device: torch.device):
        self.window_SRE = _zeros(*ids_SR.shape, longest, dtype=dtype, device=device)
        self._order = np.argsort(ids_SR.ravel(), kind="stable")
        self._ids = ids_SR.ravel()[self._order]

    def update(self, first: int, batch: int, evidence: Evidence) -> None:
        """Take in the sequences first..first+batch-1."""
        low, high = np.searchsorted(self._ids, [first, first + batch])
        if low == high:
            return
        device, drawn = self.window_SRE.device, self.window_SRE.shape[1]
        place = moved(torch.from_numpy(self._order[low:high]), device)
        window = evidence.windows(moved(torch.from_numpy(self._ids[low:high] - first), device), place // drawn)
        self.window_SRE[place // drawn, place % drawn, : window.shape[1]] = window


def middle_sequences(n_sequences: int, strata: int, k: int, *what: object) -> list[np.ndarray]:
    """Distinct sequences, ascending, for each stratum of the middle: the best of so many is what a stratum keeps.

    The best of n random sequences has an expected rank of one in n + 1: from n = 2 up to one in k, in even steps of
    the logarithm, these cover what lies between the random sequences and the k top ones, whatever the neuron's
    distribution; deciles of it are what random sequences cover already, and say nothing of a rare feature's range.
    """
    sizes = np.geomspace(2, max(n_sequences / k, 2), strata).astype(int)
    if sizes.sum() > n_sequences:
        sizes[:] = max(n_sequences // max(strata, 1), 1)
    drawn = random_sequences(np.zeros(1), n_sequences, int(sizes.sum()), "middle", *what)[0]
    shares = np.split(generator("middle", *what).permutation(drawn), sizes.cumsum())[:strata]
    return [np.sort(share) for share in shares]


class Middle:
    """Per side, the best sequence of each stratum, and its window. The strata's sequences are all neurons' alike."""

    def __init__(self, n_sides: int, strata: list[np.ndarray], longest: int, dtype: torch.dtype, device: torch.device):
        self.key_SM = torch.full((n_sides, len(strata)), ABSENT, device=device)
        self.window_SME = _zeros(n_sides, len(strata), longest, dtype=dtype, device=device)
        self._strata = strata

    def update(self, peak_BS: Tensor, first: int, evidence: Evidence) -> None:
        """Take in the sequences first..first+B-1."""
        for stratum, ids in enumerate(self._strata):
            low, high = np.searchsorted(ids, [first, first + len(peak_BS)])
            for seq_id in ids[low:high].tolist():
                key_S = encode_keys(peak_BS[seq_id - first], seq_id)
                side = (key_S > self.key_SM[:, stratum]).nonzero()[:, 0]
                self.key_SM[side, stratum] = key_S[side]
                window = evidence.windows(torch.full_like(side, seq_id - first), side)
                self.window_SME[side, stratum, : window.shape[1]] = window


@dataclass(slots=True)
class Split:
    """A split as the harvest sees it."""

    name: str
    sequences: int
    tokens: int
    longest: int
    seed: int


class LayerState:
    """Everything kept of one layer's selected neurons."""

    def __init__(
        self,
        layer: int,
        neurons: list[int],
        split: Split,
        keep: Keep,
        dtype: torch.dtype,
        device: torch.device,
        one_sided: bool = False,
    ):
        """one_sided: 0 is silence, and what is silent is never among the top."""
        self.one_sided = one_sided
        n_sides = 2 * len(neurons)
        self.batches = 0
        self.neurons_I = torch.tensor(neurons, device=device)
        self.top = TopK(n_sides, keep.top, split.longest, dtype, device)
        self.tail = Tail(n_sides, split.tokens, dtype, device)
        self.moments = Moments(self.neurons_I)
        strata = middle_sequences(split.sequences, keep.middle, keep.top, split.seed, split.name)
        self.middle = Middle(n_sides, strata, split.longest, dtype, device)
        what = (split.seed, split.name, layer)
        ids = [random_sequences(np.array(neurons), split.sequences, keep.random, *what, sign) for sign in SIGNS]
        self.random = Drawn(np.concatenate(ids), split.longest, dtype, device)

    def update(self, acts_NI: Tensor, batch: Batch) -> None:
        """Take in a batch's activations at its evidence tokens, all neurons of the layer."""
        first, n_sequences, valid_BE = batch.first, len(batch.input_ids_BT), batch.valid_BE
        acts_BEI = acts_NI.view(n_sequences, -1, acts_NI.shape[1])
        if len(self.neurons_I) < acts_NI.shape[1]:
            acts_BEI = acts_BEI.index_select(2, self.neurons_I)
        high_BI, low_BI = acts_BEI.amax(1), acts_BEI.amin(1)
        self.moments.update(acts_NI, batch.valid_V, low_BI, high_BI)
        evidence = Evidence(acts_BEI, valid_BE)
        peak_BS = torch.cat([high_BI, -low_BI], 1)
        if self.tail.due():
            self.tail.raise_floor(self.top, peak_BS)
        least_S = torch.minimum(self.top.value_S.to(peak_BS.dtype), self.tail.edge_S)  # both are values of that type
        enters_BS = peak_BS >= least_S
        if self.one_sided:
            enters_BS &= peak_BS > 0
        b_P, side_P = enters_BS.nonzero(as_tuple=True)
        peak_P = peak_BS[b_P, side_P]
        self.top.update(b_P, side_P, encode_keys(peak_P, first + b_P), n_sequences, evidence)
        reaches = (peak_P >= self.tail.edge_S[side_P]).nonzero()[:, 0]
        self.tail.update(b_P[reaches], side_P[reaches], evidence)
        self.middle.update(peak_BS, first, evidence)
        self.random.update(first, n_sequences, evidence)

    def tensors(self) -> dict[str, Tensor]:
        """State to save, by name; rows of sides as (2, I, ...)."""
        named = {"sums": self.moments.sums_I4, "range": self.moments.range_I2}
        for name, rows in (
            ("key", self.top.key_SK),
            ("window", self.top.window_SKE),
            ("middle_key", self.middle.key_SM),
            ("middle", self.middle.window_SME),
            ("random", self.random.window_SRE),
        ):
            named[name] = rows.view(2, len(self.neurons_I), *rows.shape[1:])
        return named | {f"tail_{name}": tensor for name, tensor in self.tail.tensors().items()}


# --- the pass ----------------------------------------------------------------------------------------


def check_architecture(folder: str, n_layers: int, module: str | None = None) -> None:
    """Raises ValueError where the config's number of layers is not the model's, or its architecture is not one whose
    MLPs can be read: known before it is loaded."""
    from transformers import AutoConfig

    check_folder(folder)
    check_subject(folder, n_layers, module=module)
    text = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).get_text_config()
    if text.num_hidden_layers != n_layers:
        raise ValueError(f"subject.layers is {n_layers}, but {folder} has {text.num_hidden_layers} layers; correct it")


def read_batches(corpus: str, first: int, last: int, batch_size: int, longest: int) -> Iterator[Batch]:
    """Batches of the sequences first..last-1 of a corpus table, in order."""
    table = read_table(corpus, CORPUS, columns=["input_ids", "prefix_len"]).slice(first, last - first)
    for start in range(0, len(table), batch_size):
        rows = table.slice(start, batch_size)
        yield make_batch(first + start, rows["input_ids"].to_pylist(), np.array(rows["prefix_len"]), longest)


class _Stop(Exception):
    """Ends a forward pass after the deepest wanted layer."""


@torch.inference_mode()
def run_layers(
    model: nn.Module, taps: dict[int, Tap], batches: Iterable[Batch], take: Callable[[int, Tensor, Batch], None]
) -> None:
    """Run the model up to its deepest tap of `taps` (by layer) and hand what each one sees, (B, T, D), to `take`,
    once per batch."""
    deepest, device = max(taps), next(model.parameters()).device
    current: Batch

    def seen(layer: int, seen_D: Tensor) -> None:
        B, T = current.input_ids_BT.shape
        if seen_D.shape[:2] != (B, T):  # some families lay sequences end to end
            if seen_D.numel() != B * T * seen_D.shape[-1]:
                raise ValueError(
                    f"layer {layer}: the module whose input is read sees a tensor of shape {tuple(seen_D.shape)}, not"
                    f" one row for each of {B} x {T} tokens; name another one as subject.module"
                )
            seen_D = seen_D.reshape(B, T, -1)
        take(layer, seen_D, current)
        if layer == deepest:
            raise _Stop

    handles = []
    for layer, tap in taps.items():
        if tap.side == "input":
            hook = tap.module.register_forward_pre_hook(
                lambda module, args, named, layer=layer: seen(layer, args[0] if args else named["hidden_states"]),
                with_kwargs=True,
            )
        else:
            hook = tap.module.register_forward_hook(
                lambda module, args, out, layer=layer: seen(layer, out[0] if isinstance(out, tuple) else out)
            )
        handles.append(hook)
    try:
        for batch in batches:
            current = batch.to(device)  # once, not for every layer
            with suppress(_Stop):
                model(input_ids=current.input_ids_BT, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()


def try_out(model: nn.Module, source: FeatureSource, taps: dict[int, Tap], ids: list[int], dtype: str) -> None:
    """Run the model over two sequences of two tokens, which differ in the second, before it works for hours.

    ids: at least two tokens. Raises ValueError where a tap sees anything but one row for each token, its features are
    not finite, or a token's depend on later ones.
    """
    first, second = ids[:2]
    other = first if first != second else first - 1 if first else 1
    calls: Counter[int] = Counter()

    def take(layer: int, seen_BTD: Tensor, batch: Batch) -> None:
        calls[layer] += 1
        acts_BTI = source.features(layer, seen_BTD).float()
        if not acts_BTI.isfinite().all():
            raise ValueError(not_finite(layer, dtype))
        one_I, other_I = acts_BTI[:, 0]
        if (one_I - other_I).abs().max() > 0.05 * one_I.abs().max():
            raise ValueError(
                f"layer {layer}: what a token activates depends on the tokens after it, as in a model that fills in"
                " masked words; take a causal language model"
            )

    run_layers(model, taps, [make_batch(0, [[first, second], [first, other]], np.zeros(2, dtype=int), 2)], take)
    if odd := [layer for layer in taps if calls[layer] != 1]:
        raise ValueError(
            f"layer {odd[0]}: the module that is read runs {calls[odd[0]]} times in a forward pass, not once; name"
            " another one as subject.module"
        )


def not_finite(layer: int, dtype: str) -> str:
    """What is said of a layer whose activations overflow, and what to do."""
    advice = (
        "its range ends at 65,504: set subject.dtype: bfloat16 or float32"
        if dtype == "float16"
        else "the model's weights may be damaged, or be meant for another dtype"
    )
    return f"layer {layer} has activations that are not finite in {dtype}; {advice}"


def shard_range(n_sequences: int, shard: int, shards: int, batch_size: int) -> tuple[int, int]:
    """First and past-the-last sequence of a shard: whole batches, so that sharding never changes a batch."""
    n_batches = -(-n_sequences // batch_size)
    first, last = (s * n_batches // shards * batch_size for s in (shard, shard + 1))
    return min(first, n_sequences), min(last, n_sequences)


@dataclass(slots=True)
class Harvest:
    """A shard's running best, layer by layer; each layer's is kept on the device that its activations come from."""

    source: FeatureSource
    neurons: dict[int, list[int]]  # by layer
    split: Split
    keep: Keep
    dtype: str
    states: dict[int, LayerState] = field(default_factory=dict)

    def take(self, layer: int, seen_BTD: Tensor, batch: Batch) -> None:
        """Take in what a layer's tap saw of a batch."""
        acts_BTI = self.source.features(layer, seen_BTD)
        if layer not in self.states:
            self.states[layer] = self._new_state(layer, acts_BTI.device)
        here = batch.to(acts_BTI.device)
        acts_NI = acts_BTI.flatten(0, 1).index_select(0, here.evidence_N)
        state = self.states[layer]
        state.update(acts_NI, here)
        state.batches += 1
        # An overflow is found early, and yet a GPU hardly ever waited for: after 1, 2, 4, 8 ... batches.
        if state.batches & (state.batches - 1) == 0:
            self._check(layer)

    def _check(self, layer: int) -> None:
        if not self.states[layer].moments.range_I2.isfinite().all():
            raise ValueError(not_finite(layer, self.dtype))

    def tensors(self) -> dict[str, Tensor]:
        """State to save, on the CPU, by layer and name. Raises ValueError where an activation was not finite."""
        for layer in self.states:
            self._check(layer)
        for layer in self.neurons.keys() - self.states.keys():  # a shard without a sequence
            self.states[layer] = self._new_state(layer, torch.device("cpu"))
        return {
            f"{layer}.{name}": tensor.contiguous().cpu()
            for layer, state in self.states.items()
            for name, tensor in state.tensors().items()
        }

    def _new_state(self, layer: int, device: torch.device) -> LayerState:
        dtype = getattr(torch, self.dtype)
        return LayerState(
            layer, self.neurons[layer], self.split, self.keep, dtype, device, one_sided=self.source.one_sided
        )


def harvest(
    model_folder: str,
    corpus: str,
    split: str,
    neurons: dict[int, list[int]],
    n_layers: int,
    n_neurons: int,
    module: str | None,
    dtype: str,
    keep: dict[str, int],
    shard: int,
    shards: int,
    batch_size: int,
    seed: int,
    threads: int,
    output: str,
    device_map: str | None = None,
    features: dict[str, Any] = NEURONS,
    dictionaries: dict[int, str] | None = None,
) -> None:
    """Run one shard of a split through the subject and save the state of the wanted layers' features.

    features: the config's section of that name; dictionaries: layer -> file of its features, where the kind has files.
    Raises ValueError where the features or the model is not what the config says, the state cannot fit into memory, or
    an activation is not finite.
    """
    facts = corpus_facts(corpus)
    check_architecture(model_folder, n_layers, module)
    source = open_source(SourceJob(features, n_layers, n_neurons, module, dictionaries or {}))
    state = state_bytes(sum(map(len, neurons.values())), Keep(**keep), facts.longest, dtype)
    model = load_model(model_folder, dtype, head=False, threads=threads, device_map=device_map, reserve=state)
    check_memory(state)
    taps = source.taps(model)
    split_facts = Split(split, facts.sequences, facts.tokens, facts.longest, seed)
    kept = Harvest(source, neurons, split_facts, Keep(**keep), dtype)
    first, last = shard_range(facts.sequences, shard, shards, batch_size)
    logger.info("%s, sequences %d to %d, layers %s", split, first, last - 1, ", ".join(map(str, neurons)))
    wanted = {layer: taps[layer] for layer in neurons}
    example = read_table(corpus, CORPUS, [("seq_id", "=", first)])["input_ids"][0].as_py()
    try_out(model, source, wanted, example, dtype)
    batches = read_batches(corpus, first, last, batch_size, facts.longest)
    total = facts.longest * (last - first)
    run_layers(
        model,
        wanted,
        progress(batches, total, "tokens", size=lambda batch: batch.evidence_N.numel()),
        kept.take,
    )
    save(kept, first, last, output)


def save(kept: Harvest, first: int, last: int, output: str) -> None:
    """Write the state of a shard that ran the sequences first..last-1. Raises as `Harvest.tensors` does."""
    tensors = checked(kept.tensors(), first, last)
    with whole(output) as part:
        save_file(tensors, part, metadata={"first": str(first), "last": str(last)})
