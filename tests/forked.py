"""Snakemake runs and their Python jobs, forked from a server that has imported what they import: with the tests' small
models the imports are most of a run. What tests/workflow/test_elsewhere.py, SLURM's and conda's tests run starts as it
does for a user."""

import json
import multiprocessing
import multiprocessing.util
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
# Nothing of this project: a run has a copy of its own.
SERVER.set_forkserver_preload(
    [
        "snakemake.cli",
        "snakemake.report",
        "pandas",
        "torch",
        "transformers.models.llama.modeling_llama",
        "peft",
        "pyarrow.parquet",
        "pyarrow.compute",
        "pyarrow.csv",
        "scipy.special",
        "scipy.sparse",
        "scipy.stats",
        "jinja2",
        "safetensors.torch",
        "pydantic.dataclasses",
        "huggingface_hub",
    ]
)
# Variables that an import may have read: with other ones a job is started as usual.
READ_ON_IMPORT = ("HF_", "TRANSFORMERS_", "TORCH_", "ONEDNN_", "PYTHON", "LD_")


def snakemake(cwd: Path, *args: str, env: Mapping[str, str]) -> subprocess.CompletedProcess:
    """`python -m snakemake` in a folder: its exit status and what it printed."""
    with TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        process = SERVER.Process(target=_main, args=(str(cwd), args, outputs, dict(env)))
        process.start()
        process.join()
        printed = [path.read_text() for path in outputs]
    return subprocess.CompletedProcess(args, process.exitcode, *printed)


def started(cwd: Path, *args: str, env: Mapping[str, str], output: Path) -> Any:
    """It, started and not waited for, in a process group of its own, in which its jobs are too. output: a file for what
    it prints."""
    process = SERVER.Process(target=_apart, args=(str(cwd), args, [output, output], dict(env)))
    process.start()
    return process


def _apart(*args: Any) -> None:
    os.setsid()
    _main(*args)


def _main(cwd: str, args: tuple[str, ...], outputs: list[Path], environment: dict[str, str]) -> None:
    imported_with = _read_on_import(os.environ)
    os.chdir(cwd)
    # The server's are those of the first test that needed it.
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["snakemake", *args]
    for descriptor, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    # Only what `python -m` has: the library must be that of the checkout in `cwd`, not the tests'.
    root = Path(__file__).parents[1]
    sys.path = [cwd, *(p for p in sys.path if Path(p).resolve() not in (root / "scripts", root / "tests"))]
    import snakemake.shell  # noqa: F401

    jobs = _Jobs(imported_with)
    replaced = {name: getattr(subprocess, name) for name in ("PIPE", "CalledProcessError", "check_output")}
    sys.modules["snakemake.shell"].sp = SimpleNamespace(Popen=jobs.popen, **replaced)
    from snakemake.cli import main

    main(list(args))


def _read_on_import(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_ON_IMPORT)}


class _Jobs:
    """Starts a run's jobs: those that are a Python script by a fork of a process that has no threads."""

    def __init__(self, imported_with: dict[str, str]):
        self.imported_with = imported_with
        self.lock = threading.Lock()
        self.server, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            self.server.close()
            _serve(theirs)
        theirs.close()

    def popen(self, command: str, *, env: dict[str, str], **options: Any) -> Any:
        """What snakemake.shell calls to start a command."""
        words = shlex.split(command)
        if words[-2:-1] != [sys.executable] or _read_on_import(env) != self.imported_with:
            return subprocess.Popen(command, env=env, **options)
        reading, writing = os.pipe()
        with self.lock:
            socket.send_fds(self.server, [json.dumps([words[-1], env]).encode()], [writing])
        os.close(writing)
        return _Job(os.fdopen(reading))


class _Job:
    """A forked job, as far as snakemake.shell asks."""

    def __init__(self, told: Any):
        self.told = told
        self.pid = int(told.readline())

    def wait(self) -> int:
        """Its exit status; a job that was killed has not told any."""
        return int(self.told.readline() or -signal.SIGKILL)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)


def _serve(asked: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # jobs tell their status themselves
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, 1 << 20, 1)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            asked.close()
            _job(*json.loads(message), told=descriptors[0])
        os.close(descriptors[0])


def _job(script: str, environment: dict[str, str], told: int) -> None:
    """Run a script as `python script` would, and end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.write(told, f"{os.getpid()}\n".encode())
    os.environ.clear()
    os.environ.update(environment)
    import torch

    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    sys.argv, sys.path[0] = [script], str(Path(script).parent)
    status = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else exit.code is not None
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    multiprocessing.util._exit_function()  # progress bars hold semaphores
    os.write(told, f"{int(status)}\n".encode())
    os._exit(0)
