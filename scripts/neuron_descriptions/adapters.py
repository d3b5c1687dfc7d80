"""A trained model as it is kept: a low-rank adapter, with a simulator's its outputs; merged into the base for use."""

from pathlib import Path
from typing import Any

from .models import load_model, load_tokenizer
from .provenance import check_sha256, file_digest
from .storage import whole

WEIGHTS = "adapter_model.safetensors"  # peft's name
BINS = "bins.safetensors"  # `weight`: the outputs 0..10, (11, hidden size)


def with_bins(model: Any, head: Any, bins: Any) -> Any:
    """The model with `head` (rows of the vocabulary) as its own, whose first rows are the bins: what `finetuned`
    simulators read."""
    import torch

    rows = head.weight.detach().clone()
    rows[: len(bins)] = bins.to(rows.dtype)
    own = torch.nn.Linear(rows.shape[1], rows.shape[0], bias=False)
    own.weight = torch.nn.Parameter(rows)
    model.set_output_embeddings(own)
    model.config.tie_word_embeddings = False
    return model


def adapter_files(folder: str | Path) -> list[Path]:
    """The files that hold an adapter's weights."""
    return [Path(folder) / WEIGHTS, *Path(folder).glob(BINS)]


def adapter_sha256(folder: str | Path) -> str:
    """Checksum of an adapter's weights, as `models` wants it."""
    return file_digest(*adapter_files(folder))


def merge_adapter(base: str, adapter: str, sha256: str, output: str) -> None:
    """Write a base with an adapter merged into it as a model folder, bfloat16.

    adapter: a folder that training has written. Raises ValueError where its weights are not those of `sha256`.
    """
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file

    weights, *bins = adapter_files(adapter)
    check_sha256(sha256, f"{adapter} ({' and '.join(p.name for p in (weights, *bins))})", weights, *bins)
    model = load_model(base, "float32", head=True, threads=torch.get_num_threads())
    for path in bins:
        model = with_bins(model, model.get_output_embeddings(), load_file(path)["weight"])
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    with whole(output) as part:
        merged.to(torch.bfloat16).save_pretrained(part)
        load_tokenizer(base).save_pretrained(part)
