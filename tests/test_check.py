"""`reproduce.py STUDY --check`: a study as a regression test, on the claims about shapes."""

import json
import shutil
import sys
from pathlib import Path

import pytest

import reproduce
from data_prep.options import ShapesOptions
from study.errors import run_command
from tests import made
from tests.reproducing import command, folders, snapshot
from tests.reproducing import reproduce as run_reproduce

ROWS = {"wae_mmd": "WAE_MMD", "beta_vae-beta0.65": "BetaVAE"}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A study called shapes, of the source's rows, each in little."""
    folder = tmp_path_factory.mktemp("study")
    trainer = {
        "name": "BaseTrainerConfig",
        "num_epochs": 1,
        "per_device_train_batch_size": 32,
        "per_device_eval_batch_size": 32,
        "learning_rate": 1e-3,
        "no_cuda": True,
    }
    how = made.EVALUATION | {"finite": {"samples": 100, "distance_samples": 50}}
    for name, kind in ROWS.items():
        networks = {"name": "mlp", "encoder": [8], "decoder": [8]}
        sections = {"networks": networks, "trainer": trainer, "evaluation": how}
        made.run_file(folder, kind, name, dataset="shapes", **sections)
    # As the source's "Traversals" is called: whether it is drawn is what counts here.
    figures = [{"kind": "loss_curves", "name": "traversals"}]
    about = {"name": "shapes", "seeds": [0], "figures": figures}
    path = folder / "shapes.json"
    path.write_text(json.dumps(made.study_config({n: f"{n}.json" for n in ROWS}, **about)))
    return path


@pytest.fixture(scope="module")
def done(study: Path, tmp_path_factory) -> Path:
    """The folder of the study, run to its end; of its 8,002 images so few that it takes seconds."""
    work = tmp_path_factory.mktemp("done")
    manifest = made.dataset(work / "data", "shapes") / "manifest.json"
    options = ShapesOptions().model_dump()
    about = json.loads(manifest.read_text()) | {"dataset": "shapes", "options": options}
    manifest.write_text(json.dumps(about))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command(study, work)[1:])
        assert reproduce.main() == 0
    return work


@pytest.fixture
def work(done: Path, tmp_path: Path) -> Path:
    return shutil.copytree(done, tmp_path / "work")


def check(study: Path, work: Path, monkeypatch, capsys, *more: str) -> tuple[int, str, str]:
    """Exit status, stdout, stderr of `--check`; that it wrote no result."""
    before = snapshot(work / "results")
    words = [str(study), *folders(work), "--check", *more]
    monkeypatch.setattr(sys, "argv", ["reproduce.py", *words])
    with pytest.raises(SystemExit) as ended:
        run_command("reproduce", reproduce.main)
    told, heard = capsys.readouterr()
    assert snapshot(work / "results") == before
    return ended.value.code, told, heard


def edit(work: Path, claim: str, word: str) -> str:
    """Let the committed verdict on a claim have been another; returns what it was."""
    file = work / "results/shapes/verdicts.json"
    content = json.loads(file.read_text())
    (verdict,) = [v for v in content["verdicts"] if v["claim"] == claim]
    before, verdict["verdict"] = verdict["verdict"], word
    file.write_text(json.dumps(content))
    return before


def last_line(heard: str) -> str:
    return heard.splitlines()[-1]


def test_the_same_verdicts_pass(study: Path, work: Path, monkeypatch, capsys) -> None:
    status, told, _ = check(study, work, monkeypatch, capsys)
    assert status == 0
    committed = json.loads((work / "results/shapes/verdicts.json").read_text())
    counted, worse = told.splitlines()[-2:]
    claims = len(committed["verdicts"])
    words = {verdict["claim"]: verdict["verdict"] for verdict in committed["verdicts"]}
    assert words["figure-traversals"] == "drawn" and words["figure-zeroed"] == "open"
    assert claims > 5 and counted.startswith(f"{claims} claims")
    assert worse.endswith("results/shapes/verdicts.json: 0")


def test_a_worse_verdict_is_a_line_with_its_claim(study: Path, work: Path) -> None:
    """As a process, the way a CI has it."""
    before = edit(work, "vae-nn-distance", "reproduced")
    assert before != "reproduced", "a network of eight units is no match for the report's"
    results = snapshot(work / "results")
    ended = run_reproduce(study, work, "--check", status=1)
    assert f"vae-nn-distance: reproduced before, {before} now" in last_line(ended.stderr)
    assert ended.stdout.splitlines()[-1].endswith("verdicts.json: 1")
    assert "Traceback" not in ended.stderr and snapshot(work / "results") == results


def test_a_better_verdict_passes(study: Path, work: Path, monkeypatch, capsys) -> None:
    before = edit(work, "vae-nn-distance", "open")
    assert before != "open"
    assert check(study, work, monkeypatch, capsys)[0] == 0


def test_without_the_runs_what_was_settled_is_open(
    study: Path, work: Path, monkeypatch, capsys
) -> None:
    edit(work, "vae-nn-distance", "reproduced")
    shutil.rmtree(work / "runs/shapes/beta_vae-beta0.65")
    status, _, heard = check(study, work, monkeypatch, capsys, "--only", "tables")
    assert status == 1
    assert "vae-nn-distance: reproduced before, open now" in last_line(heard)
    assert not (work / "runs/shapes/beta_vae-beta0.65").exists(), "nothing was trained"


def test_a_claim_that_is_gone_is_worse(study: Path, work: Path, monkeypatch, capsys) -> None:
    file = work / "results/shapes/verdicts.json"
    content = json.loads(file.read_text())
    content["verdicts"].append(content["verdicts"][0] | {"claim": "of-old"})
    file.write_text(json.dumps(content))
    status, _, heard = check(study, work, monkeypatch, capsys)
    assert status == 1 and "of-old: " in last_line(heard)
    assert "no longer among the claims now" in last_line(heard)


def test_without_a_committed_record_nothing_is_said_to_be_worse(
    study: Path, work: Path, monkeypatch, capsys
) -> None:
    """Its figures are what claims about pictures are judged by."""
    file = work / "results/shapes/runs.json"
    file.unlink()
    status, _, heard = check(study, work, monkeypatch, capsys)
    assert status == 2 and last_line(heard).startswith(f"reproduce: {file}: not there")


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_without_committed_verdicts_nothing_runs(
    damage: str, study: Path, work: Path, monkeypatch, capsys
) -> None:
    file = work / "results/shapes/verdicts.json"
    if damage == "missing":
        file.unlink()
    else:
        file.write_text(file.read_text()[:40])
    shutil.rmtree(work / "runs")
    status, told, heard = check(study, work, monkeypatch, capsys)
    assert status == 2 and told == "" and heard.count("\n") == 1
    assert heard.startswith(f"reproduce: {file}: ")
    assert not (work / "runs").exists()
