"""What tests of prefetching share: small files as weights, and a server of them."""

import hashlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evaluate.prefetch import Wanted, Weights

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


@contextmanager
def weights_server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


def empty_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch's hub cache, in a TORCH_HOME that is not there yet."""
    for name in ("HUB_DIR", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(folder / "home"))
    return folder / "home" / "hub" / "checkpoints"


def files(origin: str) -> dict[str, Weights]:
    return {word: Weights("a test", name, origin) for word, name in NAMES.items()}


def wanted(folder: Path | None = None, *words: str) -> list[Wanted]:
    return [Wanted(word, folder) for word in words or NAMES]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
