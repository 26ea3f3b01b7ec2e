"""Points and polygons one by one, in the pixel coordinates of a scene."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform

from hyperpeft.errors import LabelsError
from hyperpeft.records import Scene
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
    shapes = _to_pixels(shapes, features, scene, notes, what)
    inside = _inside(shapes, scene.valid.shape)
    if not inside.any():
        raise LabelsError(f"{what} lie outside scene {scene.name}", **_extents(features, scene))
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


def _box(bounds: object) -> str:
    west, south, east, north = (f"{float(v):.10g}" for v in np.asarray(bounds).tolist())
    return f"x {west} to {east}, y {south} to {north}"


def _kind(shapes: np.ndarray) -> str:
    types = set(shapely.get_type_id(shapes).tolist())
    return {frozenset({0}): "points", frozenset({3}): "polygons"}.get(
        frozenset(types), "points and polygons"
    )
