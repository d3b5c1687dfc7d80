"""Reduced precision on processors: those without instructions for it, and those whose instructions round by shape."""

import os
from pathlib import Path
from types import MethodType
from typing import Any

# What torch calls processors whose kernels for bfloat16 and float16 are plain loops: ten times slower than float32.
_WITHOUT = ("AVX2", "NO AVX", "DEFAULT")


def reduced_precision_is_fast() -> bool:
    """Whether matrix products in bfloat16 are as fast as in float32 here: on a GPU, or a processor that has them."""
    import torch

    return torch.cuda.is_available() or torch.backends.cpu.get_cpu_capability() not in _WITHOUT


def is_slower_than_float32() -> bool:
    """Whether a processor's instructions for bfloat16, if it has any, are slower than those for float32: Intel's are,
    without matrix tiles (82 against 145 billion operations a second of a core, 2026-11-30); AMD's were 3 times as fast
    as float32 by MKL (2026-11-23). It is known from the maker, not measured: jobs of one run must round alike."""
    known = Path("/proc/cpuinfo")
    return not reduced_precision_is_fast() or (known.is_file() and "GenuineIntel" in known.read_text())


def kind_of_processor() -> str:
    """The GPU's name, or the instructions that torch uses of this processor: what is of another kind rounds otherwise,
    so a run that is to be repeated, or whose jobs share results, stays on one."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"cpu ({torch.backends.cpu.get_cpu_capability()})"


def round_the_same_in_any_batch() -> None:
    """Keep this process from Intel's matrix tiles (AMX), whose kernels add up in an order that depends on the number of
    rows: then shards, chunks and batches would change the last digits of results.

    Takes effect before oneDNN's first product in the process. A user's own ONEDNN_MAX_CPU_ISA stays.
    """
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")


def compute_in_float32(model: Any) -> None:
    """Have a model's linear layers multiply in float32 on a processor, and round what comes out to what went in.

    As the instructions for bfloat16 do: products of rounded numbers, summed in float32, rounded once. So results differ
    by the order of summation alone, on about one in 10,000 outputs. Layers of half precision are left alone where the
    processor's instructions are faster. A layer that is used takes 4 bytes more for each of its weights.

    oneDNN multiplies, where torch has it: the library that torch asks by itself for float32 (MKL) sums fewer than 16
    rows, and in several threads, in other orders. oneDNN does so for one row alone, which is therefore doubled.
    """
    import torch
    from torch.nn import functional

    class Rounding(torch.nn.Linear):
        """Float32 inside, the input's precision outside."""

        _products: tuple[torch.Tensor, torch.Tensor | None]

        def forward(self, input: torch.Tensor) -> torch.Tensor:
            rows_NI = input.reshape(-1, self.in_features).float()
            if not torch.backends.mkldnn.is_available() or not len(rows_NI):
                own_O = None if self.bias is None else self.bias.float()
                return functional.linear(input.float(), self.weight.float(), own_O).to(input.dtype)
            weight_OI, bias_O = self.products()
            several_NI = rows_NI if len(rows_NI) > 1 else rows_NI.expand(2, -1)
            out_NO: torch.Tensor = torch.ops.mkldnn._linear_pointwise(several_NI, weight_OI, bias_O, "none", [], "")
            return out_NO[: len(rows_NI)].view(*input.shape[:-1], -1).to(input.dtype)

        def products(self) -> tuple[torch.Tensor, torch.Tensor | None]:
            """Weights in oneDNN's own order, and bias."""
            if hasattr(self, "_products"):
                return self._products
            weight_OI = self.weight.detach().float().contiguous()
            bias_O = None if self.bias is None else self.bias.detach().float()
            if hasattr(self, "_hf_hook"):  # accelerate's: weights that are spilled come and go
                return weight_OI, bias_O
            self._products = torch.ops.mkldnn._reorder_linear_weight(weight_OI, None), bias_O
            return self._products

    changed = (torch.float32, torch.bfloat16, torch.float16) if is_slower_than_float32() else (torch.float32,)
    for module in model.modules():
        if type(module) is torch.nn.Linear and module.weight.dtype in changed:
            module.requires_grad_(False)
            module.__class__ = Rounding
            if hasattr(module, "_old_forward"):  # what accelerate's hook calls
                vars(module)["_old_forward"] = MethodType(Rounding.forward, module)
