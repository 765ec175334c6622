"""`python -m evaluate prefetch` against real servers on this machine, good and bad."""

import hashlib
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evaluate.__main__ import main
from evaluate.metrics.weights import WeightsError, check_digest, hub_folder
from evaluate.options import WEIGHTS
from evaluate.prefetch import FILES, Wanted, Weights, check, check_source, prefetch, wanted_files
from study.errors import RunFailed, StudyError, run_command
from study.provenance import ROOT
from tests.reproducing import write_study

CONTENT = {word: word.encode() * 50_000 for word in ("one", "two")}
NAMES = {
    word: f"{word}-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    for word, content in CONTENT.items()
}


class Server(ThreadingHTTPServer):
    """Answers as the first folder of the path says: good, garbage, cut, reset, hang; or 404."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[str] = []
        self.over = threading.Event()

    def url(self, how: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{how}/"


class Answers(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        _, how, name = self.path.split("/")
        content = CONTENT.get(name.split("-")[0])
        if how == "hang":
            self.server.over.wait(30)
        elif how == "garbage":
            self.answer(b"<html>Please log in</html>")
        elif how == "nonsense":
            self.wfile.write(b"220 smtp ready\r\n")
        elif content is None or how not in ("good", "cut", "reset"):
            self.send_error(404)
        elif how == "good":
            self.answer(content)
        else:
            self.answer(content[: len(content) // 2], len(content))
        if how == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def answer(self, content: bytes, said: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(said or len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def served() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


@pytest.fixture
def server(served: Server) -> Server:
    served.asked.clear()
    return served


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's hub cache, in a TORCH_HOME that is not there yet."""
    for name in ("HUB_DIR", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hub" / "checkpoints"


def files(origin: str) -> dict[str, Weights]:
    return {word: Weights("a test", name, origin) for word, name in NAMES.items()}


def wanted(folder: Path | None = None, *words: str) -> list[Wanted]:
    return [Wanted(word, folder) for word in words or NAMES]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(capsys, monkeypatch, *words: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the command, in this process."""
    monkeypatch.setattr(sys, "argv", ["evaluate", "prefetch", *words])
    with pytest.raises(SystemExit) as ended:
        run_command("evaluate", main)
    return ended.value.code, *capsys.readouterr()


def test_fetches_what_is_not_there_and_leaves_what_is(server: Server, cache: Path, capsys) -> None:
    table = files(server.url("good"))
    prefetch(wanted(), files=table)
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == {
        name: CONTENT[word] for word, name in NAMES.items()
    }
    said = capsys.readouterr()
    digest = hashlib.sha256(CONTENT["one"]).hexdigest()
    assert said.out.splitlines()[0] == (
        f"one: fetched: {cache / NAMES['one']}, 150.0 kB, SHA-256 {digest}"
    )
    assert said.err == "", "no bar where there is no terminal"
    times = [path.stat().st_mtime_ns for path in sorted(cache.iterdir())]
    prefetch(wanted(), files=table)
    assert capsys.readouterr().out.count(": whole: ") == 2
    assert [path.stat().st_mtime_ns for path in sorted(cache.iterdir())] == times
    assert len(server.asked) == 2 and check(wanted(), table) == 0


def test_damaged_file_is_said_and_fetched_anew(server: Server, tmp_path: Path, capsys) -> None:
    path = tmp_path / NAMES["one"]
    path.write_bytes(CONTENT["one"][:-1])
    prefetch(wanted(tmp_path, "one"), files=files(server.url("good")))
    said = capsys.readouterr()
    assert said.err.startswith(f"one: damaged: {path}, ") and "cut short" in said.err
    assert path.read_bytes() == CONTENT["one"] and said.out.startswith("one: fetched: ")
    # Where it cannot be, what there is stays.
    path.write_bytes(b"damaged")
    with pytest.raises(RunFailed):
        prefetch(wanted(tmp_path, "one"), files=files(server.url("nowhere")))
    assert path.read_bytes() == b"damaged" and left(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("garbage", "what came is another file, or was cut short: invalid hash value"),
        ("cut", "what came is another file, or was cut short: invalid hash value"),
        ("reset", "Connection reset by peer"),
        ("nonsense", "the answer makes no sense: "),
        ("nowhere", "the answer was 404 Not Found"),
    ],
)
def test_bad_answer_is_a_line_and_leaves_nothing(
    how: str, why: str, server: Server, tmp_path: Path, capsys
) -> None:
    folder = tmp_path / "weights"
    with pytest.raises(RunFailed) as raised:
        prefetch(wanted(folder), files=files(server.url(how)), timeout=5)
    assert raised.value.status == 1
    assert str(raised.value) == f"prefetch: not fetched: {NAMES['one']}, {NAMES['two']}"
    one, two = capsys.readouterr().err.splitlines()
    assert one.startswith(f"one: not fetched: {server.url(how)}{NAMES['one']}: {why}")
    assert f"copy it to {folder / NAMES['one']}, or " in one and one.endswith("by --from")
    assert two.startswith("two: ") and len(server.asked) == 2
    assert left(folder) == []


def test_one_that_fails_keeps_no_other(server: Server, cache: Path, capsys) -> None:
    table = files(server.url("good")) | {
        "none": Weights("a test", "none-00000000.pth", server.url("good"))
    }
    with pytest.raises(RunFailed, match="not fetched: none-00000000.pth$"):
        prefetch(wanted(None, "none", "two"), files=table)
    assert left(cache) == [NAMES["two"]]


def test_silence_ends_and_is_not_waited_for_again(server: Server, cache: Path, capsys) -> None:
    started = time.monotonic()
    with pytest.raises(RunFailed):
        prefetch(wanted(), files=files(server.url("hang")), timeout=0.3)
    assert time.monotonic() - started < 5
    one, two = capsys.readouterr().err.splitlines()
    assert f"{NAMES['one']}: no answer in time; " in one
    assert f"{NAMES['two']}: not tried again, since there was no answer before; " in two
    assert len(server.asked) == 1 and left(cache) == []
    assert socket.getdefaulttimeout() is None


def test_nothing_listens(tmp_path: Path, capsys) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(RunFailed):
            prefetch(wanted(tmp_path, "one"), files=files(url))
    assert f"{url}{NAMES['one']}: Connection refused; fetch it" in capsys.readouterr().err
    assert left(tmp_path) == []


def test_from_a_folder_or_the_cache(server: Server, cache: Path, tmp_path: Path, capsys) -> None:
    table = files(server.url("good"))
    mine, shared = tmp_path / "my folder", tmp_path / "shared"
    mine.mkdir()
    (mine / NAMES["one"]).write_bytes(CONTENT["one"])
    (mine / NAMES["two"]).write_bytes(b"another")
    with pytest.raises(RunFailed, match=NAMES["two"]):
        prefetch(wanted(shared), check_source(str(mine)), table)
    assert "another file, or was cut short" in capsys.readouterr().err
    assert left(shared) == [NAMES["one"]]
    (mine / NAMES["two"]).unlink()
    with pytest.raises(RunFailed):
        prefetch(wanted(shared), check_source(str(mine)), table)
    assert "No such file" in capsys.readouterr().err
    # What torch's cache has is copied from there.
    cache.mkdir(parents=True)
    (cache / NAMES["two"]).write_bytes(CONTENT["two"])
    prefetch(wanted(shared), files=table)
    assert left(shared) == sorted(NAMES.values()) and server.asked == []
    # A damaged one there is no source.
    (shared / NAMES["two"]).unlink()
    (cache / NAMES["two"]).write_bytes(b"damaged")
    prefetch(wanted(shared), files=table)
    assert (shared / NAMES["two"]).read_bytes() == CONTENT["two"] and len(server.asked) == 1


@pytest.mark.parametrize(
    "text", ["nowhere", "ftp://a.org/x", "http://", "https://a:b/", "http://[a", "file:///tmp"]
)
def test_source_that_is_none(text: str) -> None:
    with pytest.raises(StudyError, match="--from .*: neither a folder that is there nor") as raised:
        check_source(text)
    assert raised.value.status == 2


def test_where_nothing_can_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    table = files(server.url("good"))
    with pytest.raises(StudyError, match="cannot be written: .*--weights names") as raised:
        prefetch(wanted(tmp_path / "file" / "folder"), files=table)
    assert raised.value.status == 2
    (tmp_path / NAMES["one"]).mkdir()
    with pytest.raises(StudyError, match="a folder stands where the file should"):
        prefetch(wanted(tmp_path), files=table)


def test_disk_that_takes_no_more(server: Server, tmp_path: Path) -> None:
    """A real refusal by the kernel in the middle of the file (EFBIG)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(RunFailed) as raised:
            prefetch(wanted(tmp_path, "one"), files=files(server.url("good")))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    want = f"{tmp_path / NAMES['one']}: File too large; nothing of it was left"
    assert str(raised.value) == want and raised.value.status == 1
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


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
