"""`python -m slurm STUDY.json --cluster SITE.json`: a study on a SLURM cluster."""

import os
from typing import Any

from slurm.options import parser
from study.errors import StudyError, run_command
from study.stopping import stoppable


def main() -> int:
    arguments = parser().parse_args()
    # After parsing, because torch and pythae take seconds to import.
    from reproduce import check_study
    from slurm.logs import last_variables
    from study.expansion import load_study
    from study.overrides import parse_overrides

    study = load_study(arguments.study, arguments.budget, parse_overrides(arguments.set))
    name = check_study(study)
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

    cells = chosen(study, arguments.only)
    print("\n".join(estimate_study(study, arguments, site, cells)))
    return 0


if __name__ == "__main__":
    with stoppable():
        run_command("slurm", main)
