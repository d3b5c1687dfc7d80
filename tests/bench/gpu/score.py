"""Both simulators: tokens per second beside the bare forward pass of the same model."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from gpu.shapes import ROOT, Calls, Shape, bare_rate, most_memory, prose, random_llama, seconds_of, texts, tokenizer
from neuron_descriptions.descriptions.prompts import read_template
from neuron_descriptions.simulators.simulating import FinetunedSimulator, PromptedSimulator, SimulatorTemplate, Task

LEAST = 0.7  # of the bare pass's tokens per second
# The prompted simulator reads four times the tokens of a sequence: it gets a fifth of the descriptions.
SHARE = {"finetuned": 1.0, "prompted": 0.2}


def measure(shape: Shape, scratch: Path) -> Iterator[dict[str, float]]:
    """Rates of a chunk's tasks. Tokens of shared prefixes and padding are not counted, so that the rate is what a run
    gets for its work."""
    model = random_llama(shape, head=True)
    bare = bare_rate(model, min(shape.batch_tokens, 100 * shape.candidates * shape.scored), shape.seq_len)
    yield {"bare_tokens_per_second": bare}
    calls = Calls(model)
    for name, share in SHARE.items():
        simulator = simulators(model, shape)[name]
        asked = tasks(shape, max(round(share * shape.candidates), 1))
        simulator.simulate(asked[: shape.scored])  # warm up
        calls.take()
        before = simulator.tokens
        seconds = seconds_of(partial(simulator.simulate, asked))
        tokens = simulator.tokens - before
        yield {
            f"{name}_tokens_per_second": tokens / seconds,
            f"{name}_rate_to_bare": tokens / seconds / bare,
            f"{name}_tokens_per_forward_call": tokens / len(calls.take()),
        }
    yield {"peak_gb": most_memory()}


def simulators(model: Any, shape: Shape) -> dict[str, FinetunedSimulator | PromptedSimulator]:
    """Both, of one model."""
    template = read_template(str(ROOT / "config/prompts/simulator.yaml"), SimulatorTemplate)
    return {
        "finetuned": FinetunedSimulator(model, tokenizer(), shape.batch_tokens),
        "prompted": PromptedSimulator(model, tokenizer(), template, shape.batch_tokens),
    }


def tasks(shape: Shape, descriptions: int) -> list[Task]:
    """Descriptions of a neuron and sign, each for the same sequences."""
    words = prose().split()
    said = [" ".join(words[11 * i : 11 * i + 11]) for i in range(descriptions)]
    sequences = texts(shape, shape.scored)
    return [Task(description, text) for description in said for text in sequences]
