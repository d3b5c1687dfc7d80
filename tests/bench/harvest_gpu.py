"""The harvest on a GPU: a model of Llama-3.1-8B's shape with random weights, all layers in one job, the published
settings (95-token sequences, k = 100, a split of a million)."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from neuron_descriptions.features.neurons import MlpNeurons
from neuron_descriptions.harvest.forward import Batch, Harvest, Split, make_batch, run_layers
from neuron_descriptions.run.memory import Keep, state_bytes

SHAPE = {"hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32,
         "num_key_value_heads": 8, "vocab_size": 128_256}  # fmt: skip
SEQ_LEN, PREFIX, SEQUENCES, SPLITS = 95, 30, 1_000_000, 3
KEEP = Keep(100, 10, 10)


def measure(scratch: Path) -> dict[str, float | str]:
    """Tokens per second against the bare pass, for several batch sizes; nothing where there is no GPU."""
    if not torch.cuda.is_available():
        return {"skipped": "no GPU here"}
    model = random_llama(SHAPE, torch.device("cuda"))
    figures: dict[str, float | str] = {"state_gb": 32 * state_bytes(14_336, KEEP, SEQ_LEN - PREFIX, "bfloat16") / 1e9}
    for size in (64, 128, 256, 512):
        rates = against_forward(model, size, batches=40)
        figures |= {f"{name}_batch{size}": rate for name, rate in rates.items()}
    figures["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    best = max(rate for name, rate in figures.items() if name.startswith("tokens_per_second"))
    figures["hours_of_the_published_run"] = SPLITS * SEQUENCES * SEQ_LEN / float(best) / 3600
    return figures


def random_llama(shape: dict[str, int], device: torch.device) -> nn.Module:
    """A Llama of this shape in bfloat16, without its head."""
    from transformers import AutoModel, LlamaConfig

    torch.manual_seed(0)
    with device:
        return AutoModel.from_config(LlamaConfig(**shape), dtype=torch.bfloat16).eval()


def against_forward(model: nn.Module, size: int, batches: int) -> dict[str, float]:
    """Rates of the harvest and of the bare pass, by the clock, over the second half of the batches; the ratio of the
    whole, its start included, too."""
    config = model.config
    layers, neurons = config.num_hidden_layers, config.intermediate_size
    split = Split("train", SEQUENCES, SEQUENCES * (SEQ_LEN - PREFIX), SEQ_LEN - PREFIX, 0)
    source = MlpNeurons(layers, neurons)
    taps = dict(enumerate(source.taps(model)))
    kept = Harvest(source, {layer: list(range(neurons)) for layer in taps}, split, KEEP, "bfloat16")
    spent: dict[str, list[float]] = {"bare": [], "harvest": []}
    for name, take in (("bare", _nothing), ("harvest", kept.take)):
        for batch in random_batches(config.vocab_size, size, batches):
            start = time.perf_counter()
            run_layers(model, taps, [batch], take)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            spent[name].append(time.perf_counter() - start)
    tokens = size * SEQ_LEN * (batches - batches // 2)
    bare, harvest = (sum(seconds[batches // 2 :]) for seconds in (spent["bare"], spent["harvest"]))
    return {
        "tokens_per_second": tokens / harvest,
        "bare_tokens_per_second": tokens / bare,
        "rate_to_bare": bare / harvest,
        "rate_to_bare_with_start": sum(spent["bare"][1:]) / sum(spent["harvest"][1:]),
    }


def random_batches(vocabulary: int, size: int, count: int) -> Iterator[Batch]:
    """Batches of random tokens."""
    random = np.random.default_rng(0)
    for i in range(count):
        ids = random.integers(vocabulary, size=(size, SEQ_LEN)).tolist()
        yield make_batch(i * size, ids, np.full(size, PREFIX), SEQ_LEN - PREFIX)


def _nothing(layer: int, seen_BTD: Tensor, batch: Batch) -> None:
    """Take nothing: the bare pass."""
