"""A grid fitted to points whose pixel and place are known: control points, 2-D coordinates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hyperpeft.scenes.cubes.cube import Transform

FITS = 1.0  # pixels; a worse fit is no grid
_ROUNDING = 1e-9  # of a pixel
_FEWEST = 3  # points that make a plane


class AffineFit(NamedTuple):
    """A transform, and the largest distance of a point from where it takes its pixel, in pixels."""

    transform: Transform
    residual: float


def fit_affine(columns: np.ndarray, rows: np.ndarray, xy: np.ndarray) -> AffineFit | None:
    """Least squares of places (n, 2) on columns and rows (n,), both at the corners of pixels.

    None for fewer than three points, points in a line, or numbers that are not finite.
    """
    design = np.stack([columns, rows, np.ones_like(columns)], axis=1).astype(np.float64)
    if len(design) < _FEWEST or not np.isfinite(xy).all() or np.linalg.matrix_rank(design) < 3:
        return None
    centre = xy.mean(axis=0)
    solution = np.linalg.lstsq(design, xy - centre, rcond=None)[0]  # (3, 2)
    away = np.hypot(*(design @ solution - (xy - centre)).T)
    pixel = min(np.hypot(*solution[0]), np.hypot(*solution[1]))
    if not pixel > 0:
        return None
    solution[:2][np.abs(solution[:2]) < _ROUNDING * pixel] = 0  # a rotation by rounding alone
    (a, d), (b, e), (c, f) = solution.tolist()
    transform = (a, b, c + float(centre[0]), d, e, f + float(centre[1]))
    return AffineFit(transform, float(away.max() / pixel))
