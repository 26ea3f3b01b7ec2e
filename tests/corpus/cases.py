"""All rooms of the corpus, in the order of docs/bad-input.md."""

from __future__ import annotations

from corpus import (  # noqa: F401
    adapters,
    arrays,
    benches,
    checkpoints,
    commands,
    configs,
    labels,
    options,
    outputs,
    products,
    rasters,
    runs,
    splits,
    stores,
    vectors,
)
from corpus.table import CASES

__all__ = ["CASES"]
