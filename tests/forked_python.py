"""A Python that has imported torch already, for a study of fifty runs that take no time.

    python -m tests.forked_python SOCKET

imports what `python -m slurm.job run` needs, four seconds of it, once, and then forks for everyone
who asks at the socket: a process with the words, variables, folder and output of the one who asked.
`write_python` makes the `python` that asks. All else of a job is real, and a process of its own.
"""

import importlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

# All that a run's job imports in the course of its work, for seconds.
MODULES = (
    *("reproduce", "slurm.job", "slurm.plan", "train.run", "evaluate.run", "evaluate.cells"),
    *("torch._dynamo", "matplotlib.pyplot"),
)

# With -c, or for another job than a run's, it is the Python that it stands for.
_CLIENT = """#!{python} -IS
import json, os, socket, sys
if sys.argv[1:4] != ["-m", "slurm.job", "run"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    asked = json.dumps([sys.argv[3:], dict(os.environ), os.getcwd()]).encode()
    socket.send_fds(server, [len(asked).to_bytes(4, "big")], [1, 2])
    server.sendall(asked)
    sys.exit(int(server.recv(1)[0]))
"""


def write_python(venv: Path, address: Path) -> Path:
    """A virtual environment whose Python asks the one at `address`."""
    python = venv / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(_CLIENT.format(python=sys.executable, address=str(address)))
    python.chmod(0o755)
    return venv


def main() -> None:
    for name in MODULES:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(sys.argv[1])
        server.listen(64)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that no child has to be waited for
        while True:
            one, _ = server.accept()
            with one:
                if os.fork() == 0:
                    server.close()
                    _serve(one)


def _serve(one: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, output, *_ = socket.recv_fds(one, 4, 2)
    with one.makefile("rb") as asked:
        words, variables, folder = json.loads(asked.read(int.from_bytes(length, "big")))
    for number, descriptor in enumerate(output, start=1):
        os.dup2(descriptor, number)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    sys.argv = ["slurm.job", *words]
    one.sendall(bytes([_work()]))
    os._exit(0)


def _work() -> int:
    from slurm.job import main as job
    from study.errors import run_command
    from study.stopping import stoppable

    try:
        with stoppable():
            run_command("slurm", job)
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    main()
