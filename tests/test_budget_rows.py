"""A budget with rows of its own: which runs it has, and what is made of them."""

import argparse
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluate.claims.judge import judge
from evaluate.record import read_record
from reproduce import main
from slurm.names import job_name
from slurm.options import parser
from slurm.plan import digest
from slurm.queue import Job
from slurm.submit import plan
from study.clusters import load_cluster
from study.errors import StudyError
from study.expansion import load_study
from study.provenance import ROOT
from tests import reproducing
from tests.made_claims import order, reference
from tests.test_clusters import cluster
from tests.test_study import write_study

POINT = "beta-beta4.0-latent_dim2"


def budget(*rows: str, **more: Any) -> dict[str, Any]:
    return {"budgets": {"few": {"cost": "less", "rows": list(rows), **more}}}


@pytest.mark.parametrize(
    ("rows", "want"),
    [
        (["vae"], ["vae"]),
        ([POINT], [POINT]),
        # The study's order, not the budget's.
        ([POINT, "beta-beta0.5-latent_dim3", "vae"], ["vae", "beta-beta0.5-latent_dim3", POINT]),
    ],
)
def test_rows_are_the_chosen_ones_in_the_studys_order(rows, want, tmp_path: Path) -> None:
    path = write_study(tmp_path, **budget(*rows))
    study = load_study(path, "few")
    assert [cell.title for cell in study.cells] == [f"{n}/seed-{s}" for n in want for s in (1, 0)]
    assert list(study.rows()) == want
    assert len(load_study(path).cells) == 10, "the study itself has all"


def test_settings_of_a_run_reach_its_chosen_points_alone(tmp_path: Path) -> None:
    own = {"beta": {"trainer.num_epochs": 3}}
    changes = {"set": {"trainer.num_epochs": 1}, "seeds": [5], "run_set": own}
    study = load_study(write_study(tmp_path, **budget(POINT, **changes)), "few")
    (cell,) = study.cells
    assert (cell.entry, cell.title) == ("beta", f"{POINT}/seed-5")
    assert (cell.run.trainer.num_epochs, cell.run.model.beta) == (3, 4.0)


def test_settings_of_a_run_that_is_left_out_are_refused(tmp_path: Path) -> None:
    path = write_study(tmp_path, **budget(POINT, run_set={"vae": {"trainer.num_epochs": 4}}))
    load_study(path)
    with pytest.raises(StudyError) as raised:
        load_study(path, "few")
    assert str(raised.value) == (
        f"{path}: budget few: run_set.vae: the budget's rows leave this run out; drop it, or name "
        "its row"
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["vea"], r"budget few: rows: 'vea' is not one of vae, .* \(did you mean 'vae'\?\)"),
        # A run with a grid is no row: its points are.
        (["beta"], r"'beta' is not one of vae, beta-beta0\.5-latent_dim2, "),
        (["vae", "vae"], "rows: 'vae' stands there twice; once is meant"),
        ([], "budgets.few.rows: List should have at least 1 item"),
    ],
)
def test_bad_rows(rows: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=message):
        load_study(write_study(tmp_path, **budget(*rows)), "few")


def submission(study: Path, folder: Path, *more: str) -> argparse.Namespace:
    folders = [f"--{name}={folder / name}" for name in ("data", "runs", "results")]
    return parser().parse_args([str(study), *folders, *more])


def test_an_array_counts_the_chosen_rows(tmp_path: Path) -> None:
    path = write_study(tmp_path, **budget("vae", POINT))
    study, site = load_study(path, "few"), load_cluster(cluster(tmp_path))
    arguments = submission(path, tmp_path, "--budget", "few")
    what = plan(study, arguments, site, "tiny", [])
    assert what.run is not None and what.run.indices == [0, 1, 2, 3]
    assert "--array=0-3" in what.run.words({})
    # The budget itself goes to the jobs, where the same numbers count the same runs.
    assert "--budget=few" in what.run.script
    queue = [Job("7_2", "7", 2, "run", "RUNNING", "1:00", "n1", "None")]
    what = plan(study, arguments, site, "tiny", queue)
    assert what.run is not None and what.run.indices == [0, 1, 3] and what.busy == 1
    assert digest(study) != digest(load_study(path))
    names = {job_name(each, tmp_path / "runs", "run") for each in (study, load_study(path))}
    assert len(names) == 2


@pytest.mark.parametrize(("name", "rows"), [("quick", 5), ("paper", 2)])
def test_shapes_has_such_budgets(name: str, rows: int) -> None:
    study = load_study(ROOT / "configs/studies/shapes.json", name)
    assert len(study.rows()) == rows == len(study.config.budgets[name].rows or [])
    assert {cell.seed for cell in study.cells} == {0}


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A study, and the folder where its budget of one row was run."""
    folder = tmp_path_factory.mktemp("few")
    figures = [{"kind": "reconstructions"}, {"kind": "loss_curves"}]
    figures += [{"kind": "loss_curve", "name": "vae_alone", "runs": ["vae"]}]
    figures += [{"kind": "loss_curve", "name": "ae_alone", "runs": ["ae", "vae"]}]
    own = budget("ae", seeds=[7]) | {"figures": figures}
    study = reproducing.write_study(folder, **own)
    reproducing.reproduce(study, folder / "work", "--budget", "few")
    return study, folder / "work"


def test_a_whole_study_of_fewer_rows(few: tuple[Path, Path]) -> None:
    """Tables, figures and verdicts; a figure of other rows is not there, and not missed."""
    _, work = few
    folder = work / "results/made-few"
    record = read_record(folder / "runs.json")
    assert [row["name"] for row in record["rows"]] == ["ae"]
    assert [path.name for path in (work / "runs/made-few").glob("*/seed-*")] == ["seed-7"]
    table = (folder / "table.md").read_text()
    assert "| AE " in table and "VAE" not in table
    pictures = sorted(path.name for path in folder.glob("*.png"))
    assert pictures == ["ae_alone-ae.png", "loss_curves.png", "reconstructions.png"]
    page = (folder / "README.md").read_text()
    assert "vae_alone" not in page and "Not drawn" not in page
    claims = reference(
        order("vae", row="ae", kind="order", text="the AE is better"),
        rows={name: {"label": name.upper()} for name in ("ae", "vae")},
    )
    (verdict,) = judge(record, claims, "python reproduce.py made.json")
    assert verdict.verdict in ("open", "cannot tell") and "no row 'vae'" in verdict.why


def test_status_and_dry_run_tell_of_the_chosen_rows(
    few: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    study, work = few

    def shown(folder: Path, *more: str) -> str:
        words = ["reproduce.py", str(study), *reproducing.folders(folder), "--budget", "few"]
        monkeypatch.setattr(sys, "argv", [*words, *more])
        assert main() == 0
        return capsys.readouterr().out

    told = shown(work, "--status")
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in told.splitlines()]
    assert ["ae/seed-7", "1/1", "done", "done"] in rows and "vae/" not in told
    told = shown(work.parent / "other", "--dry-run", "--set", "model.latent_dim=9")
    assert "study made-few: 1 runs; less" in told and "vae/" not in told
    assert "--set model.latent_dim: 3 -> 9, in ae\n" in told
