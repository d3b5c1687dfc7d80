"""What it costs to plan: a dry run of the published configuration, and of one with ten times as many jobs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


# Starts a command and prints what it used. A process of its own: a child's most memory begins with its parent's.
MEASURED = """
import json, resource, subprocess, sys
with open(sys.argv[1], "w") as output:
    status = subprocess.call(sys.argv[2:], stdout=output, stderr=output)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3]))
"""


def dry_run(config: dict, folder: Path) -> tuple[int, float, float]:
    """(jobs, processor seconds, most memory in MB) of a dry run in an empty folder."""
    folder.mkdir()
    (folder / "run.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    command = ["--dry-run", "--directory", str(folder), "--configfile", str(folder / "run.yaml")]
    measured = [sys.executable, "-c", MEASURED, str(folder / "output"), sys.executable, "-m", "snakemake", *command]
    done = subprocess.run(measured, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    status, seconds, megabytes = json.loads(done.stdout)
    text = (folder / "output").read_text()
    if status:
        raise RuntimeError(f"the dry run failed: {text[-2000:]}")
    return int(re.search(r"^total +(\d+)$", text, re.MULTILINE)[1]), seconds, megabytes


def measure(scratch: Path) -> dict[str, float]:
    """`jobs`, `cpu_seconds`, `peak_mb` of the published run; `ten_times_*`: with chunks of a tenth the size, and its
    processor time over the published run's, beside the jobs'."""
    config = yaml.safe_load((ROOT / "config/llama-3.1-8b-instruct.yaml").read_text())
    jobs, seconds, megabytes = dry_run(config, scratch / "published")
    config["neurons"]["chunk_size"] //= 10
    many, longer, larger = dry_run(config, scratch / "ten-times")
    return {
        "jobs": jobs,
        "cpu_seconds": seconds,
        "peak_mb": megabytes,
        "ten_times_jobs": many,
        "ten_times_peak_mb": larger,
        "ten_times_jobs_ratio": many / jobs,
        "ten_times_cpu_ratio": longer / seconds,
    }
