"""All cases of the corpus, in the order of docs/reference/bad-input.md."""

from __future__ import annotations

from importlib import import_module

from tests.corpus.table import CASES

MODULES = [
    "arrays", "rasters", "products", "labels", "vectors", "splits", "options",
    "benches", "checkpoints", "runs", "commands", "outputs",
    "assessments",
]  # fmt: skip
for name in MODULES:
    import_module(f"tests.corpus.{name}")
# pytest looks into every module for doctests, and so imports them in another order.
CASES.sort(key=lambda case: MODULES.index(case.make.__module__.removeprefix("tests.corpus.")))

__all__ = ["CASES"]
