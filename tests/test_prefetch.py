"""`evaluate.prefetch` against real servers on this machine, good and bad."""

import hashlib
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from evaluate.prefetch import Weights, check, check_source, prefetch
from study.errors import RunFailed, StudyError
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


@pytest.fixture(scope="module")
def served() -> Iterator[Server]:
    with weights_server() as server:
        yield server


@pytest.fixture
def server(served: Server) -> Server:
    served.asked.clear()
    return served


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return empty_cache(tmp_path, monkeypatch)


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


def test_what_a_killed_one_left_goes(server: Server, tmp_path: Path) -> None:
    """torch writes under a name that is another each time; one of these may still be written."""
    for name, age in {"old": 2 * 3600, "young": 60}.items():
        left_there = tmp_path / f"{NAMES['one']}.{name}.partial"
        left_there.touch()
        os.utime(left_there, (0, time.time() - age))
    other = tmp_path / f"{NAMES['two']}.old.partial"
    other.touch()
    os.utime(other, (0, 0))
    prefetch(wanted(tmp_path, "one"), files=files(server.url("good")))
    assert left(tmp_path) == [NAMES["one"], f"{NAMES['one']}.young.partial", other.name]
