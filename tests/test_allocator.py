"""Memory that a step frees is kept for the next."""

import os
import platform
import subprocess
import sys

import pytest

from study.provenance import ROOT

FAULTS = """
import resource, sys, torch
if sys.argv[1] == "kept":
    from train.allocator import keep_freed_memory
    keep_freed_memory()
torch.set_num_threads(1)
def step():
    held = torch.ones(10_000_000)
for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone is told")
def test_memory_that_is_freed_is_kept() -> None:
    """Pages that the system hands out again, in twenty steps of 40 MB each."""

    def faults(how: str) -> int:
        environment = {k: v for k, v in os.environ.items() if "MALLOC" not in k}
        words = [sys.executable, "-c", FAULTS, how]
        done = subprocess.run(
            words, capture_output=True, text=True, check=True, cwd=ROOT, env=environment
        )
        return int(done.stdout)

    # Not all: a block may still have to be cut out of the heap anew.
    assert faults("kept") < 0.5 * faults("given back")
