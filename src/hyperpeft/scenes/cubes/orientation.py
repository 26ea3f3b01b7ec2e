"""One orientation for every format: the first row is the northernmost.

Rows that run north (NetCDF and Zarr with rising y, GeoTIFFs with a positive row step) are turned,
for cubes and for labels that have a georeference. `Scene.flipped` remembers it, so that labels
that are given by row and column, in the file's own order, are turned as well.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr
from affine import Affine

from hyperpeft.scenes.cubes.cube import Cube, Transform
from hyperpeft.scenes.cubes.lazy import LazyCube


def runs_north(transform: Transform | None) -> bool:
    """Whether the rows of a grid that is not rotated run from south to north."""
    if transform is None:
        return False
    _, b, _, d, e, _ = transform
    return b == 0 and d == 0 and e > 0


def flipped(transform: Transform, height: int) -> Transform:
    """The transform of the same grid with its rows in reverse."""
    a, b, c, d, e, f = (Affine(*transform) @ Affine(1, 0, 0, 0, -1, height))[:6]
    return (a, b, c, d, e, f)


def north_up(cube: Cube) -> Cube:
    """A cube with the northernmost row first; the same one where it is so in the file."""
    if cube.transform is None or not runs_north(cube.transform):
        return cube
    masks = None if cube.masks is None else {n: mask[::-1] for n, mask in cube.masks.items()}
    note = "rows run north in the file and are turned; labels by row and column follow the file"
    return replace(
        cube,
        data=FlippedCube(cube.data).to_xarray(cube.block),
        transform=flipped(cube.transform, cube.data.shape[1]),
        masks=masks,
        flipped=True,
        notes=(*cube.notes, note),
    )


class FlippedCube(LazyCube):
    """A lazy cube with its rows in reverse."""

    def __init__(self, stored: xr.DataArray) -> None:
        self.stored = stored
        bands, height, width = stored.shape
        self.shape = (bands, height, width)
        self.dtype = stored.dtype

    def window(self, bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        height = self.shape[1]
        there = slice(height - rows.stop, height - rows.start)
        values: np.ndarray = self.stored.isel(band=bands, y=there, x=columns).values
        return values[:, ::-1]
