"""`python -m slurm STUDY.json --cluster SITE.json`: a study on a SLURM cluster."""

import os
from typing import Any

from slurm.options import parser
from study.errors import StudyError, run_command
from study.stopping import stoppable


def main() -> int:
    arguments = parser().parse_args()
    # After parsing, because torch and pythae take seconds to import.
    from reproduce import load
    from slurm.logs import last_variables

    refuse_idle(arguments)
    study, name = load(arguments)
    site = load_site(arguments)
    # What is measured, and where weights and wandb's files are looked for, must be here what it is
    # in the jobs.
    os.environ.update(site.variables if site else last_variables(study, arguments.runs))
    if arguments.status:
        return show_status(study, arguments, name)
    if arguments.cancel:
        return cancel(study, arguments)
    if arguments.sync:
        return upload(study, arguments)
    if arguments.estimate:
        return show_estimate(study, arguments, site)
    if site is None:
        raise StudyError("--cluster: a file of configs/clusters/ is wanted, which says how to ask")
    from slurm.submit import check, dry_run, submit

    check(study, arguments, name)
    if arguments.dry_run:
        print(dry_run(study, arguments, site, name))
        return 0
    for line in submit(study, arguments, site, name):
        print(line)
    return 0


def refuse_idle(arguments: Any) -> None:
    """StudyError for an option that would do nothing, or less than it says: a --cancel that is to
    be of some runs only, above all."""
    whole = next((word for word in ("status", "cancel", "sync") if getattr(arguments, word)), None)
    for option in ("only", "gpu", "max_parallel"):
        if whole and getattr(arguments, option) is not None:
            name = option.replace("_", "-")
            raise StudyError(f"--{name}: --{whole} is of the whole study; leave --{name} out")


def load_site(arguments: Any) -> Any:
    """The cluster file; None where none is named. StudyError where it is not there or not good."""
    from study.clusters import load_cluster
    from study.provenance import ROOT

    file = arguments.cluster
    if file is not None and not file.is_file():
        known = sorted(path.name for path in (ROOT / "configs" / "clusters").glob("*.json"))
        raise StudyError(
            f"--cluster {file}: no such file; configs/clusters/ has {', '.join(known)}"
        )
    return None if file is None else load_cluster(file)


def show_status(study: Any, arguments: Any, name: str) -> int:
    """`--status`."""
    from slurm.status import print_status

    print_status(study, arguments, name)
    return 0


def cancel(study: Any, arguments: Any) -> int:
    """`--cancel`."""
    from slurm.status import cancel_study

    print(cancel_study(study, arguments.runs))
    return 0


def upload(study: Any, arguments: Any) -> int:
    """`--sync`."""
    from slurm.sync import sync

    return sync(study, arguments.runs)


def show_estimate(study: Any, arguments: Any, site: Any) -> int:
    """`--estimate`."""
    from slurm.estimate import estimate_study
    from slurm.submit import chosen

    cores = site and site.resources("run").cpus_per_task
    if cores:
        # As the job has it (slurm/environment.sh): the processes that are timed inherit it.
        os.environ.setdefault("OMP_NUM_THREADS", str(min(cores, os.cpu_count() or cores)))
    cells = chosen(study, arguments.only)
    print("\n".join(estimate_study(study, arguments, site, cells)))
    return 0


if __name__ == "__main__":
    with stoppable():
        run_command("slurm", main)
