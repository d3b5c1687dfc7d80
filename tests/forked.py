"""Snakemake runs that are forked from a server which has imported Snakemake: the import is half of a dry run's time."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["snakemake.cli", "snakemake.report", "pandas"])


def snakemake(cwd: Path, *args: str) -> subprocess.CompletedProcess:
    """`python -m snakemake` in a folder: its exit status and what it printed."""
    with TemporaryDirectory() as folder:
        outputs = [Path(folder) / name for name in ("stdout", "stderr")]
        process = SERVER.Process(target=_main, args=(str(cwd), args, outputs, dict(os.environ)))
        process.start()
        process.join()
        printed = [path.read_text() for path in outputs]
    return subprocess.CompletedProcess(args, process.exitcode, *printed)


def _main(cwd: str, args: tuple[str, ...], outputs: list[Path], environment: dict[str, str]) -> None:
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
    from snakemake.cli import main

    main(list(args))
