"""`--sdm conda`: env files resolve; those that a run needs are created, activated and used (`make test-conda`).

Needs a package index, but no conda: what conda-forge holds is not shown by it.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from packaging.utils import canonicalize_name

from conftest import ROOT, Project, tiny_config

pytestmark = pytest.mark.conda

HERE = Path(__file__).parent
RATTLER = "py-rattler==0.28.0"  # in an environment of its own: nothing else here needs it
PIP = "pip==26.1"
UV = [str(Path(sys.executable).parent / "uv"), "--quiet"]

# Put into each environment: says which interpreter ran which script.
WITNESS = """
import os, sys
if any(".snakemake/scripts" in word for word in sys.orig_argv):
    with open(os.path.join(sys.prefix, "scripts-run.txt"), "a") as f:
        f.write(sys.orig_argv[-1].rpartition(".")[0].rpartition(".")[2] + "\\n")
"""


def pins(env: Path) -> list[str]:
    return next(d for d in yaml.safe_load(env.read_text())["dependencies"] if isinstance(d, dict))["pip"]


def normal(pin: str) -> str:
    """`name==version` as the index writes names, without the version's local part."""
    name, _, version = pin.partition("==")
    return f"{canonicalize_name(name)}=={version.partition('+')[0]}"


@pytest.mark.parametrize("env", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda p: p.name)
def test_env_files_resolve(env, tmp_path):
    (tmp_path / "pins.in").write_text("\n".join(pins(env)))
    command = [*UV, "pip", "compile", "--python-version", "3.11", str(tmp_path / "pins.in")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(re.findall("==", done.stdout)) >= len(pins(env))


@pytest.fixture(scope="module")
def conda(tmp_path_factory) -> dict[str, str]:
    """Environment variables with which a `conda` is found."""
    root = tmp_path_factory.mktemp("conda")
    tools, channel = root / "tools", root / "channel"
    subprocess.run([*UV, "venv", "--python", sys.executable, str(tools)], check=True)
    subprocess.run([*UV, "pip", "install", "--python", str(tools / "bin/python"), RATTLER, "pyyaml"], check=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(root / "wheels"), PIP]
    subprocess.run(command, check=True)
    (wheel,) = (root / "wheels").glob("pip-*.whl")
    subprocess.run([tools / "bin/python", HERE / "channel.py", channel, wheel], check=True)
    (root / "bin").mkdir()
    stand_in = root / "bin/conda"
    stand_in.write_text(f"#!{tools}/bin/python\n" + (HERE / "conda_stand_in.py").read_text())
    stand_in.chmod(0o755)
    (root / "bin/activate").write_text('export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n')
    return os.environ | {"PATH": f"{root}/bin:{os.environ['PATH']}", "CHANNEL": str(channel)}


def test_a_run_creates_activates_and_uses_its_environments(conda, tmp_path):
    project, config = Project(tmp_path / "checkout"), tiny_config()
    project.run(config, "--sdm", "conda", "--conda-create-envs-only", env=conda)
    environments = [path for path in (project.folder / ".snakemake/conda").iterdir() if path.is_dir()]
    assert environments
    for environment in environments:
        listed = subprocess.run(
            [environment / "bin/python", "-m", "pip", "list", "--format=freeze"],
            check=True,
            capture_output=True,
            text=True,
        )
        wanted = pins(environment.with_name(f"{environment.name}.yaml"))
        assert {normal(pin) for pin in wanted} <= {normal(pin) for pin in listed.stdout.split()}
        (site,) = environment.glob("lib/python3*/site-packages")
        (site / "sitecustomize.py").write_text(WITNESS)

    done = project.run(config, "all", "plan", "--sdm", "conda", env=conda)
    told = done.stdout + done.stderr
    ran = [line for path in environments for line in (path / "scripts-run.txt").read_text().split()]
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", told, re.MULTILINE))
    assert len(ran) == int(jobs["total"]) - 1, (ran, jobs)  # all but the target `all`
    assert pq.read_table(project.file("atlas/atlas.parquet")).num_rows == 8
    assert "Nothing to be done" in project.run(config, "--sdm", "conda", env=conda).stderr
