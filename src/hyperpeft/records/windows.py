"""Windows that cover a cube as its file stores it, and the coordinates of a cube."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import xarray as xr


def thinned(span: slice, step: int) -> slice:
    """The middle of each whole stretch of `step` rows or columns of a span.

    Examples
    --------
    >>> thinned(slice(10, 20), 3), thinned(slice(10, 20), 1)
    (slice(11, 19, 3), slice(10, 20, 1))
    """
    count = (span.stop - span.start) // step
    return slice(span.start + step // 2, span.start + count * step, step)


def cover(
    shape: tuple[int, int, int],
    block: tuple[int, int],
    max_values: int,
    max_block: int = 2**26,
) -> Iterator[tuple[slice, slice]]:
    """Windows (rows, columns) that cover a cube (B, H, W) once, wide before they are high.

    Each is a multiple of the (rows, columns) that the file stores together, and holds at most
    `max_values` values, or one such block where that is more; blocks of more than `max_block`
    values, such as a file in one piece, are cut.

    Examples
    --------
    >>> [(r.start, c.start, c.stop) for r, c in cover((2, 4, 6), (2, 4), 30)]
    [(0, 0, 4), (0, 4, 6), (2, 0, 4), (2, 4, 6)]
    """
    bands, height, width = shape
    limit = max(1, max_values // bands)  # pixels
    rows, columns = min(block[0], height), min(block[1], width)
    while rows * columns > max(limit, max_block // bands):
        rows, columns = (-(-rows // 2), columns) if rows > 1 else (rows, -(-columns // 2))
    step_x = min(width, max(1, limit // (rows * columns)) * columns)
    step_y = min(height, max(1, limit // (rows * step_x)) * rows)
    for top in range(0, height, step_y):
        for left in range(0, width, step_x):
            yield slice(top, min(top + step_y, height)), slice(left, min(left + step_x, width))


GRID = "spatial_ref"  # the scalar coordinate whose attributes hold the CRS, as in CF and rioxarray
Transform = tuple[float, float, float, float, float, float]
# Of a raster without georeference, as a GIS draws it: its rows run to negative y.
UNPLACED: Transform = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def pixel_centres(pixels: np.ndarray, transform: Transform | None) -> np.ndarray:
    """Coordinates x, y (n, 2) of the centres of pixels (n, 2), row and column.

    Those that a GIS draws where there is no transform.

    >>> pixel_centres(np.array([[0, 0], [2, 5]]), None).tolist()
    [[0.5, -0.5], [5.5, -2.5]]
    """
    a, b, c, d, e, f = transform or UNPLACED
    x, y = pixels[:, 1] + 0.5, pixels[:, 0] + 0.5
    return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)


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
            a, b, c, d, e, f = map(float, transform)
            attributes["GeoTransform"] = f"{c!r} {a!r} {b!r} {f!r} {d!r} {e!r}"
        cube = cube.assign_coords({GRID: ((), 0, attributes)})
        encoding["grid_mapping"] = GRID
    cube.encoding = encoding
    return cube
