"""How long the cells that are left will take, judged by those that are finished."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hyperpeft.benchmark.grid import Cell
from hyperpeft.errors import BundleError
from hyperpeft.runs.file_names import RUN
from hyperpeft.system.files import read_json


def estimate(cells: Sequence[Cell], folder: Path) -> float | None:
    """Seconds in one process for the cells without a record; None without any record.

    A cell takes what finished cells of the same method and scene took to train and predict; else
    of the same method, else of any.
    """
    took: dict[tuple[str, str], list[float]] = {}
    open_cells = []
    for cell in cells:
        path = folder / cell.path / RUN
        if not path.is_file():
            open_cells.append(cell)
            continue
        try:
            timing = read_json(path)["timing"]
            seconds = sum(timing.get(name) or 0.0 for name in ("train_seconds", "predict_seconds"))
        except (BundleError, OSError, KeyError, TypeError, AttributeError):
            continue  # the report says what is wrong
        for key in ((cell.scene, cell.method), ("", cell.method), ("", "")):
            took.setdefault(key, []).append(seconds)
    if not took:
        return None
    total = 0.0
    for cell in open_cells:
        keys = ((cell.scene, cell.method), ("", cell.method), ("", ""))
        known = next(took[key] for key in keys if key in took)
        total += sum(known) / len(known)
    return total
