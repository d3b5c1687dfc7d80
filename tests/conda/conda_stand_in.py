"""A stand-in for the `conda` command, on py-rattler (a real solver and linker): the calls that Snakemake 9 makes with
`--sdm conda`, for environment files of conda packages and pip pins. $CHANNEL is the folder that stands for conda-forge.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from rattler import Channel, MatchSpec, Platform, VirtualPackage, install, solve

ROOT = Path(__file__).resolve().parents[1]  # holds bin/conda, which this file is, and bin/activate
KEYS = {"name", "channels", "dependencies", "variables"}


async def link(channels: list[str], specs: list[str], prefix: str) -> list[str]:
    """Solve and install; names of the packages."""
    if channels != ["conda-forge"]:
        sys.exit(f"channels {channels}: only conda-forge is stood in for")
    records = await solve(
        [Channel(Path(os.environ["CHANNEL"]).as_uri())],
        [MatchSpec(spec) for spec in specs],
        platforms=[Platform.current(), Platform("noarch")],
        virtual_packages=[package.into_generic() for package in VirtualPackage.detect()],
    )
    await install(records, prefix, cache_dir=str(ROOT / "packages"), show_progress=False)
    return [record.name.normalized for record in records]


def create(file: str, prefix: str) -> None:
    """`conda env create`."""
    environment = yaml.safe_load(Path(file).read_text())
    if unknown := set(environment) - KEYS:
        sys.exit(f"EnvironmentFileInvalid: unknown keys {sorted(unknown)}")
    specs = [d for d in environment["dependencies"] if isinstance(d, str)]
    pins = [pin for d in environment["dependencies"] if isinstance(d, dict) for pin in d["pip"]]
    linked = asyncio.run(link(environment["channels"], specs, prefix))
    if pins:
        if "pip" not in linked:
            sys.exit("a pip section, but no pip among the packages")
        outer = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
            requirements.write("\n".join(pins))
            requirements.flush()
            subprocess.run(
                [f"{prefix}/bin/python", "-m", "pip", "install", "--quiet", "--requirement", requirements.name],
                check=True,
                env={name: value for name, value in os.environ.items() if name not in outer},
            )


def main(words: list[str]) -> None:
    if words == ["--version"]:
        print("conda 24.7.1")
    elif words[:2] == ["info", "--json"]:
        print(json.dumps({"conda_prefix": str(ROOT), "platform": "linux-64", "root_prefix": str(ROOT)}))
    elif words[0] == "config":
        print(json.dumps({"get": {"channel_priority": "strict"}, "success": True}))
    elif words[0] == "clean":
        pass  # nothing is downloaded that would be left
    elif words[:2] == ["env", "create"]:
        create(words[words.index("--file") + 1], words[words.index("--prefix") + 1])
    else:
        sys.exit(f"not stood in for: conda {' '.join(words)}")


if __name__ == "__main__":
    main(sys.argv[1:])
