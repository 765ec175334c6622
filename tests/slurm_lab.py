"""A real SLURM on this machine, for tests and for trying the cluster's commands without a cluster.

    python -m tests.slurm_lab [FOLDER]

starts munge, slurmctld and one slurmd a node, each node with eight CPUs and two fake GPUs, prints
the line that makes SLURM's commands talk to it, and ends all of it, jobs too, on Ctrl-C. It touches
nothing outside FOLDER (default: a new one that is deleted in the end), so several may run at once.

Tests start the same command (`Lab`) and hold its standard input: a test process that is killed
closes it, and the command ends then as well. Daemons die with the command in any case.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.slurm_daemons import NoLab, missing, started

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Row:
    """A job, or an element of an array, as squeue lists it, also when it is over."""

    # 12, or 12_3 of an array.
    id: str
    name: str
    # PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, ...
    state: str
    # How often it went back into the queue.
    restarts: int
    node: str


class Lab:
    """A SLURM that runs until `stop`, or until this process ends in whatever way."""

    def __init__(self, nodes: int = 1) -> None:
        """NoLab where it does not start, with what the daemons say."""
        words = [sys.executable, "-m", "tests.slurm_lab", "--held", f"--nodes={nodes}"]
        self._keeper = subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._keeper.stdout is not None
        said = self._keeper.stdout.readline().strip()
        if not said.startswith("export SLURM_CONF="):
            self.stop()
            raise NoLab(said or "tests.slurm_lab ended without a word")
        config = said.removeprefix("export SLURM_CONF=")
        # What a command must have in its environment.
        self.environment = {"SLURM_CONF": config, "OMP_NUM_THREADS": "1"}

    def stop(self) -> None:
        """End its jobs and daemons and delete its folder."""
        # That is what the command waits for; it also reads what is left of the pipe.
        self._keeper.communicate()

    def run(self, *words: str | Path, **variables: str) -> str:
        """What a SLURM command, with these variables beside, prints; AssertionError, with what it
        said, where it refuses."""
        known = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
        env = known | self.environment | variables
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr or done.stdout}"
        return done.stdout

    def jobs(self) -> list[Row]:
        """All jobs that there ever were, elements of arrays one by one."""
        fields = "JobArrayID:|,Name:|,State:|,RestartCnt:|,NodeList:|"
        listed = self.run("squeue", "--noheader", "--array", "--states=all", f"--Format={fields}")
        rows = (line.rstrip("|").split("|") for line in listed.splitlines())
        return [
            Row(id, name, state, int(restarts), *(node or [""]))
            for id, name, state, restarts, *node in rows
        ]

    def wait(self, condition: Callable[[], object], seconds: float = 60) -> None:
        """Wait until the condition holds; AssertionError, with the queue, where it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                queue = "\n".join(map(str, self.jobs()))
                raise AssertionError(f"not within {seconds} seconds; the queue:\n{queue}")
            time.sleep(0.2)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _serve(folder: Path, nodes: int, held: bool) -> None:
    with started(folder, nodes) as config:
        print(f"export SLURM_CONF={config}", flush=True)
        if held:
            sys.stdin.read()
        else:
            print(f"A SLURM with {nodes} node(s) runs until Ctrl-C.", file=sys.stderr, flush=True)
            signal.pause()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.slurm_lab", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="where all its files lie")
    parser.add_argument("--nodes", type=int, choices=range(1, 9), default=1)
    # Until standard input ends, which it also does when the process that holds it is gone.
    parser.add_argument("--held", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        if why := missing():
            raise NoLab(why)
        if chosen.folder is not None:
            _serve(chosen.folder.absolute(), chosen.nodes, chosen.held)
        else:
            with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
                _serve(Path(folder), chosen.nodes, chosen.held)
    except NoLab as error:
        print(error if chosen.held else f"slurm_lab: {error}", flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
