"""Points and polygons onto a scene's grid: where they lie, class and polygon of each pixel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import MergeAlg
from rasterio.errors import CRSError
from rasterio.features import rasterize
from rasterio.warp import transform

from hyperpeft.errors import LabelsError
from hyperpeft.records import Labels, Scene, palette
from hyperpeft.scenes.labels.features import Features

_FAR = 2**24  # pixels


class Placed(NamedTuple):
    """Points and polygons of which none has parts.

    Attributes
    ----------
    shapes : ndarray of shapely geometries, shape (n,)
        Their coordinates are column and row, whole numbers at the corners of pixels.
    ids, numbers : ndarray of int, shape (n,)
        Class of each, and its place among all parts of the file, from 1.
    kind : str
        "points", "polygons" or both.
    notes : tuple of str
    """

    shapes: np.ndarray
    ids: np.ndarray
    numbers: np.ndarray
    kind: str
    notes: tuple[str, ...]


def place(features: Features, scene: Scene) -> Placed:
    """Take features apart and bring those that reach into the scene to its pixels.

    Raises
    ------
    LabelsError
        There are neither points nor polygons, the scene has no georeference, or nothing lies in
        it.
    """
    what = f"labels {features.source}"
    notes = list(features.notes)
    shapes, ids, numbers = _parts(features, notes, what)
    kind = _kind(shapes)
    drawn, shapes = shapes, _to_pixels(shapes, features, scene, notes, what)
    inside = _inside(shapes, scene.valid.shape)
    if not inside.any():
        raise LabelsError(
            f"{what} lie outside scene {scene.name}",
            **_extents(features, scene),
            hint=_misread(drawn, features, scene, what),
        )
    if not inside.all():
        lost = np.count_nonzero(~inside)
        notes.append(f"{what}: {lost} of {len(inside)} {kind} lie outside the scene")
    return Placed(shapes[inside], ids[inside], numbers[inside], kind, tuple(notes))


def _parts(
    features: Features, notes: list[str], what: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Single points and polygons, their class ids and their numbers; the rest is counted."""
    unclassed = np.count_nonzero(features.ids == 0)
    if unclassed:
        notes.append(f"{what}: {unclassed} features have no class and are left out")
    empty = shapely.is_missing(features.geometries) | shapely.is_empty(features.geometries)
    if empty.any():
        notes.append(f"{what}: {np.count_nonzero(empty)} features have no geometry")
    shapes, owner = shapely.get_parts(features.geometries, return_index=True)
    while (shapely.get_type_id(shapes) > 3).any():  # collections of collections
        shapes, inner = shapely.get_parts(shapes, return_index=True)
        owner = owner[inner]
    numbers = np.arange(1, len(shapes) + 1)
    types = shapely.get_type_id(shapes)
    lines = np.isin(types, (1, 2))
    if lines.any():
        notes.append(f"{what}: {np.count_nonzero(lines)} lines are left out")
    ids = features.ids[owner]
    use = np.isin(types, (0, 3)) & ~shapely.is_empty(shapes) & (ids != 0)
    if not use.any():
        raise LabelsError(
            what, expected="points or polygons with a class", got="; ".join(notes) or "none"
        )
    odd = np.count_nonzero(~shapely.is_valid(shapes[use]))
    if odd:
        notes.append(f"{what}: {odd} polygons cross themselves; taken as drawn (even-odd)")
    return shapes[use], ids[use], numbers[use]


def _to_pixels(
    shapes: np.ndarray, features: Features, scene: Scene, notes: list[str], what: str
) -> np.ndarray:
    """Geometries with column and row as coordinates, whole numbers at the corners of pixels."""
    if features.in_pixels:
        if not scene.flipped:
            return shapes
        height = len(scene.valid)
        turned = shapely.transform(shapes, lambda xy: np.stack([xy[:, 0], height - xy[:, 1]], 1))
        return np.asarray(turned, dtype=object)
    if scene.transform is None:
        raise LabelsError(
            f"{what} cannot be placed: scene {scene.name} has no georeference",
            hint="give the scene as a georeferenced file, a raster of labels on its grid, or a CSV "
            "with the columns row, column and class",
        )
    if features.crs is not None and scene.crs is not None:
        shapes = _reproject(shapes, features.crs, scene.crs, notes, what)
    elif features.crs is not None:
        notes.append(f"{what}: scene {scene.name} names no CRS; taken to be that of the labels")
    a, b, c, d, e, f = scene.transform
    inverse = np.linalg.inv(np.array([[a, b], [d, e]]))

    def to_pixels(xy: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", over="ignore"):
            moved: np.ndarray = (xy - np.array([c, f])) @ inverse.T
        # Lost by a projection, or so far off that GDAL would walk along its edge for hours. In a
        # ring the last point must be as the first, and NaN differs from NaN.
        moved[~(np.abs(moved) < _FAR).all(axis=1)] = np.inf
        return moved

    return np.asarray(shapely.transform(shapes, to_pixels), dtype=object)


def _reproject(
    shapes: np.ndarray, source: str, target: str, notes: list[str], what: str
) -> np.ndarray:
    try:
        theirs, ours = CRS.from_user_input(source), CRS.from_user_input(target)
    except CRSError as problem:
        raise LabelsError(f"{what}: their CRS cannot be understood ({problem})") from None
    if theirs == ours:
        return shapes

    def move(xy: np.ndarray) -> np.ndarray:
        return np.stack(transform(theirs, ours, xy[:, 0], xy[:, 1]), axis=1)

    try:
        moved = np.asarray(shapely.transform(shapes, move), dtype=object)
    except Exception as problem:  # GDAL's errors have no root that rasterio shows
        raise LabelsError(
            f"{what}: their coordinates cannot be brought to the scene's CRS ({problem})",
            hint="check the CRS that the labels name",
        ) from None
    names = [crs.to_string() if len(crs.to_string()) < 40 else _name(crs) for crs in (theirs, ours)]
    notes.append(f"{what}: reprojected from {names[0]} to {names[1]}")
    return moved


def _name(crs: object) -> str:
    """The name in a CRS without a code."""
    return str(crs).split('"')[1] if '"' in str(crs) else "another CRS"


def _inside(shapes: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Which geometries reach into the grid, by their bounds; lost projections do not."""
    west, north, east, south = shapely.bounds(shapes).T
    height, width = grid
    with np.errstate(invalid="ignore"):
        reach: np.ndarray = (east >= 0) & (west < width) & (south >= 0) & (north < height)
    return reach & np.isfinite(west + north + east + south)


def _extents(features: Features, scene: Scene) -> dict[str, Any]:
    if features.in_pixels or scene.transform is None:
        return {"expected": f"rows and columns within {scene.valid.shape}"}
    height, width = scene.valid.shape
    grid = Affine(*scene.transform)
    corners = np.array([grid @ (x, y) for x in (0, width) for y in (0, height)])
    box = (*corners.min(axis=0), *corners.max(axis=0))
    return {
        "expected": f"coordinates within {_box(box)} of its CRS",
        "got": f"{_box(shapely.total_bounds(features.geometries))} in {features.crs or 'no CRS'}",
    }


def _misread(shapes: np.ndarray, features: Features, scene: Scene, what: str) -> str | None:
    """What is likely wrong with coordinates that lie outside: degrees as metres, axes exchanged."""
    if features.in_pixels or scene.transform is None:
        return None
    bounds = np.abs(shapely.total_bounds(shapes))
    corner = np.abs(Affine(*scene.transform) @ (0.0, 0.0))
    if features.crs is None and (bounds <= [180, 90, 180, 90]).all() and max(corner) > 360:
        return "these look like degrees: name the columns lon,lat (or column,row for pixels)"
    if features.crs == "EPSG:4326":
        exchanged = shapely.transform(shapes, lambda xy: xy[:, ::-1])
        with suppress(LabelsError):
            if _inside(_to_pixels(exchanged, features, scene, [], what), scene.valid.shape).any():
                return "lon and lat seem to be exchanged"
    return None


def _box(bounds: object) -> str:
    west, south, east, north = (f"{float(v):.10g}" for v in np.asarray(bounds).tolist())
    return f"x {west} to {east}, y {south} to {north}"


def _kind(shapes: np.ndarray) -> str:
    types = set(shapely.get_type_id(shapes).tolist())
    return {frozenset({0}): "points", frozenset({3}): "polygons"}.get(
        frozenset(types), "points and polygons"
    )


def rasterize_features(features: Features, scene: Scene, *, all_touched: bool = False) -> Labels:
    """Label the pixels whose centre lies in a polygon, or in which a point lies.

    A pixel in polygons of one class belongs to the first of them; a pixel in polygons of several
    classes stays unlabelled. The notes count both, and the polygons that cover no pixel centre.
    Features of several parts are taken apart: `Labels.regions` numbers the parts, from 1 in the
    file's order.

    Parameters
    ----------
    features : Features
    scene : Scene
    all_touched : bool
        Label pixels that polygons touch as well, where the centre lies in none and all of them
        have one class.

    Returns
    -------
    Labels

    Raises
    ------
    LabelsError
        The scene has no georeference, nothing lies in it, or no pixel is labelled.
    """
    placed = place(features, scene)
    grid, ids, numbers = scene.valid.shape, placed.ids, placed.numbers
    shapes = _plain(placed.shapes)
    first, class_of, claims = _rasterize_classes(shapes, ids, numbers, grid, all_touched=False)
    doubled = _depth(shapes, grid) > 1
    if all_touched:  # the centre rule goes first: what a polygon merely touches is filled in
        touched = _rasterize_classes(shapes, ids, numbers, grid, all_touched=True)
        blank = claims == 0
        for mine, theirs in zip((first, class_of, claims), touched, strict=True):
            mine[blank] = theirs[blank]
    clear = claims == 1
    class_of[~clear] = 0
    covers = _covers(placed.shapes, shapes, numbers, grid, all_touched, first)
    counted = {
        f"pixels labelled from {np.count_nonzero(covers)} {placed.kind} by the centre rule"
        + (", then by touching" if all_touched else ""): clear,
        f"pixels lie in {placed.kind} of several classes and stay unlabelled": claims > 1,
        f"pixels lie in several {placed.kind} of their class": doubled & clear,
        f"of {len(covers)} {placed.kind} cover no pixel centre; --all-touched labels what they "
        "touch": ~covers,
    }
    what = f"labels {features.source}"
    notes = [*placed.notes]
    notes += [f"{what}: {np.count_nonzero(n)} {text}" for text, n in counted.items() if n.any()]
    if not clear.any():
        raise LabelsError(f"{what} label no pixel of {scene.name}", got="; ".join(notes))
    missing = sorted(set(features.classes) - set(np.unique(class_of).tolist()))
    if missing:
        names = ", ".join(f"{i} ({features.classes[i]})" for i in missing)
        notes.append(f"{what}: no pixel of class {names}")
    return Labels(
        ids=class_of,
        classes=dict(sorted(features.classes.items())),
        colours={**palette(features.classes, features.classes), **features.colours},
        source=features.source,
        regions=np.where(clear, first, 0).astype(np.int32),
        notes=tuple(notes),
    )


def _plain(shapes: np.ndarray) -> np.ndarray:
    """As GeoJSON, which rasterio would make of every shape each time it is burnt."""
    out = np.empty(len(shapes), dtype=object)
    out[:] = [shape.__geo_interface__ for shape in shapes]
    return out


def _rasterize(
    pairs: Iterator[tuple[object, int]],
    grid: tuple[int, ...],
    all_touched: bool,
    *,
    add: bool = False,
    corner: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """Numbers burnt into `grid` rows and columns from a corner (column, row) on."""
    merge = MergeAlg.add if add else MergeAlg.replace
    array: np.ndarray = rasterize(
        pairs, out_shape=grid, fill=0, all_touched=all_touched, merge_alg=merge, dtype="int32",
        transform=Affine.translation(*corner),
    )  # fmt: skip
    return array


def _first(
    shapes: np.ndarray,
    numbers: np.ndarray,
    grid: tuple[int, ...],
    all_touched: bool,
    corner: tuple[int, int] = (0, 0),
) -> np.ndarray:
    """The number of the first geometry over each pixel, 0 where there is none."""
    pairs = zip(shapes[::-1], numbers[::-1].tolist(), strict=True)
    return _rasterize(pairs, grid, all_touched, corner=corner)


def _rasterize_classes(
    shapes: np.ndarray,
    ids: np.ndarray,
    numbers: np.ndarray,
    grid: tuple[int, ...],
    all_touched: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per pixel the first geometry's number, a class, and how many classes claim it."""
    first = _first(shapes, numbers, grid, all_touched)
    class_of, claims = np.zeros(grid, np.int32), np.zeros(grid, np.int32)
    for c in np.unique(ids).tolist():
        wanted = _first(shapes[ids == c], numbers[ids == c], grid, all_touched) > 0
        claims += wanted
        class_of[wanted] = c
    return first, class_of, claims


def _depth(shapes: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """How many geometries cover the centre of each pixel."""
    return _rasterize(((shape, 1) for shape in shapes), grid, False, add=True)


def _covers(
    placed: np.ndarray,
    shapes: np.ndarray,
    numbers: np.ndarray,
    grid: tuple[int, ...],
    all_touched: bool,
    first: np.ndarray,
) -> np.ndarray:
    """Which geometries cover a pixel, hidden ones included.

    A point that reaches into the grid lies in a pixel of it. Polygons that have not been seen are
    burnt again, each half of the rest without those that hid it, into their bounds: many on top of
    each other cost their own pixels, not the scene's.
    """
    seen = np.isin(numbers, first) | (shapely.get_type_id(placed) == 0)
    bounds = shapely.bounds(placed)
    rest = np.flatnonzero(~seen)
    parts = [rest[np.argsort(bounds[rest, 0])]]  # neighbours stay together
    while parts:
        part = parts.pop()
        if not len(part):
            continue
        low = np.maximum(np.floor(bounds[part, :2].min(axis=0)), 0).astype(int)
        high = np.minimum(np.floor(bounds[part, 2:].max(axis=0)) + 1, grid[::-1]).astype(int)
        size, corner = tuple((high - low)[::-1].tolist()), (int(low[0]), int(low[1]))
        burnt = _first(shapes[part], numbers[part], size, all_touched, corner)
        visible = np.isin(numbers[part], burnt)
        seen[part[visible]] = True
        if visible.any():
            parts += np.array_split(part[~visible], 2)
    return seen
