"""An estimate held against a site: its memory, its time limit, the way to its GPUs."""

import shlex
from typing import Any

from slurm.costs import Left, Row
from slurm.plan import asked_for, study_words
from slurm.schedule import bytes_of, jobs_needed, memory_to_ask
from study.clusters import ClusterConfig
from train.estimate import spoken
from train.staging import amount

# Time that timing a study's rows takes, generously.
_TIME = "00:20:00"


def wants_gpu(rows: list[Row], site: ClusterConfig | None) -> bool:
    """Whether runs would be on a GPU: none was told to do without, and the site asks for one."""
    if all(row.cells[0].run.trainer.no_cuda for row in rows):
        return False
    return site is None or (site.resources("run").gres or "").startswith("gpu")


def timing_command(arguments: Any, site: ClusterConfig | None) -> str:
    """The command that times the study on a node with a GPU, as a person types it."""
    python, asked = ".venv/bin/python", ["--partition=gpu", "--gres=gpu:1", f"--time={_TIME}"]
    words = study_words(arguments)
    if site is not None:
        resources = site.resources("run").model_copy(update={"time": _TIME, "options": []})
        asked = asked_for(resources, arguments.gpu)
        python = f"{site.environment.venv}/bin/python" if site.environment.venv else "python"
        words.append(f"--cluster={arguments.cluster}")
        words += [f"--gpu={arguments.gpu}"] if arguments.gpu else []
    if arguments.max_parallel:
        words.append(f"--max-parallel={arguments.max_parallel}")
    if arguments.only:
        words.append(f"--only={','.join(arguments.only)}")
    return shlex.join(["srun", *asked, python, "-m", "slurm", "--estimate", *words])


def memory_words(rows: list[Row], site: ClusterConfig | None) -> str:
    """The most that a run takes, and whether the site asks for as much."""
    most = max(rows, key=lambda row: row.timed.memory)
    words = f"{amount(most.timed.memory)} at the highest ({most.name})"
    of_gpu = {row.timed.gpu_memory: row.name for row in rows if row.timed.gpu_memory is not None}
    if of_gpu:
        words += f", {amount(max(of_gpu))} of the GPU's ({of_gpu[max(of_gpu)]})"
    wanted = memory_to_ask(most.timed.memory)
    mem = site.resources("run").mem if site else None
    if mem is None:
        return f"{words}: ask for {wanted} (sbatch.mem)"
    if bytes_of(mem) < most.timed.memory:
        return f"{words}: more than the {mem} that the site asks for; sbatch.mem {wanted} is enough"
    return f"{words}: {wanted} is enough, the site asks for {mem} (sbatch.mem)"


def jobs_of_run(left: Left, site: ClusterConfig) -> int:
    """How many jobs what is left of a run is; 0 where the time limit is too short for any."""
    limit = site.resources("run").seconds
    return jobs_needed(left.work, left.row.timed.start, limit, site.warning)


def limit_lines(left: list[Left], site: ClusterConfig) -> list[str]:
    """Which runs fit into the time limit, and how often the others go back into the queue."""
    time, lines = site.resources("run").time, []
    longest: dict[str, Left] = {}
    for one in left:
        if one.work >= longest.get(one.row.name, one).work:
            longest[one.row.name] = one
    for name, one in longest.items():
        jobs = jobs_of_run(one, site)
        if jobs == 1:
            continue
        if not jobs:
            return [
                f"limit     {time} is too short: a job starts in {one.row.timed.start:.0f} s "
                f"and is warned {site.warning} s before its end (stages.run.time)"
            ]
        lines.append(
            f"limit     {name}: {spoken(one.work)} are {jobs} jobs of {time}, "
            f"{_requeued(jobs - 1, site.max_requeues)}"
        )
    if not lines:
        most = max(left, key=lambda one: one.seconds)
        lines = [f"limit     each run fits into one job of {time}"]
        if most.work:
            lines[0] += f"; the longest ({most.row.name}) wants {spoken(most.seconds)}"
    return lines


def _requeued(times: int, allowed: int) -> str:
    words = f"requeued {'once' if times == 1 else f'{times} times'}"
    if times <= allowed:
        return f"{words} (max_requeues is {allowed})"
    return (
        f"{words}: more often than max_requeues ({allowed}) lets a job; raise it, or submit the "
        f"study again then, and it goes on"
    )
