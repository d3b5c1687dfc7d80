"""The workflow, its SLURM profile and SmolLM2 on a real SLURM: `make test-slurm`. Local runs say what must come out."""

import os
import re
import shutil
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from cluster import GPU_NODES, PAIR_NODE, Cluster, missing

from conftest import KINDS, ROOT, Project, changed, tables, tiny_config, with_results_of

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(missing()), reason=f"no SLURM here: {missing()}")]

GPU_RULES = {"harvest", "describe", "score"}
CONFIG = changed(tiny_config(), neurons__chunk_size=1, exemplars__shard_sequences=36)
QUICK = Path(__file__).parent / "quick_snakemake.py"


def set_up_site(project: Project, **changes: object) -> None:
    """Edit site.yaml, as a user does: the test's cluster, and what a test has differently."""
    limits = {"max_runtime": 60, "max_threads": 4, "max_mem_mb": 16000}
    gpus = {"max_gpu": 1, "available_gpu_models": ["a100"]}
    site = {"accounting": False, "partitions": {"cpu": limits, "gpu": limits | gpus}} | changes
    file = project.folder / "profiles/slurm/site.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | site))


@pytest.fixture(scope="session")
def cluster():
    cluster = Cluster()
    yield cluster
    for main in Run.mains:
        main.kill()
    cluster.stop()


class Run:
    """Runs of one checkout on the cluster."""

    mains: ClassVar[list[subprocess.Popen]] = []

    def __init__(self, cluster: Cluster, project: Project):
        self.cluster, self.project = cluster, project
        self.log = project.folder / "main.log"

    def start(self, config: dict, *args: str, **site: object) -> subprocess.Popen:
        """Start Snakemake; site: what this site has differently."""
        set_up_site(self.project, **site)
        (self.project.folder / "run.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        command = [sys.executable, QUICK, *args, "--profile", "profiles/slurm", "--configfile", "run.yaml"]
        with open(self.log, "w") as log:
            main = subprocess.Popen(
                command, cwd=self.project.folder, env=self.cluster.environment, stdout=log, stderr=log,
            )  # fmt: skip
        self.mains.append(main)
        return main

    def run(self, config: dict, *args: str, **site: object) -> tuple[int, str]:
        """(exit status, output) of a whole run."""
        return self.start(config, *args, **site).wait(timeout=2700), self.log.read_text()

    def jobs(self) -> list[dict[str, str]]:
        """SLURM's records of this checkout's jobs, in the order of submission; `rule`: whose."""
        records = [
            dict(re.findall(r"(\S+?)=(\S*)", line)) for line in self.cluster.sh("scontrol -o show job").split("\n")
        ]
        mine = [r for r in records if r.get("WorkDir") == str(self.project.folder)]
        return [r | {"rule": re.sub("_wildcards_.*|^rule_", "", r["Comment"])} for r in mine]

    def wait_for(self, rule: str, state: str = "RUNNING", known: set[str] = frozenset()) -> dict[str, str]:
        """A job of a rule in a state, other than the known ones."""
        found: list[dict[str, str]] = []

        def there() -> bool:
            found[:] = [
                j for j in self.jobs() if j["rule"] == rule and j["JobState"] == state and j["JobId"] not in known
            ]
            return bool(found)

        self.cluster.wait(there, f"a job of {rule} to be {state}", 600)
        return found[0]

    def inodes(self) -> dict[Path, int]:
        """Finished tables; one made again is another file."""
        return {p: p.stat().st_ino for p in self.project.file(".").rglob("[!.]*.parquet") if "/." not in str(p)}


def scripts_of(job: str) -> list[int]:
    """Processes that run a job's script."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if f"SLURM_JOB_ID={job}\0".encode() in environment and b".snakemake/scripts/" in command:
            found.append(int(folder.name))
    return found


def without(project: Project, *stages: str) -> Project:
    for stage in stages:
        shutil.rmtree(project.file(stage))
    return project


def assert_equal(project: Project, other: Project, kinds: tuple[str, ...] = KINDS) -> None:
    for kind in kinds:
        assert tables(project, kind).equals(tables(other, kind)), kind


@pytest.fixture(scope="module")
def on_cluster(cluster, finished, tmp_path_factory) -> Run:
    run = Run(cluster, Project(tmp_path_factory.mktemp("cluster") / "checkout"))
    code, log = run.run(CONFIG)
    assert code == 0, log[-6000:]
    return run


def test_a_run_on_the_cluster_equals_the_local_one(on_cluster, finished):
    assert_equal(on_cluster.project, finished)
    for file in ("atlas/atlas.parquet", "atlas/scores.svg"):
        assert on_cluster.project.file(file).read_bytes() == finished.file(file).read_bytes()


def test_gpu_rules_get_gpus_and_others_none(on_cluster):
    jobs = on_cluster.jobs()
    assert {job["rule"] for job in jobs} > GPU_RULES
    for job in jobs:
        assert job["JobState"] == "COMPLETED"
        on_gpu = job["rule"] in GPU_RULES
        assert job["Partition"] == ("gpu" if on_gpu else "cpu")
        assert job.get("TresPerJob") == ("gres:gpu:a100:1" if on_gpu else None)
        assert (job["NodeList"] in GPU_NODES) == on_gpu
        assert job["Account"] == "(null)" and job["Requeue"] == "0"
    names = [job["Comment"] for job in jobs]
    assert len(names) == len(set(names))


def test_there_are_never_more_gpu_jobs_than_gpus(on_cluster):
    jobs = [job for job in on_cluster.jobs() if job["rule"] in GPU_RULES]
    submitted = sorted(job["SubmitTime"] for job in jobs if job["rule"] == "harvest")
    assert datetime.fromisoformat(submitted[-1]) - datetime.fromisoformat(submitted[0]) < timedelta(seconds=6)
    busy = [[(a["StartTime"], a["EndTime"]) for a in jobs if a["NodeList"] == node] for node in GPU_NODES]
    for spans in busy:
        spans.sort()
        assert len(spans) > 1 and all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert any(a < d and c < b for a, b in busy[0] for c, d in busy[1])  # and both are used at once


def test_a_job_gets_as_many_gpus_as_its_model_is_spread_over(cluster, tmp_path):
    run = Run(cluster, Project(tmp_path / "checkout"))
    config = changed(CONFIG, subject__device_map="auto", subject__devices=2, neurons__layers=[1], scores__probe="warn")
    limits = {"max_runtime": 60, "max_threads": 4, "max_mem_mb": 16000}
    pair = limits | {"max_gpu": 2, "available_gpu_models": ["a100"]}
    harvested = "results/tiny/activations/valid/shard-0/block-0.safetensors"
    code, log = run.run(config, harvested, "results/tiny/scores/probe.json", "--notemp",
                        partitions={"cpu": limits, "pair": pair})  # fmt: skip
    assert code == 0, log[-6000:]
    given = {job["rule"]: job.get("TresPerJob") for job in run.jobs()}
    assert given["harvest"] == "gres:gpu:a100:2"  # subject.devices
    assert given["probe"] == "gres:gpu:a100:1"  # as any other
    assert given["build_corpus"] is None
    assert {job["NodeList"] for job in run.jobs() if job.get("TresPerJob")} == {PAIR_NODE}
    # Where no partition gives a job two, nothing starts.
    code, log = run.run(config, harvested, "-n", partitions={"cpu": limits, "pair": pair | {"max_gpu": 1}})
    assert code != 0 and "subject.devices: 2 GPUs for a job, and no partition of the site gives more than 1" in log


def test_logs_lie_where_the_profile_says(on_cluster):
    folder = on_cluster.project.folder
    job = next(j for j in on_cluster.jobs() if j["rule"] == "score")
    (log,) = (folder / "logs/slurm/rule_score").rglob(f"{job['JobId']}.log")
    assert "Finished jobid" in log.read_text()
    assert list((folder / "results/tiny/logs/score").rglob("chunk-0.log"))


def test_a_cancelled_an_overdue_and_a_stranded_job_are_noticed_and_made_again(cluster, finished, tmp_path):
    """scancel; a job that hangs until its time is up; a node set down. No retries: the next run makes them again."""
    project = without(with_results_of(finished, tmp_path / "faults"), "exemplars", "descriptions", "scores", "atlas")
    run = Run(cluster, project)
    target = [f"results/tiny/exemplars/layer-{layer}/chunk-{chunk}.parquet" for layer in (1, 3) for chunk in (0, 1)]
    main = run.start(CONFIG, *target, retries=0)
    cancelled = run.wait_for("harvest")
    cluster.sh(f"scancel {cancelled['JobId']}")
    stranded = run.wait_for("harvest", known={cancelled["JobId"]})
    cluster.sh(f"scontrol update nodename={stranded['NodeList']} state=down reason=test")
    overdue = run.wait_for("harvest", known={cancelled["JobId"], stranded["JobId"]})
    cluster.wait(lambda: scripts_of(overdue["JobId"]), "the job's script")
    os.kill(scripts_of(overdue["JobId"])[0], signal.SIGSTOP)
    cluster.sh(f"scontrol update jobid={overdue['JobId']} EndTime=now+1")
    cluster.wait(lambda: [cluster.sh(f"scontrol update nodename={stranded['NodeList']} state=resume")], "the node")
    assert main.wait(timeout=900) == 1
    states = {job["JobId"]: job["JobState"] for job in run.jobs()}
    told = run.log.read_text()
    for job, state in ((cancelled, "CANCELLED"), (stranded, "NODE_FAIL"), (overdue, "TIMEOUT")):
        assert states[job["JobId"]] == state
        assert re.search(f"'{job['JobId']}' failed.*{state}", told), told[-4000:]
    done = [job for job in run.jobs() if job["JobState"] == "COMPLETED"]
    assert len(done) == 3 and all(job["rule"] == "harvest" for job in done)

    code, log = run.run(CONFIG, *target)
    assert code == 0, log[-4000:]
    completed = [job["Comment"] for job in run.jobs() if job["JobState"] == "COMPLETED"]
    assert len(completed) == len(set(completed)) == 6 + 4
    assert_equal(project, finished, KINDS[:2])


def test_a_job_out_of_memory_is_noticed_and_asks_for_more(cluster, finished, tmp_path):
    project = without(with_results_of(finished, tmp_path / "memory"), "descriptions", "scores", "atlas")
    run = Run(cluster, project)
    config = changed(tiny_config(), plan__memory_mb=400)
    code, log = run.run(config, "results/tiny/descriptions/layer-1/chunk-0.parquet")
    assert code == 0, log[-4000:]
    first, *others = run.jobs()
    assert first["JobState"] in ("OUT_OF_MEMORY", "FAILED") and f"'{first['JobId']}' failed" in log
    assert others[-1]["JobState"] == "COMPLETED"
    asked = [(int(j["MinMemoryNode"].removesuffix("M")), j["TimeLimit"]) for j in (first, *others)]
    assert asked[1] == (2 * asked[0][0], "00:40:00") and asked[0][1] == "00:20:00"
    project.run(tiny_config(), "results/tiny/descriptions/layer-3/chunk-0.parquet")
    assert_equal(project, finished, KINDS[2:3])


def test_jobs_outlive_a_killed_main_process_and_are_not_done_again(cluster, on_cluster, finished, tmp_path):
    """kill -9 of the main process while groups of chunks are at work; they go on, and the next run takes them over."""
    project = without(with_results_of(on_cluster.project, tmp_path / "killed"), "descriptions", "scores", "atlas")
    run = Run(cluster, project)
    main = run.start(CONFIG, chunks_per_job=2)
    cluster.wait(lambda: list(project.file("descriptions").rglob("chunk-*.parquet")), "a description", 900)
    main.send_signal(signal.SIGKILL)
    main.wait()
    cluster.wait(lambda: not cluster.sh("squeue -h"), "the jobs to end", 900)
    groups = run.jobs()
    assert [job["JobState"] for job in groups] == ["COMPLETED"] * 2
    assert {job["TresPerJob"] for job in groups} == {"gres:gpu:a100:1"}
    made = run.inodes()
    assert sum("descriptions" in str(path) and path.name.startswith("chunk-") for path in made) == 4

    code, log = run.run(CONFIG)
    assert code != 0 and "LockException" in log
    assert run.run(CONFIG, "--unlock")[0] == 0
    code, log = run.run(CONFIG)
    assert code == 0, log[-4000:]
    assert "rule describe" not in log
    assert {path: run.inodes()[path] for path in made} == made
    assert_equal(project, finished)
    # What the killed process could not record is known all the same: a changed setting finds it stale.
    planned = project.planned(changed(CONFIG, descriptions__temperature=0.9))
    assert planned["describe"] == 4 and "merge_exemplars" not in planned


def page_commands() -> list[str]:
    """The commands of docs/operations.md that do not say that they are untested, without their comments."""
    blocks = re.findall(r"^ *```sh\n(.*?)```", (ROOT / "docs/operations.md").read_text(), re.MULTILINE | re.DOTALL)
    tested = [block for block in blocks if not block.strip().startswith("# untested")]
    lines = [re.sub(r"(^|\s+)# .*", "", line).strip() for block in tested for line in block.splitlines()]
    return [line for line in lines if line]


def test_the_commands_of_the_operations_page_run(cluster, on_cluster, tmp_path):
    project = with_results_of(on_cluster.project, tmp_path / "operations")
    set_up_site(project)
    folder = project.folder
    (folder / "config/yours.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
    for name in ("scores.svg", "provenance.json"):  # something is left to do
        project.file("atlas").joinpath(name).unlink()
    for name in ("elsewhere", "bin"):
        (folder / name).mkdir()
    (folder / "bin/snakemake").write_text(f'#!/bin/sh\nexec {sys.executable} {QUICK} "$@"\n')
    (folder / "bin/snakemake").chmod(0o755)
    path = f"{folder}/bin:{Path(sys.executable).parent}:{cluster.environment['PATH']}"

    commands = page_commands()
    assert len(commands) > 15
    for command in commands:
        text = command.replace("my-run", "tiny").replace("ELSEWHERE", "elsewhere")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=folder, env=cluster.environment | {"PATH": path}, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout[-1500:]}{done.stderr[-3000:]}"
        if command.startswith("snakemake --profile"):
            assert project.file("atlas/scores.svg").exists() and project.file("atlas/provenance.json").exists()
        if command.startswith("tar"):
            assert (folder / "tiny.tar.gz").stat().st_size > 10_000
    assert not project.file(".").exists() and not (folder / "logs/slurm").exists()
    assert (folder / "elsewhere/results/tiny/atlas/atlas.parquet").exists()
