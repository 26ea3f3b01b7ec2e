"""The tables of a report that go into the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hyperpeft.report.collect import Entry, Results, Setting
from hyperpeft.report.table import (
    LEAKAGE,
    LEAKAGE_NOTE,
    Column,
    Table,
    leakage,
    over_seeds,
    pattern,
)


def class_table(results: Results, scene: str, setting: Setting) -> Table:
    """Accuracy of each class under every method, as bars."""
    entries = results.select(scene=scene, setting=setting)
    methods = [m for m in results.methods if any(e.method == m for e in entries)]
    names = class_names(entries[0])
    ids = list(dict.fromkeys(i for e in entries for i in e.accuracies))
    rows: list[list[Any]] = []
    for i in ids:
        sizes = [(e.record["split"].get("per_class") or {}).get(i, {}) for e in entries]
        train = sorted({int(size["train"]) for size in sizes if "train" in size})
        test = sorted({int(size["test"]) for size in sizes if "test" in size})
        by_method = [
            over_seeds(
                [e for e in entries if e.method == method],
                lambda e, i=i: e.accuracies.get(i),  # type: ignore[misc]
            )
            for method in methods
        ]
        rows.append([names.get(i, i), _span(train), _span(test), *by_method])
    leaks = [leakage([e for e in entries if e.method == m]) for m in methods]
    rows.append([LEAKAGE, "", "", *("-" if leak is None else f"{leak:.1f}" for leak in leaks)])
    columns = [Column("Class"), Column("Training pixels"), Column("Test pixels")]
    columns += [Column(method, 1, bar=True) for method in methods]
    note = f"Percent of each class's test pixels, mean ± standard deviation. {LEAKAGE_NOTE}."
    return Table(
        f"classes-{scene}-{setting.slug}", f"Classes of {scene}: {setting.words}", columns, rows,
        note, pattern(entries),
    )  # fmt: skip


def figures_table(results: Results, scene: str, setting: Setting) -> Table | None:
    """Recall, precision and F1 of each class under the reference method."""
    own = results.select(scene=scene, setting=setting)
    shown = results.reference if any(e.method == results.reference for e in own) else own[0].method
    entries = [e for e in own if e.method == shown]
    by_entry = {e.path: e.class_scores for e in entries}
    ids = list(dict.fromkeys(i for found in by_entry.values() for i in found))
    if not ids:
        return None
    names = class_names(entries[0])
    rows: list[list[Any]] = [
        [
            names.get(i, i),
            *(
                over_seeds(entries, lambda e, i=i, n=name: by_entry[e.path].get(i, {}).get(n))  # type: ignore[misc]
                for name in ("recall", "precision", "f1")
            ),
        ]
        for i in ids
    ]
    columns = [Column("Class"), *(Column(name, 1) for name in ("Recall", "Precision", "F1"))]
    note = "Percent, mean ± standard deviation. Recall is the producer's accuracy, precision the "
    note += f"user's; a figure without pixels is left out of its mean. {LEAKAGE_NOTE}."
    leak = leakage(entries)
    rows.append([LEAKAGE, "-" if leak is None else f"{leak:.1f}", "", ""])
    return Table(
        f"figures-{scene}-{setting.slug}", f"{shown} on {scene}: {setting.words}", columns, rows,
        note, pattern(entries),
    )  # fmt: skip


def _span(numbers: Sequence[int]) -> str:
    if not numbers:
        return "-"
    low, high = f"{numbers[0]:,}", f"{numbers[-1]:,}"
    return low if low == high else f"{low} to {high}"


def class_names(entry: Entry) -> dict[str, str]:
    """Names by id, as in the record."""
    scene = entry.record["scene"]
    return {
        str(i): str(name)
        for i, name in zip(scene.get("class_ids", []), scene.get("classes", []), strict=False)
    }
