"""Steps of the simulator's training, as config/llama-3.1-8b-simulator.yaml has them."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gpu.shapes import Shape, bare_rate, most_memory, prose, random_llama, texts, tokenizer
from neuron_descriptions.config.training import Training
from neuron_descriptions.simulators.simulating import OUTPUTS, FinetunedFormat
from neuron_descriptions.training.fine_tuning import trains_faster_in_bfloat16
from neuron_descriptions.training.simulator import Example, Validation, fit, learning


class Numbered:
    """Examples by number, all of the same few descriptions and texts; notes when each is asked for."""

    def __init__(self, shape: Shape):
        self.texts, self.words, self.asked = texts(shape, 100), prose().split(), list[float]()

    def __getitem__(self, number: int) -> Example:
        self.asked.append(time.perf_counter())
        random = np.random.default_rng(number)
        text = self.texts[number % len(self.texts)]
        at = int(random.integers(len(self.words) - 11))
        return Example(" ".join(self.words[at : at + 11]), text, random.integers(OUTPUTS, size=len(text.evidence)))


def measure(shape: Shape, scratch: Path) -> Iterator[dict[str, float]]:
    """Seconds of a step, and how many forward passes over its tokens take as long."""
    steps, size, batch_tokens, rank = shape.training
    dtype = "bfloat16" if trains_faster_in_bfloat16() else "float32"
    model = random_llama(shape, head=True, dtype=dtype)
    bare = bare_rate(model, batch_tokens, shape.seq_len)
    settings = Training(
        base="random", method="lora", rank=rank, steps=steps, batch_size=size, batch_tokens=batch_tokens,
        learning_rate=2e-4, bins_learning_rate=1e-2, validate_every=steps,
    )  # fmt: skip
    examples, form = Numbered(shape), FinetunedFormat(tokenizer())
    validation = Validation([([examples[0]], [examples[1]])])
    examples.asked.clear()
    curve = fit(learning(model, settings, seed=0), form, examples, validation, settings, scratch / "step.pt")
    starts = examples.asked[::size]
    # The first step warms up; the last one's end is not noted.
    seconds = (starts[-1] - starts[1]) / (len(starts) - 2) if len(starts) > 2 else starts[1] - starts[0]
    tokens = sum(
        len(form.description(e.description)) + len(e.text.input_ids) for e in (examples[i] for i in range(size))
    )
    yield {
        "seconds_per_step": seconds,
        "tokens_per_second": tokens / seconds,
        "forward_passes_per_step": seconds * bare / tokens,
        "loss": curve[-1]["train_loss"],
        "peak_gb": most_memory(),
    }
