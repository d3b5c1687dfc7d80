"""Models and tokenizers: loaded from their folders."""

import json
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .logs import logger


def check_folder(folder: str) -> None:
    """Raises ValueError where a folder holds no model."""
    if not (Path(folder) / "config.json").is_file():
        raise ValueError(f"{folder} holds no model: there is no config.json in it")


def load_tokenizer(folder: str) -> Any:
    """The folder's fast tokenizer. Raises ValueError where there is none."""
    # Not AutoTokenizer: it would import every model's code, which takes longer than most jobs that need a tokenizer.
    from transformers import PreTrainedTokenizerFast

    check_folder(folder)
    if not (Path(folder) / "tokenizer.json").is_file():
        raise ValueError(f"{folder} has no tokenizer.json; this workflow needs a fast tokenizer")
    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def load_model(
    folder: str, dtype: str, head: bool, threads: int, device_map: str | None = None, reserve: int = 0
) -> Any:
    """Load a model for inference on the GPU, where there is one, else the CPU.

    `head`: with the language-model head. `device_map`: "auto" spreads it over all GPUs and, where they are too
    small, main memory and disk (accelerate), leaving `reserve` bytes free on the GPUs together. Raises ValueError
    where the folder holds no model.
    """
    import torch
    from transformers import AutoModel, AutoModelForCausalLM

    check_folder(folder)
    torch.set_num_threads(threads)
    kind = AutoModelForCausalLM if head else AutoModel
    settings: dict[str, Any] = {"dtype": getattr(torch, dtype), "local_files_only": True}
    if device_map is not None:
        spilled = TemporaryDirectory()
        settings |= {"device_map": device_map, "max_memory": _room(reserve), "offload_folder": spilled.name}
        model = kind.from_pretrained(folder, **settings).eval()
        model.spilled = spilled  # lives as long as the model
        placed = getattr(model, "hf_device_map", model.device)  # none where one device takes it all
        logger.info("loaded %s as %s on %s", folder, dtype, placed)
        return model
    model = kind.from_pretrained(folder, **settings)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    logger.info("loaded %s as %s on %s", folder, dtype, device)
    return model.to(device).eval()  # type: ignore[arg-type]


def _room(reserve: int) -> dict[int | str, int]:
    """Bytes that weights may take on each device, `reserve` left free: shared out among the GPUs, if there are any."""
    from accelerate.utils import get_max_memory

    room = get_max_memory()
    share = [device for device in room if device != "cpu"] or ["cpu"]
    return {device: max(free - reserve // len(share) * (device in share), 0) for device, free in room.items()}


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """sha256 of what turns text into ids: vocabulary, merges and pre-tokenization; added tokens aside."""
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    kept = {name: parts[name] for name in ("model", "normalizer", "pre_tokenizer")}
    return sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def special_tokens(tokenizer: Any) -> dict[int, str]:
    """Every token with a meaning of its own, such as a template's headers: id -> text. (`all_special_tokens` has only
    those with a role, such as end of sequence.)"""
    return {i: token.content for i, token in tokenizer.added_tokens_decoder.items() if token.special}


def token_strings(tokenizer: Any, ids: list[int]) -> list[str]:
    """The text that each token adds; joined, they are the text. The bytes of a character that is split over
    tokens stand at the last of them, the others get an empty string."""
    from tokenizers.decoders import DecodeStream

    stream = DecodeStream(skip_special_tokens=False)
    return [stream.step(tokenizer.backend_tokenizer, i) or "" for i in ids]
