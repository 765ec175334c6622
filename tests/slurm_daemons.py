"""munge, slurmctld and slurmd, started by hand in a folder of their own, and ended to the last."""

import contextlib
import ctypes
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
# prctl's numbers (linux/prctl.h).
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
# A Unix socket's path has 107 bytes; slurmstepd's is the spool's, a node, a job and a step.
LONGEST = 60

# cred_expire: a requeued job waits until its credential has expired, 120 s by default.
# Jobs of the partition urgent send those of main back into the queue, and end those of fleeting.
# MinJobAge: squeue goes on to list jobs that are over.
_CONFIG = """
ClusterName=lab
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={folder}/task_prolog
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
ReturnToService=2
MpiDefault=none
MailProg=/bin/true
KillWait=5
MinJobAge=86400
SlurmdParameters=config_overrides
GresTypes=gpu
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=fleeting Nodes=ALL PreemptMode=CANCEL MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL PriorityTier=9 PreemptMode=OFF MaxTime=INFINITE State=UP
"""
# A GPU must be a character device; these two are everywhere.
_GRES = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"
# The machine has fewer cores than the nodes say; torch would take them all for every job.
_PROLOG = "#!/bin/sh\necho export OMP_NUM_THREADS=1\n"


# Its name and its process, in the order in which they were started.
Daemons = dict[str, subprocess.Popen[bytes]]


class NoLab(Exception):
    """There can be no SLURM here; one line says why."""


def missing() -> str | None:
    """Why no SLURM can be started here, or None."""
    if sys.platform != "linux":
        return "a SLURM of one's own is started on Linux only"
    absent = [name for name in (*DAEMONS, *CLIENTS) if shutil.which(name, path=_path()) is None]
    if absent:
        return (
            f"{absent[0]} is not installed: apt-get install --no-install-recommends munge "
            f"slurmctld slurmd slurm-client"
        )
    if os.geteuid() != 0:
        return "SLURM's daemons are started as root"
    return None


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


@contextlib.contextmanager
def started(folder: Path, nodes: int) -> Iterator[Path]:
    """A SLURM in `folder`; the path of its slurm.conf. NoLab where it does not start."""
    if len(str(folder)) > LONGEST or not re.fullmatch(r"[\w./-]+", str(folder)):
        raise NoLab(
            f"{folder}: a folder of at most {LONGEST} letters, digits and ./_- is wanted, since "
            f"SLURM makes sockets in it"
        )
    # Whatever the daemons start becomes a child of this process once its own parent is gone, and
    # so nothing that descends from it gets lost.
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    daemons: Daemons = {}
    try:
        config = _write(folder, nodes)
        _start_daemons(config, nodes, daemons)
        yield config
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        # slurmd first: no step may be started while steps are ended.
        for daemon in reversed(daemons.values()):
            daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(3)
        _kill_what_is_left()


def _write(folder: Path, nodes: int) -> Path:
    """Everything that the daemons read."""
    for name in ("state", "log"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # munged wants its socket to be in reach of others
    host = socket.gethostname().partition(".")[0]
    port, *ports = _free_ports(1 + nodes)
    lines = [
        f"NodeName=n{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={of_node} CPUs=8 "
        f"RealMemory=16000 Gres=gpu:2"
        for i, of_node in enumerate(ports, start=1)
    ]
    config = folder / "slurm.conf"
    config.write_text(_CONFIG.format(folder=folder, host=host, port=port, nodes="\n".join(lines)))
    (folder / "gres.conf").write_text(_GRES)
    prolog = folder / "task_prolog"
    prolog.write_text(_PROLOG)
    prolog.chmod(0o755)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    return config


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has, below those that the kernel gives to anyone who asks for any."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as free, contextlib.suppress(OSError):
            port = random.randrange(10_000, 32_000)
            free.bind(("127.0.0.1", port))
            found += [port] if port not in found else []
    return found


def _start_daemons(config: Path, nodes: int, daemons: Daemons) -> None:
    """Start them one by one into `daemons`; returns when SLURM takes jobs."""
    folder = config.parent
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "seed")]
    # --force: a folder below one that others may write to (/tmp, say) is a warning only.
    munge += [f"--log-file={folder}/log/munged.log", f"--socket={folder}/munge.sock", "--force"]
    daemons["munged"] = _start(folder, "munged", "munged", "--foreground", *munge)
    _wait_for((folder / "munge.sock").exists, daemons, folder)
    daemons["slurmctld"] = _start(folder, "slurmctld", "slurmctld", "-D", "-i")
    for i in range(1, nodes + 1):
        name = f"slurmd-n{i}"
        daemons[name] = _start(folder, name, "slurmd", "-D", "-N", f"n{i}")

    def answers() -> bool:
        # sinfo goes on knocking for 10 s where nobody will ever open.
        words = ["timeout", "1", "sinfo", "--noheader", "--partition=main", "--Node", "--format=%T"]
        found = subprocess.run(
            words, env=os.environ | {"SLURM_CONF": str(config)}, capture_output=True, text=True
        )
        return found.stdout.split() == ["idle"] * nodes

    _wait_for(answers, daemons, folder)


def _start(folder: Path, name: str, program: str, *words: str) -> subprocess.Popen[bytes]:
    """A daemon in the foreground, out of reach of the terminal's Ctrl-C, that dies with us."""
    found = shutil.which(program, path=_path())
    assert found is not None
    with (folder / "log" / f"{name}.out").open("wb") as log:
        return subprocess.Popen(
            [found, *words],
            env=os.environ | {"SLURM_CONF": str(folder / "slurm.conf")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: _prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
        )


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _wait_for(condition: Callable[[], bool], daemons: Daemons, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        for name, daemon in daemons.items():
            if daemon.poll() is not None or time.monotonic() > deadline:
                said = (folder / "log" / f"{name}.out").read_text(errors="replace")
                what = "is not up after a minute" if daemon.poll() is None else "ended"
                raise NoLab(f"{name} {what}: {(said.splitlines() or ['without a word'])[-1]}")
        time.sleep(0.05)


def _kill_what_is_left() -> None:
    """Kill what the daemons have left: the steps of jobs, and what those started."""
    while found := descendants(os.getpid()):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)


def processes() -> dict[int, str]:
    """Every process's words, by its id."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found[int(file.parent.name)] = file.read_text(errors="replace").replace("\0", " ")
    return found


def descendants(ancestor: int) -> list[int]:
    """The processes that `ancestor` has started, and those that they have."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in brackets, may hold anything; the parent is the second word after it.
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    found, left = [], [ancestor]
    while left:
        own = children.get(left.pop(), [])
        found += own
        left += own
    return found
