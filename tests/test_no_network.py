"""With the network taken away a whole study ends well, and nothing of it as much as tries it.

Two witnesses: in every Python process a hook notes names that are looked up and addresses beyond
this machine; and the kernel counts, for processes of any language, what had nowhere to go.
"""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from evaluate.features.inception import FILE
from evaluate.metric import OF_FEATURES, feature_key
from study.provenance import ROOT
from tests.reproducing import command, write_study
from tests.tracked import GONE_WRONG, logged

# As `sitecustomize`, which Python imports at its start.
HOOK = """
import os, sys

def note(*words):
    with open(os.environ["WITNESS"], "a") as file:
        print(os.getpid(), *map(repr, words), file=file)

def beyond(address):
    return isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost")

def hook(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        if beyond(args[1]):
            note("tried", event, args[1])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        if args[0] not in (None, "", "127.0.0.1", "::1", "localhost"):
            note("tried", event, args[0])

sys.addaudithook(hook)
note("began", *sys.orig_argv)
"""
# Sets up the loopback, which every machine has, runs a command, and adds what the kernel counted.
INSIDE = """
import fcntl, socket, struct, subprocess, sys

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
    fcntl.ioctl(plain, 0x8914, struct.pack("16sh14x", b"lo", 0x41))  # SIOCSIFFLAGS: up, running
done = subprocess.run(sys.argv[2:])
ip4 = [line.split() for line in open("/proc/self/net/snmp") if line.startswith("Ip:")]
ip6 = dict(line.split() for line in open("/proc/self/net/snmp6"))
lost = int(dict(zip(*ip4))["OutNoRoutes"]) + int(ip6.get("Ip6OutNoRoutes", 0))
with open(sys.argv[1], "w") as file:
    print(lost, file=file)
sys.exit(done.returncode)
"""
TRYING = """
import contextlib, socket
with contextlib.suppress(OSError):
    socket.create_connection(("192.0.2.1", 80), timeout=1)
with contextlib.suppress(OSError):
    socket.getaddrinfo("download.pytorch.org", 443)
"""
# A command in whose process the classifier, a quarter of a minute's work, takes few steps.
BRIEFLY = """
import dataclasses, runpy, sys
from evaluate.features import store

store.RECIPE = dataclasses.replace(store.RECIPE, steps=20)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@cache
def unshare() -> list[str] | None:
    """How to start a process without network here; None where the kernel lets nobody."""
    for words in (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]):
        try:
            if subprocess.run([*words, "true"], capture_output=True).returncode == 0:
                return words
        except FileNotFoundError:
            return None
    return None


class Offline:
    """Commands run without network, and what the witnesses saw of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "hook").mkdir()
        (folder / "hook" / "sitecustomize.py").write_text(HOOK)
        self.witness, self.count = folder / "witness", folder / "count"

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self.folder / "hook"), os.environ.get("PYTHONPATH", "")])
        watched = {"PYTHONPATH": path.rstrip(os.pathsep), "WITNESS": str(self.witness)}
        start = [*(unshare() or []), sys.executable, "-c", INSIDE, str(self.count)]
        environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        return subprocess.run(
            [*start, *words],
            env=environment | watched | variables,
            capture_output=True,
            text=True,
            cwd=ROOT,
        )

    @property
    def began(self) -> str:
        return "\n".join(line for line in self._lines() if " 'began' " in line)

    @property
    def tried(self) -> list[str]:
        return [line for line in self._lines() if " 'tried' " in line]

    @property
    def lost(self) -> int:
        return int(self.count.read_text())

    def _lines(self) -> list[str]:
        return self.witness.read_text().splitlines()


@pytest.fixture
def offline(tmp_path: Path) -> Offline:
    if unshare() is None:
        pytest.skip("'unshare --net' is not to be had here: the network cannot be taken away")
    (tmp_path / "watch").mkdir()
    return Offline(tmp_path / "watch")


def test_the_witnesses_see_an_attempt(offline: Offline) -> None:
    assert offline.run(sys.executable, "-c", TRYING).returncode == 0
    literal, connected, looked_up = offline.tried
    assert literal.endswith("socket.getaddrinfo' '192.0.2.1'")
    assert connected.endswith("socket.connect' ('192.0.2.1', 80)")
    assert looked_up.endswith("socket.getaddrinfo' 'download.pytorch.org'")
    assert offline.lost > 0


def test_a_study_tries_nothing_and_ends_well(offline: Offline, tmp_path: Path) -> None:
    """Weights that are not there are asked for, a classifier is trained, wandb mirrors it."""
    asks = {
        "evaluation.lpips": ["vgg", "alex"],
        "evaluation.features": ["classifier", "inception"],
    }
    study = write_study(
        tmp_path,
        runs=[{"name": "vae", "config": "vae.json", "label": "VAE"}],
        seeds=[0],
        set=asks,
        tracking={"mode": "offline"},
    )
    work = tmp_path / "work"
    python, *words = command(study, work)
    done = offline.run(python, "-c", BRIEFLY, *words, TORCH_HOME=str(tmp_path / "hub"))
    assert done.returncode == 0, done.stderr
    entry = json.loads((work / "runs/made/vae/seed-0/metrics.json").read_text())["splits"]["eval"]
    assert entry["missing"]["LPIPS"] == "vgg16-397923af.pth was not found"
    missing = {feature_key(key, "inception") for key in OF_FEATURES}
    assert missing <= set(entry["unavailable"]) and f"{FILE} was not found" in done.stderr
    assert "'python -m evaluate prefetch' on a machine with internet fetches it" in done.stderr
    assert (work / "data/shapes/classifier.pt").is_file()
    # Tracked in files of the run, by processes of their own, which were watched, too.
    assert len(logged(work / "runs/made/vae/seed-0")) == 2
    assert done.stderr.count(GONE_WRONG) == done.stderr.count(" uploads it") == 3
    assert "reproduce.py" in offline.began
    assert offline.began.count("'study.wandb_process'") == 3
    assert offline.tried == [] and offline.lost == 0
