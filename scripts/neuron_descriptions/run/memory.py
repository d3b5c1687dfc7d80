"""How much memory a harvest's running best takes, and whether it fits. Planning imports it: nothing heavy on top."""

from dataclasses import dataclass

# Of a tail's histogram (harvest/tail.py): bins in an octave, octaves in all, and those kept at once of features that
# are never negative.
BINS, OCTAVES, FIRING_OCTAVES = 128, 30, 8
N_BINS = OCTAVES * BINS
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(slots=True, frozen=True)
class Keep:
    """How many sequences are kept, per neuron, sign and split."""

    top: int
    middle: int
    random: int
    gates: bool = False
    """Whether each has a gate too, which takes as much as a token."""


def state_bytes(neurons: int, keep: Keep, evidence: int, dtype: str, one_sided: bool = False) -> int:
    """Bytes of a harvest's state: per neuron two sides, each with windows of `evidence` tokens, a key of 8 bytes for
    each but the random ones, and a histogram of N_BINS counts of 4 bytes; and 128 bytes of sums, ranges and bounds.
    one_sided: of features that are never negative, which have one side and a histogram of FIRING_OCTAVES."""
    windows, evidence = keep.top + keep.middle + keep.random, evidence + keep.gates
    bins = FIRING_OCTAVES * BINS if one_sided else N_BINS
    side = 8 * (keep.top + keep.middle) + windows * evidence * _BYTES[dtype] + 4 * bins
    return neurons * ((1 if one_sided else 2) * side + 128)


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
