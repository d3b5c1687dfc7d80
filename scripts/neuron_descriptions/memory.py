"""How much memory a harvest's running best takes, and whether it fits. Planning imports it: nothing heavy on top."""

N_BINS = 30 * 128  # of a tail's histogram: see activations.py
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def state_bytes(neurons: int, k: int, n_random: int, evidence: int, dtype: str) -> int:
    """Bytes of a harvest's state: per neuron two sides, each with `k` keys of 8 bytes, `k + n_random` windows of
    `evidence` tokens and a histogram of N_BINS counts of 4 bytes; and 128 bytes of sums, ranges and bounds."""
    side = 8 * k + (k + n_random) * evidence * _BYTES[dtype] + 4 * N_BINS
    return neurons * (2 * side + 128)


def check_memory(wanted: int) -> None:
    """Raises ValueError where fewer bytes than `wanted` are free: on all GPUs together, or without one in main
    memory."""
    import psutil
    import torch

    if torch.cuda.is_available():
        free = sum(torch.cuda.mem_get_info(i)[0] for i in range(torch.cuda.device_count()))
        where = "GPU memory"
    else:
        free, where = psutil.virtual_memory().available, "main memory"
    if wanted > free:
        raise ValueError(
            f"the harvest's state takes {wanted / 1e9:.1f} GB, but only {free / 1e9:.1f} GB of {where} are free:"
            " lower exemplars.layers_per_job"
        )
