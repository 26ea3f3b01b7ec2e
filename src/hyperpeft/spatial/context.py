"""Context of a pixel as features for classifiers: means that respect edges, morphological profiles.

Morphological profiles: for a component and a radius the opening by reconstruction removes bright
objects that a disk of that radius does not fit into and leaves all others as they are; the closing
does so with dark ones (extended morphological profile: Benediktsson, Palmason and Sveinsson 2005,
doi 10.1109/TGRS.2004.842478). Reconstruction grows the eroded image back under the original. Here
it takes a fixed number of steps, one pixel each, instead of going on until nothing changes: so a
tile with a halo of radius + steps pixels gets the values of the whole scene, exactly.

Features: objects have nearly one spectrum and end at edges. The features of a pixel are its
components, their means over windows, a copy of them filtered along the edges of the leading three
(see `filters`), and what opens and closes around the pixel by size.

Superpixels and total variation name objects as well, but look across the scene or as far as they
take steps. These features look `reach` pixels far, and a tile with that halo gets the values of the
whole scene to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded when they are used

from hyperpeft.spatial.filters import guided_filter, valid_means

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


GUIDES = 3  # leading components


@dataclass(frozen=True)
class ContextOptions:
    """What the context is made of; an empty tuple or a radius of 0 leaves a kind out.

    Attributes
    ----------
    means : tuple of int
        Radii of the windows of the means, in pixels: 1, 3, 15 are 3x3, 7x7 and 31x31.
    guided_radius : int
        Of the guided filter.
    guided_eps : float
        In variances of the first component.
    profile_radii : tuple of int
        Of the disks of openings and closings, in pixels.
    profile_steps : int
        Of their reconstruction.
    profile_components : int
        Leading components that have profiles.
    """

    means: tuple[int, ...] = (1, 3, 15)
    guided_radius: int = 8
    guided_eps: float = 0.1
    profile_radii: tuple[int, ...] = ()
    profile_steps: int = 16
    profile_components: int = 4

    @property
    def reach(self) -> int:
        """How far from a pixel its features look: pixels, the larger of rows and columns."""
        profile = max(self.profile_radii) + self.profile_steps if self.profile_radii else 0
        return max([2 * self.guided_radius, profile, *self.means])


CONTEXT = ContextOptions()
PROFILE = ContextOptions(
    means=(), guided_radius=0, profile_radii=(2, 4, 6, 8), profile_components=8
)


@dataclass(frozen=True)
class Standardiser:
    """Mean and spread of each component over a scene: numbers to keep with the model.

    Attributes
    ----------
    mean, spread : ndarray of float32, shape (C,)
    """

    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def fit(cls, cube: np.ndarray, valid: np.ndarray) -> Standardiser:
        """Of the valid pixels (H, W) of a cube (C, H, W); a constant component has spread 1."""
        values = cube[:, valid].astype(np.float64)  # (C, n)
        spread = values.std(axis=1)
        spread = np.where(spread > 0, spread, 1.0)
        return cls(values.mean(axis=1).astype(np.float32), spread.astype(np.float32))

    def apply(self, cube: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """The cube (C, H, W) in standard deviations, float32; 0 where not valid."""
        out = (cube - self.mean[:, None, None]) / self.spread[:, None, None]
        return np.where(valid, out, np.float32(0)).astype(np.float32)

    def guide(self, standardised: np.ndarray) -> np.ndarray:
        """The leading components of a standardised cube, their spreads relative to the largest."""
        relative = self.spread[:GUIDES] / self.spread.max()
        return standardised[:GUIDES] * relative[:, None, None]


def context_features(
    cube: np.ndarray, guide: np.ndarray, valid: np.ndarray, options: ContextOptions = CONTEXT
) -> np.ndarray:
    """The features of every pixel of a scene, or of a tile with its halo.

    Parameters
    ----------
    cube : ndarray of float32, shape (C, H, W)
        Reduced, and standardised with the numbers of the whole scene (`Standardiser.apply`).
    guide : ndarray of float32, shape (G, H, W)
        Of the same pixels (`Standardiser.guide`).
    valid : ndarray of bool, shape (H, W)
    options : ContextOptions

    Returns
    -------
    ndarray of float32, shape (F, H, W)
        Components, means, the filtered copy, openings and closings; 0 where not valid. Of a tile,
        right from `options.reach` pixels inside those of its borders that are not the scene's.

    Examples
    --------
    >>> cube = np.random.default_rng(0).normal(size=(3, 60, 50)).astype(np.float32)
    >>> valid = np.ones((60, 50), bool)
    >>> options = ContextOptions(means=(1,), guided_radius=3)
    >>> whole = context_features(cube, cube, valid, options)
    >>> tile = cube[:, 20:50, 10:40]
    >>> part = context_features(tile, tile, valid[20:50, 10:40], options)
    >>> whole.shape, options.reach, np.array_equal(whole[:, 26:44, 16:34], part[:, 6:24, 6:24])
    ((9, 60, 50), 6, True)
    """
    cube = np.where(valid, cube, np.float32(0)).astype(np.float32)
    parts = [cube, *(valid_means(cube, valid, radius) for radius in options.means)]
    if options.guided_radius:
        parts.append(guided_filter(cube, guide, valid, options.guided_radius, options.guided_eps))
    if options.profile_radii:
        leading = cube[: options.profile_components]
        parts.append(profiles(leading, valid, options.profile_radii, options.profile_steps))
    return np.concatenate(parts)
