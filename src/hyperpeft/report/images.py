"""Class maps and confusion matrices, from what lies beside the records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from hyperpeft.report.class_tables import class_names
from hyperpeft.report.collect import Entry, Results, Setting
from hyperpeft.runs.file_names import PICTURE


class Map(NamedTuple):
    """A picture of a run: its class map alone, or beside false colour and ground truth."""

    method: str
    data: str  # data: URL
    whole: bool
    words: str
    record: str


class Confusion(NamedTuple):
    """Pixels of all seeds: names, rows of (percent, pixels), and pixels per true class."""

    method: str
    names: list[str]
    rows: list[list[tuple[float, int]]]
    totals: list[int]
    seeds: int


def maps(results: Results, scene: str, setting: Setting) -> list[Map]:
    """One picture per method, of the first seed that was mapped: none is chosen by its score."""
    entries = results.select(scene=scene, setting=setting)
    mapped = [e for e in entries if e.picture is not None]
    if not mapped:
        return []
    seed = min(e.seed for e in mapped)
    found = []
    for entry in mapped:
        if entry.seed != seed or entry.picture is None:
            continue
        whole = entry.picture.name == PICTURE
        score = entry.metric("oa")
        words = f"Class map of {scene} by {entry.method}, {setting.words}, seed {seed}"
        words += f", OA {score:.1f} %" if score is not None else ""
        words += "; false colour and ground truth beside it" if whole else ""
        url = f"data:image/png;base64,{entry.picture.base64()}"
        found.append(Map(entry.method, url, whole, words, entry.path))
    return found


def legend(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """Name and CSS colour of each class."""
    scene: dict[str, Any] = entries[0].record["scene"]
    return [
        (str(name), "rgb({}, {}, {})".format(*colour))
        for name, colour in zip(scene.get("classes", []), scene.get("colours", []), strict=False)
    ]


def confusions(results: Results, scene: str, setting: Setting) -> list[Confusion]:
    """Confusion matrices summed over seeds."""
    found = []
    entries = results.select(scene=scene, setting=setting)
    for method in dict.fromkeys(e.method for e in entries):
        own = [e for e in entries if e.method == method]
        names = class_names(own[0])
        ids = sorted({int(i) for e in own for i in e.record["metrics"].get("class_ids", [])})
        place = {i: k for k, i in enumerate(ids)}
        total = [[0] * len(ids) for _ in ids]
        for entry in own:
            scores = entry.record["metrics"]
            here = [place[int(i)] for i in scores.get("class_ids", [])]
            for r, row in zip(here, scores.get("confusion", []), strict=False):
                for c, pixels in zip(here, row, strict=False):
                    total[r][c] += int(pixels)
        sums = [sum(row) for row in total]
        rows = [
            [(100 * n / whole if whole else 0.0, n) for n in row]
            for row, whole in zip(total, sums, strict=True)
        ]
        labels = [names.get(str(i), str(i)) for i in ids]
        found.append(Confusion(method, labels, rows, sums, len(own)))
    return found
