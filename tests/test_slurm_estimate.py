"""`python -m slurm --estimate`: exact sums, real timings, and nothing is left behind."""

import dataclasses
import json
import os
import signal
import threading
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm import costs
from slurm.costs import Left, Row, left_of
from slurm.estimate import _disk, estimate_study, on_what
from slurm.estimate_cell import Timed, timed
from slurm.estimate_site import limit_lines, memory_words, timing_command
from slurm.schedule import bytes_of, jobs_needed, makespan, memory_to_ask
from study.clusters import ClusterConfig, load_cluster
from study.datasets import Dataset, open_dataset
from study.errors import StudyError
from study.expansion import Study, load_study
from study.provenance import ROOT
from tests import made
from train.run import run_identity, train_run
from train.staging import amount

HOUR = 3600.0
EXPLORER = ROOT / "configs" / "clusters" / "explorer.json"


@pytest.mark.parametrize(
    ("work", "limit", "jobs"),
    [
        (0, 8, 1),
        (7.9, 8, 1),  # five minutes' warning: 7 h 55 min to work in
        (7.95, 8, 2),
        (20, 8, 3),
        (24, 8, 4),
        (1, 1 / 12, 0),
    ],
)
def test_jobs_of_a_run(work: float, limit: float, jobs: int) -> None:
    assert jobs_needed(work * HOUR, 0, limit * HOUR, 300) == jobs


def test_each_job_starts_anew() -> None:
    assert jobs_needed(100, 0, 60, 10) == 2
    assert jobs_needed(100, 1, 60, 10) == 3
    assert jobs_needed(100, 50, 60, 10) == 0


@pytest.mark.parametrize(
    ("seconds", "at_once", "done"),
    [
        ([], 3, 0),
        ([5, 3, 2], 1, 10),
        ([5, 3, 2], 2, 5),
        ([2, 3, 5], 2, 7),  # in this order, which is not the best one
        ([5, 3, 2], None, 5),
        ([4, 4, 4], 9, 4),
    ],
)
def test_runs_beside_each_other(seconds: list[float], at_once: int | None, done: float) -> None:
    assert makespan(seconds, at_once) == done


def test_amounts_of_slurm() -> None:
    assert [bytes_of(text) for text in ("512M", "16G")] == [512 * 2**20, 16 * 2**30]
    assert [memory_to_ask(most) for most in (10**6, 2**30, 8 * 2**30)] == ["1G", "2G", "10G"]


TIMED = Timed(
    machine={"processor": "a processor", "threads": 4, "gpu": "a GPU"},
    start=10.0,
    training=20 * HOUR,
    evaluation=HOUR,
    classifier=0.0,
    memory=3 * 2**30,
    gpu_memory=5 * 10**9,
    peak=3000,
    final=1000,
    missing=[],
)


@pytest.fixture
def tiny(tmp_path: Path, data: Path) -> tuple[Study, Dataset]:
    """A study of an AE and a VAE, two seeds each, on the set `tiny`."""
    for name, kind in {"ae": "AE", "vae": "VAE"}.items():
        made.run_file(tmp_path, kind, name)
    file = tmp_path / "made.json"
    file.write_text(json.dumps(made.study_config({"ae": "ae.json", "vae": "vae.json"})))
    return load_study(file), open_dataset(data, "tiny")


def asked(study: Study, dataset: Dataset, runs: Path, **changes: object) -> Namespace:
    """The arguments of a command line."""
    given = {
        "study": study.file,
        "data": dataset.folder.parent,
        "runs": runs,
        "results": Path("results"),
        **dict.fromkeys(("budget", "cluster", "gpu", "max_parallel", "weights", "only", "raw")),
        "require": [],
        "set": [],
    }
    return Namespace(**given | changes)


def row(study: Study, name: str = "vae", trained: tuple = (), **changes: object) -> Row:
    cells = tuple(study.rows()[name])
    return Row(name, cells, dataclasses.replace(TIMED, **changes), trained)


def test_measured_time_comes_first(tiny: tuple[Study, Dataset]) -> None:
    assert row(tiny[0]).training == 20 * HOUR
    assert row(tiny[0], trained=(5.0, 90.0, 7.0)).training == 7.0
    assert row(tiny[0], trained=(5.0,)).seconds == 10 + 5 + HOUR


def site(**changes: object) -> ClusterConfig:
    return load_cluster(EXPLORER).model_copy(update=changes)


def test_how_often_a_run_goes_back_into_the_queue(tiny: tuple[Study, Dataset]) -> None:
    long, short = row(tiny[0]), row(tiny[0], "ae", training=60.0, evaluation=30.0)
    left = [Left(of, cell, of.seconds - 10) for of in (short, long) for cell in of.cells]
    assert limit_lines(left, site()) == [
        "limit     vae: 21 h 0 min are 3 jobs of 08:00:00, requeued 2 times (max_requeues is 20)"
    ]
    assert limit_lines(left, site(max_requeues=1)) == [
        "limit     vae: 21 h 0 min are 3 jobs of 08:00:00, requeued 2 times: more often than "
        "max_requeues (1) lets a job; raise it, or submit the study again then, and it goes on"
    ]
    assert limit_lines(left[:2], site()) == [
        "limit     each run fits into one job of 08:00:00; the longest (ae) wants 1 min 40 s"
    ]
    (line,) = limit_lines(left, site(warning=8 * 3600))
    assert line.startswith("limit     08:00:00 is too short")


def test_memory_against_the_site(tiny: tuple[Study, Dataset]) -> None:
    rows = [row(tiny[0], "ae", memory=10**9, gpu_memory=6 * 10**9), row(tiny[0])]
    found = "3.2 GB at the highest (vae), 6.0 GB of the GPU's (ae): "
    assert memory_words(rows, site()) == found + "4G is enough, the site asks for 32G (sbatch.mem)"
    assert memory_words(rows, None) == found + "ask for 4G (sbatch.mem)"
    rows = [row(tiny[0], memory=40 * 2**30, gpu_memory=None)]
    assert memory_words(rows, site()) == (
        "42.9 GB at the highest (vae): more than the 32G that the site asks for; sbatch.mem 50G "
        "is enough"
    )


def test_the_command_that_times_on_a_gpu(tiny: tuple[Study, Dataset]) -> None:
    arguments = asked(*tiny, Path("runs"))
    arguments.study, arguments.data = Path("a study.json"), Path("data")
    assert timing_command(arguments, None) == (
        "srun --partition=gpu --gres=gpu:1 --time=00:20:00 .venv/bin/python -m slurm --estimate "
        "'a study.json'"
    )
    arguments.cluster, arguments.gpu, arguments.only = Path("site.json"), "a100", ["vae", "ae"]
    assert timing_command(arguments, site()) == (
        "srun --partition=gpu --cpus-per-task=8 --mem=32G --time=00:20:00 --gres=gpu:a100:1 "
        "python -m slurm --estimate 'a study.json' --cluster=site.json --gpu=a100 --only=vae,ae"
    )


@pytest.mark.parametrize(
    ("gpu", "no_cuda", "said"), [(None, False, True), (None, True, False), ("a GPU", False, False)]
)
def test_a_processor_says_nothing_about_a_gpu(
    gpu: str | None, no_cuda: bool, said: bool, tiny: tuple[Study, Dataset], tmp_path: Path
) -> None:
    trainer = made.trainer(made.MODELS["VAE"], no_cuda=no_cuda)
    made.run_file(tmp_path, "VAE", "vae", trainer=trainer)
    study = load_study(tiny[0].file)
    rows = [row(study, machine=TIMED.machine | {"gpu": gpu})]
    arguments = asked(study, tiny[1], tmp_path)
    for at in (None, site()):
        lines = on_what(rows, arguments, at)
        assert any("--gres=gpu:1" in line for line in lines) == said
    local = load_cluster(EXPLORER.with_name("local.json"))
    assert len(on_what(rows, arguments, local)) == 1


def test_what_is_left_of_a_run(tiny: tuple[Study, Dataset], tmp_path: Path) -> None:
    study, dataset = tiny
    arguments, of = asked(*tiny, tmp_path / "runs"), row(study)
    cell = of.cells[0]

    def work() -> float:
        return left_of(study, of, cell, arguments, dataset).work

    assert work() == 21 * HOUR
    directory = study.run_directory(arguments.runs, cell)
    directory.begin(run_identity(cell.run, dataset), {}, overwrite=False)
    directory.history.write_text('{"epoch": 1}\n')  # of two
    assert work() == 21 * HOUR  # nothing to go on from
    directory.checkpoint.touch()
    assert work() == 11 * HOUR
    directory.final_model.mkdir()
    assert work() == HOUR


def test_nothing_is_left_of_a_run_that_is_evaluated(
    tiny: tuple[Study, Dataset], tmp_path: Path
) -> None:
    from evaluate.cells import evaluate_cell

    study, dataset = tiny
    arguments, of = asked(*tiny, tmp_path / "runs"), row(study, "ae")
    out = study.run_directory(arguments.runs, of.cells[0]).path
    train_run(of.cells[0].run, dataset, out)
    assert left_of(study, of, of.cells[0], arguments, dataset).work == HOUR
    evaluate_cell(study, of.cells[0], dataset, arguments.runs)
    done = left_of(study, of, of.cells[0], arguments, dataset)
    assert (done.work, done.seconds) == (0, 0)


def test_a_study(tiny: tuple[Study, Dataset], tmp_path: Path) -> None:
    study, dataset = tiny
    arguments = asked(*tiny, tmp_path / "runs", max_parallel=2)
    out = study.run_directory(arguments.runs, study.cells[3])
    train_run(study.cells[3].run, dataset, out.path)
    # As long as no timed steps would say.
    took = json.loads(out.finished.read_text()) | {"seconds": 7200.0}
    out.finished.write_text(json.dumps(took))
    before = sorted(tmp_path.rglob("*")), sorted(dataset.folder.rglob("*"))
    cells = study.rows()["vae"]
    lines = estimate_study(study, arguments, load_cluster(EXPLORER), cells)
    assert (sorted(tmp_path.rglob("*")), sorted(dataset.folder.rglob("*"))) == before
    words = [word.strip() for word in lines[2].split("|")[1:-1]]
    assert words[:3] == ["vae", "2", "2 h 0 min (measured)"]
    said = {line[:10].strip(): line[10:] for line in lines[4:]}
    assert list(said) == [
        *("timed", "measured", "time", "left", "wall", "disk", "memory", "limit", "not in it")
    ]
    assert said["measured"].startswith("training of vae:")
    assert said["time"].endswith("core-hours for 2 runs")
    assert said["left"].endswith("for 2 runs that are not done")
    assert said["wall"].startswith("2 h 0 min until all is done, 2 at once")
    assert "of run directories in the end" in said["disk"]
    assert "the longest (vae) wants 2 h 0 min" in said["limit"]


@pytest.mark.parametrize("same", [True, False])
def test_times_of_a_gpu_that_is_not_here(
    same: bool, tiny: tuple[Study, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a login node: of finished runs on one kind of GPU, whatever held it."""
    here = dataclasses.replace(TIMED, machine=TIMED.machine | {"gpu": None})
    monkeypatch.setattr(costs, "timed", lambda *_: here)
    study, dataset = tiny
    arguments = asked(*tiny, tmp_path / "runs")
    for at, seconds in ((2, 7200.0), (3, 3600.0)):
        directory = study.run_directory(arguments.runs, study.cells[at])
        directory.begin(run_identity(study.cells[at].run, dataset), {}, overwrite=False)
        directory.final_model.mkdir()
        gpu = f"an H200 of {at if not same else 'theirs'}"
        about = directory.read() | {"machine": {"processor": str(at), "threads": at, "gpu": gpu}}
        directory.record.write_text(json.dumps(about))
        directory.finished.write_text(json.dumps({"seconds": seconds}))
    lines = estimate_study(study, arguments, None, study.rows()["vae"])
    said = {line[:10].strip(): line[10:] for line in lines[4:]}
    assert ("1 h 30 min (measured)" in lines[2]) == same
    if same:
        about = "training of vae: the median of finished runs on an H200 of theirs; the rest"
        assert said["measured"].startswith(about) and "GPU-hours" in said["time"]
    else:
        assert "measured" not in said and "core-hours" in said["time"]


def test_size_of_the_data_is_that_of_its_splits(
    tiny: tuple[Study, Dataset], tmp_path: Path
) -> None:
    """What else lies in the folder, such as a lock, comes and goes."""
    study, dataset = tiny
    lone = Dataset(tmp_path / "nowhere", dataset.manifest)
    splits = sum(file.stat().st_size for file in dataset.folder.glob("*_data.npz"))
    assert _disk([row(study)], lone, 1).endswith(f"the data set tiny has {amount(splits)}")


def test_no_data_is_one_line(tiny: tuple[Study, Dataset], tmp_path: Path) -> None:
    arguments = asked(*tiny, tmp_path / "runs", data=tmp_path / "none")
    with pytest.raises(StudyError, match="prepare it first: python reproduce.py .* --only data"):
        estimate_study(tiny[0], arguments, None, list(tiny[0].cells))


def test_a_run_that_cannot_be_built_is_named(tiny: tuple[Study, Dataset], tmp_path: Path) -> None:
    networks = {"name": "mlp", "encoder": [10**13], "decoder": [8]}
    made.run_file(tmp_path, "AE", "ae", networks=networks)
    study = load_study(tiny[0].file)
    with pytest.raises(StudyError, match=r"^ae/seed-0 cannot be timed: .*ae.json: its networks"):
        timed(study, study.cells[0], tiny[1], tmp_path / "runs")


class Alarm(Exception):
    """What stops the timing here."""


@pytest.fixture
def alarm(tmp_path: Path) -> Iterator[None]:
    """An exception, out of the blue, once the process that is timed has its own folder."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            if list(tmp_path.glob(".estimate-*/.estimate-*")):
                os.kill(os.getpid(), signal.SIGALRM)
                return

    def ring(number: int, frame: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    watcher = threading.Thread(target=watch)
    watcher.start()
    yield
    over.set()
    watcher.join()
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarm")
def test_a_timing_that_is_stopped_leaves_nothing(
    tiny: tuple[Study, Dataset], tmp_path: Path
) -> None:
    study, dataset = tiny
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Alarm):
        timed(study, study.cells[0], dataset, tmp_path / "runs")
    assert sorted(tmp_path.rglob("*")) == before
