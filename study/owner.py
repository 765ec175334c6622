"""Who holds a lock, as its file says, and whether that process is still at work.

What is asked, surest first:

1. The kernel, by `flock`: a lock that it holds is held. That it holds none proves something of
   this very machine alone, since many a cluster's file system keeps such locks to each node.
2. The process's number, on this machine, where the file system refuses locks altogether.
3. The heartbeat: a process at work renews the file's time (study/heartbeat.py).

SLURM is not asked: it only knows what it was told, and takes for dead a node that it cannot reach,
where the process may well go on and still write to the same files.
"""

import contextlib
import errno
import fcntl
import json
import os
import platform
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path

from study.job import own_job, restarts

# Seconds. A heartbeat may be missed a few times, with a file server that hangs for a minute.
STALE = 120.0

# Another for each time that the kernel starts, the same in all containers on it.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Owner:
    """The process that a lock's file names."""

    # Of this one taking of the lock.
    token: str
    # SLURM's name of the node, in a job.
    node: str | None
    host: str
    # What tells one running machine from all others.
    machine: str
    pid: int
    # SLURM's name of the cluster and the job (12, or 12_3 of an array), in a job.
    cluster: str | None
    job: str | None
    # How often SLURM has started this job anew.
    restarts: int
    since: str
    # Whether the kernel holds a lock of this process, too.
    flock: bool

    def __str__(self) -> str:
        who = f"job {self.job} on node" if self.job else f"process {self.pid} on"
        return f"{who} {self.node or self.host}, since {self.since}"

    def beside(self, other: "Owner") -> bool:
        """Whether both are on one running machine."""
        # Several of SLURM's nodes on one machine, as in its own tests, count as several.
        nodes = {self.node, other.node} - {None}
        return self.machine == other.machine and len(nodes) < 2

    def follows(self, other: "Owner") -> bool:
        """Whether `other` is an earlier life of this very SLURM job, from before a requeue."""
        same = self.job is not None and (self.cluster, self.job) == (other.cluster, other.job)
        return same and self.restarts > other.restarts


def this_process() -> Owner:
    """This process as the owner of a lock that it is about to take."""
    of = os.environ.get
    return Owner(
        token=secrets.token_hex(8),
        node=of("SLURMD_NODENAME"),
        host=platform.node(),
        machine=_machine(),
        pid=os.getpid(),
        cluster=of("SLURM_CLUSTER_NAME"),
        job=own_job(),
        restarts=restarts(),
        since=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        flock=False,
    )


def _machine() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return platform.node()


def to_text(owner: Owner) -> str:
    """The owner as it stands in a lock's file."""
    return json.dumps(asdict(owner)) + "\n"


def from_text(text: str) -> Owner | None:
    """The owner that a lock's file names; None where it names none (an older version's file, one
    that a full disk left empty)."""
    try:
        record = json.loads(text)
        # What a version to come adds is passed over.
        owner = Owner(**{field.name: record[field.name] for field in fields(Owner)})
    except (ValueError, TypeError, KeyError):
        return None
    texts = (owner.token, owner.host, owner.machine, owner.since)
    perhaps = (owner.node, owner.cluster, owner.job)
    whole = (
        all(isinstance(value, str) for value in texts)
        and all(isinstance(value, str | None) for value in perhaps)
        and all(isinstance(value, int) and value >= 0 for value in (owner.pid, owner.restarts))
        # It becomes part of a file's name.
        and re.fullmatch("[0-9a-f]{16}", owner.token)
    )
    return owner if whole else None


@dataclass(frozen=True)
class Seen:
    """A lock's file as it was found."""

    token: str
    owner: Owner | None
    # When its time was renewed last, in seconds by the file system's clock.
    beat: float
    # Whether the kernel holds a lock on it; None where the file system refuses to say.
    flock: bool | None


def look(file: Path) -> Seen | None:
    """What stands in `file`, or None where there is none; nothing is written."""
    try:
        return _look(file)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
    return _look(file)  # over NFS, another took its place while it was read


def _look(file: Path) -> Seen | None:
    try:
        descriptor = os.open(file, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        found = os.fstat(descriptor)
        owner = from_text(os.read(descriptor, 1 << 16).decode(errors="replace"))
        token = owner.token if owner else unnamed(found)
        return Seen(token, owner, found.st_mtime, _flocked(descriptor))
    finally:
        os.close(descriptor)


def unnamed(found: os.stat_result) -> str:
    """What stands for the token of a file without one."""
    return f"inode-{found.st_ino}"


def _flocked(descriptor: int) -> bool | None:
    try:
        # Shared: those who only ask never stand in each other's way. Let go with the descriptor.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


class Life(Enum):
    """What is known of an owner."""

    # Its machine says so, where it was at work.
    GONE = auto()
    # No sign of life for longer than others wait, and nothing else to go by: it may be cut off, or
    # its machine asleep.
    SILENT = auto()
    # An earlier life of this very job that may not be quite over.
    EARLIER = auto()
    AT_WORK = auto()


def life(seen: Seen, me: Owner, now: Callable[[], float]) -> Life:
    """Whether the owner of a lock's file is at work, to one who is `me`.

    `now` gives the time by the clock that the file's own time is of; it is asked only where nothing
    but the heartbeat tells.
    """
    if not seen.flock:
        if _ended(seen, me):
            return Life.GONE
        if now() - seen.beat > STALE:
            return Life.SILENT
    return Life.EARLIER if seen.owner and me.follows(seen.owner) else Life.AT_WORK


def _ended(seen: Seen, me: Owner) -> bool:
    """Whether the kernel or the process's number proves that the owner is gone."""
    owner = seen.owner
    # One without a name (a full disk's) may be on any node, and the kernel here know nothing of it.
    if owner is None or not owner.beside(me):
        return False
    if owner.flock and seen.flock is False:
        return True
    # Of one host name, too: a container on this machine may count its processes by itself.
    return owner.host == me.host and not runs(owner.pid)


def runs(pid: int) -> bool:
    """Whether there is a process of this number on this host."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def file_system_time(beside: Path, name: str) -> float:
    """The time by the clock of the file system on which `beside` lies, in seconds.

    Clocks of nodes differ, by hours where one is wrong: a new file's time is by the same clock as
    the other files' times. `name`: of that file, which must be this process's alone.
    """
    file = beside.with_name(name)
    descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
