"""The harvest: one forward pass serves every wanted layer; per neuron and sign a running best is kept.

B sequences of a batch, T tokens, E evidence tokens (those after the prefix), I neurons, K kept,
R random sequences, P (sequence, neuron) pairs, H bins of the tail histogram.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from .logs import logger, progress
from .models import check_folder, load_model
from .random_streams import uniforms
from .records import SIGNS, TAILS, Sign
from .sequences import corpus_facts
from .storage import whole

# --- where the neurons are ---------------------------------------------------------------------------


def down_projections(model: nn.Module, n_layers: int, n_neurons: int, pattern: str | None = None) -> list[nn.Module]:
    """Each layer's MLP down projection, whose input is the neurons' activations.

    Found by its shape, (neurons) -> (hidden), in the model's stack of layers; or by name, where `pattern`
    (such as "layers.{layer}.mlp.down_proj") is given. Raises ValueError that lists what was seen.
    """
    if pattern is not None:
        return [_named(model, pattern.format(layer=layer), n_neurons) for layer in range(n_layers)]
    stacks = {n: m for n, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) > 1}
    stack = next((m for m in stacks.values() if len(m) == n_layers), None)
    if stack is None:
        lengths = ", ".join(f"{name}: {len(m)}" for name, m in stacks.items()) or "none"
        raise ValueError(f"the model has no stack of {n_layers} layers (stacks: {lengths}); correct subject.layers")
    found = []
    for layer, block in enumerate(stack):
        shapes = {name: _shape(module) for name, module in block.named_modules()}
        outputs = {shape[0] for shape in shapes.values() if shape}  # what the layer's projections read
        fits = [n for n, s in shapes.items() if s and s[0] == n_neurons and s[1] in outputs - {n_neurons}]
        if len(fits) != 1:
            seen = ", ".join(f"{n} {s[0]}->{s[1]}" for n, s in shapes.items() if s)
            raise ValueError(
                f"layer {layer} has {len(fits)} modules that could be the down projection of {n_neurons} neurons."
                f" Seen: {seen}. Correct subject.neurons_per_layer, or name it as subject.module"
            )
        found.append(block.get_submodule(fits[0]))
    return found


def _named(model: nn.Module, name: str, n_neurons: int) -> nn.Module:
    # A name as in the full model also holds without its head, where the first part is missing.
    for candidate in (name, name.partition(".")[2]):
        try:
            module = model.get_submodule(candidate) if candidate else None
        except AttributeError:
            continue
        if module is not None:
            shape = _shape(module)
            if not shape or shape[0] != n_neurons:
                raise ValueError(f"subject.module: {name} has shape {shape}, not {n_neurons} inputs")
            return module
    raise ValueError(f"subject.module: the model has no module {name}")


def _shape(module: nn.Module) -> tuple[int, int] | None:
    """(inputs, outputs) of a projection: torch's Linear, or GPT-2's Conv1D with its transposed weight."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D":
        inputs, outputs = module.get_parameter("weight").shape
        return inputs, outputs
    return None


def check_architecture(folder: str, n_layers: int) -> None:
    """Raises ValueError where the config's number of layers is not the model's: known before it is loaded."""
    from transformers import AutoConfig

    check_folder(folder)
    text = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
    if text.num_hidden_layers != n_layers:
        raise ValueError(f"subject.layers is {n_layers}, but {folder} has {text.num_hidden_layers} layers; correct it")


class _Stop(Exception):
    """Ends a forward pass after the deepest wanted layer."""


# --- keys: value and position in one integer -----------------------------------------------------------

EMPTY = torch.iinfo(torch.int64).min
_LOW = 0xFFFFFFFF


def encode_keys(values: Tensor, seq_ids: Tensor) -> Tensor:
    """int64 keys that sort by value, then by position (the earlier sequence is the greater key).

    values: any float dtype up to 32 bits; seq_ids: int64 in 0..2**32-1, of a shape that broadcasts.
    """
    bits = (values.float() + 0.0).view(torch.int32)  # + 0.0 makes -0.0 equal 0.0
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    return (ordered << 32) | (_LOW - seq_ids)


def decode_keys(keys: Tensor) -> tuple[Tensor, Tensor]:
    """(values float32, seq_ids int64) of encoded keys."""
    ordered = (keys >> 32).int()
    bits = torch.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered)
    return bits.view(torch.float32), _LOW - (keys & _LOW)


# --- what is kept ------------------------------------------------------------------------------------


class TopK:
    """Per neuron, the K sequences with the highest peak and their windows; ties go to the earlier sequence."""

    def __init__(self, n: int, k: int, longest: int, dtype: torch.dtype, device: torch.device):
        self.key_IK = torch.full((n, k), EMPTY, dtype=torch.int64, device=device)
        self.window_IKE = torch.zeros(n, k, longest, dtype=dtype, device=device)

    def update(self, peak_BI: Tensor, acts_BEI: Tensor, seq_ids_B: Tensor) -> None:
        """Take in a batch. peak_BI: this side's peaks, positive upwards; acts_BEI: signed activations."""
        k = self.key_IK.shape[1]
        key_IB = encode_keys(peak_BI.T, seq_ids_B)
        rows = (key_IB.amax(1) > self.key_IK.amin(1)).nonzero()[:, 0]
        if not len(rows):
            return
        both = torch.cat([self.key_IK[rows], key_IB[rows]], 1)
        kept = torch.zeros_like(both, dtype=torch.bool)
        kept.scatter_(1, both.topk(k, sorted=False).indices, True)
        # As many enter a row as are evicted from it; both lists are in row order, so they pair up.
        entering, evicted = kept[:, k:].nonzero(), (~kept[:, :k]).nonzero()
        neuron, slot, b = rows[entering[:, 0]], evicted[:, 1], entering[:, 1]
        self.key_IK[neuron, slot] = key_IB[neuron, b]
        self.window_IKE[neuron, slot, : acts_BEI.shape[1]] = acts_BEI[b, :, neuron]


# Histogram of |activation|: 32 bins per octave from 2**-14 to 2**16, so a bin's edges differ by at most 1/32.
_MANTISSA, _LOWEST, _OCTAVES = 5, -14, 30
N_BINS = _OCTAVES << _MANTISSA
QUANTILE_ERROR = 2.0**-_MANTISSA
_FIRST = (127 + _LOWEST) << _MANTISSA


def bin_of(values: Tensor) -> Tensor:
    """Bin of each non-negative value, int64; what is below the range falls in the first, above in the last."""
    return ((values.float().view(torch.int32) >> (23 - _MANTISSA)) - _FIRST).clamp(0, N_BINS - 1).long()


def bin_edges() -> np.ndarray:
    """Lower edges of the bins, float32; the first bin's is 0."""
    edges = ((np.arange(N_BINS, dtype=np.int32) + _FIRST) << (23 - _MANTISSA)).view(np.float32).copy()
    edges[0] = 0.0
    return edges


def tail_rank(tokens: int, tail: float) -> int:
    """Rank from the extreme end (1 is the extreme) of the quantile that a share `tail` of tokens lies beyond."""
    return int(tail * tokens * (1 + 1e-12)) + 1


class Tail:
    """Per neuron, token counts of one side's tail by size: exact in every bin that the quantiles can fall in.

    Bins below the deepest quantile's are given up as soon as enough tokens lie above them, in this shard alone
    already; so the bins that count are complete in every shard, and shards add up.
    """

    def __init__(self, n: int, tokens: int, device: torch.device):
        """tokens: of the whole split."""
        self.count_IH = torch.zeros(n, N_BINS, dtype=torch.int32, device=device)
        self.floor_I = torch.zeros(n, dtype=torch.int64, device=device)
        self.rank = tail_rank(tokens, TAILS[-1])
        self.updates = 0

    def update(self, peak_BI: Tensor, acts_BEI: Tensor, valid_BE: Tensor | None) -> None:
        """Take in a batch; acts_BEI: this side upwards. valid_BE: false where a short sequence has ended."""
        b, neuron = ((peak_BI > 0) & (bin_of(peak_BI.clamp(min=0)) >= self.floor_I)).nonzero(as_tuple=True)
        acts_PE = acts_BEI[b, :, neuron]
        bin_PE = bin_of(acts_PE.clamp(min=0))
        counted = (acts_PE > 0) & (bin_PE >= self.floor_I[neuron, None])
        if valid_BE is not None:
            counted &= valid_BE[b]
        flat = (neuron[:, None] * N_BINS + bin_PE)[counted]
        self.count_IH.view(-1).index_add_(0, flat, torch.ones_like(flat, dtype=torch.int32))
        self.updates += 1
        # Raising the floor costs a pass over the bins and only saves work: often at first, then rarely.
        if self.updates & (self.updates - 1) == 0 or self.updates % 32 == 0:
            above_IH = self.count_IH.flip(1).cumsum(1).flip(1)
            self.floor_I = ((above_IH >= self.rank).sum(1) - 1).clamp(min=0)


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

    def update(self, acts_BEI: Tensor, valid_BE: Tensor | None, low_BI: Tensor, high_BI: Tensor) -> None:
        """Take in a batch, all neurons of the layer, and the wanted ones' lowest and highest per sequence."""
        if valid_BE is not None:
            acts_BEI = acts_BEI.masked_fill(~valid_BE[:, :, None], 0)
        acts = acts_BEI.flatten(0, 1)
        sums = (
            acts.sum(0, dtype=torch.float32),
            torch.linalg.vector_norm(acts, dim=0, dtype=torch.float32) ** 2,
        )
        for column, total in zip((0, 2), sums):
            total_I = total[self.columns_I].double()
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
        k: int,
        n_random: int,
        dtype: torch.dtype,
        device: Any,
    ):
        n = len(neurons)
        self.neurons_I = torch.tensor(neurons, device=device)
        self.top = {sign: TopK(n, k, split.longest, dtype, device) for sign in SIGNS}
        self.tail = {sign: Tail(n, split.tokens, device) for sign in SIGNS}
        self.moments = Moments(self.neurons_I)
        self.random_IRE = {sign: torch.zeros(n, n_random, split.longest, dtype=dtype, device=device) for sign in SIGNS}
        self._places: dict[Sign, tuple[np.ndarray, np.ndarray]] = {}
        for sign in SIGNS:
            ids_IR = random_sequences(
                np.array(neurons),
                split.sequences,
                n_random,
                split.seed,
                split.name,
                layer,
                sign,
            )
            order = np.argsort(ids_IR.ravel(), kind="stable")
            self._places[sign] = ids_IR.ravel()[order], order

    def update(self, acts_BEI: Tensor, valid_BE: Tensor | None, first: int) -> None:
        """Take in the activations of sequences first..first+B-1, all neurons of the layer; beyond a sequence's end
        its last is repeated."""
        all_BEI = acts_BEI
        if len(self.neurons_I) < acts_BEI.shape[2]:
            acts_BEI = acts_BEI.index_select(2, self.neurons_I)
        high_BI, low_BI = acts_BEI.amax(1), acts_BEI.amin(1)
        seq_ids_B = torch.arange(first, first + len(acts_BEI), device=acts_BEI.device)
        self.moments.update(all_BEI, valid_BE, low_BI, high_BI)
        stored = acts_BEI if valid_BE is None else acts_BEI.masked_fill(~valid_BE[:, :, None], 0)
        sides: tuple[tuple[Sign, Tensor, Tensor], ...] = (
            ("positive", high_BI, acts_BEI),
            ("negative", -low_BI, -acts_BEI),
        )
        for sign, peak_BI, upwards in sides:
            self.top[sign].update(peak_BI, stored, seq_ids_B)
            self.tail[sign].update(peak_BI, upwards, valid_BE)
            self._keep_random(sign, stored, first)

    def _keep_random(self, sign: Sign, acts_BEI: Tensor, first: int) -> None:
        ids, order = self._places[sign]
        low, high = np.searchsorted(ids, [first, first + len(acts_BEI)])
        if low == high:
            return
        windows = self.random_IRE[sign]
        place = torch.from_numpy(order[low:high]).to(windows.device)
        b = torch.from_numpy(ids[low:high] - first).to(windows.device)
        neuron = place // windows.shape[1]
        windows[neuron, place % windows.shape[1], : acts_BEI.shape[1]] = acts_BEI[b, :, neuron]

    def tensors(self) -> dict[str, Tensor]:
        """State to save, by name."""
        named = {"sums": self.moments.sums_I4, "range": self.moments.range_I2}
        for sign in SIGNS:
            named[f"{sign}.key"] = self.top[sign].key_IK
            named[f"{sign}.window"] = self.top[sign].window_IKE
            named[f"{sign}.random"] = self.random_IRE[sign]
            named[f"{sign}.tail"] = self.tail[sign].count_IH
        return named


# --- the pass ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Batch:
    """Sequences first..first+B-1, padded on the right."""

    first: int
    input_ids_BT: Tensor
    evidence_BE: Tensor  # positions of the evidence tokens; beyond the end, of the last one
    valid_BE: Tensor | None  # None: all are

    def tokens(self) -> int:
        """Tokens of the batch, prefixes and padding included."""
        return self.input_ids_BT.numel()


def read_batches(corpus: str, first: int, last: int, batch_size: int, longest: int) -> Iterator[Batch]:
    """Batches of the sequences first..last-1 of a corpus table, in order."""
    table = pq.read_table(corpus, columns=["input_ids", "prefix_len"]).slice(first, last - first)
    for start in range(0, len(table), batch_size):
        rows = table.slice(start, batch_size)
        ids, prefixes = rows["input_ids"].to_pylist(), np.array(rows["prefix_len"])
        lengths = np.array([len(i) for i in ids])
        input_ids_BT = np.zeros((len(ids), lengths.max()), dtype=np.int64)
        for b, row in enumerate(ids):
            input_ids_BT[b, : len(row)] = row
        positions_BE = prefixes[:, None] + np.arange(longest)
        valid_BE = positions_BE < lengths[:, None]
        yield Batch(
            first + start,
            torch.from_numpy(input_ids_BT),
            torch.from_numpy(np.minimum(positions_BE, lengths[:, None] - 1)),
            None if valid_BE.all() else torch.from_numpy(valid_BE),
        )


@torch.inference_mode()
def run_layers(
    model: nn.Module,
    modules: dict[int, nn.Module],
    batches: Iterator[Batch],
    take: Callable[[int, Tensor, Batch], None],
) -> None:
    """Run the model up to its deepest module of `modules` (layer -> down projection) and hand each one's input
    (B, T, all neurons) to `take`, once per batch."""
    deepest = max(modules)
    current: Batch

    def hook(layer: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def pre_hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            take(layer, args[0], current)
            if layer == deepest:
                raise _Stop

        return pre_hook

    handles = [module.register_forward_pre_hook(hook(layer)) for layer, module in modules.items()]
    device = next(model.parameters()).device
    try:
        for current in batches:
            with suppress(_Stop):
                model(input_ids=current.input_ids_BT.to(device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()


def shard_range(n_sequences: int, shard: int, shards: int, batch_size: int) -> tuple[int, int]:
    """First and past-the-last sequence of a shard: whole batches, so that sharding never changes a batch."""
    n_batches = -(-n_sequences // batch_size)
    first, last = (s * n_batches // shards * batch_size for s in (shard, shard + 1))
    return min(first, n_sequences), min(last, n_sequences)


def harvest(
    model_folder: str,
    corpus: str,
    split: str,
    neurons: dict[int, list[int]],
    n_layers: int,
    n_neurons: int,
    module: str | None,
    dtype: str,
    k: int,
    n_random: int,
    shard: int,
    shards: int,
    batch_size: int,
    seed: int,
    threads: int,
    output: str,
) -> None:
    """Run one shard of a split through the subject and save the state of the wanted layers' neurons.

    Raises ValueError where the model is not what the config says, or an activation is not finite.
    """
    facts = corpus_facts(corpus)
    check_architecture(model_folder, n_layers)
    model = load_model(model_folder, dtype, head=False, threads=threads)
    projections = down_projections(model, n_layers, n_neurons, module)
    device = next(model.parameters()).device
    split_facts = Split(split, facts.sequences, facts.tokens, facts.longest, seed)
    states = {
        layer: LayerState(layer, wanted, split_facts, k, n_random, getattr(torch, dtype), device)
        for layer, wanted in neurons.items()
    }
    first, last = shard_range(facts.sequences, shard, shards, batch_size)

    def take(layer: int, acts_BTI: Tensor, batch: Batch) -> None:
        rows_B1 = torch.arange(len(acts_BTI), device=device)[:, None]
        acts_BEI = acts_BTI[rows_B1, batch.evidence_BE.to(device)]
        valid_BE = None if batch.valid_BE is None else batch.valid_BE.to(device)
        states[layer].update(acts_BEI, valid_BE, batch.first)

    batches = read_batches(corpus, first, last, batch_size, facts.longest)
    width = facts.longest * (last - first)
    logger.info(
        "%s, sequences %d to %d, layers %s",
        split,
        first,
        last - 1,
        ", ".join(map(str, neurons)),
    )
    run_layers(
        model,
        {layer: projections[layer] for layer in neurons},
        progress(batches, width, "tokens", size=lambda b: b.evidence_BE.numel()),
        take,
    )
    tensors = {f"{layer}.{n}": t for layer, s in states.items() for n, t in s.tensors().items()}
    for name, tensor in tensors.items():
        if name.endswith(".range") and first < last and not tensor.isfinite().all():
            raise ValueError(f"layer {name.split('.')[0]} has activations that are not finite in {dtype}")
    with whole(output) as part:
        save_file(
            {name: tensor.contiguous().cpu() for name, tensor in tensors.items()},
            part,
            metadata={"first": str(first), "last": str(last)},
        )
