"""`python -m slurm --status` and `--cancel`: run directories, logs and a real SLURM's queue."""

import json
import os
import shutil
from argparse import Namespace
from pathlib import Path

import pytest

from reproduce import parser
from slurm.logs import element_titles, ending, newest_logs
from slurm.names import job_folder, job_name, log_pattern
from slurm.queue import jobs_of
from slurm.reasons import is_held, meaning, short
from slurm.status import cancel_study, print_status
from slurm.submit import plan
from study.clusters import load_cluster
from study.errors import StudyError
from study.expansion import Study, load_study
from tests.test_clusters import cluster

KILLED = "slurmstepd: error: *** JOB 9 ON n1 CANCELLED AT 2026-01-01T00:00:00"


@pytest.fixture
def work(undisturbed, study: Path, tmp_path: Path) -> tuple[Study, Namespace]:
    """A study of which ae/seed-0 alone is done, and where it lies."""
    runs = tmp_path / "runs"
    shutil.copytree(undisturbed[0] / "runs/made/ae/seed-0", runs / "made/ae/seed-0")
    words = ["--data", undisturbed[0] / "data", "--runs", runs, "--results", tmp_path / "results"]
    arguments = parser().parse_args([str(study), *map(str, words)])
    loaded = load_study(study)
    job_folder(loaded, runs).mkdir()
    return loaded, arguments


def leave(work: tuple[Study, Namespace], name: str, text: str, age: float = 0) -> Path:
    """A log or record, written `age` seconds ago."""
    file = job_folder(work[0], work[1].runs) / name
    file.write_text(text)
    os.utime(file, (file.stat().st_mtime - age,) * 2)
    return file


def record(work: tuple[Study, Namespace], job: str, elements: object) -> Path:
    return leave(work, f"{job}.json", json.dumps({"job": job, "elements": elements}))


def shown(work: tuple[Study, Namespace], capsys: pytest.CaptureFixture) -> tuple[str, dict]:
    """What is printed; its table as cells by run and column."""
    print_status(*work, "shapes")
    text = capsys.readouterr().out
    table = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return text, {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[2:]}


@pytest.fixture
def no_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def test_without_slurm_run_directories_and_logs_tell(work, no_slurm, capsys) -> None:
    record(work, "9", {"0": "ae/seed-1", "1": "vae/seed-0", "2": "vae/seed-1"})
    run = work[0].run_directory(work[1].runs, work[0].cells[1])
    run.path.mkdir()
    run.record.write_text("{}")
    run.note_failure("train", ValueError("the loss is\nnot finite"))
    oom = "slurmstepd: error: Detected 1 oom_kill event in StepId=9.batch. Some were killed."
    leave(work, "run-9_1.log", f"epoch 1\n{oom}\n")
    # It may be running still: nothing is known.
    leave(work, "run-9_2.log", "epoch 1\n")
    text, rows = shown(work, capsys)
    assert "left" not in rows["ae/seed-0"] and rows["ae/seed-0"]["evaluate"] == "done"
    assert rows["ae/seed-1"]["train"] == "failed" and rows["ae/seed-1"]["state"] == "failed"
    assert f"ae/seed-1 failed: train: the loss is not finite\n    traceback: {run.failure}" in text
    assert f"vae/seed-0 failed: {oom}\n    it needed more memory" in text
    assert rows["vae/seed-1"]["state"] == "" and "vae/seed-1 " not in text.split("tables:")[1]
    assert "4 runs: 1 done, 2 failed, 1 not started" in text
    assert "The queue is not shown: squeue: not found" in text.splitlines()[-1]


def test_nothing_there_at_all(work, no_slurm, capsys) -> None:
    shutil.rmtree(work[1].runs)
    work[1].data = work[1].runs / "nowhere"
    text, rows = shown(work, capsys)
    assert "job" not in rows["ae/seed-0"] and "4 runs: 4 not started" in text


def test_a_kill_by_slurm_is_newer_than_a_failure_before_it(work, no_slurm, capsys) -> None:
    run = work[0].run_directory(work[1].runs, work[0].cells[0])
    run.metrics.unlink()
    run.note_failure("evaluate", ValueError("no weights"))
    log = leave(work, "run-9_0.log", f"{KILLED} DUE TO TIME LIMIT ***\n", age=60)
    assert "ae/seed-0 failed: evaluate: no weights" in shown(work, capsys)[0]
    os.utime(log, (run.failure.stat().st_mtime + 60,) * 2)
    assert "DUE TO TIME LIMIT ***\n    its time limit came" in shown(work, capsys)[0]


@pytest.mark.parametrize(
    ("text", "kind", "line"),
    [
        ("", "failed", ""),
        ("one\n\x1b[31mRuntimeError: bad\x1b[0m\n \n", "failed", "RuntimeError: bad"),
        ("epoch 1\r 10%|#  |\r 20%|## |", "failed", "20%|## |"),
        (f"{KILLED} ***\nslurm: stopped; the same command goes on\n", "cancelled", f"{KILLED} ***"),
        (f"{KILLED} DUE TO JOB REQUEUE ***\nValueError: x\n", "failed", "ValueError: x"),
        (f"{KILLED} DUE TO JOB REQUEUE ***\n", "stopped", f"{KILLED} DUE TO JOB REQUEUE ***"),
        (f"{KILLED} DUE TO TIME LIMIT ***\n", "failed", f"{KILLED} DUE TO TIME LIMIT ***"),
        (
            "job 9_1: was started again 20 times, as often as it may; the same submission goes on "
            "from here\nslurm: stopped by SIGUSR1; the same command goes on\n",
            "stopped",
            "job 9_1: was started again 20 times, as often as it may; the same submission goes on "
            "from here",
        ),
        ("runs/made/ae/seed-0: goes on from epoch 1, step 2", "failed", None),
        ("x" * 999, "failed", "x" * 399 + "…"),
        ("\n" * 70_000 + "late\n" + "\n" * 9, "failed", "late"),
    ],
)
def test_how_a_log_ends(text: str, kind: str, line: str | None, tmp_path: Path) -> None:
    log = tmp_path / "run-9_1.log"
    log.write_text(text)
    found = ending(log)
    assert (found.kind, found.line) == (kind, text if line is None else line)


def test_an_index_means_what_it_did_when_it_was_submitted(work) -> None:
    study, runs = work[0], work[1].runs
    assert element_titles(study, runs, "7")[3] == "vae/seed-1"
    record(work, "8", {"3": "ae/seed-0"})
    assert element_titles(study, runs, "8") == {3: "ae/seed-0"}
    leave(work, "10.json", json.dumps({"job": "10", "stage": "tables"}))
    assert element_titles(study, runs, "10") == {}
    for wrong in (["ae/seed-0"], {"x": "ae/seed-0"}, {"0": 3}):
        record(work, "9", wrong)
        with pytest.raises(StudyError, match=r"9\.json: elements: runs by their index"):
            element_titles(study, runs, "9")


def test_newest_log_of_a_run(work) -> None:
    study, runs = work[0], work[1].runs
    assert newest_logs(study, runs).get("vae/seed-1") is None
    record(work, "8", {"0": "vae/seed-1"})
    newer, older = leave(work, "run-8_0.log", "a"), leave(work, "run-7_3.log", "b", age=60)
    for name in ("run-7_99.log", "tables-9.log", "run-x_1.log", "run-7.log"):
        leave(work, name, "another's")
    assert newest_logs(study, runs).get("vae/seed-1") == newer
    assert newest_logs(study, runs).get("ae/seed-0") is None
    os.utime(older, (newer.stat().st_mtime + 1,) * 2)
    assert newest_logs(study, runs).get("vae/seed-1") == older


def test_reasons_in_words() -> None:
    assert "account or QOS may not" in meaning("InvalidAccount")
    assert "maintenance" in meaning("ReqNodeNotAvail, UnavailableNodes:n1")
    assert short("ReqNodeNotAvail, UnavailableNodes:n1") == "ReqNodeNotAvail"
    assert "your group" in meaning("AssocGrpGRES") and "group" not in meaning("QOSMaxGRESPerUser")
    assert "never starts" in meaning("QOSMaxGRESPerJob") and "never" not in meaning("Priority")
    assert meaning("DependencyNeverSatisfied") != meaning("Dependency")
    assert "at once" in meaning("QOSMaxJobsPerUserLimit") and "man squeue" in meaning("Quantum")
    assert is_held("launch_failed_requeued_held") and is_held("JobHeldUser")
    assert not is_held("Resources")
    assert short("launch failed requeued held") == "launch failed requeued held"
    assert len(short("Nodes required for job are DOWN or reserved")) == 32


class Queue:
    """Jobs of a study on the SLURM of the tests, called and logged as ours are."""

    def __init__(self, slurm, work: tuple[Study, Namespace]) -> None:
        self.slurm, self.study, self.runs = slurm, work[0], work[1].runs

    def submit(self, stage: str, script: str, *options: str, study: Study | None = None) -> str:
        study = study or self.study
        job_folder(study, self.runs).mkdir(parents=True, exist_ok=True)
        words = [f"--job-name={job_name(study, self.runs, stage)}", "--parsable", "--mem=10"]
        words += [f"--output={log_pattern(study, self.runs, stage)}", "--chdir=/"]
        return self.slurm.run("sbatch", *words, *options, f"--wrap={script}").strip()

    def states(self) -> dict[str, str]:
        return {job.id: job.state for job in jobs_of(self.study, self.runs)}

    def wait(self, **wanted: str) -> None:
        """Until these jobs are in these states, `x` standing for one that is over."""
        names = {name.strip("j"): state for name, state in wanted.items()}
        self.slurm.wait(
            lambda: all(self.states().get(name, "x") == state for name, state in names.items())
        )


@pytest.fixture
def queue(slurm, work, monkeypatch: pytest.MonkeyPatch):
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    made = Queue(slurm, work)
    yield made
    cancel_study(made.study, made.runs)
    slurm.wait(lambda: not made.states())


def test_the_queue_beside_the_runs(queue, work, capsys) -> None:
    data = queue.submit("data", "sleep 600", "--hold")
    array = queue.submit("run", "sleep 600", "--array=1-5%1", "--time=8:00:00", "--requeue")
    record(work, array, {"1": "ae/seed-1", "2": "vae/seed-1", "3": "vae/seed-0", "4": "old/seed-0"})
    tables = queue.submit("tables", "true", f"--dependency=afterany:{array}")
    queue.wait(**{f"{array}_1": "RUNNING", tables: "PENDING"})
    text, rows = shown(work, capsys)
    assert "state" in rows["ae/seed-0"] and rows["ae/seed-0"]["job"] == ""
    row = rows["ae/seed-1"]
    node = row["state"].removeprefix("running on ")
    assert row["job"] == f"{array}_1" and row["train"] == "running" and node in row["state"]
    assert row["left"].startswith(("8:00:00", "7:5")) and row["why"] == "" and node
    assert rows["vae/seed-1"]["job"] == f"{array}_2" and rows["vae/seed-0"]["job"] == f"{array}_3"
    assert rows["vae/seed-0"] | {"run": "", "job": ""} == {
        **{"run": "", "epochs": "–", "train": "–", "evaluate": "–", "job": "", "state": "queued"},
        **{"left": "", "why": "JobArrayTaskLimit"},
    }
    assert f"shapes: done (job {data} held, JobHeldUser)" in text
    assert f"made: – (job {tables} queued, Dependency)" in text
    assert (
        f"that the study has now: {array}_4 (old/seed-0) queued, {array}_5 (no known run) queued"
        in text
    )
    assert "\nJobArrayTaskLimit: as many runs" in text and "\nJobHeldUser: you hold it" in text
    assert text.splitlines()[-1] == "4 runs: 1 done, 1 running, 2 queued"
    assert max(map(len, text.split("\ntables:")[0].splitlines())) <= 120 + len(str(work[1].data))
    queue.slurm.run("scontrol", "requeue", f"{array}_1")
    queue.slurm.wait(lambda: "requeued 1x" in shown(work, capsys)[1]["ae/seed-1"]["why"])


def test_cancel_ends_what_is_the_studys_and_nothing_else(queue, work, study, capsys) -> None:
    nothing = "nothing of study made is queued or running"
    assert cancel_study(queue.study, queue.runs) == nothing
    another = load_study(study, "less")
    elsewhere = queue.runs.parent / "elsewhere"
    others = [queue.submit("run", "sleep 600", "--array=0-1", study=another)]
    others.append(
        Queue(queue.slurm, (queue.study, Namespace(runs=elsewhere))).submit("run", "true")
    )
    array = queue.submit("run", "sleep 600", "--array=0-3%2")
    tables = queue.submit("tables", "true", f"--dependency=afterany:{array}")
    queue.wait(**{f"{array}_0": "RUNNING", f"{array}_1": "RUNNING", f"{array}_3": "PENDING"})
    said = cancel_study(queue.study, queue.runs)
    assert said == f"cancelled: tables {tables}, array {array} (2 running, 2 queued)"
    queue.slurm.wait(lambda: not queue.states())
    assert cancel_study(queue.study, queue.runs) == nothing
    assert [job.state for job in jobs_of(another, queue.runs)] == ["RUNNING"] * 2
    assert cancel_study(another, queue.runs).startswith(f"cancelled: array {others[0]} (2 running")
    text, rows = shown(work, capsys)
    assert rows["ae/seed-1"]["state"] == "cancelled" and rows["vae/seed-0"]["job"] == ""
    assert "1 done, 1 cancelled, 2 not started\nTo submit the 3 of them that are left:" in text
    assert f" --data={work[1].data} " in text
    assert " --cluster configs/clusters/SITE.json" in text


def test_tables_alone_are_left(queue, work, undisturbed, capsys) -> None:
    shutil.copytree(undisturbed[0] / "runs", queue.runs, dirs_exist_ok=True)
    hint = "4 runs: 4 done\nTo submit what makes the tables:\n  python -m slurm "
    assert hint in shown(work, capsys)[0]
    queue.submit("tables", "true", "--hold")
    assert shown(work, capsys)[0].endswith("4 runs: 4 done\n")
    cancel_study(queue.study, queue.runs)
    queue.slurm.wait(lambda: not queue.states())
    shutil.copytree(undisturbed[0] / "results", work[1].results)
    assert shown(work, capsys)[0].endswith("4 runs: 4 done\n")


def test_what_ended_without_being_done(queue, work, capsys) -> None:
    script = "echo RuntimeError: no kernel image; echo; exit 1"
    array = queue.submit("run", script, "--array=1-3")
    data = queue.submit("data", "echo no raw files; exit 1")
    tables = queue.submit("tables", "true", f"--dependency=afterok:{data}")
    queue.slurm.wait(lambda: set(queue.states()) == {tables})
    queue.slurm.wait(lambda: "NeverSatisfied" in jobs_of(queue.study, queue.runs)[0].reason)
    work[1].data = queue.runs.parent / "no data"
    text, rows = shown(work, capsys)
    assert rows["vae/seed-1"]["state"] == "failed" and rows["vae/seed-1"]["job"] == f"{array}_3"
    log = job_folder(queue.study, queue.runs) / f"run-{array}_1.log"
    ended = "ae/seed-1, vae/seed-0, vae/seed-1 failed: RuntimeError: no kernel image"
    assert f"\n{ended}\n    log: {log}\n    the others likewise\n" in text
    assert "data, last line of its log: no raw files" in text
    assert "DependencyNeverSatisfied: a job that it needs failed" in text


def test_tables_that_are_older_than_the_runs_are_made_anew(undisturbed, study, tmp_path) -> None:
    """Those that came with the checkout, say: only with all done, and tables made, is all done."""
    site = load_cluster(cluster(tmp_path))
    words = [f"--{name}={undisturbed[0] / name}" for name in ("data", "runs")]
    arguments = parser().parse_args([str(study), *words, f"--results={tmp_path}"])
    arguments.max_parallel = arguments.only = arguments.gpu = None

    def stages_left() -> list[str]:
        return [
            one.stage for one in plan(load_study(study), arguments, site, "shapes", []).commands()
        ]

    assert stages_left() == ["tables"]
    shutil.copytree(undisturbed[0] / "results" / "made", tmp_path / "made")
    record = tmp_path / "made" / "runs.json"
    assert stages_left() == []
    os.utime(record, (1, 1))
    assert stages_left() == ["tables"]
