"""The area of pixels on the ground, in square metres."""

from __future__ import annotations

import numpy as np
from pyproj import CRS, Proj
from pyproj.exceptions import CRSError, ProjError

HECTARE = 10_000.0  # m2
_ON_A_SPHERE = "Popular Visualisation Pseudo Mercator"  # Web Mercator, of ellipsoidal latitudes
_TOLERANCE = 0.01  # of a projection's areas, before they are replaced by those of the ellipsoid


def pixel_areas(
    shape: tuple[int, int],
    crs: str | None,
    transform: tuple[float, ...] | None,
) -> tuple[np.ndarray | None, str]:
    """Square metres of a pixel of each row, as far as the CRS allows.

    A pixel of a projected CRS has the area that its sides give. Where the projection changes areas
    by more than 1 % (Web Mercator does), and for geographic coordinates, it is the area on the
    ellipsoid: |det| M N cos(lat), with the radii of curvature M and N of the row's centre.

    Parameters
    ----------
    shape : (H, W)
    crs : str or None
        As WKT, or anything that pyproj reads.
    transform : tuple of 6 floats or None
        As in `Scene`.

    Returns
    -------
    areas : ndarray of float64, shape (H,), or None
        None where nothing is known of the ground.
    how : str
        In words, for a note: which areas these are, or why there are none.

    Examples
    --------
    >>> areas, how = pixel_areas((2, 3), "EPSG:32633", (30, 0, 364000, 0, -30, 5810000))
    >>> areas.tolist(), how
    ([900.0, 900.0], 'in the projection WGS 84 / UTM zone 33N')
    """
    if crs is None or transform is None:
        return None, "no areas: there is no georeference"

    try:
        system = CRS.from_user_input(crs)
    except CRSError:
        return None, "no areas: the CRS cannot be understood"
    height, width = shape
    a, b, c, d, e, f = transform[:6]
    rows = np.arange(height) + 0.5
    x, y = a * width / 2 + b * rows + c, d * width / 2 + e * rows + f
    plane = abs(a * e - b * d)
    if system.is_geographic and system.ellipsoid is not None:
        to_radians = system.axis_info[0].unit_conversion_factor
        big = system.ellipsoid.semi_major_metre
        flat = 1 / system.ellipsoid.inverse_flattening if system.ellipsoid.inverse_flattening else 0
        return plane * to_radians**2 * _curvature(y * to_radians, big, flat), "on the ellipsoid"
    if not system.is_projected:
        return None, f"no areas: {system.name} is neither projected nor geographic"
    metres = system.axis_info[0].unit_conversion_factor
    areas = np.full(height, plane * metres**2)
    scale = _areal_scale(system, x, y)
    if scale is None or np.abs(scale - 1).max() <= _TOLERANCE:
        return areas, f"in the projection {system.name}"
    low, high = scale.min(), scale.max()
    return areas / scale, (
        f"on the ellipsoid: {system.name} shows areas {low:.3g} to {high:.3g} times as large here"
    )


def _curvature(latitude: np.ndarray, big: float, flat: float) -> np.ndarray:
    """M N cos(lat) in m2 per square radian."""
    square = flat * (2 - flat)
    root = 1 - square * np.sin(latitude) ** 2
    result: np.ndarray = big**2 * (1 - square) / root**2 * np.cos(latitude)
    return result


def _areal_scale(system: CRS, x: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """By how much a projection enlarges areas at these places (n,); None where it cannot say."""
    try:
        projection = Proj(system)
        longitude, latitude = projection(x, y, inverse=True)
        scale = np.asarray(projection.get_factors(longitude, latitude).areal_scale)
    except (ProjError, ValueError):
        return None
    how, body = system.coordinate_operation, system.ellipsoid
    if how is not None and how.method_name == _ON_A_SPHERE and body is not None:
        flat = 1 / body.inverse_flattening if body.inverse_flattening else 0
        sphere = body.semi_major_metre**2 * np.cos(np.radians(latitude))
        scale *= sphere / _curvature(np.radians(latitude), body.semi_major_metre, flat)
    return scale if np.isfinite(scale).all() and (scale > 0).all() else None
