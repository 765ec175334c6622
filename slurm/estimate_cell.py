"""One run of a study, timed in a process of its own, whose memory at the highest is the run's.

`python -m slurm.estimate_cell` reads the request of `timed` as JSON on stdin and answers with a
`Timed` as JSON on stdout.
"""

import dataclasses
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.datasets import Dataset
from study.errors import RunFailed, StudyError, run_command
from study.expansion import Cell, Study
from study.provenance import ROOT
from study.stopping import stoppable

# Seconds that a process has for leaving when it is told to.
_PATIENCE = 10


@dataclass(frozen=True)
class Timed:
    """What a run costs, as far as timed steps tell."""

    # Processor, threads, GPU (None: none was used): `study.provenance.machine`.
    machine: dict[str, Any]
    # Seconds of starting a process and making the model, of training, of evaluation, and of
    # training the data set's classifier, which happens once (0: it is there).
    start: float
    training: float
    evaluation: float
    classifier: float
    # Bytes at the highest; None: no GPU.
    memory: int
    gpu_memory: int | None
    # Bytes of files: of a run in training at the highest, and of one that is done and evaluated.
    peak: int
    final: int
    # Metrics that cannot be measured here, and so are not in `evaluation`.
    missing: list[str]


def timed(
    study: Study, cell: Cell, dataset: Dataset, runs: Path, weights: Path | None = None
) -> Timed:
    """Time a little of a cell's training and evaluation; nothing is left behind.

    `runs`: the folder of all run directories, on whose disk files are tried. StudyError or
    RunFailed, naming the run, where it cannot be trained or measured.
    """
    from train.estimate import scratch

    # Here, so that it is gone however that process ends.
    with scratch(runs / study.name) as folder:
        request = {
            "config": cell.run.resolved(),
            "file": str(cell.run.file),
            "data": str(dataset.folder.parent.absolute()),
            "split": study.split,
            "beside": str(folder / "run"),
            "weights": None if weights is None else str(weights.absolute()),
            "asked": time.time(),
        }
        return _answer(cell, json.dumps(request))


def _answer(cell: Cell, request: str) -> Timed:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [sys.executable, "-m", "slurm.estimate_cell"]
    with subprocess.Popen(command, cwd=ROOT, text=True, errors="replace", **pipes) as process:
        try:
            answer, said = process.communicate(request)
        except BaseException:
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    if process.returncode:
        raise _error(cell.title, process.returncode, said)
    return Timed(**json.loads(answer.splitlines()[-1]))


def _error(title: str, status: int, said: str) -> StudyError:
    """Why a process ended as it did, in a line."""
    last = (said.strip().splitlines() or [""])[-1].removeprefix("estimate: ")
    if status < 0:
        last = f"its process was ended by signal {-status} (9 is what too little memory looks like)"
    kind = StudyError if status == StudyError.status else RunFailed
    return kind(f"{title} cannot be timed: {last}")


def main() -> int:
    request = json.load(sys.stdin)
    import torch

    from evaluate.estimate import estimate_evaluation
    from study.datasets import open_dataset
    from study.errors import one_line
    from study.provenance import machine
    from study.runs import parse_run
    from train.estimate import estimate, peak_memory
    from train.run import prepared

    run = parse_run(request["config"], Path(request["file"]))
    dataset = open_dataset(Path(request["data"]), run.config.dataset)
    weights = None if request["weights"] is None else Path(request["weights"])
    try:
        prepared(run, dataset)
        start = time.time() - request["asked"]
        training = estimate(run, dataset, Path(request["beside"]))
        evaluation = estimate_evaluation(run, dataset, request["split"], weights)
    except StudyError:
        raise
    except Exception as error:
        raise RunFailed(f"{type(error).__name__}: {one_line(error)}") from error
    gpu = None if training.gpu_memory is None else torch.cuda.max_memory_reserved()
    answer = Timed(
        machine=machine(no_gpu=run.trainer.no_cuda),
        start=start,
        training=training.seconds,
        evaluation=evaluation.seconds,
        classifier=evaluation.classifier,
        memory=peak_memory(),
        gpu_memory=gpu,
        peak=3 * training.checkpoint,
        final=training.final + evaluation.files,
        missing=evaluation.missing,
    )
    print(json.dumps(dataclasses.asdict(answer)))
    return 0


if __name__ == "__main__":
    with stoppable():
        run_command("estimate", main)
