"""Jobs end with the Snakemake that started them, and with nothing else."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from neuron_descriptions.common.parents import VARIABLE, ancestors

SCRIPTS = Path(__file__).parents[3] / "scripts"
JOB = """
import os, sys, time
from pathlib import Path
from neuron_descriptions.common.logs import job_log
from neuron_descriptions.common.storage import whole
with job_log("job.log", "job"), whole("table") as part:
    part.write_text("half")
    Path("began.new").write_text(str(os.getpid()))
    Path("began.new").rename("began")
    time.sleep(float(sys.argv[1]))
Path("ended").touch()
"""
# As Snakemake does it: a shell stands between it and the job, and lives on when it is killed.
SNAKEMAKE = f"""
import os, subprocess, sys
os.environ["{VARIABLE}"] = os.environ["{VARIABLE}"] or str(os.getpid())
subprocess.run(["sh", "-c", '"$0" job.py ' + sys.argv[1] + "; true", sys.executable])
"""
pytestmark = pytest.mark.skipif(not ancestors(os.getpid()), reason="needs Linux's /proc")


def start(folder, seconds, variable="", before=None):
    """(process that stands for Snakemake, id of its job)."""
    (folder / "job.py").write_text(JOB)
    environment = os.environ | {VARIABLE: variable, "PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, "-c", SNAKEMAKE, str(seconds)]
    main = subprocess.Popen(command, cwd=folder, env=environment, preexec_fn=before)
    wait_for(lambda: (folder / "began").exists())
    return main, int((folder / "began").read_text())


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ignore_interrupts():
    """As a shell does before what it starts with `&`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("before", [None, ignore_interrupts])
def test_a_job_ends_with_its_snakemake_and_leaves_nothing_half_written(tmp_path, before):
    main, job = start(tmp_path, 600, before=before)
    main.send_signal(signal.SIGKILL)
    main.wait()
    wait_for(lambda: not ancestors(job))
    assert {path.name for path in tmp_path.iterdir()} == {"job.py", "job.log", "began"}


@pytest.mark.parametrize("variable", ["1", str(2**22 + 1)])  # of a container's first process; of one long gone
def test_a_job_goes_on_where_its_snakemake_is_not_to_be_seen(tmp_path, variable):
    main, _ = start(tmp_path, 0.1, variable)
    assert main.wait() == 0 and (tmp_path / "ended").exists()
