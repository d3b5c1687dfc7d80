"""What code would make a GPU do, counted wherever it runs: kernels, waits of the host, bytes alive.

`Counted` sees every operator that torch dispatches and every call that moves data, and pretends that tensors are on a
GPU, so that code takes its GPU branches. Of a real GPU, torch itself tells the waits: see `waits_on_gpu`.
"""

import warnings
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Operators whose result has a size that only the device knows, or that hand a number to the host.
_WAITING = ("nonzero", "_local_scalar_dense", "masked_select", "bincount", "unique", "_unique2", "equal", "is_nonzero")
_NO_KERNEL = ("empty", "empty_like", "empty_strided", "new_empty", "lift_fresh", "detach", "alias")


class Counted:
    """Counts inside `with counted:`; several such blocks add up.

    kernels: operators that compute (a GPU may take several launches for one); waits: calls that hold the host up until
    the GPU has caught up; peak: most bytes of what was made inside and alive at once.
    """

    def __init__(self) -> None:
        self.kernels = self.waits = self.alive = self.peak = 0
        self.where: dict[str, int] = {}

    def __enter__(self) -> "Counted":
        self._modes = ExitStack()
        self._modes.enter_context(_Calls(self))
        self._modes.enter_context(_Operators(self))
        return self

    def __exit__(self, *error: Any) -> None:
        self._modes.close()

    def wait(self, what: str) -> None:
        """Count a wait."""
        self.waits += 1
        self.where[what] = self.where.get(what, 0) + 1

    def made(self, tensor: Tensor) -> None:
        """Count a tensor's bytes until its memory is freed."""
        storage = tensor.untyped_storage()
        size = storage.nbytes()
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._freed, size)

    def _freed(self, size: int) -> None:
        self.alive -= size


class _Operators(TorchDispatchMode):
    def __init__(self, counted: Counted):
        super().__init__()
        self.counted = counted

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        returns = func._schema.returns
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in returns)
        if not is_view and name not in _NO_KERNEL:
            self.counted.kernels += 1
        if name in _WAITING or _by_mask(name, args) or (name == "repeat_interleave" and "output_size" not in kwargs):
            self.counted.wait(name)
        out = func(*args, **kwargs)
        if not is_view and not any(r.alias_info for r in returns):
            for tensor in tree_leaves(out):
                if isinstance(tensor, Tensor):
                    self.counted.made(tensor)
        return out


def _by_mask(name: str, args: tuple) -> bool:
    """Whether an operator indexes with a mask, and so looks for its places first; to fill them with one number it need
    not."""
    if name not in ("index", "index_put", "index_put_", "_index_put_impl_"):
        return False
    masks = any(isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1])
    return masks and (name == "index" or args[2].numel() != 1)


class _Calls(TorchFunctionMode):
    """Data that goes up or down. A tensor is in main memory until it is moved by `to` or made on a device."""

    def __init__(self, counted: Counted):
        super().__init__()
        self.counted = counted

    def __torch_function__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func == Tensor.is_cuda.__get__:  # type: ignore[attr-defined]
            return True
        if func == Tensor.is_cpu.__get__:  # type: ignore[attr-defined]
            return False
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            self.counted.wait("torch.tensor(..., device)")
        elif func in (Tensor.cpu, Tensor.tolist, Tensor.numpy):
            self.counted.wait(func.__name__)
        elif func is Tensor.to and _is_device((*args[1:], *kwargs.values())):
            return self._moved(args[0], kwargs)
        return func(*args, **kwargs)

    def _moved(self, tensor: Tensor, kwargs: dict) -> Tensor:
        if getattr(tensor, "_on_device", False):
            return tensor
        if not kwargs.get("non_blocking"):
            self.counted.wait("to(device)")
        moved = tensor.clone()
        moved._on_device = True  # type: ignore[attr-defined]
        return moved


def _is_device(arguments: tuple) -> bool:
    return any(isinstance(a, torch.device | str) for a in arguments)


def waits_on_gpu(run: Callable[[], object]) -> int:
    """Calls that hold the host up until the GPU has caught up, as torch itself tells of a run on one."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in told)


def launches_on_gpu(run: Callable[[], object]) -> int:
    """Kernels that a run launches on a GPU, by torch's profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
    launches = ("cudaLaunchKernel", "cuLaunchKernel")
    return sum(event.count for event in profile.key_averages() if event.key.startswith(launches))
