"""A real SLURM on this machine alone: slurmctld and a slurmd per pretended node, on loopback, with pretended GPUs.

Needs root and Debian's packages (installed where they are missing); no systemd, cgroups or accounting database.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

PACKAGES = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client"}
PREFIX = "neurons-slurm-"
LINK = Path("/etc/slurm/slurm.conf")
GPU_NODES = ("gpu1", "gpu2")  # one GPU each
PAIR_NODE = "gpu3"  # two GPUs, in a partition of its own
GPUS = {"gpu1": 1, "gpu2": 1, "gpu3": 2}
NODES = ("cpu1", *GPUS)

# Processes are found by their parents and memory is watched every 2 s: no cgroups. Nodes have the CPUs and memory
# stated here, whatever the host has. Ended jobs stay visible for an hour. `srun` inside a job looks for the
# configuration in /etc/slurm alone, since the plugin takes SLURM_CONF out of a job's environment: hence the link there.
CONFIGURATION = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/munge.sock
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
MailProg=/bin/true
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
MinJobAge=3600
KillWait=3
ReturnToService=1
MessageTimeout=30
{nodes}
PartitionName=cpu Nodes=cpu1 Default=YES DefaultTime=10 MaxTime=60 State=UP
PartitionName=gpu Nodes={gpu_nodes} DefaultTime=10 MaxTime=60 State=UP
PartitionName=pair Nodes={pair_node} DefaultTime=10 MaxTime=60 State=UP
"""


def missing() -> str | None:
    """Why no cluster can be had here; None where one can."""
    if os.geteuid() != 0:
        return "SLURM's daemons need root"
    if os.path.lexists(LINK) and not _ours():
        return f"{LINK} is there: a cluster that is not ours to touch"
    if not socket.gethostbyname(socket.gethostname()).startswith("127."):
        return "this machine's name is no loopback address, and SLURM would listen on it"
    if not all(shutil.which(tool, path=PATH) for tool in PACKAGES) and not shutil.which("apt-get"):
        return "SLURM is not installed and there is no apt-get"
    return None


PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


class Cluster:
    """Partition `cpu` of one node, `gpu` of two with an a100 each, `pair` of one with two. Ends with `stop`."""

    def __init__(self, port: int = 16817):
        """Install what is missing and start. Raises RuntimeError with the end of the logs where that fails."""
        _end_orphan()
        # Not in pytest's folder: munged wants one whose parents are open to all.
        self.folder = folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        (folder / "owner").write_text(str(os.getpid()))
        self.configuration = folder / "slurm.conf"
        self.environment = os.environ | {"SLURM_CONF": str(self.configuration), "PATH": PATH}
        try:
            self._install()
            self._configure(port)
            self._start()
        except BaseException:
            self.stop()
            raise

    def _install(self) -> None:
        wanted = [package for tool, package in PACKAGES.items() if not shutil.which(tool, path=PATH)]
        if wanted:
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            with open(self.folder / "apt.log", "w") as log:
                for command in ("update -q", f"install -qy --no-install-recommends {' '.join(wanted)}"):
                    words = ["apt-get", *command.split()]
                    subprocess.run(words, check=True, env=environment, stdout=log, stderr=log, timeout=300)

    def _configure(self, port: int) -> None:
        # munged wants its key private and its folder closed to writers.
        self.folder.chmod(0o755)
        for name in ("state", "munge", "dev"):
            (self.folder / name).mkdir(mode=0o755)
        key = self.folder / "munge/munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        # A GPU needs a device file: a link to /dev/null is one.
        for number in range(max(GPUS.values())):
            (self.folder / f"dev/nvidia{number}").symlink_to("/dev/null")
        files = {n: ",".join(f"{self.folder}/dev/nvidia{i}" for i in range(count)) for n, count in GPUS.items()}
        gres = [f"NodeName={n} Name=gpu Type=a100 File={file}" for n, file in files.items()]
        (self.folder / "gres.conf").write_text("\n".join(["AutoDetect=off", *gres, ""]))
        nodes = [
            f"NodeName={name} NodeAddr=127.0.0.1 Port={port + 1 + i} CPUs=4 RealMemory=16000"
            + (f" Gres=gpu:a100:{GPUS[name]}" if name in GPUS else "")
            for i, name in enumerate(NODES)
        ]
        lists = {"nodes": "\n".join(nodes), "gpu_nodes": ",".join(GPU_NODES), "pair_node": PAIR_NODE}
        self.configuration.write_text(CONFIGURATION.format(folder=self.folder, port=port, **lists))
        LINK.parent.mkdir(exist_ok=True)
        LINK.unlink(missing_ok=True)
        LINK.symlink_to(self.configuration)

    def _start(self) -> None:
        munge = self.folder / "munge"
        self._daemon(
            "munged", f"--key-file={munge}/munge.key", f"--socket={munge}/munge.sock", f"--pid-file={munge}/munged.pid",
            f"--log-file={munge}/munged.log", f"--seed-file={munge}/munged.seed",
        )  # fmt: skip
        self._daemon("slurmctld", "-f", str(self.configuration))
        self.wait(lambda: "is UP" in self.sh("scontrol ping"), "slurmctld")
        for node in NODES:
            (self.folder / f"spool-{node}").mkdir()
            self._daemon("slurmd", "-f", str(self.configuration), "-N", node)
        self.wait(lambda: set(self.sh("sinfo -hN -o %T").split()) == {"idle"}, "the nodes")

    def _daemon(self, *command: str) -> None:
        # No daemon may keep the caller's pipes open.
        with open(self.folder / f"{command[0]}.out", "a") as out:
            subprocess.run(
                command, check=True, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=30
            )

    def sh(self, command: str) -> str:
        """Output of a shell command that sees the cluster."""
        done = subprocess.run(
            command, shell=True, text=True, capture_output=True, env=self.environment, check=True, timeout=60
        )
        return done.stdout

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 60) -> None:
        """Wait for a condition. Raises RuntimeError that names it when it does not come true."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except subprocess.CalledProcessError as error:
                said = error.stderr
            else:
                said = ""
            if time.monotonic() > deadline:
                logs = "\n".join(log.read_text()[-1500:] for log in self.folder.glob("*.log"))
                raise RuntimeError(f"gave up waiting for {what} {said}\n{logs}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End the jobs and the daemons, in this order: jobs outlive their slurmd."""
        if (self.folder / "slurmctld.pid").exists():
            with suppress(RuntimeError, subprocess.SubprocessError):
                self.sh("scancel --quiet --full --user=root")
                self.wait(lambda: not self.sh("squeue -h"), "the jobs to end", 20)
        _end_daemons(self.folder)


def _ours() -> bool:
    return LINK.is_symlink() and LINK.readlink().parent.name.startswith(PREFIX)


def _end_orphan() -> None:
    """End what a killed test left. Raises RuntimeError where another test is using its cluster."""
    if _ours():
        folder = LINK.readlink().parent
        owner = folder / "owner"
        if owner.exists() and Path(f"/proc/{owner.read_text()}").exists():
            raise RuntimeError(f"process {owner.read_text()} is using a cluster of this machine: one at a time")
        _end_daemons(folder)


def _end_daemons(folder: Path) -> None:
    files = [*folder.glob("slurmd-*.pid"), folder / "slurmctld.pid", folder / "munge/munged.pid"]
    for file in files:
        if file.exists():
            _end(int(file.read_text()), file.stem.partition("-")[0])
    if LINK.is_symlink() and LINK.readlink().parent == folder:
        LINK.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _end(pid: int, name: str) -> None:
    """End a process, if it is the daemon it should be."""

    def alive() -> bool:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return False
        return lines[0].split()[1] == name and not any(line.startswith("State:\tZ") for line in lines)

    for sent in (signal.SIGTERM, signal.SIGKILL):
        if alive():
            os.kill(pid, sent)
        deadline = time.monotonic() + 10
        while alive() and time.monotonic() < deadline:
            time.sleep(0.1)
