"""All cases of the corpus, in the order of docs/bad-input.md."""

from __future__ import annotations

from importlib import import_module

from tests.corpus.table import CASES

ROOMS = [
    "arrays", "rasters", "products", "stores", "labels", "vectors", "splits", "configs", "options",
    "benches", "checkpoints", "adapters", "runs", "commands", "outputs", "sizes",
    "assessments", "maps",
]  # fmt: skip
for name in ROOMS:
    import_module(f"tests.corpus.{name}")
# pytest looks into every module for doctests, and so imports them in another order.
CASES.sort(key=lambda case: ROOMS.index(case.make.__module__.removeprefix("tests.corpus.")))

__all__ = ["CASES"]
