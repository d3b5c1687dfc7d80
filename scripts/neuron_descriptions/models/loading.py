"""Models and tokenizers: loaded from their folders."""

import json
import re
from datetime import date
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.vocabulary import Message
from neuron_descriptions.models.processor import (
    compute_in_float32,
    kind_of_processor,
    round_the_same_in_any_batch,
)
from neuron_descriptions.models.subjects import model_config

# What a template that prints the date is told: the day that Llama's own fall back to. Else texts, descriptions and
# scores would change from day to day.
TODAY = date(2024, 7, 26)


def check_folder(folder: str) -> None:
    """Raises ValueError where a folder holds no model, or one that needs code of its own, which is never run."""
    if not (Path(folder) / "config.json").is_file():
        raise ValueError(f"{folder} holds no model: there is no config.json in it")
    config = model_config(folder)
    if config.get("auto_map"):
        _check_code(folder, config)
    # transformers would fetch a kernel from the hub by such a name, and run it.
    for section in (config, *(inner for inner in config.values() if isinstance(inner, dict))):
        for key, named in section.items():
            if key.endswith("_implementation") and "/" in str(named):
                raise ValueError(
                    f"{folder} needs code from the hub ({key} in its config.json is {named}), and this workflow runs no"
                    " model's code; take the key out"
                )


def _check_code(folder: str, config: dict[str, Any]) -> None:
    """Raises ValueError where the classes that a model names as its own are not those that transformers has for its
    kind: models whose code was taken into transformers still name it."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_MAPPING_NAMES

    kind, named = str(config.get("model_type")), config["auto_map"]
    if not isinstance(named, dict):
        raise ValueError(f"{folder}: auto_map in its config.json names no classes; take it out")
    known: dict[str, Any] = {
        "AutoConfig": CONFIG_MAPPING_NAMES,
        "AutoModel": MODEL_MAPPING_NAMES,
        "AutoModelForCausalLM": MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    }
    for auto in sorted(known.keys() & named):
        place, theirs = named[auto], known[auto].get(kind)
        if str(place).rsplit(".", 1)[-1] not in (theirs if isinstance(theirs, list | tuple) else [theirs]):
            raise ValueError(
                f"{folder} needs code of its own (auto_map in its config.json: {auto} is {place}), and this workflow"
                " runs no model's code; name a model that transformers has a class for"
            )


def load_tokenizer(folder: str) -> Any:
    """The folder's fast tokenizer. Raises ValueError where there is none."""
    # Not AutoTokenizer: it would import every model's code, which takes longer than most jobs that need a tokenizer.
    from transformers import PreTrainedTokenizerFast

    check_folder(folder)
    if not (Path(folder) / "tokenizer.json").is_file():
        raise ValueError(f"{folder} has no tokenizer.json; this workflow needs a fast tokenizer")
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare ones
        raise ValueError(f"the tokenizer in {folder} cannot be read: {error}; fetch it again") from None


def load_model(
    folder: str,
    dtype: str,
    head: bool,
    threads: int,
    device_map: str | None = None,
    reserve: int = 0,
    train: bool = False,
) -> Any:
    """Load a model for inference, or to `train` it, on the GPU, where there is one, else the CPU.

    `head`: with the language-model head. `device_map`: "auto" spreads it over all GPUs and, where they are too
    small, main memory and disk (accelerate), leaving `reserve` bytes free on the GPUs together. Raises ValueError
    where the folder holds no model.
    """
    import torch
    from transformers import AutoModel, AutoModelForCausalLM

    check_folder(folder)
    torch.set_num_threads(threads)
    if not train:
        round_the_same_in_any_batch()
    kind = AutoModelForCausalLM if head else AutoModel
    settings: dict[str, Any] = {"dtype": getattr(torch, dtype), "local_files_only": True, "trust_remote_code": False}
    if device_map is not None:
        spilled = TemporaryDirectory()
        settings |= {"device_map": device_map, "max_memory": _room(reserve), "offload_folder": spilled.name}
        model = _loaded(kind, folder, settings).eval()
        model.spilled = spilled  # lives as long as the model
        if not train and not torch.cuda.is_available():
            compute_in_float32(model)
        placed = getattr(model, "hf_device_map", model.device)  # none where one device takes it all
        logger.info("loaded %s as %s on %s: %s", folder, dtype, kind_of_processor(), placed)
        return model
    model = _loaded(kind, folder, settings)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    logger.info("loaded %s as %s on %s", folder, dtype, kind_of_processor())
    if not train and device == "cpu":
        compute_in_float32(model)
    return model.to(device).eval()


def _loaded(kind: Any, folder: str, settings: dict[str, Any]) -> Any:
    """A model from a folder. Raises ValueError where that cannot be read, or lacks weights, which transformers would
    draw at random."""
    import torch
    from safetensors import SafetensorError

    try:
        model, found = kind.from_pretrained(folder, output_loading_info=True, **settings)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        ImportError,
        SafetensorError,
    ) as error:
        if isinstance(error, torch.OutOfMemoryError):  # another machine would do
            raise
        raise ValueError(f"the model in {folder} cannot be loaded: {error}") from None
    if missing := sorted(found["missing_keys"]):
        raise ValueError(
            f"{folder} lacks {len(missing)} of the weights of a {type(model).__name__}, such as {missing[0]}: it is of"
            " another model, or of another kind of it; fetch or save it again"
        )
    return model


def _room(reserve: int) -> dict[int | str, int]:
    """Bytes that weights may take on each device, `reserve` left free: shared out among the GPUs, if there are any."""
    from accelerate.utils import get_max_memory

    room = get_max_memory()
    share = [device for device in room if device != "cpu"] or ["cpu"]
    return {device: max(free - reserve // len(share) * (device in share), 0) for device, free in room.items()}


def render(tokenizer: Any, messages: list[Message], **options: Any) -> str:
    """A conversation's text as the chat template has it, on the day TODAY; options: the template's. Raises ValueError
    where the template asks for the date in a way that cannot be answered beforehand."""
    if prints_the_date(tokenizer):
        # In the template itself: transformers hands a template no function of ours.
        asks = r"""strftime_now\(\s*(['"])(.*?)\1\s*\)"""
        template = re.sub(asks, lambda m: m[1] + TODAY.strftime(m[2]) + m[1], tokenizer.get_chat_template())
        if "strftime_now(" in template:
            raise ValueError(
                "the chat template asks for the date by strftime_now with something else than a text; write the date"
                " into the template of the model's folder, or texts would differ from day to day"
            )
        options |= {"chat_template": template}
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    return text


def prints_the_date(tokenizer: Any) -> bool:
    """Whether the chat template asks for the date."""
    return "strftime_now" in str(tokenizer.chat_template)


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
