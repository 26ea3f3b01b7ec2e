"""A sample as a GeoPackage: points to be checked, and beside them the design that drew them.

    points   id, reference (empty text), comment; with the map's class only where it is asked for
    design   id, stratum, map_id, row, col: a table without geometry, which a GIS does not draw
    strata   stratum, name, pixels, hectares, checked: one row a stratum
    about    key, value: map, sha256 of the map, seed, rule of allocation

The judge of a point should not know what the map says there (Olofsson et al. 2014, section 5.2.2).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely

from hyperpeft.assessment.class_raster import distinct_names
from hyperpeft.errors import ConfigError, LabelsError
from hyperpeft.records import UNLABELLED
from hyperpeft.scenes import list_layers, read_layer, text_column, write_layer
from hyperpeft.system.files import flush, replacing
from hyperpeft.system.text import is_no_value

POINTS, DESIGN, STRATA, ABOUT = "points", "design", "strata", "about"
LAYERS = (POINTS, DESIGN, STRATA, ABOUT)
REFERENCE = "reference"
UNSURE = "unsure"  # a comment: the point stays without a class


@dataclass(frozen=True)
class Design:
    """How a sample was drawn.

    Attributes
    ----------
    ids, strata, map_ids, rows, columns : ndarray of int, shape (n,)
        Of each point; `strata` counts from 0.
    names : tuple of str
        Of the strata.
    pixels : ndarray of int, shape (H,)
        Pixels of each stratum.
    about : mapping of str to str
    """

    ids: np.ndarray
    strata: np.ndarray
    map_ids: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    names: tuple[str, ...]
    pixels: np.ndarray
    about: Mapping[str, str]


def write_points(
    path: Path,
    design: Design,
    xy: np.ndarray,
    crs: str | None,
    *,
    hectares: np.ndarray | None = None,
    map_names: Mapping[int, str] | None = None,
) -> None:
    """Write the sample, whole or not at all.

    Parameters
    ----------
    path : Path
        Ends in .gpkg.
    design : Design
    xy : ndarray of float, shape (n, 2)
        Coordinates of the points.
    crs : str or None
    hectares : ndarray of float, shape (H,), optional
        Of the strata.
    map_names : mapping of int to str, optional
        Class names: the map's class is then shown beside each point.
    """
    n = len(design.ids)
    blank = np.full(n, None, dtype=object)
    shown = {} if map_names is None else {
        "map_class": text_column(map_names[i] for i in design.map_ids.tolist())
    }  # fmt: skip
    checked = np.bincount(design.strata, minlength=len(design.pixels))
    areas = np.full(len(design.pixels), np.nan) if hectares is None else hectares
    with replacing(path) as temporary:
        temporary.unlink()
        write_layer(
            temporary, POINTS, {"id": design.ids, REFERENCE: blank, "comment": blank, **shown},
            shapely.to_wkb(shapely.points(xy)), crs,
        )  # fmt: skip
        write_layer(
            temporary, DESIGN,
            {"id": design.ids, "stratum": design.strata, "map_id": design.map_ids,
             "row": design.rows, "col": design.columns},
        )  # fmt: skip
        write_layer(
            temporary, STRATA,
            {"stratum": np.arange(len(checked)), "name": text_column(design.names),
             "pixels": design.pixels, "hectares": areas, "checked": checked},
        )  # fmt: skip
        write_layer(
            temporary, ABOUT,
            {"key": text_column(design.about), "value": text_column(design.about.values())},
        )  # fmt: skip
        flush(temporary)


def refuse_filled(path: Path, layers: Collection[str], fields: Sequence[str]) -> None:
    """Refuse to replace a file of points that a person has filled in, or another kind of file.

    Parameters
    ----------
    path : Path
        Need not exist.
    layers : collection of str
        All that the file has where it was written by what wants to replace it, the points first.
    fields : sequence of str
        Of the points, empty until a person fills them in.

    Raises
    ------
    ConfigError
    """
    if not path.is_file() or not path.stat().st_size:
        return
    hint = "choose another --out, or remove the file"
    columns: dict[str, np.ndarray] = {}
    try:
        if set(_layers(path)) - {"layer_styles"} == set(layers):  # QGIS keeps styles in that one
            _, _, columns = _read(path, next(iter(layers)))
    except LabelsError:
        pass
    if not set(fields) <= set(columns):
        raise ConfigError(
            f"{path} exists", expected="points that this command wrote", got="another file",
            hint=hint,
        )  # fmt: skip
    answers = [[_text(value).strip() for value in columns[field]] for field in fields]
    filled = sum(map(any, zip(*answers, strict=True)))
    if filled:
        points = "a point that is" if filled == 1 else f"{filled} points that are"
        raise ConfigError(f"{path} holds {points} filled in", hint=hint)


def read_points(
    path: Path, field: str | None
) -> tuple[dict[str, np.ndarray], np.ndarray, str | None, str]:
    """The columns of the points, their coordinates (n, 2), their CRS, and the field to use.

    The coordinates of an empty point are NaN.

    Raises
    ------
    LabelsError
        No vectors, no points, or no such field.
    """
    layers = _layers(path)
    spatial = [name for name, kind in layers.items() if kind is not None]
    layer = POINTS if POINTS in spatial else spatial[0] if len(spatial) == 1 else None
    if layer is None:
        raise LabelsError(
            f"reference {path}", expected="one layer of points", got=", ".join(spatial) or "none"
        )
    crs, wkb, columns = _read(path, layer)
    shapes = shapely.from_wkb(wkb)
    if len(shapes) == 0 or not (shapely.get_type_id(shapes) == 0).all():
        raise LabelsError(f"reference {path}", expected="points", got="other geometries or none")
    field = field or REFERENCE
    if field not in columns:
        raise LabelsError(
            f"reference {path} has no field {field!r}", expected=f"one of {', '.join(columns)}",
            hint="name the field of the classes with --class-field",
        )  # fmt: skip
    xy = np.full((len(shapes), 2), np.nan)
    xy[~shapely.is_empty(shapes)] = shapely.get_coordinates(shapes)
    return columns, xy, crs, field


def reference_ids(
    values: np.ndarray, names: dict[int, str], reference: Path, field: str, notes: list[str]
) -> np.ndarray:
    """Ids (n,) of reference classes; names that the map does not have are added to `names`.

    A value is a name as it stands, an id, or a name in other case, in this order. 0 is no class,
    as in a map, unless it is a name.

    Raises
    ------
    LabelsError
        Not one class is one of the map, or a name stands for several of them.
    """
    exact: dict[str, set[int]] = {}
    folded: dict[str, set[int]] = {}
    for i, name in (*names.items(), *distinct_names(names).items()):
        exact.setdefault(name, set()).add(i)
        folded.setdefault(name.lower(), set()).add(i)
    exact = {**{str(i): {i} for i in names}, **exact}
    new: list[str] = []
    ids = []
    for text in map(_class_text, values.tolist()):
        if text not in exact and (is_no_value(text) or text == str(UNLABELLED)):
            ids.append(UNLABELLED)
            continue
        alike = exact.get(text) or folded.get(text.lower(), set())
        if len(alike) > 1:
            raise LabelsError(
                f"reference {reference}: {text!r} in the field {field} may be several classes",
                expected=f"one of {', '.join(f'{i} ({names[i]})' for i in sorted(alike))}",
                hint="write the id, or the name as the map does",
            )
        if not alike:
            number = max([*names, 0]) + 1
            names[number], folded[text.lower()] = text, {number}
            new.append(text)
            alike = {number}
        ids += alike
    if new and len(new) == len(set(ids) - {UNLABELLED}):
        raise LabelsError(
            f"reference {reference}: no class of the field {field} is one of the map",
            expected=f"names or ids of {', '.join(n for i, n in names.items() if n not in new)}",
            got=", ".join(new[:8]),
        )
    if new:
        notes.append(f"classes that the map does not have: {', '.join(new[:12])}")
    return np.array(ids, np.int64)


def _class_text(value: object) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def read_design(path: Path) -> Design | None:
    """The design that a sample was drawn by; None for points of another origin.

    Raises
    ------
    LabelsError
        Its tables do not fit together.
    """
    if not {DESIGN, STRATA} <= set(_layers(path)):
        return None
    _, _, points = _read(path, DESIGN)
    _, _, strata = _read(path, STRATA)
    about: dict[str, np.ndarray] = {"key": np.empty(0, object), "value": np.empty(0, object)}
    if ABOUT in _layers(path):
        _, _, about = _read(path, ABOUT)
    try:
        values = [
            points[name].astype(np.int64) for name in ("id", "stratum", "map_id", "row", "col")
        ]
        pixels = strata["pixels"].astype(np.int64)[np.argsort(strata["stratum"])]
        names = tuple(str(strata["name"][i]) for i in np.argsort(strata["stratum"]))
    except (KeyError, TypeError, ValueError) as problem:
        raise LabelsError(f"the design in {path} is damaged ({problem})") from None
    ids, index = values[0], values[1]
    if len(set(ids.tolist())) != len(ids) or (index < 0).any() or (index >= len(pixels)).any() or (
        np.bincount(index, minlength=len(pixels)) > pixels
    ).any():  # fmt: skip
        raise LabelsError(
            f"the design in {path} is damaged", expected="points that are each in one stratum"
        )
    said = dict(zip(map(str, about["key"]), map(str, about["value"]), strict=True))
    a, b, c, d, e = values
    return Design(a, b, c, d, e, names, pixels, said)


def write_answer(path: Path, point: int, reference: str | None, comment: str | None) -> None:
    """Fill in what a person has seen at one point, in a transaction; the rest stays as it is.

    Raises
    ------
    LabelsError
        The file is not a sample, or has no such point.
    """
    try:
        with closing(sqlite3.connect(path, timeout=10)) as database:
            # The triggers of the spatial index name functions that only OGR's SQLite has. They
            # have nothing to do here: no geometry changes.
            for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
                database.create_function(name, 1, lambda _: 0)
            with database:
                done = database.execute(
                    f"UPDATE {POINTS} SET {REFERENCE} = ?, comment = ? WHERE id = ?",
                    (reference, comment, point),
                )
                if done.rowcount != 1:
                    raise LabelsError(f"{path} has no point {point}")
    except sqlite3.Error as problem:
        raise LabelsError(f"{path}: the answer cannot be saved ({problem})") from None


def _layers(path: Path) -> dict[str, str | None]:
    return list_layers(path)


def _read(path: Path, layer: str) -> tuple[str | None, np.ndarray, dict[str, np.ndarray]]:
    meta, geometry, columns = read_layer(path, layer)
    return meta["crs"], geometry, dict(zip(map(str, meta["fields"]), columns, strict=True))


class CheckList:
    """The points of a sample, in the order in which they are to be visited.

    Points that were deleted from the file are not among them.

    Parameters
    ----------
    path : Path
        What `hyperpeft sample` wrote.

    Attributes
    ----------
    places : ndarray of int, shape (n, 2)
        Rows and columns in the map.
    answers : list of str
        Class on the ground of each, "" where there is none yet.
    comments : list of str

    Raises
    ------
    LabelsError
        Another kind of file, or one without a field that `hyperpeft sample` wrote.
    """

    def __init__(self, path: Path) -> None:
        design = read_design(path)
        if design is None:
            raise LabelsError(f"{path} is not a sample", expected="what `hyperpeft sample` writes")
        columns, _, _, _ = read_points(path, None)
        missing = [name for name in ("id", "comment") if name not in columns]
        if missing:
            raise LabelsError(
                f"{path}: its points have lost the field {' and '.join(missing)}",
                expected=f"id, {REFERENCE} and comment",
                hint="add the field again, or draw the sample again with the same seed",
            )
        order = {i: place for place, i in enumerate(columns["id"].tolist())}
        left = np.array([i in order for i in design.ids.tolist()], bool)
        if not left.any():
            raise LabelsError(f"{path}: its points are not those of its design",
                              expected="the ids of the sample in the field id")  # fmt: skip
        self.path, self._design, self._ids = path, design, design.ids[left]
        rows = [order[i] for i in self._ids.tolist()]
        self.answers = [_text(columns["reference"][row]) for row in rows]
        self.comments = [_text(columns["comment"][row]) for row in rows]
        self.places = np.stack([design.rows, design.columns], axis=1)[left]

    @property
    def design(self) -> Design:
        """How the sample was drawn."""
        return self._design

    def __len__(self) -> int:
        return len(self.answers)

    @property
    def done(self) -> int:
        """Points that have an answer."""
        return sum(bool(answer) for answer in self.answers)

    def next_open(self, after: int = -1) -> int | None:
        """The next point without answer or remark, from the beginning again at the end."""
        n = len(self)
        for step in range(1, n + 1):
            index = (after + step) % n
            if not self.answers[index] and not self.comments[index]:
                return index
        return None

    def answer(self, index: int, name: str, comment: str = "") -> None:
        """Save the class that is on the ground at a point; "" takes the answer back.

        Raises
        ------
        LabelsError
            It cannot be saved.
        """
        write_answer(self.path, int(self._ids[index]), name or None, comment or None)
        self.answers[index], self.comments[index] = name, comment


def _text(value: object) -> str:
    return "" if value is None else str(value)
