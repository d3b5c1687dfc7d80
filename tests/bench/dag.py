"""What it costs to plan: a dry run of the published configuration, and of one with ten times as many jobs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def dry_run(config: dict, folder: Path) -> tuple[int, float, float]:
    """(jobs, processor seconds, most memory in MB) of a dry run in an empty folder."""
    folder.mkdir()
    (folder / "run.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    command = ["--dry-run", "--directory", str(folder), "--configfile", str(folder / "run.yaml")]
    with open(folder / "output", "w") as output:
        child = subprocess.Popen([sys.executable, "-m", "snakemake", *command], cwd=ROOT, stdout=output, stderr=output)
        _, status, usage = os.wait4(child.pid, 0)
    text = (folder / "output").read_text()
    if status:
        raise RuntimeError(f"the dry run failed: {text[-2000:]}")
    return (
        int(re.search(r"^total +(\d+)$", text, re.MULTILINE)[1]),
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1e3,
    )


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
