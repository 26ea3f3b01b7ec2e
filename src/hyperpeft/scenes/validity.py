"""Which pixels can be used: streamed down the scene, each block of the file read once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.scenes.cube import Cube

_MAX_VALUES = 2**24
_SENTINELS = (-32768, -9999)  # in every band of a pixel: nodata that nobody declared
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass
class _Counts:
    nan: int = 0
    infinite: int = 0
    nodata: int = 0
    sentinel: int = 0


def valid_pixels(cube: Cube) -> tuple[np.ndarray, tuple[str, ...]]:
    """Find the pixels whose bands are all finite and none nodata.

    A pixel of zeros is valid. Values beyond float32 count as infinite. A pixel that is -32768 or
    -9999 in every band is masked even where the file declares no nodata, and the notes say so.

    Parameters
    ----------
    cube : Cube
        Its bad bands are dropped already.

    Returns
    -------
    valid : ndarray of bool, shape (H, W)
    notes : tuple of str
        How many pixels were masked, and why.

    Raises
    ------
    SceneError
        No pixel is valid.
    """
    bands, height, width = cube.data.shape
    step = max(1, _MAX_VALUES // (width * bands))
    step = max(cube.block_rows, step // cube.block_rows * cube.block_rows)
    nodata = _as_column(cube.nodata, cube.data.dtype)
    valid = np.ones((height, width), dtype=bool)
    counts = _Counts()
    for start in range(0, height, step):
        block = _read(cube, start, start + step)  # (B, rows, W)
        valid[start : start + step] = _check(block, nodata, counts)
    if not valid.any():
        raise SceneError(
            f"{cube.path}: no pixel is valid in all {bands} bands ({_reasons(counts)})",
            do="check the nodata value, or flag the empty bands in the header's bad-band list",
        )
    return valid, _notes(valid, counts)


def _read(cube: Cube, start: int, stop: int) -> np.ndarray:
    """Some rows in the file's own type; a file that is damaged inside is refused."""
    try:
        block: np.ndarray = cube.data.isel(y=slice(start, stop)).values
    except Exception as problem:  # GDAL's errors have no common root
        reason = " ".join(str(problem).split())[:120] or type(problem).__name__
        raise SceneError(
            f"{cube.path}: rows {start} to {stop} cannot be read ({reason})",
            do="the file is damaged or cut short: get it again",
        ) from None
    return block


def _check(block: np.ndarray, nodata: np.ndarray | None, counts: _Counts) -> np.ndarray:
    """Validity of one block (B, rows, W); each masked pixel is counted under its first reason."""
    valid = np.ones(block.shape[1:], dtype=bool)

    def mask(bad: np.ndarray) -> int:
        new = bad & valid
        valid[new] = False
        return int(np.count_nonzero(new))

    # nodata first: its value may itself be NaN or beyond float32
    if nodata is not None:
        counts.nodata += mask((block == nodata).any(axis=0))
    for sentinel in _SENTINELS:
        if _fits(sentinel, block.dtype):
            counts.sentinel += mask((block == block.dtype.type(sentinel)).all(axis=0))
    if block.dtype.kind == "f":
        counts.nan += mask(np.isnan(block).any(axis=0))
        with np.errstate(invalid="ignore"):
            counts.infinite += mask((np.abs(block) > _FLOAT32_MAX).any(axis=0))
    return valid


def _as_column(nodata: tuple[float | None, ...], dtype: np.dtype) -> np.ndarray | None:
    """Nodata per band as (B, 1, 1) in the cube's type; None if no band has one that fits."""
    fits = [n is not None and _fits(n, dtype) for n in nodata]
    if not any(fits):
        return None
    known = next(n for n, ok in zip(nodata, fits, strict=True) if ok)
    values = [n if ok else known for n, ok in zip(nodata, fits, strict=True)]
    if not all(fits):  # bands without nodata compare with NaN, which equals nothing
        return np.array(
            [n if ok else np.nan for n, ok in zip(nodata, fits, strict=True)], dtype=np.float64
        ).reshape(-1, 1, 1)
    with np.errstate(over="ignore"):
        return np.array(values).astype(dtype).reshape(-1, 1, 1)


def _fits(value: float, dtype: np.dtype) -> bool:
    """Whether a value can occur in an array of that type (NaN never compares equal)."""
    if dtype.kind == "f":
        return value == value
    if dtype.kind == "b" or not np.isfinite(value) or value != int(value):
        return False
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)


def _reasons(counts: _Counts) -> str:
    parts = [f"NaN {counts.nan}", f"infinite {counts.infinite}", f"nodata {counts.nodata}"]
    if counts.sentinel:
        parts.append(f"undeclared nodata {counts.sentinel}")
    return ", ".join(parts)


def _notes(valid: np.ndarray, counts: _Counts) -> tuple[str, ...]:
    masked = valid.size - int(np.count_nonzero(valid))
    if not masked:
        return ()
    notes = [f"{masked} of {valid.size} pixels are masked ({_reasons(counts)})"]
    if counts.sentinel:
        notes.append(
            f"{counts.sentinel} pixels are -32768 or -9999 in every band although the file "
            "declares no such nodata; they are taken as nodata"
        )
    return tuple(notes)
