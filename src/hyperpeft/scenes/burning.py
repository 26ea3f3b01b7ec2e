"""Points and polygons onto a scene's grid: class ids, and which polygon each pixel came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from hyperpeft.errors import LabelsError
from hyperpeft.records import Labels, Scene
from hyperpeft.scenes.colours import palette
from hyperpeft.scenes.features import Features


def burn(features: Features, scene: Scene, *, all_touched: bool = False) -> Labels:
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
    what = f"labels {features.source}"
    notes = list(features.notes)
    shapes, ids, numbers = _parts(features, notes, what)
    placed = _to_pixels(shapes, features, scene, notes, what)
    inside = _inside(placed, scene.valid.shape)
    if not inside.any():
        raise LabelsError(f"{what} lie outside scene {scene.name}", **_extents(features, scene))
    if not inside.all():
        lost = np.count_nonzero(~inside)
        notes.append(f"{what}: {lost} of {len(inside)} {_kind(shapes)} lie outside the scene")
    shapes, ids, numbers = placed[inside], ids[inside], numbers[inside]

    grid = scene.valid.shape
    first, class_of, claims = _burn(shapes, ids, numbers, grid, all_touched=False)
    if all_touched:  # the centre rule goes first: what a polygon merely touches is filled in
        touched = _burn(shapes, ids, numbers, grid, all_touched=True)
        open_ = claims == 0
        for mine, theirs in zip((first, class_of, claims), touched, strict=True):
            mine[open_] = theirs[open_]
    clear = claims == 1
    covers = _covers(shapes, numbers, grid, all_touched, first)
    rule = "the centre rule, then what they touch" if all_touched else "the centre rule"
    kind = _kind(shapes)
    notes.append(
        f"{what}: {np.count_nonzero(clear)} pixels labelled from {np.count_nonzero(covers)} "
        f"{kind} by {rule}"
    )
    if (claims > 1).any():
        notes.append(
            f"{what}: {np.count_nonzero(claims > 1)} pixels lie in {kind} of several classes and "
            "stay unlabelled"
        )
    doubled = np.count_nonzero(_depth(shapes, grid)[clear] > 1)
    if doubled:
        notes.append(f"{what}: {doubled} pixels lie in several {kind} of their class")
    if not covers.all():
        notes.append(
            f"{what}: {np.count_nonzero(~covers)} of {len(covers)} {kind} cover no pixel centre; "
            "--all-touched labels what they touch"
        )
    if not clear.any():
        raise LabelsError(f"{what} label no pixel of {scene.name}", got="; ".join(notes))
    class_of[~clear] = 0
    lost_classes = sorted(set(features.classes) - set(np.unique(class_of).tolist()))
    if lost_classes:
        names = ", ".join(f"{i} ({features.classes[i]})" for i in lost_classes)
        notes.append(f"{what}: no pixel of class {names}")
    return Labels(
        ids=class_of,
        classes=dict(sorted(features.classes.items())),
        colours=palette(features.classes),
        source=features.source,
        regions=np.where(clear, first, 0).astype(np.int32),
        notes=tuple(notes),
    )


def _parts(
    features: Features, notes: list[str], what: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Single points and polygons, their class ids and their numbers; the rest is counted."""
    import shapely

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
    import shapely

    if features.in_pixels:
        return shapes
    if scene.transform is None:
        raise LabelsError(
            f"{what} cannot be placed: scene {scene.name} has no georeference",
            do="give the scene as a georeferenced file, a raster of labels on its grid, or a CSV "
            "with the columns row, column and class",
        )
    if features.crs is not None and scene.crs is not None:
        shapes = _reproject(shapes, features.crs, scene.crs, notes, what)
    elif features.crs is not None:
        notes.append(f"{what}: scene {scene.name} names no CRS; taken to be that of the labels")
    a, b, c, d, e, f = scene.transform
    inverse = np.linalg.inv(np.array([[a, b], [d, e]]))
    return np.asarray(
        shapely.transform(shapes, lambda xy: (xy - np.array([c, f])) @ inverse.T), dtype=object
    )


def _reproject(
    shapes: np.ndarray, source: str, target: str, notes: list[str], what: str
) -> np.ndarray:
    import shapely
    from rasterio.crs import CRS
    from rasterio.errors import CRSError
    from rasterio.warp import transform

    try:
        theirs, ours = CRS.from_user_input(source), CRS.from_user_input(target)
    except CRSError as problem:
        raise LabelsError(f"{what}: their CRS cannot be understood ({problem})") from None
    if theirs == ours:
        return shapes

    def move(xy: np.ndarray) -> np.ndarray:
        return np.stack(transform(theirs, ours, xy[:, 0], xy[:, 1]), axis=1)

    names = [crs.to_string() if len(crs.to_string()) < 40 else _name(crs) for crs in (theirs, ours)]
    notes.append(f"{what}: reprojected from {names[0]} to {names[1]}")
    return np.asarray(shapely.transform(shapes, move), dtype=object)


def _name(crs: object) -> str:
    """The name in a CRS without a code."""
    return str(crs).split('"')[1] if '"' in str(crs) else "another CRS"


def _inside(shapes: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Which geometries reach into the grid, by their bounds; lost projections do not."""
    import shapely

    west, north, east, south = shapely.bounds(shapes).T
    height, width = grid
    with np.errstate(invalid="ignore"):
        reach: np.ndarray = (east >= 0) & (west < width) & (south >= 0) & (north < height)
    return reach & np.isfinite(west + north + east + south)


def _extents(features: Features, scene: Scene) -> dict[str, Any]:
    import shapely

    if features.in_pixels or scene.transform is None:
        return {"expected": f"rows and columns within {scene.valid.shape}"}
    a, b, c, d, e, f = scene.transform
    height, width = scene.valid.shape
    corners = np.array([(a * x + b * y + c, d * x + e * y + f) for x in (0, width)
                        for y in (0, height)])  # fmt: skip
    box = (*corners.min(axis=0), *corners.max(axis=0))
    return {
        "expected": f"coordinates within {_box(box)} of its CRS",
        "got": f"{_box(shapely.total_bounds(features.geometries))} in {features.crs or 'no CRS'}",
    }


def _box(bounds: object) -> str:
    west, south, east, north = (f"{float(v):.10g}" for v in np.asarray(bounds).tolist())
    return f"x {west} to {east}, y {south} to {north}"


def _rasterize(
    pairs: Iterator[tuple[object, int]], grid: tuple[int, ...], all_touched: bool, add: bool = False
) -> np.ndarray:
    from rasterio.enums import MergeAlg
    from rasterio.features import rasterize

    merge = MergeAlg.add if add else MergeAlg.replace
    array: np.ndarray = rasterize(
        pairs, out_shape=grid, fill=0, all_touched=all_touched, merge_alg=merge, dtype="int32"
    )
    return array


def _first(
    shapes: np.ndarray, numbers: np.ndarray, grid: tuple[int, ...], all_touched: bool
) -> np.ndarray:
    """The number of the first geometry over each pixel, 0 where there is none."""
    pairs = zip(shapes[::-1], numbers[::-1].tolist(), strict=True)
    return _rasterize(pairs, grid, all_touched)


def _burn(
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
    shapes: np.ndarray,
    numbers: np.ndarray,
    grid: tuple[int, ...],
    all_touched: bool,
    first: np.ndarray,
) -> np.ndarray:
    """Which geometries cover a pixel, hidden ones included: burn what has not been seen again."""
    seen = np.isin(numbers, first)
    fresh = bool(seen.any())
    while fresh and not seen.all():
        visible = np.isin(numbers, _first(shapes[~seen], numbers[~seen], grid, all_touched))
        fresh = bool(visible.any())
        seen |= visible
    return seen


def _kind(shapes: np.ndarray) -> str:
    import shapely

    types = set(shapely.get_type_id(shapes).tolist())
    return {frozenset({0}): "points", frozenset({3}): "polygons"}.get(
        frozenset(types), "points and polygons"
    )
