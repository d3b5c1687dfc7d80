"""A shard of a split, run through the subject: per feature and side a running best is kept, and saved.

B sequences of a batch, T tokens, D whatever a tap sees, I features, N a batch's evidence tokens in a row.
"""

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from neuron_descriptions.common.checksums import checked
from neuron_descriptions.common.logs import logger, progress
from neuron_descriptions.common.storage import read_table, whole
from neuron_descriptions.corpus.reading import corpus_facts
from neuron_descriptions.corpus.tables import CORPUS
from neuron_descriptions.features.neurons import FeatureSource
from neuron_descriptions.harvest.batches import Batch, read_batches, shard_range
from neuron_descriptions.harvest.forward import check_architecture, not_finite, run_layers, try_out
from neuron_descriptions.harvest.state import LayerState, Split
from neuron_descriptions.harvest.subject import Subject
from neuron_descriptions.models.loading import load_model
from neuron_descriptions.run.memory import Keep, check_memory, state_bytes

if TYPE_CHECKING:
    from neuron_descriptions.features.gates import Gates


@dataclass(slots=True)
class Harvest:
    """A shard's running best, layer by layer; each layer's is kept on the device that its activations come from."""

    source: FeatureSource
    neurons: dict[int, list[int]]  # by layer
    split: Split
    keep: Keep
    dtype: str
    states: dict[int, LayerState] = field(default_factory=dict)
    gates: "Gates | None" = None
    """Where exemplars have them."""

    def take(self, layer: int, seen_BTD: Tensor, batch: Batch) -> None:
        """Take in what a layer's tap saw of a batch."""
        acts_BTI = self.source.features(layer, seen_BTD)
        if layer not in self.states:
            self.states[layer] = self._new_state(layer, acts_BTI.device)
        here = batch.to(acts_BTI.device)
        acts_NI = acts_BTI.flatten(0, 1).index_select(0, here.evidence_N)
        state = self.states[layer]
        gates_NI = None if self.gates is None else self.gates.take(layer).index_select(0, here.evidence_N)
        state.update(acts_NI, here, gates_NI)
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


@dataclass(slots=True, frozen=True)
class Shard:
    """A part of a split's sequences, and how they are read."""

    split: str
    number: int
    of: int
    batch_size: int
    seed: int


def harvest(
    subject: Subject,
    corpus: str,
    shard: Shard,
    neurons: dict[int, list[int]],
    keep: Keep,
    threads: int,
    output: str,
) -> None:
    """Run one shard of a split through the subject and save the state of the wanted layers' features.

    corpus: the split's table; neurons: indices of features, by layer. Raises ValueError where the features or the model
    is not what the config says, the state cannot fit into memory, an activation is not finite, or gates are to be kept
    and there are none.
    """
    facts, dtype = corpus_facts(corpus), subject.dtype
    check_architecture(subject.folder, subject.n_layers, subject.module)
    source = subject.source()
    state = state_bytes(sum(map(len, neurons.values())), keep, facts.longest, dtype, source.one_sided)
    model = load_model(subject.folder, dtype, False, threads, subject.device_map, reserve=state)
    check_memory(state)
    taps = source.taps(model)
    split = Split(shard.split, facts.sequences, facts.tokens, facts.longest, shard.seed)
    gates = _gates(model, subject, list(neurons)) if keep.gates else None
    kept = Harvest(source, neurons, split, keep, dtype, gates=gates)
    first, last = shard_range(facts.sequences, shard.number, shard.of, shard.batch_size)
    logger.info("%s, sequences %d to %d, layers %s", shard.split, first, last - 1, ", ".join(map(str, neurons)))
    wanted = {layer: taps[layer] for layer in neurons}
    example = read_table(corpus, CORPUS, [("seq_id", "=", 0)])["input_ids"][0].as_py()  # the same for all shards
    share = try_out(model, source, wanted, example, dtype)
    batches = read_batches(corpus, first, last, shard.batch_size, facts.longest, share)
    total = facts.longest * (last - first)
    with gates or nullcontext():
        tokens = run_layers(
            model,
            wanted,
            progress(batches, total, "tokens", size=lambda batch: batch.evidence_N.numel()),
            kept.take,
        )
    logger.info("%d tokens read", tokens)
    save(kept, first, last, output)


def _gates(model: nn.Module, subject: Subject, layers: list[int]) -> "Gates":
    """The gates of the subject's neurons. Raises ValueError where other features are described, or there are none."""
    from neuron_descriptions.features.gates import find_gates  # only these jobs depend on it

    if subject.features.kind != "mlp_neurons":
        raise ValueError(f"exemplars.gates: {subject.features.kind} have no gate; leave it out")
    return find_gates(model, layers, subject.n_layers, subject.n_neurons, subject.module)


def save(kept: Harvest, first: int, last: int, output: str) -> None:
    """Write the state of a shard that ran the sequences first..last-1. Raises as `Harvest.tensors` does."""
    tensors = checked(kept.tensors(), first, last)
    with whole(output) as part:
        save_file(tensors, part, metadata={"first": str(first), "last": str(last)})
