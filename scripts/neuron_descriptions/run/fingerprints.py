"""What the user's own files and folders hold, told by their content: neither a new time nor a README beside the weights
means that anything is made again. Cheap enough for every dry run: of large files, evenly spread samples are read."""

import json
from functools import cache
from hashlib import sha256
from pathlib import Path

from neuron_descriptions.common.places import matching_files
from neuron_descriptions.common.user_files import read_yaml

# Of a model's folder: all that loading a model or a tokenizer reads; not its card, its licence, a hub's lock files.
_OF_MODELS = (
    "*.json",
    "*.jinja",
    "additional_chat_templates/*.jinja",
    "*.model",
    "*.tiktoken",
    "merges.txt",
    "vocab.txt",
    "*.safetensors",
    "*.bin",
)
# Weights: larger ones are sampled. Everything else of a model is small, and one changed byte matters.
_WEIGHTS = {".safetensors", ".bin"}
_SAMPLES, _BLOCK = 128, 4096


@cache
def model_fingerprint(folder: str) -> str:
    """Of a model's folder: names, sizes and content of the files that loading reads; of the weights 128 evenly spread
    blocks of 4 KiB per file, both ends included. An edit of single weights between these goes unseen."""
    found = {path for pattern in _OF_MODELS for path in Path(folder).glob(pattern) if path.is_file()}
    files = {path for path in found if not path.name.startswith(".")}  # such as ._config.json, which macOS leaves
    return _fingerprint({str(path.relative_to(folder)): path for path in files}, _WEIGHTS)


@cache
def file_fingerprint(path: str) -> str:
    """Of one file of weights, such as GGUF: its size and content, sampled as in a model's folder."""
    return _fingerprint({"": Path(path)}, None)


@cache
def texts_fingerprint(pattern: str) -> str:
    """Of the files that a text source's `path` matches: names, sizes and content; files above 512 KiB are sampled, as
    weights are."""
    files = [path for path in matching_files(pattern) if path.is_file()]
    return _fingerprint({f"{number}-{path.name}": path for number, path in enumerate(files)}, None)


@cache
def yaml_fingerprint(path: str, key: str) -> str:
    """Of what a YAML file holds: neither comments nor layout, the order of keys or the ends of lines count. key: as
    `read_yaml` takes it, which says what is raised too."""
    held = json.dumps(read_yaml(path, key), sort_keys=True, default=str)
    return sha256(held.encode()).hexdigest()[:16]


def adapter_fingerprint(folder: str) -> str:
    """Of an adapter's settings, however they are laid out; its weights are named by the configuration's checksum."""
    path = Path(folder, "adapter_config.json")
    try:
        settings = json.dumps(json.loads(path.read_text(encoding="utf-8")), sort_keys=True)
    except (OSError, ValueError):  # merging says what is wrong with it
        settings = ""
    return sha256(settings.encode()).hexdigest()[:16]


def _fingerprint(files: dict[str, Path], sampled: set[str] | None) -> str:
    """sampled: suffixes of the files that are; None: of all."""
    hasher = sha256()
    for name, path in sorted(files.items()):
        size = path.stat().st_size
        whole = size <= _SAMPLES * _BLOCK or (sampled is not None and path.suffix not in sampled)
        hasher.update(f"{name}:{size}:".encode())
        with open(path, "rb") as file:
            if whole:
                while block := file.read(1 << 20):
                    hasher.update(block)
            else:
                for number in range(_SAMPLES):
                    file.seek((size - _BLOCK) * number // (_SAMPLES - 1))
                    hasher.update(file.read(_BLOCK))
    return hasher.hexdigest()[:16]
