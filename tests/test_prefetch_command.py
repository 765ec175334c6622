"""`python -m evaluate prefetch`: what it checks, which files are wanted, its command line."""

import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluate.__main__ import main
from evaluate.metrics.weights import WeightsError, check_digest, hub_folder
from evaluate.options import WEIGHTS
from evaluate.prefetch import FILES, Wanted, check, wanted_files
from study.errors import run_command
from study.provenance import ROOT
from tests.reproducing import write_study
from tests.weights_server import (
    CONTENT,
    NAMES,
    Server,
    empty_cache,
    files,
    left,
    wanted,
    weights_server,
)


@pytest.fixture
def server() -> Iterator[Server]:
    with weights_server() as server:
        yield server


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return empty_cache(tmp_path, monkeypatch)


def run(capsys, monkeypatch, *words: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the command, in this process."""
    monkeypatch.setattr(sys, "argv", ["evaluate", "prefetch", *words])
    with pytest.raises(SystemExit) as ended:
        run_command("evaluate", main)
    return ended.value.code, *capsys.readouterr()


def test_check_reads_every_file_whole(cache: Path, tmp_path: Path, capsys) -> None:
    table = files("http://nowhere.invalid/")
    shared = tmp_path / "a shared folder"
    cache.mkdir(parents=True)
    (cache / NAMES["one"]).write_bytes(CONTENT["one"])
    flipped = bytearray(CONTENT["two"])
    flipped[-1] ^= 1
    (cache / NAMES["two"]).write_bytes(flipped)
    assert check(wanted(shared), table) == 1
    one, two, looked, remedy = capsys.readouterr().out.splitlines()
    assert one.startswith(f"one: whole: {cache / NAMES['one']}, 150.0 kB, SHA-256 ")
    digest = hashlib.sha256(flipped).hexdigest()
    assert f"two: damaged: {cache / NAMES['two']}, 150.0 kB, SHA-256 {digest}, which " in two
    assert looked == f"looked in {shared} or {cache}" and not shared.exists()
    assert remedy.startswith("'python -m evaluate prefetch --weights ") and "internet" in remedy
    # The folder goes first, as it does in evaluation: there it is damaged, and whole in the cache.
    shared.mkdir()
    (shared / NAMES["one"]).touch()
    assert check(wanted(shared, "one"), table) == 1
    assert f"one: damaged: {shared}" in capsys.readouterr().out
    (cache / NAMES["one"]).unlink()
    assert check(wanted(None, "one"), table) == 1
    assert capsys.readouterr().out.startswith(f"one: missing: {NAMES['one']}, for a test\n")


def test_files_are_evaluations_own() -> None:
    assert tuple(FILES) == WEIGHTS
    assert {word for word in FILES if word != "inception"} == {"vgg", "alex"}


def test_which_a_study_wants(tmp_path: Path) -> None:
    asks = {
        "evaluation.lpips": ["alex", "as_published"],
        "evaluation.features": ["classifier", "inception"],
        "engine.select": "LPIPS",
    }
    less = {"cost": "Less.", "set": {"evaluation.lpips": [], "engine.select": "loss"}}
    study = write_study(tmp_path, set=asks, budgets={"less": less})
    weights = tmp_path / "weights"
    asked = [Wanted(word, weights) for word in ("alex", "vgg", "inception")]
    assert wanted_files([], study, None, weights) == [Wanted("vgg", None), *asked]
    assert wanted_files([], study, "less", None) == [Wanted("inception", None)]
    assert wanted_files([], None, None, None) == [Wanted(word, None) for word in FILES]
    assert wanted_files(["alex", "alex"], None, None, None) == [Wanted("alex", None)]


def test_study_that_wants_none(tmp_path: Path, capsys, monkeypatch) -> None:
    study = str(write_study(tmp_path))
    for more in ([], ["--check"]):
        status, said, _ = run(capsys, monkeypatch, "--study", study, *more)
        assert (status, said) == (0, "no weights are asked for\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vgg16"], "vgg16: not one of vgg, alex, inception"),
        (["--study", "none.json"], "none.json"),
        (["vgg", "--study", "x.json"], "no names with it"),
        (["--budget", "small"], "give that by --study"),
        (["--check", "--from", "/tmp"], "it takes no --from"),
        (["--from", "htp://x"], "neither a folder that is there nor an http(s) URL"),
    ],
)
def test_bad_usage_is_a_line(words: list[str], message: str, capsys, monkeypatch, cache) -> None:
    status, out, err = run(capsys, monkeypatch, *words)
    assert (status, out) == (2, "") and message in err
    assert err.startswith("evaluate: ") and err.count("\n") == 1 and not cache.exists()


def test_command_line_refuses_garbage(server: Server, tmp_path: Path, capsys, monkeypatch) -> None:
    folder = tmp_path / "weights"
    words = ["--weights", str(folder), "--from", server.url("garbage")[:-1]]
    status, out, err = run(capsys, monkeypatch, "inception", "vgg", *words)
    assert (status, out) == (1, "") and left(folder) == []
    assert server.asked == [f"/garbage/{FILES[word].file}" for word in ("inception", "vgg")]
    assert err.splitlines()[-1] == (
        f"evaluate: prefetch: not fetched: {FILES['inception'].file}, {FILES['vgg'].file}"
    )
    status, out, _ = run(capsys, monkeypatch, "--check", "--weights", str(folder))
    assert status == 1 and [line.split(":")[1] for line in out.splitlines()[:3]] == [" missing"] * 3


def test_process_of_its_own(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        mirror = f"http://127.0.0.1:{closed.getsockname()[1]}"
        words = ["prefetch", "alex", "--weights", str(tmp_path / "w"), "--from", mirror]
        done = subprocess.run(
            [sys.executable, "-m", "evaluate", *words], cwd=ROOT, capture_output=True, text=True
        )
    assert (done.returncode, done.stdout) == (1, "")
    first, last = done.stderr.splitlines()
    assert first.startswith(f"alex: not fetched: {mirror}/alexnet-owt-7be5be79.pth: Connection")
    assert last == "evaluate: prefetch: not fetched: alexnet-owt-7be5be79.pth"


@pytest.mark.parametrize("shared", [False, True])
def test_remedy_of_a_damaged_file_names_the_command(shared: bool, tmp_path: Path) -> None:
    folder = tmp_path if shared else hub_folder()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAMES["one"]).write_bytes(b"damaged")
    with pytest.raises(WeightsError) as raised:
        check_digest(folder / NAMES["one"], "http://a.org/")
    where = f" --weights {tmp_path}" if shared else ""
    assert f"; 'python -m evaluate prefetch{where}' on a machine with internet" in str(raised.value)
    assert str(raised.value).endswith(f"(it is http://a.org/{NAMES['one']})")
