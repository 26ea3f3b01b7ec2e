"""`Cube`: the pieces of a scene that one file gives, before its pixels have been checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from hyperpeft.errors import SceneError

Transform = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Cube:
    """What a reader hands over.

    Attributes
    ----------
    path : Path
        The file whose hash stands for the cube.
    data : xarray.DataArray, dims ("band", "y", "x")
        Possibly lazy.
    wavelengths : ndarray of float64, shape (B,), or None
        In nm.
    good : ndarray of bool, shape (B,), or None
        False for bands that the file flags as bad; `drop_bad` removes them.
    nodata : tuple of float or None, one per band
    crs, transform : as in `Scene`
    block_rows : int
        Rows that the file stores together; reading multiples of it reads every block once.
    notes : tuple of str
    """

    path: Path
    data: xr.DataArray
    wavelengths: np.ndarray | None = None
    good: np.ndarray | None = None
    nodata: tuple[float | None, ...] = ()
    crs: str | None = None
    transform: Transform | None = None
    block_rows: int = 1
    notes: tuple[str, ...] = ()

    def drop_bad(self) -> Cube:
        """Without the bands flagged as bad; their number becomes a note."""
        if self.good is None or bool(self.good.all()):
            return replace(self, good=None)
        keep = np.flatnonzero(self.good)
        bands = len(self.good)
        if len(keep) == 0:
            raise SceneError(f"{self.path}: the bad-band list flags all {bands} bands as bad")
        return replace(
            self,
            data=self.data.isel(band=keep),
            wavelengths=None if self.wavelengths is None else self.wavelengths[keep],
            nodata=tuple(self.nodata[i] for i in keep) if self.nodata else (),
            good=None,
            notes=(
                *self.notes,
                f"{bands - len(keep)} of {bands} bands are flagged as bad in the file and dropped",
            ),
        )


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


def to_nm(values: np.ndarray, units: str | None) -> np.ndarray | None:
    """Band centres in nm; micrometres are recognised by their unit or, without one, their size.

    None if the values are no wavelengths (not finite, not positive, or in another unit).
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(values).all() or (values <= 0).any():
        return None
    unit = (units or "").strip().lower()
    if unit in ("micrometers", "micrometer", "micrometres", "micrometre", "microns", "micron"):
        unit = "um"
    if unit in ("um", "µm", "μm"):
        return values * 1000.0
    if unit.startswith("nano") or unit == "nm":
        return values
    if unit in ("", "unknown"):
        return values * 1000.0 if values.max() < 100 else values
    return None
