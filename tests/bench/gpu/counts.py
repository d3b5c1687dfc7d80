"""What can be counted without a GPU: kernels and waits of a layer and batch, tokens of a forward call at the published
settings, memory by formula and by torch's meta device."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gpu.counting import Counted, launches_on_gpu, waits_on_gpu
from gpu.harvest import Subject, bounds, nothing, settle
from gpu.score import SHARE, simulators, tasks
from gpu.shapes import PUBLISHED, TINY, Shape, random_llama, requests, tokenizer
from neuron_descriptions.clients.transformers import TransformersClient
from neuron_descriptions.harvest.batches import Batch, make_batch
from neuron_descriptions.harvest.state import LayerState, Split
from neuron_descriptions.run.memory import state_bytes

LEAST = 8_192  # tokens of a forward call, prompts being read
HARVEST = LayerState.__module__.rpartition(".")[0]  # the package
MOST_OFF = 0.02  # of the memory formula, beside the meta device


def measure(shape: Shape, scratch: Path) -> Iterator[dict[str, float]]:
    """Figures. Raises AssertionError, at the end, where a forward call has too few tokens or the formula is off."""
    yield launches()
    calls = tokens_per_call()
    yield calls
    memory = planned_memory()
    yield memory
    few = {name: n for name, n in calls.items() if n < LEAST and "decoding" not in name}
    assert not few, f"fewer than {LEAST} tokens a forward call: {few}"
    off = memory["state_gb_formula"] / memory["state_gb_meta"] - 1
    assert abs(off) <= MOST_OFF, f"the state's formula is off by {100 * off:.1f} % of what the meta device says"


def launches() -> dict[str, float]:
    """Of the harvest alone, per layer and batch, in the middle of a split: operators that compute, and waits of the
    host, as they would be on a GPU; and on the GPU that is there, as torch tells."""
    subject = Subject(random_llama(TINY, head=False), TINY)
    kept, counted = subject.settled(), Counted()
    batches = subject.batches(TINY.published_batch, 40, first=TINY.published_batch)

    def take(layer: int, seen_BTD: Tensor, batch: Batch) -> None:
        with counted:
            kept.take(layer, seen_BTD, batch)

    subject.run(batches, take)
    each = subject.layers * len(batches)
    found = {"operators_per_layer_and_batch": counted.kernels / each, "waits_per_layer_and_batch": counted.waits / each}
    if torch.cuda.is_available():
        for name, count in (("waits", waits_on_gpu), ("launches", launches_on_gpu)):
            with_it, bare = (count(partial(subject.run, batches, take)) for take in (kept.take, nothing))
            found[f"{name}_per_layer_and_batch_gpu"] = (with_it - bare) / each
    return found


def tokens_per_call() -> dict[str, float]:
    """Tokens of the average forward call at the published settings; prefixes that are kept, and padding, aside."""
    model, found = (
        random_llama(TINY, head=True),
        {"harvest": float(PUBLISHED.published_batch * (PUBLISHED.seq_len - PUBLISHED.prefix))},
    )
    for name, simulator in simulators(model, PUBLISHED).items():
        simulator.expectation.alone = False  # as on a GPU
        asked = tasks(PUBLISHED, round(SHARE[name] * PUBLISHED.candidates))
        rows = [simulator.row(task) for task in asked]
        batches = list(simulator.expectation._batches(rows))
        found[f"score_{name}"] = sum(len(rows[i].ids) for batch in batches for i in batch) / len(batches)
    client = TransformersClient(model, tokenizer(), 1.0, PUBLISHED.max_tokens, (), PUBLISHED.batch_tokens)
    ids = [client.ids.prompt(request.prompt) for request in requests(PUBLISHED, 1)]
    batches = list(client._batches(ids))  # a neuron's prompts
    found["describe_reading"] = sum(len(rest) for _, rest in ids) / len(batches)
    found["describe_decoding"] = len(ids) / len(batches)
    return {f"tokens_per_call_{name}": value for name, value in found.items()}


def planned_memory() -> dict[str, float]:
    """Of the harvest of the published run in one job, GB (10^9 bytes): weights and state on the meta device, the state
    by its formula too; and what a batch takes for a while, at its start and in the middle of a split."""
    from transformers import AutoModel, LlamaConfig

    s = PUBLISHED
    with torch.device("meta"):
        model: Any = AutoModel.from_config(LlamaConfig(**s.llama), dtype=torch.bfloat16)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    layers, neurons, evidence = s.llama["num_hidden_layers"], s.llama["intermediate_size"], s.seq_len - s.prefix
    split = Split("train", s.split, s.split * evidence, evidence, 0)
    layer = LayerState(0, list(range(neurons)), split, s.keep, torch.bfloat16, torch.device("meta"))
    meta = layers * sum(tensor.nbytes for tensor in tensors_of(layer))
    formula = layers * state_bytes(neurons, s.keep, evidence, "bfloat16")
    transient = {name: size * s.published_batch * neurons for name, size in transients().items()}
    return {
        "weights_gb_meta": weights / 1e9,
        "state_gb_meta": meta / 1e9,
        "state_gb_formula": formula / 1e9,
        **{f"batch_gb_{name}": size / 1e9 for name, size in transient.items()},
        "peak_gb_formula": (weights + formula + max(transient.values())) / 1e9,
    }


@torch.inference_mode()
def transients() -> dict[str, float]:
    """Most bytes that an update of a layer's state takes for a while, per sequence and neuron: counted on few neurons,
    the sequences' length and what is kept of them being the published ones."""
    s, neurons = PUBLISHED, 64
    evidence, size = s.seq_len - s.prefix, s.published_batch
    split = Split("train", s.split, s.split * evidence, evidence, 0)
    state = LayerState(0, list(range(neurons)), split, s.keep, torch.bfloat16, torch.device("cpu"))
    random, found = torch.Generator().manual_seed(0), {}
    for first, name in enumerate(("start", "middle")):
        acts_NI = torch.randn(size * evidence, neurons, generator=random).to(torch.bfloat16)
        ids = [[0] * evidence] * size
        batch = make_batch(first * size, ids, np.zeros(size, int), evidence)
        with Counted() as counted:
            state.update(acts_NI, batch)
        found[name] = counted.peak / size / neurons
        acts_BEI = acts_NI.view(size, evidence, neurons)
        settle(state, *bounds(torch.cat([acts_BEI.amax(1), -acts_BEI.amin(1)], 1), split, s.keep.top))
    return found


def tensors_of(thing: object) -> list[Tensor]:
    """Every tensor that an object of the harvest holds, by way of its members."""
    if isinstance(thing, Tensor):
        return [thing]
    held = [m for m in vars(thing).values() if isinstance(m, Tensor) or type(m).__module__.startswith(HARVEST)]
    return [tensor for member in held for tensor in tensors_of(member)]
