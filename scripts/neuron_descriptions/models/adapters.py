"""A trained model as it is kept: a low-rank adapter, with a simulator's its outputs; merged into the base for use."""

from pathlib import Path
from typing import Any

from neuron_descriptions.common.provenance import check_sha256, file_digest
from neuron_descriptions.common.storage import whole
from neuron_descriptions.models.cutting import cut, layers_of
from neuron_descriptions.models.loading import load_model, load_tokenizer

CONFIG = "adapter_config.json"  # peft's name, as the next
WEIGHTS = "adapter_model.safetensors"
OUTPUTS = 11  # of a simulator: the strengths 0..10
BINS = "bins.safetensors"  # `weight`: the outputs 0..10, (11, hidden size)
LAYERS = "layers"  # in the metadata of that file: how many the model has that it was trained on


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
    """The files that an adapter is made of: its configuration, which scales the weights, and these. Raises ValueError
    where one is missing."""
    for name in (CONFIG, WEIGHTS):  # peft would look on the hub for what is missing
        if not (Path(folder) / name).is_file():
            raise ValueError(f"{folder} holds no adapter: there is no {name} in it")
    return [Path(folder) / CONFIG, Path(folder) / WEIGHTS, *Path(folder).glob(BINS)]


def adapter_sha256(folder: str | Path) -> str:
    """Checksum of an adapter's configuration and weights, as `models` wants it."""
    return file_digest(*adapter_files(folder))


def merge_adapter(base: str, adapter: str, sha256: str, output: str, layers: int | None = None) -> None:
    """Write a base with an adapter merged into it as a model folder, bfloat16.

    adapter: a folder that training has written; layers: how many of the base's it was trained on, the first ones
    (None: all). Raises ValueError where it is not that of `sha256`, or does not fit the base.
    """
    import torch
    from peft import PeftModel, get_peft_model_state_dict

    _, weights, *bins = files = adapter_files(adapter)
    check_sha256(sha256, f"{adapter} ({' and '.join(path.name for path in files)})", *files)
    model = load_model(base, "float32", head=True, threads=torch.get_num_threads())
    if layers is not None:
        model = cut(model, layers)
    for path in bins:
        _check_layers(path, layers_of(model))
        head, rows = model.get_output_embeddings(), _tensors(path).get("weight")
        if rows is None or rows.shape != (OUTPUTS, head.weight.shape[1]):
            raise ValueError(
                f"{path}: its `weight` must have the shape {(OUTPUTS, head.weight.shape[1])}, {OUTPUTS} outputs of"
                f" {base}, but has {None if rows is None else tuple(rows.shape)}"
            )
        model = with_bins(model, head, rows)
    held = _tensors(weights)
    try:
        adapted = PeftModel.from_pretrained(model, adapter, local_files_only=True)
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{adapter} does not fit {base}: {error}") from None
    # peft leaves out what fits nothing, and leaves at random what is missing.
    if stray := sorted(held.keys() ^ get_peft_model_state_dict(adapted, save_embedding_layers=False).keys()):
        raise ValueError(
            f"{adapter} does not fit {base}: {len(stray)} tensors are in one and not in the other, such as {stray[0]}"
        )
    merged = adapted.merge_and_unload()
    with whole(output) as part:
        merged.to(torch.bfloat16).save_pretrained(part)
        load_tokenizer(base).save_pretrained(part)


def _check_layers(path: Path, has: int | None) -> None:
    """Raises ValueError where a simulator's outputs were trained on a model of another depth, if they say on which."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            said = (file.metadata() or {}).get(LAYERS)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if said is not None and said != str(has):
        raise ValueError(
            f"{path.parent} was trained on the first {said} layers of its base, not on {has}: say so there,"
            f" `layers: {said}`"
        )


def _tensors(path: Path) -> dict[str, Any]:
    """A file's tensors. Raises ValueError where it holds none, or a number that is not finite."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    for name, tensor in found.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: {name} has values that are not finite; train it again")
    return found
