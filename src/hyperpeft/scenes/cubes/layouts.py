"""The axes of a cube in its file, written as in einops, and one orientation for every format.

    "h w b"    rows, columns, bands: MATLAB scenes; the default
    "b h w"    bands first, as GDAL has them; any other order of h, w and b as well
    "b (h w)"  a matrix of bands by pixels, pixels row after row (row-major, C)
    "b (w h)"  a matrix of bands by pixels, pixels column after column (column-major, MATLAB)
    "(h w) b", "(w h) b"   the same with pixels first

A matrix does not know its image's size: it is read from the scalars `lines` and `cols` (or `nRow`
and `nCol`) of the same file, or written behind the layout as rows x columns: "b (w h):100x100".

Rows that run north (NetCDF and Zarr with rising y, GeoTIFFs with a positive row step) are turned,
for cubes and for labels that have a georeference. `Scene.flipped` remembers it, so that labels
that are given by row and column, in the file's own order, are turned as well.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from affine import Affine

from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.records import Transform
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.lazy import LazyCube

DEFAULT = "h w b"
CUBES = tuple(" ".join(axes) for axes in itertools.permutations("hwb"))
MATRICES = ("b (h w)", "b (w h)", "(h w) b", "(w h) b")


@dataclass(frozen=True)
class Layout:
    """A parsed layout: its axes, and the image's size where it was written behind them."""

    axes: str
    size: tuple[int, int] | None = None

    @property
    def ndim(self) -> int:
        """Dimensions of the array in the file: 2 or 3."""
        return 2 if "(" in self.axes else 3

    @property
    def band_axis(self) -> int:
        """Which axis of the array in the file holds the bands."""
        return re.sub(r"\(\w \w\)", "p", self.axes).split().index("b")


def parse_layout(text: str | None) -> Layout:
    """Read a layout such as "b (w h):100x100"; None is the default.

    Raises
    ------
    ConfigError
        Not a known layout; the message lists the choices.
    """
    axes, _, suffix = (text or DEFAULT).partition(":")
    axes = re.sub(r"\s*([()])\s*", r" \1 ", axes)
    axes = re.sub(r"\s+", " ", axes).strip().replace("( ", "(").replace(" )", ")")
    size = re.fullmatch(r"\s*(\d+)\s*[xX]\s*(\d+)\s*", suffix)
    if axes not in CUBES + MATRICES or (suffix and not size):
        raise ConfigError(
            f"layout {text!r} is unknown",
            expected=f"one of {', '.join(repr(a) for a in CUBES + MATRICES)}, a matrix with the "
            "image's size in pixels if its file does not hold it, such as 'b (w h):100x100'",
        )
    return Layout(axes, (int(size[1]), int(size[2])) if size else None)


def to_band_first(
    array: np.ndarray, layout: Layout, size: tuple[int, int] | None, what: str
) -> np.ndarray:
    """Reorder an array as in the file to (B, H, W), as a view where possible.

    Parameters
    ----------
    array : ndarray, 3-D, or 2-D for a matrix layout
    layout : Layout
    size : (int, int) or None
        Rows and columns found in the file; those behind the layout win.
    what : str
        The file and variable, for messages.

    Raises
    ------
    SceneError
        Other dimensions than the layout's, or a matrix whose image size is unknown or wrong.
    """
    if array.ndim != layout.ndim:
        raise SceneError(
            f"{what} cannot be read with layout {layout.axes!r}",
            expected=f"{layout.ndim} dimensions",
            got=f"shape {array.shape}",
            hint="choose another variable as FILE:KEY, or another layout",
        )
    if layout.ndim == 3:
        axes = layout.axes.split()
        return array.transpose([axes.index(axis) for axis in "bhw"])
    matrix = array if layout.band_axis == 0 else array.T  # (B, pixels)
    size = layout.size or size
    if size is None:
        raise SceneError(
            f"{what} is a matrix of pixels and its file does not say how many rows and columns "
            "the image has",
            hint=f"add them to the layout, such as {layout.axes + ':100x100'!r}",
        )
    height, width = size
    if height * width != matrix.shape[1]:
        raise SceneError(
            f"{what} with layout {layout.axes!r}",
            expected=f"{height} x {width} = {height * width} pixels",
            got=f"{matrix.shape[1]} (shape {array.shape})",
            hint="correct the rows and columns behind the layout, such as "
            f"{layout.axes + ':100x100'!r}",
        )
    if "(h w)" in layout.axes:
        return matrix.reshape(-1, height, width)
    return matrix.reshape(-1, width, height).transpose(0, 2, 1)


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
