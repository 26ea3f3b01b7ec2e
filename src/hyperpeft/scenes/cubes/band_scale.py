"""The scale and the offset of bands: what a file gives, and what a user asks for."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.records import Scene
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.lazy import ScaledCube

FLOAT32_MAX = float(np.finfo(np.float32).max)


def check_scaling(cube: Cube) -> None:
    """Refuse a band whose scale or offset loses its values; of bad bands, it does not matter.

    Raises
    ------
    SceneError
        A scale is 0 in float32, either is not finite, or whole numbers of the file's type leave
        float32. Floating-point values that do are masked one by one.
    """
    bands = cube.data.shape[0]
    scale = np.ones(bands) if cube.scale is None else cube.scale
    offset = np.zeros(bands) if cube.offset is None else cube.offset
    largest = 1.0
    if cube.data.dtype.kind in "iu":
        limits = np.iinfo(cube.data.dtype)
        largest = float(max(-limits.min, limits.max))
    with np.errstate(over="ignore", invalid="ignore"):
        fits = np.abs(scale) * largest + np.abs(offset) <= FLOAT32_MAX  # False for NaN
    wrong = ~fits | (scale.astype(np.float32) == 0)
    if cube.good is not None:
        wrong &= cube.good
    if wrong.any():
        band = int(wrong.argmax())
        raise SceneError(
            f"{cube.path}: scale and offset of band {band + 1}",
            expected="finite numbers, no scale of 0, and scaled values within float32",
            got=f"{scale[band]:g} and {offset[band]:g}",
            hint="correct them in the file, or flag the band as bad",
        )


def largest_stored(cube: Cube, largest: float = FLOAT32_MAX) -> np.ndarray | float:
    """The largest absolute value, as stored, that is within `largest` when scaled; (B, 1, 1)."""
    if cube.scale is None or cube.offset is None:
        return largest
    if (cube.scale == 1).all() and not cube.offset.any():
        return largest
    room = largest * (1 - 1e-6) - np.abs(cube.offset)  # a margin for rounding
    return np.asarray(room / np.abs(cube.scale)).reshape(-1, 1, 1)


def scale_note(cube: Cube) -> tuple[str, ...]:
    """How stored values became the cube's, for the record; nothing where they are the same."""
    if cube.scale is None or cube.offset is None:
        return ()
    scales = np.unique(cube.scale)
    if len(scales) > 1:
        return ("values are scaled per band as the file says",)
    if scales[0] == 1 and not cube.offset.any():
        return ()
    plus = f" plus {cube.offset[0]:g}" if cube.offset.any() else ""
    return (f"values are the stored ones times {scales[0]:g}{plus}, as the file says",)


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
