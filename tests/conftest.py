"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of genuine samples; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "realdata"
    folder = Path(os.environ.get("FACEFILL_REALDATA", default))
    if not folder.is_dir():
        pytest.skip("no genuine samples here: set FACEFILL_REALDATA to their folder")
    return folder
