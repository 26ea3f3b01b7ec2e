"""A scene whose values are multiplied as they are read."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from hyperpeft.errors import ConfigError
from hyperpeft.records import Scene
from hyperpeft.scenes.cubes.lazy import ScaledCube


def rescale(scene: Scene, factor: float) -> Scene:
    """The scene with its values times a factor; nothing is read yet.

    Raises
    ------
    ConfigError
        The factor is not a positive number.
    """
    if not (np.isfinite(factor) and factor > 0):
        raise ConfigError("scale", expected="a number above 0", got=factor)
    bands = scene.shape[2]
    chunks = scene.cube.encoding.get("preferred_chunks", {})
    block = int(chunks.get("y", 1)), int(chunks.get("x", scene.shape[1]))
    cube = ScaledCube(scene.cube, np.full(bands, factor), np.zeros(bands)).to_xarray(block)
    cube.encoding["preferred_chunks"] = dict(chunks)
    return replace(
        scene,
        cube=cube,
        sha256=hashlib.sha256(f"{scene.sha256} times {factor!r}".encode()).hexdigest(),
        notes=(*scene.notes, f"values multiplied by {factor:g}"),
    )
