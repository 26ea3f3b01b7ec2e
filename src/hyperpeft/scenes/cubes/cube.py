"""`Cube`: the pieces of a scene that one file gives, before its pixels have been checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hyperpeft.errors import SceneError
from hyperpeft.records import Transform
from hyperpeft.scenes.cubes.lazy import ScaledCube


@dataclass(frozen=True)
class Cube:
    """What a reader hands over.

    Attributes
    ----------
    path : Path
        The file that holds the cube, or leads to it.
    data : xarray.DataArray, dims ("band", "y", "x")
        Values as stored, possibly lazy.
    wavelengths, fwhm : ndarray of float64, shape (B,), or None
        In nm.
    good : ndarray of bool, shape (B,), or None
        False for bands that the file flags as bad; `select` removes them.
    nodata : tuple of float or None, one per band
        As stored: a pixel with this value in any band is not valid.
    marks : tuple of float
        As stored: a pixel with one of these values in any band is not valid.
    limits : tuple of (float, float), one per band, or ()
        As stored: a pixel with a value below the first or above the second is not valid.
    empty : tuple of float
        As stored: a pixel with one of these values in every band is not valid.
    masks : dict of str to ndarray of bool, shape (H, W)
        True where a mask of the product, such as "cloud", hides the ground.
    scale, offset : ndarray of float64, shape (B,), or None
        Physical value = scale * stored + offset.
    crs, transform : as in `Scene`
    block : (int, int)
        Rows and columns that the file stores together; reading multiples of it reads every block
        once.
    notes : tuple of str
    key : str
        Which array of the file this is, and in which order of axes and bands.
    flipped : bool
        The rows are those of the file in reverse, see `cubes.layouts`.
    others : tuple of Path
        More files that decide its values: a header, the sources of a VRT.
    identity : str
        Of a cube on a server, what tells one state of it from another, such as its ETag: its
        pixels are looked at when they are asked for, and no hash is taken of them.
    """

    path: Path
    data: xr.DataArray
    wavelengths: np.ndarray | None = None
    fwhm: np.ndarray | None = None
    good: np.ndarray | None = None
    nodata: tuple[float | None, ...] = ()
    marks: tuple[float, ...] = ()
    limits: tuple[tuple[float, float], ...] = ()
    empty: tuple[float, ...] = ()
    masks: dict[str, np.ndarray] | None = None
    scale: np.ndarray | None = None
    offset: np.ndarray | None = None
    crs: str | None = None
    transform: Transform | None = None
    block: tuple[int, int] = (1, 2**31)
    notes: tuple[str, ...] = ()
    key: str = ""
    others: tuple[Path, ...] = ()
    flipped: bool = False
    identity: str = ""

    def select(self, keep: np.ndarray, note: str) -> Cube:
        """Keep some bands, by their indices in any order, and say so in a note."""

        def pick(values: Any) -> Any:
            return None if values is None else values[keep]

        return replace(
            self,
            data=self.data.isel(band=keep),
            wavelengths=pick(self.wavelengths),
            fwhm=pick(self.fwhm),
            good=pick(self.good),
            scale=pick(self.scale),
            offset=pick(self.offset),
            nodata=tuple(self.nodata[i] for i in keep) if self.nodata else (),
            limits=tuple(self.limits[i] for i in keep) if self.limits else (),
            key=f"{self.key}[{','.join(map(str, keep))}]",
            notes=(*self.notes, note) if note else self.notes,
        )

    def drop_bad(self) -> Cube:
        """Without the bands flagged as bad; their number becomes a note."""
        if self.good is None or bool(self.good.all()):
            return replace(self, good=None)
        keep = np.flatnonzero(self.good)
        bands = len(self.good)
        if len(keep) == 0:
            raise SceneError(f"{self.path}: the bad-band list flags all {bands} bands as bad")
        dropped = bands - len(keep)
        return self.select(
            keep, f"{dropped} of {bands} bands are flagged as bad in the file and dropped"
        )

    def scaled(self) -> xr.DataArray:
        """The physical values, lazily; as stored where the file has no scale."""
        bands = self.data.shape[0]
        scale = np.ones(bands) if self.scale is None else self.scale
        offset = np.zeros(bands) if self.offset is None else self.offset
        if (scale == 1).all() and (offset == 0).all():
            return self.data
        return ScaledCube(self.data, scale, offset).to_xarray(self.block)


def from_array(
    path: Path,
    array: np.ndarray,
    notes: tuple[str, ...] = (),
    wavelengths: np.ndarray | None = None,
    good: np.ndarray | None = None,
) -> Cube:
    """A cube from a (B, H, W) array in memory or mapped into it."""
    data = xr.DataArray(array, dims=("band", "y", "x"))
    return Cube(path, data, wavelengths=wavelengths, good=good, notes=notes)
