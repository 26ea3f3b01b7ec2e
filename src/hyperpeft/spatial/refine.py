"""Refinement of class probabilities on the image: neighbours that look alike agree on their class.

Two ways, with the first components of the cube as their guide:

- `guided`: the guided filter of each class (see `filters`; on hyperspectral class maps: Kang, Li
  and Benediktsson 2014, doi 10.1109/TGRS.2013.2264508).
- `graph`: minimises sum_i |u_i - p_i|^2 + strength / 2 sum_ij w_ij |u_i - u_j|^2 over the eight
  neighbours of each pixel, w_ij = exp(-|I_i - I_j|^2 / sigma^2), by a fixed number of Jacobi steps
  (the combinatorial Laplacian of Grady 2006 with probabilities in place of seeds).

Both look a fixed number of pixels far (`RefineOptions.reach`), and add in an order that does not
depend on where an array begins: a tile with that halo gets the values of the whole scene to the
bit. Pixels that are not valid neither give nor take.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hyperpeft.spatial.filters import guided_filter

RADIUS = 6  # of the guided filter's windows, pixels
EPS = 0.01  # added to the covariance of the standardised guide
SIGMA = 1.0  # difference of the guide, in standard deviations, at which a weight falls to 1 / e
STRENGTH = 2.0
STEPS = 10
GUIDES = 3  # leading components


@dataclass(frozen=True)
class RefineOptions:
    """How probabilities are refined.

    Attributes
    ----------
    kind : "none", "guided" or "graph"
    radius : int
        Of the guided filter, in pixels.
    strength : float
        Of the graph: how much eight equal neighbours weigh against the pixel, over eight.
    steps : int
        Of the graph.
    """

    kind: Literal["none", "guided", "graph"] = "none"
    radius: int = RADIUS
    strength: float = STRENGTH
    steps: int = STEPS

    @property
    def reach(self) -> int:
        """How far the refinement looks around a pixel: pixels, the larger of rows and columns."""
        return {"none": 0, "guided": 2 * self.radius, "graph": self.steps}[self.kind]


def refine(
    probabilities: np.ndarray, guide: np.ndarray, valid: np.ndarray, options: RefineOptions
) -> np.ndarray:
    """Refine the class probabilities of a scene, or of a tile with its halo.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (K, H, W)
        Of each valid pixel; whatever elsewhere.
    guide : ndarray of float32, shape (C, H, W)
        Standardised components with the numbers of the whole scene; the first `GUIDES` are used.
    valid : ndarray of bool, shape (H, W)
        Where there are probabilities.
    options : RefineOptions

    Returns
    -------
    ndarray of float32, shape (K, H, W)
        They sum to 1 over the classes where valid; 0 elsewhere.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.dirichlet([1, 1, 1], (40, 50)).transpose(2, 0, 1).astype(np.float32)
    >>> guide = rng.normal(size=(3, 40, 50)).astype(np.float32)
    >>> valid = np.ones((40, 50), bool)
    >>> for kind in ("guided", "graph"):
    ...     options = RefineOptions(kind)
    ...     whole, far = refine(p, guide, valid, options), options.reach
    ...     tile = refine(p[:, 5:, 7:], guide[:, 5:, 7:], valid[5:, 7:], options)
    ...     print(np.array_equal(whole[:, 5 + far :, 7 + far :], tile[:, far:, far:]))
    True
    True
    """
    guide = np.where(valid, guide[:GUIDES], np.float32(0))
    clean = np.where(valid, probabilities, np.float32(0)).astype(np.float32)
    if options.kind == "guided":
        refined = guided_filter(clean, guide, valid, options.radius, EPS)
    elif options.kind == "graph":
        refined = graph(clean, guide, valid, options.strength, options.steps)
    else:
        return clean
    return _normalised(refined, valid)


def graph(
    probabilities: np.ndarray, guide: np.ndarray, valid: np.ndarray, strength: float, steps: int
) -> np.ndarray:
    """Jacobi steps towards the smoothest probabilities that stay near the given ones.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (K, H, W)
        0 where not valid.
    guide : ndarray of float32, shape (C, H, W)
    valid : ndarray of bool, shape (H, W)
    strength : float
        0 changes nothing.
    steps : int
        The result of a pixel depends on pixels at most this far away.

    Returns
    -------
    ndarray of float32, shape (K, H, W)
        Each a weighted mean of given ones.
    """
    pairs = [(a, b, np.float32(strength) * w) for a, b, w in _edges(guide, valid)]
    total = np.ones(valid.shape, np.float32)
    for a, b, w in pairs:
        total[a] += w
        total[b] += w
    out = np.empty_like(probabilities)
    for k, given in enumerate(probabilities):
        u = given
        for _ in range(steps):
            sums = given.copy()
            for a, b, w in pairs:
                sums[a] += w * u[b]
                sums[b] += w * u[a]
            u = sums / total
        out[k] = u
    return out


Index = tuple[slice, slice]


def _edges(guide: np.ndarray, valid: np.ndarray) -> Iterator[tuple[Index, Index, np.ndarray]]:
    """Each edge between neighbours once, by direction: pixels, their neighbours, weights."""
    height, width = valid.shape
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        rows = slice(0, height - down), slice(down, height)
        columns = slice(max(-right, 0), width - max(right, 0))
        shifted = slice(max(right, 0), width - max(-right, 0))
        a, b = (rows[0], columns), (rows[1], shifted)
        distance = np.zeros(valid[a].shape, np.float32)
        for band in guide:
            distance += (band[a] - band[b]) ** 2
        length = np.float32(1 / np.hypot(down, right))
        yield a, b, length * np.exp(-distance / np.float32(SIGMA**2)) * (valid[a] & valid[b])


def _normalised(p: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Not below 0, and summing to 1 over the classes where valid; 0 elsewhere."""
    p = np.maximum(p, np.float32(0))
    total = p[0].copy()
    for row in p[1:]:
        total += row
    return np.where(valid, p / np.where(total > 0, total, np.float32(1)), np.float32(0))
