"""Fixtures shared by all tests: real data where present, one small generated scene."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples each time; HYPOTHESIS_PROFILE=default draws new ones.
settings.register_profile("repeated", derandomize=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeated"))

# As the command line does, and before torch is loaded: see `hyperpeft.cli.main`.
os.environ.setdefault("GOMP_SPINCOUNT", "5000")
# Two test processes share the cores: one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Files of few and long tests, which would otherwise be left to one process at the end.
LONG = ("tests/test_notebook.py", "tests/test_docs.py", "tests/explorer/test_page.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; pytest-xdist gives whole files to its processes."""
    last = len(LONG)
    order = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], last))


def _folder(variable: str, beside: str) -> Path | None:
    named = os.environ.get(variable)
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / beside
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of real scenes; the test is skipped where it is absent."""
    folder = _folder("HYPERPEFT_DATA", "data")
    if folder is None:
        pytest.skip("real scenes not present: set HYPERPEFT_DATA to a folder that holds them")
    return folder


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of reference numbers of the public SpectralGPT; skipped where it is absent."""
    folder = _folder("HYPERPEFT_REFERENCE", "reference")
    if folder is None:
        pytest.skip("reference numbers not present: set HYPERPEFT_REFERENCE to their folder")
    return folder
