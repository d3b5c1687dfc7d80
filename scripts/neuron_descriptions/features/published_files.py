"""Files of published dictionaries, read as what they may be: settings as JSON, tensors by name; no pickle is run."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from neuron_descriptions.common.user_files import parsed_json, read_text

Tensors = dict[str, Tensor]


def read_json(path: Path) -> dict[str, Any]:
    """A file's JSON object. Raises ValueError that names the file where it holds none."""
    found = parsed_json(read_text(str(path), ""), str(path))
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object")
    return found


def read_tensors(path: Path) -> Tensors:
    """A file's tensors by name: .safetensors, .npz, or .pt with tensors alone. Raises ValueError that names the file
    where it is none of these, is damaged, or holds what pickle would have to make, which may be any code."""
    read = {".npz": _npz, ".pt": _pt}.get(path.suffix, load_file)
    try:
        found = read(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # each library has its own for a damaged file
        if isinstance(error, pickle.UnpicklingError) or "pickle" in str(error):
            raise ValueError(
                f"{path} holds more than tensors: to read that would run code of the file's, which is never done; save"
                " its state_dict, or its arrays, alone"
            ) from None
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} cannot be read ({reason}); fetch it again") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {type(found).__name__}, not tensors by name")
    for name, tensor in found.items():
        if isinstance(tensor, Tensor) and tensor.is_complex():
            raise ValueError(f"{path}: {name} has complex numbers")
    return found


def positive(value: Any, name: str, path: Path) -> float:
    """A number of a format's settings. Raises ValueError that names file and key where it is none above 0."""
    if not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{path}: {name} is {value!r}, not a number above 0")
    return float(value)


def _npz(path: Path) -> Tensors:
    with np.load(path, allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def _pt(path: Path) -> Tensors:
    tensors: Tensors = torch.load(path, map_location="cpu", weights_only=True)
    return tensors
