"""Classes, and shapes drawn for them: a value that every change replaces by another.

Coordinates are column and row, whole numbers at the corners of pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, floor

import numpy as np
import shapely
from rasterio.features import rasterize
from shapely import Geometry

from hyperpeft.errors import LabelsError
from hyperpeft.records import LARGEST_ID, Colour, palette

Grid = tuple[int, int]
_SEVERAL = -1  # in the place of a class: shapes of several classes
_LARGE = 2**16  # pixels of a shape's frame


@dataclass(frozen=True)
class LabelClass:
    """A class of labels."""

    id: int
    name: str
    colour: Colour


@dataclass(frozen=True)
class Shape:
    """A point or polygon of a class."""

    geometry: Geometry
    class_id: int


@dataclass(frozen=True)
class LabelSet:
    """Classes and shapes; later shapes lie above earlier ones.

    Attributes
    ----------
    classes : tuple of LabelClass
    shapes : tuple of Shape
    """

    classes: tuple[LabelClass, ...] = ()
    shapes: tuple[Shape, ...] = ()

    def of_id(self, class_id: int) -> LabelClass:
        """A class by its id; LabelsError where there is none."""
        for known in self.classes:
            if known.id == class_id:
                return known
        raise LabelsError(f"there is no class {class_id}")

    def with_class(self, name: str, colour: Colour | None = None) -> tuple[LabelSet, LabelClass]:
        """One class more; its colour is that of the project's palette unless given."""
        text = self._name(name)
        number = max((c.id for c in self.classes), default=0) + 1
        if number > LARGEST_ID:
            raise LabelsError("class ids", expected=f"at most {LARGEST_ID}")
        if colour is None:
            colour = self._free_colour(number, text)
        made = LabelClass(number, text, colour)
        return replace(self, classes=(*self.classes, made)), made

    def renamed(self, class_id: int, name: str) -> LabelSet:
        """A class with another name."""
        old = self.of_id(class_id)
        return self._with(replace(old, name=self._name(name, but=class_id)))

    def recoloured(self, class_id: int, colour: Colour) -> LabelSet:
        """A class with another colour."""
        return self._with(replace(self.of_id(class_id), colour=colour))

    def without_class(self, class_id: int) -> LabelSet:
        """Without a class and its shapes."""
        self.of_id(class_id)
        return LabelSet(
            tuple(c for c in self.classes if c.id != class_id),
            tuple(s for s in self.shapes if s.class_id != class_id),
        )

    def merged(self, class_id: int, into: int) -> LabelSet:
        """All shapes of a class given to another, and the class removed."""
        if class_id == into:
            raise LabelsError("merge", expected="two classes", got="the same one twice")
        self.of_id(into)
        moved = tuple(
            replace(s, class_id=into) if s.class_id == class_id else s for s in self.shapes
        )
        return replace(self, shapes=moved).without_class(class_id)

    def with_shapes(self, class_id: int, geometries: Sequence[Geometry]) -> LabelSet:
        """More shapes of a class; what is empty is left out."""
        self.of_id(class_id)
        new = tuple(Shape(g, class_id) for whole in geometries for g in _parts(whole))
        return replace(self, shapes=(*self.shapes, *new))

    def without_shape_at(self, column: float, row: float) -> LabelSet:
        """Without the topmost shape in whose pixels a place lies."""
        pixel = shapely.box(floor(column), floor(row), floor(column) + 1, floor(row) + 1)
        spot = shapely.Point(column, row)
        for index in range(len(self.shapes) - 1, -1, -1):
            geometry = self.shapes[index].geometry
            if geometry.intersects(pixel if geometry.geom_type == "Point" else spot):
                return replace(self, shapes=self.shapes[:index] + self.shapes[index + 1 :])
        return self

    def erased(self, area: Geometry) -> LabelSet:
        """Without what lies in an area: points in it, and its part of polygons."""
        kept: list[Shape] = []
        for shape in self.shapes:
            if not shape.geometry.intersects(area):
                kept.append(shape)
            elif shape.geometry.geom_type != "Point":
                rest = shapely.make_valid(shape.geometry).difference(area)
                kept += [replace(shape, geometry=part) for part in _parts(rest)]
        return replace(self, shapes=tuple(kept))

    def pixels(self, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labelled pixels, by their index in the flat grid, and their classes; and conflicts.

        A pixel belongs to a polygon that its centre lies in, and to a point that lies in it. A
        pixel in shapes of several classes has none, as on the command line: it is a conflict.

        Returns
        -------
        index : ndarray of int64, shape (n,)
        ids : ndarray of int32, shape (n,)
        conflicts : ndarray of int64, shape (m,)
        """
        parts = [(pixels_of(s.geometry, grid), s.class_id) for s in self.shapes]
        size = grid[0] * grid[1]
        if sum(len(p) for p, _ in parts) > size // 8:  # of many pixels sorting takes long
            claimed = np.zeros(size, np.int32)
            for p, i in parts:
                before = claimed[p]
                claimed[p] = np.where((before == 0) | (before == i), i, _SEVERAL)
            places = np.flatnonzero(claimed > 0)
            return places, claimed[places], np.flatnonzero(claimed == _SEVERAL)
        keys = [np.empty(0, np.int64), *(p * (LARGEST_ID + 1) + i for p, i in parts)]
        index, ids = np.divmod(np.unique(np.concatenate(keys)), LARGEST_ID + 1)
        places, first, claims = np.unique(index, return_index=True, return_counts=True)
        clear = claims == 1
        return places[clear], ids[first[clear]].astype(np.int32), places[~clear]

    def counts(self, grid: Grid) -> dict[int, int]:
        """Labelled pixels of each class."""
        _, ids, _ = self.pixels(grid)
        found = dict(zip(*(a.tolist() for a in np.unique(ids, return_counts=True)), strict=True))
        return {c.id: found.get(c.id, 0) for c in self.classes}

    def _with(self, changed: LabelClass) -> LabelSet:
        new = tuple(changed if c.id == changed.id else c for c in self.classes)
        return replace(self, classes=new)

    def _name(self, name: str, but: int = 0) -> str:
        text = " ".join(name.split())
        if not text:
            raise LabelsError("a class needs a name")
        if any(c.name.casefold() == text.casefold() and c.id != but for c in self.classes):
            raise LabelsError(f"there is a class {text!r} already", hint="merge the two instead")
        return text

    def _free_colour(self, number: int, name: str) -> Colour:
        taken = {c.colour for c in self.classes}
        named = palette([number], {number: name})[number]
        if named not in taken:
            return named
        return next(c for c in palette(range(1, len(taken) + 2)).values() if c not in taken)


def stroke(path: Sequence[tuple[float, float]], radius: float) -> Geometry:
    """What a brush of a radius in pixels paints along a path: at least the pixels it starts in."""
    column, row = path[0]
    first = shapely.box(floor(column), floor(row), floor(column) + 1, floor(row) + 1)
    line = shapely.Point(path[0]) if len(path) < 2 else shapely.LineString(path)
    painted = line.buffer(max(radius, 0.5), quad_segs=4).simplify(0.1)
    return shapely.union_all([painted, first])


def pixels_of(geometry: Geometry, grid: Grid) -> np.ndarray:
    """Indices (n,) int64 in the flat grid of the pixels that a shape labels.

    Those of small shapes are kept: of a large one every stroke of the brush makes another.
    """
    west, north, east, south = geometry.bounds
    large = min(east - west, grid[1]) * min(south - north, grid[0]) > _LARGE
    return _burnt(geometry, grid) if large else _kept(geometry, grid)


def _burnt(geometry: Geometry, grid: Grid) -> np.ndarray:
    height, width = grid
    west, north, east, south = geometry.bounds
    left, top = max(0, floor(west)), max(0, floor(north))
    right, bottom = min(width, max(ceil(east), left + 1)), min(height, max(ceil(south), top + 1))
    if right <= left or bottom <= top:
        return np.empty(0, np.int64)
    moved = shapely.transform(geometry, lambda xy: xy - (left, top))
    burnt = rasterize([(moved, 1)], out_shape=(bottom - top, right - left), dtype="uint8")
    rows, columns = np.nonzero(burnt)
    found: np.ndarray = (rows + top).astype(np.int64) * width + columns + left
    found.setflags(write=False)
    return found


_kept = lru_cache(maxsize=2**16)(_burnt)


def _parts(geometry: Geometry) -> list[Geometry]:
    """Points and polygons of a geometry that are not empty."""
    parts = [geometry]
    while any(p.geom_type.startswith(("Multi", "GeometryC")) for p in parts):
        parts = [q for p in parts for q in getattr(p, "geoms", [p])]
    return [p for p in parts if p.geom_type in ("Point", "Polygon") and not p.is_empty]
