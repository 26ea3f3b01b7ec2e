"""All cases of the corpus, in the order of docs/bad-input.md."""

from __future__ import annotations

from importlib import import_module

from corpus.table import CASES

for module in (
    "arrays", "rasters", "products", "stores", "labels", "vectors", "splits", "configs", "options",
    "benches", "checkpoints", "adapters", "runs", "commands", "outputs", "sizes",
):  # fmt: skip
    import_module(f"corpus.{module}")

__all__ = ["CASES"]
