"""Raw files made for tests, and the command line run as a user would."""

import gzip
import os
import struct
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.__main__ import main
from study.errors import run_command

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "data_prep"]
NAMES = [f"Attribute_{i}" for i in range(40)]
IDX_CODES = {"u1": 0x08, "i1": 0x09, ">i2": 0x0B, ">i4": 0x0C, ">f4": 0x0D, ">f8": 0x0E}


def real_data(name: str) -> Path:
    """The folder of a real data set under VAE_STUDY_DATA; skips the test where there is none."""
    given = os.environ.get("VAE_STUDY_DATA")
    if not given:
        pytest.skip("VAE_STUDY_DATA does not name a folder with the real data")
    folder = Path(given) / name
    if not folder.is_dir():
        pytest.skip(f"VAE_STUDY_DATA holds no {name}/")
    return folder


def jpeg(seed: int, width: int = 178, height: int = 218, mode: str = "RGB") -> bytes:
    """A smooth random picture as JPEG."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    file = BytesIO()
    picture.convert(mode).save(file, "JPEG", quality=90)
    return file.getvalue()


def split_code(number: int, train: int, eval_: int) -> int:
    """The partition's code where the first images are train, the next eval, the others test."""
    return 0 if number <= train else 1 if number <= train + eval_ else 2


def fake_celeba(folder: Path, train: int = 8, eval_: int = 3, test: int = 3) -> Path:
    """A small official folder: images 000001.jpg and on, partition, attributes."""
    images = folder / "img_align_celeba"
    images.mkdir(parents=True)
    numbers = range(1, train + eval_ + test + 1)
    rows = []
    for n in numbers:
        (images / f"{n:06d}.jpg").write_bytes(jpeg(n))
        bits = np.where(np.random.default_rng(n).random(40) < 0.5, 1, -1)
        rows.append(f"{n:06d}.jpg " + " ".join(f"{b:2d}" for b in bits))
    lines = [f"{n:06d}.jpg {split_code(n, train, eval_)}" for n in numbers]
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    head = f"{len(rows)}\n{' '.join(NAMES)} \n"
    (folder / "list_attr_celeba.txt").write_text(head + "\n".join(rows) + "\n")
    return folder


def zipped_celeba(raw: Path, folder: Path, packing: int = zipfile.ZIP_STORED) -> Path:
    """The same official folder with its images in img_align_celeba.zip."""
    folder.mkdir()
    for name in ("list_eval_partition.txt", "list_attr_celeba.txt"):
        (folder / name).write_bytes((raw / name).read_bytes())
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w", packing) as archive:
        archive.mkdir("img_align_celeba")
        # Not in order, as the published one.
        for path in sorted((raw / "img_align_celeba").iterdir(), reverse=True):
            archive.write(path, f"img_align_celeba/{path.name}")
    return folder


def idx_bytes(array: np.ndarray, code: str = "u1") -> bytes:
    """`array` as an IDX file."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, IDX_CODES[code], array.ndim, *array.shape)
    return head + array.astype(code).tobytes()


def fake_mnist(folder: Path) -> Path:
    """Four IDX files of the right names and kinds, not of the right content."""
    folder.mkdir(parents=True)
    for part, count in (("train", 20), ("t10k", 10)):
        images = np.arange(count * 9).reshape(count, 3, 3) % 256
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        packed = gzip.compress(idx_bytes(np.arange(count) % 10))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(packed)
    return folder


def run_cli(*arguments: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
    """`python -m data_prep ...` from the root, in a process of its own."""
    command = COMMAND + [str(a) for a in arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, **kwargs)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object, out: Path) -> str:
    """Run the command line in this process; its one line of complaint, with nothing in `out`."""
    capsys.readouterr()
    command = [str(a) for a in (*arguments, "--out", out)]
    with pytest.raises(SystemExit) as ended:
        run_command("data_prep", lambda: main(command))
    captured = capsys.readouterr()
    assert ended.value.code == 2, captured.err
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1, captured.err
    assert "Traceback" not in captured.err
    assert not out.is_dir() or list(out.iterdir()) == []
    return captured.err


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder by its name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def splits_of(folder: Path) -> dict[str, bytes]:
    """The `.npz` files of a folder by their names."""
    return {name: data for name, data in contents(folder).items() if name.endswith(".npz")}
