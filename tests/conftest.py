"""Fixtures that every test may use."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

# What tests hand to workers must be importable there: helpers live in tests/support, here and in every child
# process.
SUPPORT = str(Path(__file__).resolve().parent / "support")
sys.path.insert(0, SUPPORT)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SUPPORT, os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One private Ray cluster for all tests that need one; 4 logical processors."""
    from pipelines.cluster_session import session

    with session(address="local", num_cpus=4):
        yield


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of genuine samples; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "realdata"
    folder = Path(os.environ.get("FACEFILL_REALDATA", default))
    if not folder.is_dir():
        pytest.skip("no genuine samples here: set FACEFILL_REALDATA to their folder")
    return folder
