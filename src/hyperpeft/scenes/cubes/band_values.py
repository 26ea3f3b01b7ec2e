"""What the numbers of bands mean: scale and offset, and numbers that stand for no value.

Numbers that nobody declared, and what they are taken for:

    -32768, -9999 in every band             nodata that nobody declared
    one negative number in every band       the same, where there are enough bands to tell
    the largest number of the type          the same; of 32 and more bits, in one band already
    beyond 1e10 as a physical value         fills of CF, NetCDF and ArcGIS, declared or not
    0 in every band, from the edge inwards  ground outside a strip or a flight

A pixel of zeros inside the scene is dark ground as often as not, and stays.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

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


SENTINELS = (-32768.0, -9999.0)
HUGE = 1e10  # no reflectance, radiance or count is as large
_MANY_BANDS = 4  # in which one and the same number is no measurement


def impossible(block: np.ndarray, largest: np.ndarray | float) -> np.ndarray | None:
    """Values (B, rows, columns) that no measurement has; None where the type has no such values.

    `largest` is the largest absolute value as stored, a number or (B, 1, 1).
    """
    if block.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            size = np.abs(block)
            return (size > largest) & np.isfinite(size)
    if block.dtype.kind not in "iu" or block.dtype.itemsize < 4:
        return None
    limits = np.iinfo(block.dtype)
    found: np.ndarray = block == limits.max
    return found | (block == limits.min) if limits.min else found


def constants(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (rows, columns) of one fill value in every band, and those of 0 in every band."""
    first = block[0]
    if block.dtype.kind == "b":
        return np.zeros(first.shape, bool), np.zeros(first.shape, bool)
    same = candidates(first, len(block))
    if same.any():
        same[same] = (block[:, same] == first[same]).all(axis=0)
    zeros = same & (first == 0)
    return same & ~zeros, zeros


def candidates(first: np.ndarray, bands: int) -> np.ndarray:
    """Pixels whose first band may be part of a fill in every band."""
    kind, size = first.dtype.kind, first.dtype.itemsize
    marks = np.isin(first, [v for v in SENTINELS if fits(v, first.dtype)])
    if bands < _MANY_BANDS:
        return marks
    if kind in "iu" and size > 1:
        marks |= first == np.iinfo(first.dtype).max
    with np.errstate(invalid="ignore"):
        return marks | (first <= 0) if kind != "b" else marks


def from_the_edge(mask: np.ndarray) -> np.ndarray:
    """The part of a mask (H, W) that is connected with the edge of the image."""
    from scipy.ndimage import label  # slow to load, for scenes with zeros alone

    regions, count = label(mask)
    if not count:
        return mask
    edges = (regions[0], regions[-1], regions[:, 0], regions[:, -1])
    known = np.unique(np.concatenate(edges))
    found: np.ndarray = np.isin(regions, known[known > 0])
    return found


def all_equal(block: np.ndarray, value: float) -> np.ndarray:
    """Where every band has the value; the other bands are looked at only where the first has."""
    number = block.dtype.type(value)
    found = block[0] == number
    if found.any():
        found[found] = (block[:, found] == number).all(axis=0)
    return found


def typed(value: float, dtype: np.dtype) -> Any:
    """A value in the number type of a cube."""
    with np.errstate(over="ignore"):
        return np.asarray(value).astype(dtype)


def as_column(nodata: tuple[float | None, ...], dtype: np.dtype) -> np.ndarray | None:
    """Nodata per band as (B, 1, 1) in the cube's type; None if no band has one that fits."""
    possible = [n is not None and fits(n, dtype) for n in nodata]
    if not any(possible):
        return None
    if not all(possible):  # bands without nodata compare with NaN, which equals nothing
        return np.array(
            [n if ok else np.nan for n, ok in zip(nodata, possible, strict=True)], dtype=np.float64
        ).reshape(-1, 1, 1)
    with np.errstate(over="ignore"):
        return np.array(nodata).astype(dtype).reshape(-1, 1, 1)


def fits(value: float, dtype: np.dtype) -> bool:
    """Whether a value can occur in an array of that type (NaN never compares equal)."""
    if dtype.kind == "f":
        return value == value
    if dtype.kind == "b" or not np.isfinite(value) or value != int(value):
        return False
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)
