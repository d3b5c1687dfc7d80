"""Here runs vLLM's environment, which has no Snakemake: the model is fetched by the project's own."""

import subprocess
from pathlib import Path

import pytest

from conftest import ROOT, demo_config


@pytest.fixture(scope="session", autouse=True)
def fetched() -> dict[str, Path]:
    """The demo's model, as `smollm2`."""
    from neuron_descriptions.config import load_config, spec_key

    name, model = next(iter(load_config(demo_config()).models.items()))
    folder = f"resources/models/{name}-{spec_key(model)}"
    command = [ROOT / ".venv/bin/snakemake", "--configfile", "config/demo.yaml", "--nolock", "--quiet", "all", "--"]
    subprocess.run([*command, folder], cwd=ROOT, check=True)
    return {"smollm2": ROOT / folder}
