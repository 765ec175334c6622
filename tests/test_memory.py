"""Anonymous memory does not grow with the number of images: `benchmarks/memory.py` in small."""

import sys
from pathlib import Path

import pytest

from benchmarks.memory import OURS, make_raw, peak_mib, prepare
from tests import made

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="memory is read from /proc: Linux only"
)
IMAGE_MIB = 3 * 64 * 64 / 2**20


def test_training(tmp_path: Path) -> None:
    """18,000 images more are 211 MiB more as uint8 and 844 as floats; noise is about 20."""
    peaks = []
    for count in (2000, 20_000):
        made.dataset(tmp_path / str(count), "bench", (3, 64, 64), (count, 100))
        program = OURS.replace('"networks.width": 8', '"networks.width": 1')
        words = [sys.executable, "-c", program, str(tmp_path / str(count)), str(tmp_path / "out")]
        peaks.append(peak_mib([*words[:-1], f"{words[-1]}-{count}"]))
    assert peaks[1] - peaks[0] < 0.25 * 18_000 * IMAGE_MIB, peaks


def test_preparing(tmp_path: Path) -> None:
    """2,700 images more are 32 MiB more as uint8."""
    make_raw(tmp_path / "raw", 3000)
    peaks = [peak_mib(prepare(tmp_path / "raw", tmp_path / str(n), n)) for n in (300, 3000)]
    assert peaks[1] - peaks[0] < 0.25 * 2700 * IMAGE_MIB, peaks
