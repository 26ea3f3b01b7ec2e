r"""The 12 bands of a Sentinel-2 L2A image, simulated from a finely sampled spectrum.

The value of band i is the mean of the spectrum s, weighted by the band's response R_i:

    s_i = \int s(l) R_i(l) dl / \int R_i(l) dl,   R_i a Gaussian of the published centre and width

s is known at the scene's band centres only. Between them it is a cubic spline, so that a coarse or
uneven sampling costs little; across gaps, and where the spacing jumps or is coarse, it is a
straight line, and beyond both ends a constant. That makes s_i linear in the scene's bands: a row
of weights that sum to 1. (To weight each band by the response at its centre, as is often done,
counts densely sampled stretches twice.)

A band is seen if at least half of its response lies within half of its width of a band of the
scene. One that is not seen repeats the band nearest in wavelength that is: no input is empty.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import scipy  # its parts are loaded when they are used

from hyperpeft.errors import SceneError

# Centre and full width at half maximum in nm of the MSI on Sentinel-2A. Source: ESA, Sentinel-2
# User Guide, from the spectral response functions COPE-GSEG-EOPG-TN-15-0007. L2A has no B10.
BANDS = {
    "B01": (442.7, 21.0),
    "B02": (492.4, 66.0),
    "B03": (559.8, 36.0),
    "B04": (664.6, 31.0),
    "B05": (704.1, 15.0),
    "B06": (740.5, 15.0),
    "B07": (782.8, 20.0),
    "B08": (832.8, 106.0),
    "B8A": (864.7, 21.0),
    "B09": (945.1, 20.0),
    "B11": (1613.7, 91.0),
    "B12": (2202.4, 175.0),
}
NAMES = tuple(BANDS)
CENTRES, WIDTHS = np.array(list(BANDS.values())).T  # (12,) each
_SIGMAS = WIDTHS / np.sqrt(8 * np.log(2))
_REACH = 4.0  # sigmas; 6e-5 of a Gaussian lie beyond
_NODES = 401  # of the quadrature of a band
_NEGLIGIBLE = 1e-4  # of the largest weight: a spline reaches everywhere, a little
_REGULAR, _FINE = 2.0, 25.0  # a spline needs spacings that differ less, and are smaller (nm)


def weights(wavelengths: np.ndarray) -> np.ndarray:
    """Weights (12, B) of a scene's bands, with those that are not seen repeated.

    Parameters
    ----------
    wavelengths : ndarray of float64, shape (B,)
        Band centres in nm, in any order.

    Returns
    -------
    ndarray of float64, shape (12, B)
        Rows sum to 1.

    Raises
    ------
    SceneError
        The scene sees no band of Sentinel-2.
    """
    order = np.argsort(wavelengths, kind="stable")
    nodes, response = _responses()
    table = _interpolation(np.asarray(wavelengths, np.float64)[order], nodes.ravel())
    rows = np.einsum("n,inb->ib", response, table.reshape(*nodes.shape, -1))
    rows[np.abs(rows) < _NEGLIGIBLE * rows.max(axis=1, keepdims=True)] = 0
    out = np.empty_like(rows)
    out[:, order] = rows / rows.sum(axis=1, keepdims=True)
    return out[list(sources(wavelengths))]


def sources(wavelengths: np.ndarray) -> tuple[int, ...]:
    """Which of the 12 bands stands in each place: itself, or the nearest that the scene sees."""
    nodes, response = _responses()
    known = np.sort(wavelengths)
    right = np.clip(np.searchsorted(known, nodes), 1, max(len(known) - 1, 1))
    neighbours = known[np.minimum([right - 1, right], len(known) - 1)]  # (2, 12, nodes)
    near = np.abs(neighbours - nodes).min(axis=0) <= WIDTHS[:, None] / 2
    seen = np.flatnonzero(near @ response >= 0.5).tolist()
    if not seen:
        raise SceneError(
            "the scene sees no band of Sentinel-2",
            expected=f"bands near {CENTRES.min():g} to {CENTRES.max():g} nm",
            got=f"{np.min(wavelengths):g} to {np.max(wavelengths):g} nm",
            hint="use --reduce pca",
        )
    return tuple(min(seen, key=lambda j: abs(CENTRES[j] - centre)) for centre in CENTRES)


def notes(wavelengths: np.ndarray) -> tuple[str, ...]:
    """A sentence that names the bands that are not seen, and what stands in their places."""
    lacking: dict[int, list[str]] = {}
    for i, source in enumerate(sources(wavelengths)):
        if source != i:
            lacking.setdefault(source, []).append(NAMES[i])
    return tuple(
        f"Sentinel-2 {', '.join(names)}: not seen by the sensor, repeats {NAMES[source]}"
        for source, names in lacking.items()
    )


def _responses() -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths in nm (12, nodes), and the response at each node, which sums to 1."""
    steps = np.linspace(-_REACH, _REACH, _NODES)
    response = np.exp(-(steps**2) / 2)
    return CENTRES[:, None] + _SIGMAS[:, None] * steps, response / response.sum()


def _interpolation(known: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The matrix (n, B) that takes values at ascending `known` (B,) to values at `at` (n,)."""
    bands = len(known)
    matrix = np.zeros((len(at), bands))
    at = np.clip(at, known[0], known[-1])
    left = np.clip(np.searchsorted(known, at, side="right") - 1, 0, max(bands - 2, 0))
    step = np.append(np.diff(known), np.inf)  # (B,); the last one is never wanted
    part = np.where(step[left] > 0, (at - known[left]) / np.where(step > 0, step, 1)[left], 0)
    point = np.arange(len(at))
    matrix[point, left] = 1 - part
    matrix[point, np.minimum(left + 1, bands - 1)] += part
    for start, stop in _regular_runs(step[:-1]):
        inside = (left >= start) & (left < stop)
        if inside.any():
            curve = scipy.interpolate.CubicSpline(known[start : stop + 1], np.eye(stop + 1 - start))
            matrix[inside] = 0
            matrix[np.ix_(inside, np.arange(start, stop + 1))] = curve(at[inside])
    return matrix


def _regular_runs(step: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of at least three fine spacings of which neighbours differ little; none is 0."""
    if len(step) < 3:
        return []
    low, high = np.minimum(step[1:], step[:-1]), np.maximum(step[1:], step[:-1])
    breaks = np.flatnonzero((high > _REGULAR * low) | (low <= 0) | (high > _FINE)) + 1
    edges = [0, *breaks.tolist(), len(step)]
    return [(a, b) for a, b in pairwise(edges) if b - a >= 3]
