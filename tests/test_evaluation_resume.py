"""An evaluation that was stopped goes on: real processes, and what a kept block is good for."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluate import partial
from evaluate.__main__ import main
from evaluate.partial import Partial, blocks
from evaluate.references import references_of
from evaluate.run import evaluate_reference, evaluate_run
from study.datasets import Dataset, open_dataset
from study.errors import run_command
from study.provenance import ROOT
from study.rundir import ReferenceDirectory
from tests import made
from tests.made_work import HOW, Counting, Counts, Cut, CutShort, bits, work
from tests.training import train, wait_until
from train.latents import latents_of
from train.run import load_trained

BLOCK = 8
# Of a checkout with local changes nothing is kept, and tests are run in such ones, too.
COMMIT = {"commit": "0" * 40, "dirty": False}
# `python -m evaluate` in blocks of that size: notes each that is kept, and waits after one.
EVALUATE = f"""
import runpy, sys, time
from evaluate import partial, run
run.code_version = lambda: {COMMIT}
log, last = sys.argv.pop(1), sys.argv.pop(1)
partial.BLOCK = {BLOCK}
put = partial.Partial.put
def noted(self, name, arrays):
    put(self, name, arrays)
    with open(log, "a") as file:
        print(name, file=file)
    if name == last:
        time.sleep(600)
partial.Partial.put = noted
runpy.run_module("evaluate", run_name="__main__")
"""
FILES = ("metrics.json", "per_image.npz", "pictures.npz", "reconstructions.png", "neighbours.png")
# 25 images and 20 samples in eights.
NAMES = [f"reconstruction-{n}" for n in range(4)] + [f"generations-prior-{n}" for n in range(3)]


@pytest.fixture(autouse=True)
def committed(monkeypatch) -> None:
    monkeypatch.setattr("evaluate.run.code_version", lambda: COMMIT)


@pytest.fixture
def small_blocks(monkeypatch) -> None:
    monkeypatch.setattr(partial, "BLOCK", BLOCK)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, data: Path) -> Path:
    """A VAE that nobody has measured."""
    how = made.EVALUATION | {"nll_samples": 3, "likelihood": {"name": "bernoulli"}}
    return train(tmp_path_factory.mktemp("trained"), data, "VAE", evaluation=how)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def kept(out: Path, split: str = "eval") -> Path:
    return out / f".evaluation-{split}.partial"


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in FILES}


# --- real processes ------------------------------------------------------------------------------


def start(out: Path, data: Path, log: Path, last: str = "-") -> subprocess.Popen[str]:
    words = [sys.executable, "-c", EVALUATE, log, last, out, "--data", data]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=ROOT, env=environment, **pipes)


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def stopped(
    out: Path,
    data: Path,
    log: Path,
    last: str,
    sent: signal.Signals,
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[int, str]:
    """Status and what was said of an evaluation that a signal ends after a block."""
    process = start(out, data, log, last)
    wait_until(lambda: last in lines(log), process)
    meanwhile()
    process.send_signal(sent)
    told, heard = process.communicate(timeout=120)
    assert told == ""
    return process.returncode, heard


def test_stopped_killed_and_gone_on_it_ends_as_if_nobody_had_disturbed_it(
    trained: Path, run: Path, data: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    log = tmp_path / "log"

    def another() -> None:
        """A second evaluation of the run is told, and keeps its hands off."""
        monkeypatch.setattr(sys, "argv", ["evaluate", str(run), "--data", str(data)])
        before = sorted(run.rglob("*"))
        with pytest.raises(SystemExit) as ended:
            run_command("evaluate", main)
        busy = r"another process is at work there \(.*\); wait for it, or stop it first"
        assert re.fullmatch(rf"evaluate: {run}: {busy}\n", capsys.readouterr().err)
        assert ended.value.code == 2 and sorted(run.rglob("*")) == before

    status, heard = stopped(run, data, log, NAMES[1], signal.SIGTERM, another)
    assert (status, heard) == (75, "evaluate: stopped by SIGTERM; the same command goes on\n")
    assert not (tmp_path / ".run.lock").exists()
    assert not (run / "metrics.json").exists() and not (run / "failure.json").exists()
    status, heard = stopped(run, data, log, NAMES[2], signal.SIGINT)
    assert status == 130 and heard.startswith("evaluate: interrupted")
    assert heard.count("\n") == 1
    status, heard = stopped(run, data, log, NAMES[5], signal.SIGKILL)
    assert (status, heard) == (-signal.SIGKILL, "")
    assert {file.stem for file in kept(run).glob("*.npz")} == set(NAMES[:6])
    last = start(run, data, log)
    told, heard = last.communicate(timeout=120)
    assert (last.returncode, heard) == (0, "") and "NLL (Bernoulli, 3 samples)" in told
    assert lines(log) == NAMES, "each block once"
    assert not list(run.glob(".*")) and not list(tmp_path.glob(".*"))
    whole = shutil.copytree(trained, tmp_path / "whole")
    monkeypatch.setattr(partial, "BLOCK", BLOCK)
    evaluate_run(whole, data)
    assert contents(run) == contents(whole)


# --- what is kept, in this process ---------------------------------------------------------------


@pytest.fixture(scope="module")
def model(trained: Path) -> torch.nn.Module:
    return load_trained(trained)[1]


@pytest.fixture(scope="module")
def dataset(data: Path) -> Dataset:
    return open_dataset(data, "tiny")


def test_wherever_it_is_cut_it_goes_on_to_the_same_bits(
    model, dataset: Dataset, tmp_path: Path, small_blocks, monkeypatch
) -> None:
    """With all that a block can hold: features, latents' moments, NLL, a finite data set's."""
    features = Counting(784)

    def measured(**more) -> dict:
        return bits(work(latents_of(model), dataset, features.features(), **more).measure())

    whole = measured()
    # 25 images; 95 samples, of which 20 are reconstructed, of each of two samplers.
    count = len(blocks(25)) + 2 * len(blocks(95))
    for after in (0, 2, 4, 6, 7, 12, 17, count - 1):
        counts, features.seen = Counts(monkeypatch), 0
        folder = tmp_path / str(after)
        with pytest.raises(Cut):
            measured(partial=CutShort(folder, {"of": "this"}, after))
        assert len(list(folder.glob("*.npz"))) == after
        assert measured(partial=Partial(folder, {"of": "this"})) == whole, after
        # But for the block that it was cut in nothing was measured twice.
        assert 25 + 2 * 20 <= counts.data + counts.samples <= 25 + 2 * 20 + BLOCK
        assert features.seen == counts.data + counts.samples
        before = counts.data, counts.samples
        assert measured(partial=Partial(folder, {"of": "this"})) == whole
        assert (counts.data, counts.samples) == before, "nothing but what is kept"
        monkeypatch.undo()
        monkeypatch.setattr(partial, "BLOCK", BLOCK)


def cut(run: Path, data: Path, after: int = 3, **more) -> None:
    """Evaluate, and stop after so many blocks."""
    with pytest.MonkeyPatch.context() as patch:
        left, put = [after], Partial.put

        def counted(self: Partial, name: str, arrays: dict[str, np.ndarray]) -> None:
            put(self, name, arrays)
            left[0] -= 1
            if not left[0]:
                raise Cut

        patch.setattr(Partial, "put", counted)
        with pytest.raises(Cut):
            evaluate_run(run, data, **more)


def test_what_is_kept_is_not_measured_again(
    run: Path, data: Path, small_blocks, monkeypatch
) -> None:
    cut(run, data)
    counts = Counts(monkeypatch)
    evaluate_run(run, data)
    assert (counts.data, counts.samples) == (1, 20)
    assert not kept(run).exists()


def other_weights(run: Path) -> None:
    file = run / "final_model" / "model.pt"
    state = torch.load(file, weights_only=True)
    state["model_state_dict"]["encoder.embedding.bias"] += 0.5
    torch.save(state, file)


def other_samples(run: Path) -> None:
    file = run / "run.json"
    record = json.loads(file.read_text())
    record["config"]["evaluation"]["samples"] = 21
    file.write_text(json.dumps(record))


def another_split(run: Path) -> None:
    """As it lies there after `--split train`."""
    file = kept(run) / "of.json"
    of = json.loads(file.read_text())
    assert of["split"] == "eval"
    file.write_text(json.dumps(of | {"split": "train"}))


def damaged_record(run: Path) -> None:
    (kept(run) / "of.json").write_text('{"format": ')


CHANGES = [other_weights, other_samples, another_split, damaged_record]


@pytest.mark.parametrize("change", CHANGES)
def test_blocks_of_anything_else_are_thrown_away(
    change: Callable[[Path], None], trained: Path, run: Path, data: Path, tmp_path: Path,
    small_blocks, monkeypatch,
) -> None:  # fmt: skip
    cut(run, data)
    change(run)
    counts = Counts(monkeypatch)
    evaluate_run(run, data)
    assert (counts.data, counts.samples) == (25, 21 if change is other_samples else 20)
    whole = shutil.copytree(trained, tmp_path / "whole")
    if change in CHANGES[:2]:
        change(whole)
    evaluate_run(whole, data)
    assert contents(run) == contents(whole)
    assert not kept(run).exists()


def test_blocks_of_one_split_are_none_of_anothers(
    run: Path, data: Path, small_blocks, monkeypatch
) -> None:
    cut(run, data)
    counts = Counts(monkeypatch)
    evaluate_run(run, data, "train")
    assert (counts.data, counts.samples) == (70, 20)
    evaluate_run(run, data, "eval")
    assert counts.data == 71, "and the first go on all the same"


def test_blocks_of_other_data_are_thrown_away(
    data: Path, tmp_path: Path, small_blocks, monkeypatch
) -> None:
    """Of a reference row, which any data set has."""
    made.dataset(tmp_path / "more", counts=(70, 26))
    how = HOW.model_copy(update={"features": [], "finite": None})
    directory = ReferenceDirectory(tmp_path / "references" / "mean_image")

    def evaluate(dataset: Dataset) -> None:
        row = references_of([], how, dataset, torch.device("cpu"))[0]
        networks = work(None, dataset).networks
        evaluate_reference(row, directory, how, dataset, "eval", networks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Partial, "discard", lambda self: None)
        evaluate(open_dataset(data, "tiny"))
    counts = Counts(monkeypatch)
    evaluate(open_dataset(data, "tiny"))
    assert (counts.data, counts.samples) == (0, 0), "all of it was still there"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Partial, "discard", lambda self: None)
        evaluate(open_dataset(data, "tiny"))
    counts.data = counts.samples = 0
    evaluate(open_dataset(tmp_path / "more", "tiny"))
    assert (counts.data, counts.samples) == (26, 20)
    assert directory.measured_splits()["eval"]["images"] == 26


@pytest.mark.parametrize("damage", ["empty", "a few bytes", "half", "a changed bit"])
def test_a_damaged_block_is_measured_again(
    damage: str, trained: Path, run: Path, data: Path, tmp_path: Path, small_blocks, monkeypatch
) -> None:
    cut(run, data)
    file = kept(run) / "reconstruction-1.npz"
    whole = file.read_bytes()
    half = len(whole) // 2
    changed = whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]
    wrong = {"empty": b"", "a few bytes": whole[:9], "half": whole[:half], "a changed bit": changed}
    file.write_bytes(wrong[damage])
    counts = Counts(monkeypatch)
    evaluate_run(run, data)
    assert counts.data == BLOCK + 1, "that block, and the last"
    undisturbed = shutil.copytree(trained, tmp_path / "whole")
    evaluate_run(undisturbed, data)
    assert contents(run) == contents(undisturbed)


def test_bounds_depend_on_the_count_alone(small_blocks) -> None:
    assert [list(block) for block in blocks(17)] == [[*range(8)], [*range(8, 16)], [16]]
    assert blocks(0) == []


def test_without_a_folder_nothing_is_kept(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    nowhere = Partial()
    nowhere.put("block", {"a": np.zeros(3)})
    assert nowhere.get("block") is None
    nowhere.discard()
    assert not list(tmp_path.iterdir())
