"""Options, the `.npz` stream, work spread over processes."""

import math
import operator
import os
import subprocess
import sys
import typing
import zipfile

import numpy as np
import pytest

from data_prep.npz_stream import write_npz
from data_prep.options import OPTIONS, check_options, default_name
from data_prep.pool import IN_FLIGHT_PER_WORKER, in_order
from data_prep.prepare import BUILDERS, prepare
from study.errors import RunFailed, StudyError
from study.npz import open_array
from study.schema_files import StudyData
from tests.raw_data import ROOT, run_cli


def test_default_names():
    assert default_name("shapes", {}) == "shapes"
    assert default_name("shapes", {"clean": True}) == "shapes-clean"
    assert default_name("mnist", {}) == "mnist"
    assert default_name("fashion_mnist", {}) == "fashion_mnist"
    assert default_name("celeba", {"image_size": 56, "crop": 178}) == "celeba56"
    assert default_name("folder", {"image_size": 64}) == "folder64"


def test_studies_know_every_data_set():
    known = typing.get_args(StudyData.model_fields["dataset"].annotation)
    assert known == tuple(OPTIONS) == tuple(BUILDERS)


@pytest.mark.parametrize(
    ("dataset", "options", "complaint"),
    [
        ("celebA", {}, "no data set 'celebA' (did you mean 'celeba'?)"),
        ("shapes", {"sed": 1}, "sed: unknown key (did you mean 'seed'?)"),
        ("shapes", {"seed": -1}, "seed: "),
        ("shapes", {"seed": "1"}, "seed: "),
        ("mnist", {"seed": 1}, "seed: unknown key"),
        ("celeba", {}, "image_size: this key is missing"),
        (
            "celeba",
            {"image_size": 10},
            "image_size: a whole number from 11 (the window of SSIM) to",
        ),
        ("celeba", {"image_size": 1025}, "to 1024 is wanted, not 1025"),
        ("celeba", {"image_size": 64, "crop": 0}, "crop: "),
        ("celeba", {"image_size": 64, "crop": True}, "crop: "),
        ("celeba", {"image_size": 64, "limit_eval": 0}, "limit_eval: "),
        (
            "celeba",
            {"image_size": 64, "crop": 101, "half_size": True},
            "half_size: the crop of",
        ),
        ("fashion_mnist", {"seed": 1}, "seed: unknown key"),
        ("folder", {}, "image_size: this key is missing"),
        (
            "folder",
            {"image_size": 64, "crop": 63},
            "or a whole number from 64 (image_size)",
        ),
        ("folder", {"image_size": 64, "eval": 1.0}, "eval: a whole number of images or a share"),
        ("folder", {"image_size": 64, "test": -1}, "test: a whole number of images or a share"),
        ("folder", {"image_size": 64, "test": True}, "test: a whole number of images or a share"),
        ("folder", {"image_size": 64, "eval": float("nan")}, "eval: a whole number of images"),
    ],
)
def test_options_are_strict(dataset, options, complaint):
    with pytest.raises(StudyError) as error:
        check_options(dataset, options)
    assert complaint in str(error.value)


@pytest.mark.parametrize("size", [11, 1024])
def test_image_sizes_that_just_may_be(size):
    assert check_options("celeba", {"image_size": size}).image_size == size


def test_options_errors_begin_with_the_file():
    with pytest.raises(StudyError, match=r"^study\.json: data\.options: sed: unknown key"):
        check_options("shapes", {"sed": 1}, "study.json: data.options")


def test_celeba_needs_its_folder(tmp_path):
    with pytest.raises(StudyError, match="--raw"):
        prepare("celeba", {"image_size": 16}, None, tmp_path)


@pytest.mark.parametrize("dataset", OPTIONS)
def test_help_names_every_option(dataset):
    done = run_cli(dataset, "--help", env=os.environ | {"COLUMNS": "300"})
    assert done.returncode == 0
    for key, field in OPTIONS[dataset].model_fields.items():
        assert f"--{key.replace('_', '-')}" in done.stdout
        assert field.description in done.stdout


@pytest.mark.parametrize("arguments", [[], ["shape"], ["shapes", "--sed", "1"], ["celeba"]])
def test_usage_mistakes_cost_one_line(arguments):
    done = run_cli(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_workers_need_not_import_torch():
    # A started process imports the main module anew: with torch that costs seconds and memory.
    code = "import sys, data_prep.__main__; print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def chunks_of(array, step):
    return (array[first : first + step] for first in range(0, len(array), step))


def test_stream_reads_back(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 4, 5), dtype=np.uint8)
    arrays = {
        "labels": np.arange(10),
        "attributes": np.ones((10, 4), np.int8)[:, ::2],
        "names": np.array(["a", "über"]),
        "empty": np.zeros((0, 3)),
    }
    write_npz(tmp_path / "a.npz", images.shape, chunks_of(images, 3), arrays)
    write_npz(tmp_path / "b.npz", images.shape, chunks_of(images, 4), arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as loaded:
        for key, array in ({"data": images} | arrays).items():
            assert loaded[key].dtype == array.dtype
            assert np.array_equal(loaded[key], array)
            assert np.array_equal(open_array(tmp_path / "a.npz", key), array)
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
        assert archive.testzip() is None


@pytest.mark.parametrize("count", [9, 11])
def test_stream_of_another_length(tmp_path, count):
    images = np.zeros((10, 1, 2, 2), np.uint8)
    with pytest.raises(ValueError, match="10 rows written"):
        write_npz(tmp_path / "a.npz", (count, 1, 2, 2), chunks_of(images, 3), {})


@pytest.mark.parametrize("chunk", [np.zeros((2, 1, 2, 2)), np.zeros((2, 1, 2, 3), np.uint8)])
def test_stream_of_another_kind(tmp_path, chunk):
    with pytest.raises(ValueError, match="a chunk of"):
        write_npz(tmp_path / "a.npz", (2, 1, 2, 2), [chunk], {})


@pytest.mark.parametrize("workers", [1, 2])
def test_results_are_in_order_and_few_in_flight(workers):
    drawn = []

    def tasks():
        for i in range(60):
            drawn.append(i)
            yield i

    results = []
    for result in in_order(operator.neg, tasks(), workers):
        results.append(result)
        assert len(drawn) - len(results) <= IN_FLIGHT_PER_WORKER * workers
    assert results == [-i for i in range(60)]


def test_error_of_a_task_is_raised():
    results = in_order(math.sqrt, [4, -1, 9], 2)
    assert next(results) == 2
    with pytest.raises(ValueError, match="math domain"):
        list(results)


def test_worker_that_dies():
    with pytest.raises(RunFailed, match="a decoding process died"):
        list(in_order(os._exit, [1], 2))
