"""A small server that takes what `wandb sync` uploads, as far as wandb asks before it sends."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

HISTORY, SUMMARY = "wandb-history.jsonl", "wandb-summary.json"


class Server(ThreadingHTTPServer):
    """What it was given, by run id."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        # Operations in the order in which they came: name, and their run where they have one.
        self.asked: list[tuple[str, str | None]] = []
        # Files of lines: what stands at an offset and after it is written anew.
        self.files: dict[str, dict[str, list[dict]]] = {}
        self.uploaded: dict[str, bytes] = {}
        # Status codes that it is to answer with instead, by operation or `file_stream`.
        self.refuses: dict[str, int] = {}

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that is killed in the middle is part of what is tested."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def history(self, run: str) -> list[dict]:
        """The lines of a run's history, without wandb's own keys but for `_step`."""
        lines = self.files[run].get(HISTORY, [])
        kept = ({k: v for k, v in e.items() if k == "_step" or k[0] != "_"} for e in lines)
        return list(kept)

    def runs(self) -> set[str]:
        return {run for name, run in self.asked if name == "UpsertBucket" and run}

    def take(self, run: str, files: dict[str, Any]) -> None:
        """Lines of a file stream, which holds each file from its offset on."""
        for name, chunk in files.items():
            lines = [json.loads(line) for line in chunk["content"]] if name != "output.log" else []
            stored = self.files.setdefault(run, {}).setdefault(name, [])
            stored[chunk["offset"] :] = lines

    def answer(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """The data that wandb reads of an operation's answer."""
        me = {"id": "e", "name": "me"}
        match name:
            case "UpsertBucket":
                project = {"id": "p", "name": given["project"], "entity": me}
                about = {"id": "r", "name": given["name"], "displayName": given["displayName"]}
                return {"upsertBucket": {"bucket": about | {"project": project}, "inserted": True}}
            case "RunResumeStatus":
                return {"model": {"name": "p", "entity": me, "bucket": self._bucket(given["name"])}}
            case "CreateRunFiles":
                files = [{"name": n, "uploadUrl": f"{self.url}/upload/{n}"} for n in given["files"]]
                return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
            case "CreateArtifact":
                found = {"id": "a", "state": "COMMITTED", "artifactSequence": {"id": "s"}}
                return {"createArtifact": {"artifact": found}}
        if "viewer" in name.lower():
            return {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}"}}
        return {}

    def _bucket(self, run: str) -> dict[str, Any] | None:
        """What a run that is to be resumed has already."""
        if run not in self.files:
            return None
        lines = self.files[run].get(HISTORY, [])
        summary = json.dumps(self.files[run].get(SUMMARY, [{}])[-1])
        about = {"id": "r", "name": run, "displayName": run, "config": "{}", "tags": []}
        counts = {"historyLineCount": len(lines), "eventsLineCount": 0, "logLineCount": 0}
        tails = {"historyTail": json.dumps([json.dumps(e) for e in lines[-1:]]), "eventsTail": "[]"}
        known = {"summaryMetrics": summary, "wandbConfig": json.dumps({"t": 1})}
        return about | counts | tails | known


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command == "PUT":
            self.server.uploaded[self.path] = body
            self._send(200, {})
        elif self.path.endswith("/file_stream"):
            self._stream(json.loads(body))
        elif self.path == "/graphql" and body:
            self._graphql(json.loads(body))
        else:
            self._send(404, {})

    do_PUT = do_POST

    def _stream(self, body: dict[str, Any]) -> None:
        status = self.server.refuses.get("file_stream", 200)
        if status == 200:
            self.server.take(self.path.split("/")[-2], body.get("files") or {})
        self._send(status, {})

    def _graphql(self, body: dict[str, Any]) -> None:
        found = re.search(r"(?:query|mutation)\s+(\w+)", body["query"])
        name = found[1] if found else body["query"]
        given = body.get("variables") or {}
        self.server.asked.append((name, given.get("name")))
        status = self.server.refuses.get(name, 200)
        self._send(status, {"data": self.server.answer(name, given)} if status == 200 else {})

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def wandb_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that wandb talks to, with a home of its own in `folder`."""
    (folder / "home").mkdir()
    server = Server()
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
