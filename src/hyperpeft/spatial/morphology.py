"""Morphological profiles with a finite reach: what opens and closes around a pixel, by size.

For a component and a radius the opening by reconstruction removes bright objects that a disk of
that radius does not fit into and leaves all others as they are; the closing does so with dark ones
(extended morphological profile: Benediktsson, Palmason and Sveinsson 2005, doi
10.1109/TGRS.2004.842478). Reconstruction grows the eroded image back under the original. Here it
takes a fixed number of steps, one pixel each, instead of going on until nothing changes: so a tile
with a halo of radius + steps pixels gets the values of the whole scene, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy  # its parts are loaded when they are used

RADII = (2, 4, 6)  # pixels
STEPS = 10


def profiles(
    cube: np.ndarray, valid: np.ndarray, radii: Sequence[int] = RADII, steps: int = STEPS
) -> np.ndarray:
    """Openings and closings by reconstruction of every component.

    Parameters
    ----------
    cube : ndarray of float32, shape (C, H, W)
        A few leading components.
    valid : ndarray of bool, shape (H, W)
        Other pixels neither erode nor dilate their neighbours.
    radii : sequence of int
        Of the disks, in pixels.
    steps : int
        Of reconstruction.

    Returns
    -------
    ndarray of float32, shape (2 * C * len(radii), H, W)
        0 where not valid. A pixel's values depend on pixels at most max(radii) + steps away.
    """
    out = []
    for band in cube:
        for radius in radii:
            out.append(opening(band, valid, radius, steps))
            out.append(-opening(-band, valid, radius, steps))
    return np.where(valid, np.stack(out), np.float32(0)).astype(np.float32)


def opening(band: np.ndarray, valid: np.ndarray, radius: int, steps: int) -> np.ndarray:
    """Opening of a band (H, W) by reconstruction of so many steps."""
    low, high = np.float32(-np.inf), np.float32(np.inf)
    eroded = _minimum_in_disk(np.where(valid, band, high), radius)
    mask = np.where(valid, band, low)
    grown = np.where(valid, eroded, low)
    for _ in range(steps):
        grown = np.minimum(_maximum_of_cross(grown), mask)
    return grown


def _minimum_in_disk(band: np.ndarray, radius: int) -> np.ndarray:
    """The least value within `radius` pixels of each pixel; nothing lies beyond the borders."""
    reach = np.arange(-radius, radius + 1)
    disk = reach[:, None] ** 2 + reach**2 <= radius**2
    out: np.ndarray = scipy.ndimage.grey_erosion(band, footprint=disk, mode="constant", cval=np.inf)
    return out


def _maximum_of_cross(band: np.ndarray) -> np.ndarray:
    """The largest value of each pixel and its four neighbours."""
    out = band.copy()
    np.maximum(out[1:], band[:-1], out=out[1:])
    np.maximum(out[:-1], band[1:], out=out[:-1])
    np.maximum(out[:, 1:], band[:, :-1], out=out[:, 1:])
    np.maximum(out[:, :-1], band[:, 1:], out=out[:, :-1])
    return out
