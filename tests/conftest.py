"""Fixtures of several test files."""

from pathlib import Path

import pytest

from tests import made


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A `data/` with the set `tiny`: 70 + 25 images of 1 x 28 x 28."""
    folder = tmp_path_factory.mktemp("data")
    made.dataset(folder)
    return folder
