"""Reduced precision on processors: those without instructions for it, and those whose instructions round by shape."""

import os
from typing import Any

# What torch calls processors whose kernels for bfloat16 and float16 are plain loops: ten times slower than float32.
_WITHOUT = ("AVX2", "NO AVX", "DEFAULT")


def reduced_precision_is_fast() -> bool:
    """Whether matrix products in bfloat16 are as fast as in float32 here: on a GPU, or a processor that has them."""
    import torch

    return torch.cuda.is_available() or torch.backends.cpu.get_cpu_capability() not in _WITHOUT


def round_the_same_in_any_batch() -> None:
    """Keep this process from Intel's matrix tiles (AMX), whose kernels add up in an order that depends on the number of
    rows: then shards, chunks and batches would change the last digits of results. Without them a forward pass in
    bfloat16 takes 3.5 times as long (SmolLM2-135M, 16 x 64 tokens, two busy cores, 2026-11-29).

    Takes effect before oneDNN's first product in the process. A user's own ONEDNN_MAX_CPU_ISA stays.
    """
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")


def compute_in_float32(model: Any) -> None:
    """Have a model's linear layers multiply in float32 and round what comes out to what went in.

    As the instructions for bfloat16 do: products of rounded numbers, summed in float32, rounded once. So results differ
    by the order of summation alone, on about one in 10,000 outputs. Weights take twice their bytes.
    """
    import torch

    class Rounding(torch.nn.Linear):
        """Float32 inside, the input's precision outside."""

        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input.float()).to(input.dtype)

    for module in model.modules():
        if type(module) is torch.nn.Linear and module.weight.dtype in (torch.bfloat16, torch.float16):
            for name, parameter in list(module.named_parameters(recurse=False)):
                setattr(module, name, torch.nn.Parameter(parameter.detach().float(), requires_grad=False))
            module.__class__ = Rounding
