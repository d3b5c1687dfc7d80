"""What latents write: the decoder of a dictionary as it was published, in the units of the latents that are harvested
(converting.py).

D width of what is written, S latents of a layer.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neuron_descriptions.config.features import LatentFeatures
from neuron_descriptions.features.converting import _LENS, read_published
from neuron_descriptions.features.dictionaries import check
from neuron_descriptions.features.published_files import positive, read_json, read_tensors

# Where a transcoder of sparsify writes: what the MLP's own module gives, before a norm that may follow it.
MLP_MODULE = "mlp_module"


@dataclass(slots=True, frozen=True)
class Decoder:
    """What a layer's latents write, each for an activation of 1."""

    rows_SD: Tensor
    """float32"""
    place: str
    """Where: a hook point of config/features.py, or MLP_MODULE."""


def read_decoder(source: str, layer: int, features: LatentFeatures) -> Decoder:
    """A layer's decoder as it was published. An autoencoder writes where it reads, a transcoder what the MLP gives.
    Where a dictionary normalizes each token's numbers before it reads them, a row is what is written at a token whose
    scale is 1.

    source: file or folder; features: the config's section. Raises ValueError as `convert_dictionary` does, where there
    is no decoder, or where it says of itself that it writes elsewhere.
    """
    dictionary = read_published(source, features)
    check(dictionary, layer, features)
    form, _, more = dictionary.about.form.partition(" ")
    try:
        rows_SD, where = _READERS[form](Path(source), more)
    except (OSError, KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"output_side: {source} has no decoder that its format ({form}) has ({error!r}); leave output_side out"
        ) from None
    if rows_SD.ndim != 2 or len(rows_SD) != features.count or not bool(rows_SD.isfinite().all()):
        raise ValueError(
            f"{source}: its decoder has shape {tuple(rows_SD.shape)}, not {features.count} rows of finite numbers"
        )
    if features.kind == "autoencoder":
        return Decoder(rows_SD.float(), features.hook)
    if where not in (None, MLP_MODULE, "mlp_out"):
        raise ValueError(f"output_side: {source} says that it writes at {where}, not at mlp_out; leave output_side out")
    return Decoder(rows_SD.float(), where or "mlp_out")


Found = tuple[Tensor, str | None]  # rows, and where the dictionary says that it writes


def _saelens(folder: Path, kind: str) -> Found:
    config, tensors = read_json(folder / "cfg.json"), read_tensors(folder / "sae_weights.safetensors")
    rows_SD = tensors["W_dec"].double()
    if config.get("rescale_acts_by_decoder_norm"):  # latents are scaled by it: converting.py
        rows_SD = rows_SD / rows_SD.norm(dim=1, keepdim=True)
    metadata: dict[str, Any] = {**config, **(config.get("metadata") or {})}
    said = metadata.get("hook_name_out") or metadata.get("hook_point_out")
    return rows_SD, _in_plain_terms(said)


def _in_plain_terms(said: str | None) -> str | None:
    """TransformerLens' name of a place in this workflow's terms, or as it is."""
    return None if not said else _LENS.get(said.split(".", 2)[-1], said)


def _sparsify(folder: Path, kind: str) -> Found:
    return read_tensors(folder / "sae.safetensors")["W_dec"], MLP_MODULE


def _gemma_scope(source: Path, kind: str) -> Found:
    arrays = read_tensors(source if source.is_file() else source / "params.npz")
    return {name.lower(): tensor for name, tensor in arrays.items()}["w_dec"], None


def _dictionary_learning(source: Path, kind: str) -> Found:
    tensors = read_tensors(source if source.is_file() else source / "ae.pt")
    return tensors["W_dec"] if "W_dec" in tensors else tensors["decoder.weight"].T, None


def _llama_scope(folder: Path, kind: str) -> Found:
    """It writes numbers of a mean norm of sqrt(D), which are scaled back."""
    config = read_json(folder / "hyperparams.json")
    norm = positive(config["dataset_average_activation_norm"]["out"], "dataset_average_activation_norm.out", folder)
    rows_SD = read_tensors(folder / "checkpoints" / "final.safetensors")["decoder.weight"].T.double()
    return rows_SD * (norm / rows_SD.shape[1] ** 0.5), _in_plain_terms(config.get("hook_point_out"))


def _circuit_tracer(path: Path, kind: str) -> Found:
    return read_tensors(path)["W_dec"], None


_READERS = {
    "saelens": _saelens,
    "sparsify": _sparsify,
    "gemma_scope": _gemma_scope,
    "dictionary_learning": _dictionary_learning,
    "llama_scope": _llama_scope,
    "circuit_tracer": _circuit_tracer,
}


def least_changes(directions_SD: Tensor) -> Tensor:
    """Of each direction d the least change of what is read that raises the projection on it by 1: d / |d|². Zeros for
    a direction of zeros."""
    squares_S1 = (directions_SD * directions_SD).sum(1, keepdim=True)
    return torch.where(squares_S1 > 0, directions_SD / squares_S1.clamp(min=torch.finfo(directions_SD.dtype).tiny), 0)
