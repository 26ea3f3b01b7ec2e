"""A class map, read block by block: its classes, their pixels and their areas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.windows import Window

from hyperpeft.errors import ConfigError
from hyperpeft.records import LARGEST_ID, UNLABELLED, Transform
from hyperpeft.scenes import (
    HECTARE,
    class_names,
    crs_of,
    hidden_by_mask,
    open_raster,
    pixel_areas,
    transform_of,
)
from hyperpeft.system.files import sha256_of

_ROWS = 2**22  # pixels of a block of rows
_SAME_PLACE = 0.1  # of a pixel, by which corners of one grid may differ: files round transforms


@dataclass(frozen=True)
class ClassRaster:
    """What a class map says of itself.

    Attributes
    ----------
    path : Path
    shape : (H, W)
    crs : str or None
        WKT.
    transform : tuple of 6 floats or None
    names : dict of int to str
        Of the classes that occur, in ascending order of id; see `distinct_names`.
    legend : dict of int to str
        All names that the file gives, also of classes that do not occur.
    pixels : dict of int to int
    hectares : dict of int to float, or None
        Mapped area of each class, where the CRS allows.
    how : str
        Which areas these are, or why there are none.
    sha256 : str
    """

    path: Path
    shape: tuple[int, int]
    crs: str | None
    transform: Transform | None
    names: dict[int, str]
    legend: dict[int, str]
    pixels: dict[int, int]
    hectares: dict[int, float] | None
    how: str
    sha256: str

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first row, ids (h, W) int32) down the map; 0 where there is no class."""
        for top in range(0, self.shape[0], _step(self.shape[1])):
            with _opened(self.path) as dataset:  # GDAL's environment must not outlive a step
                ids = _rows(self.path, dataset, top)
            yield top, ids

    def lies_on(self, other: ClassRaster) -> bool:
        """Whether its pixels are those of another raster, within a tenth of a pixel."""
        if self.shape != other.shape or (self.transform is None) != (other.transform is None):
            return False
        if self.transform is None or other.transform is None:
            return True
        height, width = self.shape
        corners = np.array([(x, y, 1) for x in (0, width) for y in (0, height)])
        moves = np.subtract(self.transform, other.transform).reshape(2, 3) @ corners.T
        a, b, _, d, e, _ = self.transform
        return bool(np.abs(np.linalg.solve([[a, b], [d, e]], moves)).max() <= _SAME_PLACE)

    def classes_at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Ids (n,) at these pixels; 0 outside."""
        height, width = self.shape
        found = np.full(len(rows), UNLABELLED, np.int64)
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        for top, ids in self.blocks():
            here = inside & (rows >= top) & (rows < top + len(ids))
            found[here] = ids[rows[here] - top, columns[here]]
        return found


def count_pixels(
    ids: np.ndarray,
    top: int,
    areas: np.ndarray | None,
    pixels: dict[int, int],
    hectares: dict[int, float],
) -> None:
    """Add the pixels of rows from `top` on, and their hectares, to those of each id.

    Parameters
    ----------
    ids : ndarray of int, shape (h, W)
    areas : ndarray of float, shape (H,), or None
        Of a pixel of each row of the raster, in square metres.
    """
    for i, count in zip(*np.unique(ids, return_counts=True), strict=True):
        pixels[int(i)] = pixels.get(int(i), 0) + int(count)
    if areas is not None:
        part = np.repeat(areas[top : top + len(ids)] / HECTARE, ids.shape[1])
        for i, area in enumerate(np.bincount(ids.ravel(), weights=part).tolist()):
            hectares[i] = hectares.get(i, 0.0) + area


def read_class_raster(path: str | Path, what: str = "map") -> ClassRaster:
    """Open a class map: one band of whole numbers; 0, nodata and what a mask hides are no class.

    Raises
    ------
    ConfigError
        It cannot be read, is no class map, or has no class.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{what} {path}: there is no such file")
    with _opened(path) as dataset:
        if dataset.count != 1 or np.dtype(dataset.dtypes[0]).kind not in "iu":
            raise ConfigError(
                f"{what} {path} is no class map",
                expected="one band of whole numbers",
                got=f"{dataset.count} of {dataset.dtypes[0]}",
            )
        crs, transform = crs_of(dataset), transform_of(dataset)
        areas, how = pixel_areas(dataset.shape, crs, transform)
        pixels: dict[int, int] = {}
        hectares: dict[int, float] = {}
        for top in range(0, dataset.height, _step(dataset.width)):
            count_pixels(_rows(path, dataset, top), top, areas, pixels, hectares)
        known = class_names(dataset, path)
        shape = (int(dataset.height), int(dataset.width))
    pixels.pop(UNLABELLED, None)
    if not pixels:
        raise ConfigError(f"{what} {path} holds no class", got="0 or nodata everywhere")
    order = sorted(pixels)
    return ClassRaster(
        path,
        shape,
        crs,
        transform,
        distinct_names({i: known.get(i, f"class {i}") for i in order}),
        known,
        {i: pixels[i] for i in order},
        {i: hectares[i] for i in order} if areas is not None else None,
        how,
        sha256_of(path),
    )


def distinct_names(names: Mapping[int, str]) -> dict[int, str]:
    """The names; one that several ids have is followed by the id.

    >>> distinct_names({1: "rye", 2: "oats", 3: "rye"})
    {1: 'rye (1)', 2: 'oats', 3: 'rye (3)'}
    """
    often = Counter(names.values())
    return {i: f"{name} ({i})" if often[name] > 1 else name for i, name in names.items()}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    with open_raster(path, error=ConfigError) as dataset:
        yield dataset


def _step(width: int) -> int:
    return max(1, _ROWS // width // 256) * 256


def _rows(path: Path, dataset: Any, top: int) -> np.ndarray:
    """Ids (h, W) int32 of a block of rows."""
    rows = min(_step(dataset.width), dataset.height - top)
    window = Window(0, top, dataset.width, rows)
    try:
        ids = dataset.read(1, window=window).astype(np.int64)
    except Exception as problem:  # rasterio's errors of damaged files have no common root
        raise ConfigError(f"{path} cannot be read ({type(problem).__name__})") from None
    if dataset.nodata is not None and np.isfinite(dataset.nodata):
        ids[ids == int(dataset.nodata)] = UNLABELLED
    hidden = hidden_by_mask(dataset, ConfigError, window)
    if hidden is not None:
        ids[hidden] = UNLABELLED
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high > LARGEST_ID:
        odd = low if low < 0 else high
        raise ConfigError(f"{path}", expected=f"class ids from 1 to {LARGEST_ID}", got=odd)
    return np.asarray(ids, np.int32)
