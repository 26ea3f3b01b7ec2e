"""Coordinates of a cube: band, wavelength, y, x, and the CRS where rioxarray looks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # it takes seconds to load
    import xarray as xr

GRID = "spatial_ref"  # the scalar coordinate whose attributes hold the CRS, as in CF and rioxarray
Transform = tuple[float, float, float, float, float, float]


def with_coordinates(
    cube: xr.DataArray,
    wavelengths: np.ndarray | None,
    crs: str | None,
    transform: Transform | None,
) -> xr.DataArray:
    """The cube (band, y, x) with what is known of its bands and pixels as coordinates.

    `band` counts from 1, `wavelength` in nm has an index of its own, so that
    `cube.sel(wavelength=850, method="nearest")` works where wavelengths rise or fall. `y` and `x`
    are centres of pixels in the CRS, or rows and columns without a georeference; a rotated grid has
    none.
    """
    bands, height, width = cube.shape
    place: dict[str, np.ndarray] = {}
    if transform is None:
        place = {"y": np.arange(height), "x": np.arange(width)}
    elif transform[1] == 0 == transform[3]:
        a, _, c, _, e, f = transform
        place = {"y": f + e * (np.arange(height) + 0.5), "x": c + a * (np.arange(width) + 0.5)}
    stale = [str(name) for name in cube.coords if name not in cube.dims or name in place]
    encoding = dict(cube.encoding)
    cube = cube.drop_vars([name for name in stale if name in cube.coords])
    if "band" in cube.coords:
        cube = cube.drop_vars("band")
    cube = cube.assign_coords({"band": np.arange(1, bands + 1), **place})
    if wavelengths is not None and len(wavelengths) == bands:
        attributes = {"units": "nm", "long_name": "wavelength"}
        cube = cube.assign_coords(wavelength=("band", np.asarray(wavelengths), attributes))
        steps = np.diff(wavelengths)
        if (steps > 0).all() or (steps < 0).all():
            cube = cube.set_xindex("wavelength")
    if crs is not None or transform is not None:
        attributes = {} if crs is None else {"crs_wkt": crs, GRID: crs}
        if transform is not None:
            a, b, c, d, e, f = transform
            attributes["GeoTransform"] = f"{c!r} {a!r} {b!r} {f!r} {d!r} {e!r}"
        cube = cube.assign_coords({GRID: ((), 0, attributes)})
        encoding["grid_mapping"] = GRID
    cube.encoding = encoding
    return cube
