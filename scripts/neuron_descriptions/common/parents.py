"""A job ends with the Snakemake that started it: after kill -9 nobody waits for it, and it would go on holding the GPU.

On a cluster that is the Snakemake on the job's own node: what a killed main process has submitted goes on.
"""

import os
import signal
import threading
import time
from pathlib import Path

VARIABLE = "NEURON_DESCRIPTIONS_SNAKEMAKE"  # its process id: rules/common.smk sets it


def ancestors(pid: int) -> list[int]:
    """Ids of a process's parent, its parent's, and so on; empty where that cannot be read (no Linux)."""
    found: list[int] = []
    while pid > 1:
        try:
            # Behind the name, which stands in brackets and may hold any character: state, parent.
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
        found.append(pid)
    return found


def end_with_snakemake(every: float = 2.0, grace: float = 20.0) -> None:
    """Watch, every so many seconds, that Snakemake is still there. Where it is not, interrupt the job, so that it
    cleans up behind it; it is killed after `grace` more seconds. Does nothing where no Snakemake started the job."""
    parent = int(os.environ.get(VARIABLE) or 0)
    if parent not in ancestors(os.getpid()):
        return

    def watch() -> None:
        # Ancestors, not whether the id exists: it may belong to another process by then. Twice: a look at a moving
        # chain of processes may miss one.
        missed = 0
        while missed < 2:
            time.sleep(every)
            missed = 0 if parent in ancestors(os.getpid()) else missed + 1
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(grace)
        os.kill(os.getpid(), signal.SIGKILL)

    # What is started with `&` in a script ignores interrupts, and all that it starts.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=watch, daemon=True).start()
