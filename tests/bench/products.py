"""Forward passes with linear layers in float32 by oneDNN, as this workflow runs them on a processor, beside the
processor's own way: its instructions for bfloat16, and float32 by the library that torch asks by itself."""

from pathlib import Path

import torch

from common import Clock, fetched

SHAPES = ((1, 1), (16, 64), (8, 256))  # sequences, tokens
ROUNDS = 4


def measure(scratch: Path) -> dict[str, float]:
    """The figures of this section; about a minute on one core."""
    from transformers import AutoModel

    from neuron_descriptions.models import processor

    folder, _ = fetched()
    torch.set_num_threads(1)
    processor.round_the_same_in_any_batch()
    figures: dict[str, float] = {}
    for dtype in ("bfloat16", "float32"):
        model = AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True).eval()
        own = [seconds(model, *shape) for shape in SHAPES]
        processor.compute_in_float32(model)
        for (sequences, tokens), before in zip(SHAPES, own):
            name = f"{dtype}_{sequences}x{tokens}"
            after = seconds(model, sequences, tokens)
            figures |= {
                f"{name}_times_as_fast": before / after,
                f"{name}_tokens_per_second": sequences * tokens / after,
            }
    return figures


@torch.inference_mode()
def seconds(model, sequences: int, tokens: int) -> float:
    """Processor seconds of a forward pass, after a first one."""
    ids_BT = torch.randint(1000, (sequences, tokens), generator=torch.Generator().manual_seed(0))
    model(input_ids=ids_BT, use_cache=False)
    clock = Clock()
    with clock:
        for _ in range(ROUNDS):
            model(input_ids=ids_BT, use_cache=False)
    return clock.seconds / ROUNDS
