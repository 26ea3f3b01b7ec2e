"""Whether a scene has the values that a reducer was fitted on."""

from __future__ import annotations

import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.records import Scene
from hyperpeft.spectral.reducer import HasBands

FACTOR = 8.0  # levels that differ by more are another scale, and no other illumination or ground
_WINDOWS = 4  # a side: blocks that are looked at
_SIDE = 32  # pixels of a block


def level_ratio(reducer: HasBands, scene: Scene) -> tuple[float, float] | None:
    """Mean absolute value over the bands: of the scene's mean spectrum, and of the reducer's.

    None where both are small beside the spread of the pixels (values around 0), or where no valid
    pixel was met. A grid of 4 x 4 blocks is read.
    """
    height, width = scene.valid.shape
    found = []
    for row in np.linspace(0, max(height - _SIDE, 0), _WINDOWS).astype(int):
        for column in np.linspace(0, max(width - _SIDE, 0), _WINDOWS).astype(int):
            window = slice(row, row + _SIDE), slice(column, column + _SIDE)
            valid = scene.valid[window]
            if valid.any():
                found.append(scene.window(*window)[:, valid].astype(np.float64))
    if not found:
        return None
    values = np.concatenate(found, axis=1)
    ours, theirs = np.abs(values.mean(axis=1)).mean(), np.abs(reducer.mean).mean()
    if max(ours, theirs) < values.std(axis=1).mean() or min(ours, theirs) <= 0:
        return None
    return float(ours), float(theirs)


def check_scale(reducer: HasBands, scene: Scene) -> None:
    """Refuse a scene whose values are far from those that the reducer was fitted on.

    Raises
    ------
    SceneError
        With both levels, and the factor that would bring one to the other.
    """
    levels = level_ratio(reducer, scene)
    if levels is None:
        return
    ours, theirs = levels
    if 1 / FACTOR <= ours / theirs <= FACTOR:
        return
    factor = 10.0 ** round(float(np.log10(theirs / ours)))
    raise SceneError(
        f"{scene.name} has values of another scale than the scene of the run",
        expected=f"a mean near {theirs:.4g}",
        got=f"{ours:.4g}",
        hint=f"give --scale {factor:g} if its values are to be multiplied by that",
    )
