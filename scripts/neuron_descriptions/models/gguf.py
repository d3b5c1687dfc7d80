"""What the header of a GGUF file says, read without its weights and without torch: planning asks.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. All numbers are little-endian.
"""

import struct
from pathlib import Path
from typing import Any, BinaryIO

# Type number of a value -> its format for struct; 8 is a string, 9 a list.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _LIST = 8, 9
_MOST = 1 << 24  # values, tensors, dimensions, bytes of a name: no model has as many


def gguf_header(path: str | Path) -> dict[str, Any]:
    """Keys and values of a GGUF file, lists left out. Raises ValueError that names the file where it is none, is of a
    version that nothing here converts, is one part of several, or ends too early; FileNotFoundError, an OSError, where
    it is not there."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; `source: gguf` takes one .gguf file, `source: path` a model's folder")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no file but a pipe, a socket or a device")
    with path.open("rb") as file:
        if (mark := file.read(4)) != b"GGUF":
            told = ", but a pointer of Git LFS: fetch it with `git lfs pull`" if mark == b"vers" else ""
            raise ValueError(f"{path} is no GGUF file{told}")
        version = int.from_bytes(file.read(4), "little")
        if version not in (2, 3):
            raise ValueError(
                f"{path} is a GGUF file of version {version} (or with its bytes in another order), and 2 and 3 alone"
                " are read; convert it anew with llama.cpp"
            )
        try:
            found, begins = _read(file)
        except (struct.error, UnicodeDecodeError, KeyError, OverflowError, MemoryError) as error:
            raise ValueError(f"{path} is damaged or ends too early ({error}); fetch it again") from None
        if begins >= file.seek(0, 2):
            raise ValueError(f"{path} ends before its last tensor; fetch it again")
    if (parts := found.get("split.count", 1)) > 1:
        raise ValueError(f"{path} is one of {parts} parts; join them with llama.cpp: llama-gguf-split --merge")
    return found


def described(header: dict[str, Any]) -> dict[str, Any]:
    """A header as a model's config.json would say it, as far as subjects.py asks."""
    kind = str(header.get("general.architecture", ""))
    names = {
        "num_hidden_layers": "block_count",
        "max_position_embeddings": "context_length",
        "num_local_experts": "expert_count",
    }
    about = {name: header.get(f"{kind}.{key}") for name, key in names.items()}
    return about | {"model_type": kind, "is_encoder_decoder": kind in ("t5", "t5encoder")}


def _read(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """Values by key, and where the last tensor begins."""
    tensors, values = _unpack(file, "Q"), _unpack(file, "Q")
    if max(tensors, values) > _MOST:
        raise OverflowError("more values than any model has")
    found = {}
    for _ in range(values):
        key, kind = _string(file), _unpack(file, "I")
        value = _value(file, kind)
        if kind != _LIST:
            found[key] = value
    last = 0
    for _ in range(tensors):
        _string(file)
        dimensions = _unpack(file, "I")
        file.seek(8 * min(dimensions, _MOST) + 4, 1)
        last = max(last, _unpack(file, "Q"))
    return found, file.tell() + last


def _value(file: BinaryIO, kind: int) -> Any:
    """A value; of a list None."""
    if kind == _STRING:
        return _string(file)
    if kind != _LIST:
        return _unpack(file, _SCALARS[kind])
    inner, count = _unpack(file, "I"), _unpack(file, "Q")
    if count > _MOST:
        raise OverflowError("a list longer than any model's")
    if inner in _SCALARS:
        file.seek(count * struct.calcsize(_SCALARS[inner]), 1)
    else:
        for _ in range(count):
            _value(file, inner)
    return None


def _string(file: BinaryIO) -> str:
    size = _unpack(file, "Q")
    if size > _MOST:
        raise OverflowError("a text longer than any model's")
    text = file.read(size)
    if len(text) < size:
        raise struct.error("a text is cut off")
    return text.decode()


def _unpack(file: BinaryIO, kind: str) -> Any:
    (value,) = struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))
    return value
