"""Explainers: prompts of the published size, sampled, in the local client; in vLLM where it is installed."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from gpu.shapes import Calls, Shape, bare_rate, free, most_memory, random_llama, requests, seconds_of, tokenizer
from neuron_descriptions.clients.base import Answer, Client
from neuron_descriptions.clients.transformers import TransformersClient
from neuron_descriptions.clients.vllm import VllmClient
from neuron_descriptions.config.explainers import VllmExplainer

STOP: tuple[str, ...] = ()
TEMPERATURE = 1.0


def measure(shape: Shape, scratch: Path) -> Iterator[dict[str, float | str]]:
    """Tokens per second of both clients, beside the bare forward pass of the model that they use."""
    model = random_llama(shape, head=True)
    bare = bare_rate(model, min(shape.batch_tokens, 20 * shape.seq_len * shape.candidates), 16 * shape.seq_len)
    calls = Calls(model)
    client = TransformersClient(model, tokenizer(), TEMPERATURE, shape.max_tokens, STOP, shape.batch_tokens)
    yield answered(client, shape, bare) | {
        "forward_calls": float(len(calls.take())),
        "peak_gb": most_memory(),
    }
    del model, client, calls
    free()
    yield from with_vllm(shape, scratch)


def with_vllm(shape: Shape, scratch: Path) -> Iterator[dict[str, float | str]]:
    """The same in vLLM, with a model of fewer layers, which it reads from disk."""
    if find_spec("vllm") is None:
        yield {"vllm": "not installed"}
        return
    model = random_llama(shape, head=True, layers=shape.spread_layers)
    bare = bare_rate(model, shape.batch_tokens, 16 * shape.seq_len)
    folder = str(scratch / "model")
    for thing in (model, tokenizer()):
        thing.save_pretrained(folder)
    del model, thing
    free()
    settings = VllmExplainer(client="vllm", model="", max_model_len=8_192, eager=True)
    client = VllmClient(folder, tokenizer(), settings, TEMPERATURE, shape.max_tokens, STOP)
    found = answered(client, shape, bare) | {"layers": float(shape.spread_layers)}
    yield {f"vllm_{name}": value for name, value in found.items()}


def answered(client: Client, shape: Shape, bare: float) -> dict[str, float | str]:
    """Figures of the prompts of one neuron and both signs, after a first few; bare: tokens per second."""
    asked = requests(shape, 1)
    client.answer(asked[:1], lambda found: None)  # warm up
    answers: dict[int, Answer] = {}
    seconds = seconds_of(lambda: client.answer(asked, answers.update))
    if len(answers) != len(asked):
        raise ValueError(f"{len(asked)} prompts, {len(answers)} answers")
    read, written = (sum(getattr(a, f"{kind}_tokens") for a in answers.values()) for kind in ("prompt", "completion"))
    return {
        "prompts": float(len(asked)),
        "tokens_per_prompt": read / len(asked),
        "tokens_per_answer": written / len(asked),
        "tokens_read_per_second": read / seconds,
        "tokens_generated_per_second": written / seconds,
        "bare_tokens_per_second": bare,
        "share_of_time_to_read": read / bare / seconds,
    }
