"""Points and polygons onto a scene's grid: class ids, and which polygon each pixel came from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from rasterio.enums import MergeAlg
from rasterio.features import rasterize

from hyperpeft.errors import LabelsError
from hyperpeft.records import Labels, Scene, palette
from hyperpeft.scenes.labels.features import Features
from hyperpeft.scenes.labels.pixel_coordinates import place


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
    covers = _covers(shapes, numbers, grid, all_touched, first)
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
        colours=palette(features.classes, features.classes),
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
    pairs: Iterator[tuple[object, int]], grid: tuple[int, ...], all_touched: bool, add: bool = False
) -> np.ndarray:
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
