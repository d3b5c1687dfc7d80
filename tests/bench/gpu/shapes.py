"""What the sections share: the published shape and a tiny one, a model of random weights, a tokenizer and texts made
of this checkout's own pages, and seconds of a device.

B sequences of a batch, T tokens.
"""

import gc
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuron_descriptions.clients.base import Prompt, Request
from neuron_descriptions.corpus.reading import Text
from neuron_descriptions.descriptions.excerpts import Highlights, excerpts
from neuron_descriptions.descriptions.prompts import ExplainerTemplate, read_template
from neuron_descriptions.run.memory import Keep

ROOT = Path(__file__).parents[3]
VOCABULARY = 2_000  # of the tokenizer; the model's may be larger


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model and of the work that is measured with it."""

    name: str
    llama: dict[str, int]
    split: int = 1_000_000  # sequences
    seq_len: int = 95
    prefix: int = 30
    keep: Keep = field(default_factory=lambda: Keep(100, 10, 10))
    batch_sizes: tuple[int, ...] = (64, 128, 256, 512)  # sequences
    published_batch: int = 128
    batches: int = 6  # of each size
    start: int = 2_048  # sequences that the start of a harvest is measured on
    candidates: int = 50  # prompts of a neuron and sign
    shown: tuple[int, int] = (10, 20)  # exemplars of a prompt
    max_tokens: int = 80
    scored: int = 30  # sequences by which a description is scored
    batch_tokens: int = 65_536
    training: tuple[int, int, int, int] = (4, 64, 4_096, 64)  # steps, examples, tokens of a pass, rank
    spread_layers: int = 4  # of the model that is spread over devices, and of vLLM's


PUBLISHED = Shape("Llama-3.1-8B", {
    "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 128_256,
})  # fmt: skip

# The rehearsal's: the same code, and the published numbers of prompts and sequences where they cost little.
TINY = replace(
    PUBLISHED, name="rehearsal", split=4_000, keep=Keep(5, 2, 2), batch_sizes=(4, 8), published_batch=8, batches=3,
    start=128, candidates=4, shown=(2, 4), max_tokens=4, scored=6, training=(2, 4, 512, 4), spread_layers=3,
    llama={
        "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 2_048,
    },
)  # fmt: skip


def device() -> torch.device:
    """The GPU, if there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def random_llama(shape: Shape, head: bool, layers: int | None = None, dtype: str = "bfloat16") -> Any:
    """A Llama of this shape with random weights; layers: fewer of them."""
    from transformers import AutoModel, AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    sizes = shape.llama | ({} if layers is None else {"num_hidden_layers": layers})
    kind = AutoModelForCausalLM if head else AutoModel
    with device():
        return kind.from_config(LlamaConfig(**sizes, max_position_embeddings=8_192), dtype=getattr(torch, dtype)).eval()


def free() -> None:
    """Give what no name holds any more back to the GPU, and measure memory anew."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def most_memory() -> float:
    """The most memory that was held so far, of the GPU (since `free`) or of this process, in GB (10^9 bytes)."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def bare_rate(model: Any, tokens: int, length: int) -> float:
    """Tokens per second of the bare forward pass, no head and no cache, over `tokens` in sequences of a length."""
    random = np.random.default_rng(0)
    ids_BT = torch.from_numpy(random.integers(VOCABULARY, size=(max(tokens // length, 1), length)))

    @torch.inference_mode()
    def run() -> None:
        model.base_model(input_ids=ids_BT.to(model.device), use_cache=False)

    run()  # warm up
    return ids_BT.numel() / seconds_of(run)


def seconds_of(run: Callable[[], object]) -> float:
    """Seconds of a call, until the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


@lru_cache
def prose() -> str:
    """This checkout's own pages, one after the other."""
    return "\n\n".join(path.read_text() for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]))


@lru_cache
def tokenizer() -> Any:
    """Byte-level BPE trained on these pages: a fast tokenizer with digits and tabs of their own, as simulators need."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet, special = pre_tokenizers.ByteLevel.alphabet(), ["<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, special_tokens=special)
    bpe.train_from_iterator([prose()], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>")


@lru_cache
def prose_ids() -> list[int]:
    """Its tokens."""
    return tokenizer()(prose())["input_ids"]


def texts(shape: Shape, count: int) -> list[Text]:
    """Windows of these pages as sequences; the first tokens of each stand for a chat template's prefix."""
    ids = prose_ids()
    starts = np.random.default_rng(0).integers(len(ids) - shape.seq_len, size=count)
    return [Text("pages", ids[start : start + shape.seq_len], shape.prefix) for start in starts.tolist()]


def requests(shape: Shape, neurons: int) -> list[Request]:
    """Prompts for an explainer: every neuron's candidates of both signs, over these texts with invented activations."""
    template = read_template(str(ROOT / "config/prompts/published-explainer.yaml"), ExplainerTemplate)
    least, most = shape.shown
    pool = texts(shape, 200)
    found = []
    for neuron in range(neurons):
        for number in range(2 * shape.candidates):
            random = np.random.default_rng([neuron, number])
            rows = [pool[int(i)].input_ids for i in random.choice(len(pool), random.integers(least, most + 1), False)]
            acts = [random.exponential(size=len(row)) ** 3 for row in rows]
            marks = Highlights([60.0, 30.0, 10.0], 3)
            shown = excerpts(tokenizer(), rows, acts, marks, template.context, form=template.form)
            messages = template.messages(shown, "positive")
            found.append(Request(Prompt(messages, template.answer, len(messages) - 1), number, neuron))
    return found


class Calls:
    """Forward calls of a model and the tokens that each reads, while it is hooked."""

    def __init__(self, model: Any):
        self.tokens: list[int] = []
        self.handle = model.base_model.register_forward_pre_hook(self._seen, with_kwargs=True)

    def _seen(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self.tokens.append(kwargs["input_ids"].numel())

    def take(self) -> list[int]:
        """What was counted since the last time."""
        taken, self.tokens = self.tokens, []
        return taken
