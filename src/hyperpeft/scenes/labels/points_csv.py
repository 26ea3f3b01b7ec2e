"""Labelled points as a table of text: CSV with a header, separated by comma, semicolon or tab.

x,y,class              in the scene's CRS; also easting,northing
lon,lat,class          WGS 84 degrees (EPSG:4326)
row,column,class       pixels from 0, for scenes without a georeference
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import shapely

from hyperpeft.errors import LabelsError
from hyperpeft.scenes.labels.features import Features, choose_field, to_ids
from hyperpeft.scenes.readers.detect import Probe

SUFFIXES = (".csv", ".tsv")
_COORDINATES = (  # names of the first and the second axis, CRS, in pixels
    (("x", "easting", "east"), ("y", "northing", "north"), None, False),
    (("lon", "longitude", "long", "lng"), ("lat", "latitude"), "EPSG:4326", False),
    (("column", "col"), ("row", "line"), None, True),
)
_EXAMPLE = "a header such as x,y,class or lon,lat,class or row,column,class"


def is_table(probe: Probe) -> bool:
    """Whether a file is a table of points, by its name."""
    return not probe.is_folder and probe.suffix in SUFFIXES


def read_table(probe: Probe, key: str | None, class_field: str | None) -> Features:
    """Read labelled points.

    Raises
    ------
    LabelsError
        No header, no coordinates, a coordinate that is no number, or no clear class column.
    """
    path = probe.path
    table = text_columns(path, f"{_EXAMPLE}, and a line for each point")
    lower = {name.lower(): name for name in table}
    found = []
    for first, second, crs, in_pixels in _COORDINATES:
        x = next((lower[name] for name in first if name in lower), None)
        y = next((lower[name] for name in second if name in lower), None)
        if x is not None and y is not None:
            found.append((x, y, crs, in_pixels))
    if not found:
        raise LabelsError(f"labels {path}", expected=_EXAMPLE, got=", ".join(table))
    if len(found) > 1:
        pairs = " and ".join(f"{x},{y}" for x, y, _, _ in found)
        raise LabelsError(
            f"labels {path} give every point twice", expected="one pair of columns", got=pairs,
            hint="delete the other columns",
        )  # fmt: skip
    x, y, crs, in_pixels = found[0]
    points = np.stack([_numbers(path, name, table[name]) for name in (x, y)], axis=1)
    if in_pixels:
        points = points + 0.5  # centres
    rest = {name: column for name, column in table.items() if name not in (x, y)}
    what = f"labels {path.name}"
    field, notes = choose_field(what, rest, class_field)
    ids, classes = to_ids(what, field, rest)
    return Features(
        geometries=shapely.points(points),
        ids=ids,
        classes=classes,
        crs=crs,
        source=f"{path.name} field {field}",
        in_pixels=in_pixels,
        notes=tuple(notes),
    )


def text_columns(path: Path, expected: str) -> dict[str, np.ndarray]:
    """Columns of text by their names; `expected` says what there has to be.

    Raises
    ------
    LabelsError
        Not a table of a header and lines of as many values.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        text = path.read_text(encoding="latin-1")
    if "\0" in text:
        raise LabelsError(f"labels {path}", expected="text in UTF-8", got="bytes that are no text")
    head = text.partition("\n")[0]
    separator = max(",;\t", key=head.count)
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=separator) if any(row)]
    except csv.Error as problem:
        raise LabelsError(f"labels {path} cannot be read as a table ({problem})") from None
    names = [name.strip() for name in rows[0]] if rows else []
    if len(rows) < 2 or len(set(names)) < len(names):
        raise LabelsError(f"labels {path}", expected=expected)
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(names):
            raise LabelsError(
                f"labels {path}, row {number}", expected=f"{len(names)} values", got=row
            )
    columns = zip(*([value.strip() for value in row] for row in rows[1:]), strict=True)
    return {n: np.array(c, dtype=object) for n, c in zip(names, columns, strict=True)}


def _numbers(path: Path, name: str, column: np.ndarray) -> np.ndarray:
    numbers = np.full(len(column), np.nan)
    for i, text in enumerate(column.tolist()):
        try:
            numbers[i] = float(text.replace("_", "?"))  # Python reads 1_1 as 11
        except ValueError:
            raise LabelsError(
                f"labels {path}, point {i + 1}: {name}",
                expected="a number, with a point for the decimals",
                got=repr(text),
            ) from None
    return numbers
