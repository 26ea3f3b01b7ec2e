"""Which pixels and bands can be used: streamed over the scene, each block of the file read once.

Values are compared as stored, in the file's own type, and a block is the unit of memory: at most
`_MAX_VALUES` values are looked at together, unless the file stores more than that in one block.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.records import cover
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.scaling import largest_stored
from hyperpeft.scenes.cubes.scan_cache import LARGE as _LARGE
from hyperpeft.scenes.cubes.scan_cache import load_scan, save_scan
from hyperpeft.system.memory import require_memory

_MAX_VALUES = 2**24
_BYTES_PER_PIXEL = 6  # the mask, its copies, and class ids
_SENTINELS = (-32768.0, -9999.0)  # in every band of a pixel: nodata that nobody declared

NAN, INFINITE, NODATA, UNDECLARED = "NaN", "infinite", "nodata", "undeclared nodata"
OUTSIDE = "outside the file's valid range"


@dataclass
class _Tally:
    """What has been found so far."""

    valid: np.ndarray  # (H, W)
    alive: np.ndarray  # (B,) bands that hold at least one valid value
    counts: dict[str, int] = field(default_factory=dict)
    dead_in: list[tuple[slice, slice, np.ndarray]] = field(default_factory=list)

    def mask(self, where: tuple[slice, slice], bad: np.ndarray, reason: str) -> None:
        """Mask pixels; each is counted under its first reason."""
        valid = self.valid[where]
        new = bad & valid
        valid[new] = False
        self.counts[reason] = self.counts.get(reason, 0) + int(np.count_nonzero(new))


def check_size(what: str, shape: tuple[int, ...]) -> None:
    """Refuse a scene (H, W) whose mask alone does not fit into memory.

    Raises
    ------
    SceneError
        With the estimate.
    """
    height, width = shape
    require_memory(
        f"{what}: a scene of {height} x {width} pixels",
        _BYTES_PER_PIXEL * height * width,
        hint="cut it into parts, or check that its header is right",
        error=SceneError,
    )


def check_pixels(cube: Cube) -> tuple[Cube, np.ndarray]:
    """Find the pixels whose bands are all finite and none nodata.

    A band without one valid value would leave no pixel: it is dropped, as if it were flagged as
    bad. A pixel of zeros is valid, unless the format has it as nodata. Values beyond float32, as
    scaled, count as infinite. A pixel that is -32768 or -9999 in every band is masked even where
    the file declares no nodata, and the notes say so.

    Parameters
    ----------
    cube : Cube
        Its bad bands are dropped already.

    Returns
    -------
    cube : Cube
        Without empty bands; with notes on how many bands and pixels were left out, and why.
    valid : ndarray of bool, shape (H, W)

    Raises
    ------
    SceneError
        No pixel is valid, or a block cannot be read.
    """
    bands, height, width = cube.data.shape
    tally = _load_tally(cube) or _scan(cube)
    for name, mask in (cube.masks or {}).items():
        tally.mask((slice(0, height), slice(0, width)), mask, name)
    if not tally.valid.any():
        raise SceneError(
            f"{cube.path}: no pixel is valid in all {bands} bands ({_reasons(tally)})",
            hint="check the nodata value, or flag the empty bands in the header's bad-band list",
        )
    empty = bands - int(np.count_nonzero(tally.alive))
    if empty:
        note = f"{empty} of {bands} bands hold no valid value and are dropped"
        cube = cube.select(np.flatnonzero(tally.alive), note)
    return replace(cube, masks=None, notes=(*cube.notes, *_notes(tally))), tally.valid


def _scan(cube: Cube) -> _Tally:
    """Look at every pixel."""
    bands, height, width = cube.data.shape
    tally = _Tally(np.ones((height, width), dtype=bool), np.zeros(bands, dtype=bool))
    nodata = _as_column(cube.nodata, cube.data.dtype)
    ruled = nodata is not None or cube.marks or np.isfinite(cube.limits).any()
    probe = not ruled and cube.data.dtype.kind != "f" and cube.data.size > _LARGE
    for where in cover((bands, height, width), cube.block, _MAX_VALUES):
        if probe and not _suspect(cube, where):
            tally.alive[:] = True
            continue
        _check(cube, where, nodata, tally)
    # A band that is dead in one block and alive elsewhere leaves no valid pixel in that block.
    for rows, columns, dead in tally.dead_in:
        if (dead & tally.alive).any():
            whole = np.ones_like(tally.valid[rows, columns])
            tally.mask((rows, columns), whole, NODATA)
    if cube.data.size > _LARGE:
        answer = {"valid": np.packbits(tally.valid), "alive": tally.alive}
        counts = {
            "reasons": np.array(list(tally.counts)),
            "counts": np.array([*tally.counts.values()]),
        }
        save_scan(cube.path, _question(cube), {**answer, **counts})
    return tally


def _load_tally(cube: Cube) -> _Tally | None:
    """What an earlier look at the same large file has found."""
    kept = load_scan(cube.path, _question(cube)) if cube.data.size > _LARGE else None
    if kept is None:
        return None
    height, width = cube.data.shape[1:]
    valid = np.unpackbits(kept["valid"], count=height * width).reshape(height, width).astype(bool)
    counts = dict(zip(kept["reasons"].tolist(), kept["counts"].tolist(), strict=True))
    return _Tally(valid, kept["alive"], counts)


def _question(cube: Cube) -> dict[str, object]:
    """All that the answer depends on besides the file."""
    return {
        "shape": list(cube.data.shape),
        "dtype": str(cube.data.dtype),
        "nodata": [str(value) for value in cube.nodata],
        "marks": [str(value) for value in cube.marks],
        "limits": [str(value) for value in cube.limits],
        "empty": [str(value) for value in cube.empty],
        "largest": str(np.ravel(largest_stored(cube)).tolist()),
        "key": cube.key,
        "others": [
            [str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in cube.others
        ],
    }


def _suspect(cube: Cube, where: tuple[slice, slice]) -> bool:
    """Whether a block of whole numbers, without nodata, may hold a pixel of one value throughout.

    The first band tells; the last one is read with it so that a file that is cut short is noticed.
    """
    values = _read(cube, *where, bands=[0, cube.data.shape[0] - 1])
    marks = [v for v in (*cube.empty, *_SENTINELS) if _fits(v, values.dtype)]
    return bool(np.isin(values[0], np.array(marks).astype(values.dtype)).any())


def _read(cube: Cube, rows: slice, columns: slice, bands: list[int] | None = None) -> np.ndarray:
    """A window in the file's own type; a file that is damaged inside is refused."""
    data = cube.data if bands is None else cube.data.isel(band=bands)
    try:
        block: np.ndarray = data.isel(y=rows, x=columns).values
    except SceneError:
        raise
    except Exception as problem:  # GDAL's and HDF5's errors have no common root
        reason = " ".join(str(problem).split())[:120] or type(problem).__name__
        raise SceneError(
            f"{cube.path}: rows {rows.start} to {rows.stop} cannot be read ({reason})",
            hint="the file is damaged or cut short: get it again",
        ) from None
    return block


def _check(
    cube: Cube, where: tuple[slice, slice], nodata: np.ndarray | None, tally: _Tally
) -> None:
    """Look at one block (B, rows, columns)."""
    block = _read(cube, *where)
    kinds: list[tuple[str, Any]] = []  # (B, rows, columns), True where a value is bad
    # nodata first: its value may itself be NaN or beyond float32
    if nodata is not None:
        kinds.append((NODATA, block == nodata))
    marked: Any = False
    for value in cube.marks:
        if _fits(value, block.dtype):
            marked |= block == _typed(value, block.dtype)
    if marked is not False:
        kinds.append((NODATA, marked))
    if block.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):
            size = np.abs(block)
            largest = largest_stored(cube)
            finite = size <= largest  # False for NaN, too
            if not finite.all():
                kinds.append((NAN, np.isnan(block)))
                kinds.append((INFINITE, size > largest))
            del size, finite
    low, high = cube.limits
    with np.errstate(over="ignore"):
        if low > -np.inf:
            kinds.append((OUTSIDE, block < low))
        if high < np.inf:
            kinds.append((OUTSIDE, block > high))
    dead = np.zeros(len(block), dtype=bool)
    if kinds:
        any_bad = np.logical_or.reduce([bad for _, bad in kinds]) if len(kinds) > 1 else kinds[0][1]
        dead[:] = any_bad.all(axis=(1, 2))
        del any_bad
    if dead.all():  # nothing here says which bands are empty
        for reason, bad in kinds:
            tally.mask(where, bad.any(axis=0), reason)
        return
    tally.alive |= ~dead
    if dead.any():
        tally.dead_in.append((*where, dead))
    for reason, bad in kinds:
        tally.mask(where, bad[~dead].any(axis=0) if dead.any() else bad.any(axis=0), reason)
    for value in cube.empty:
        if _fits(value, block.dtype):
            tally.mask(where, _all_equal(block, value), NODATA)
    for value in _SENTINELS:
        if _fits(value, block.dtype):
            tally.mask(where, _all_equal(block, value), UNDECLARED)


def _all_equal(block: np.ndarray, value: float) -> np.ndarray:
    """Where every band has the value; the other bands are looked at only where the first has."""
    number = block.dtype.type(value)
    found = block[0] == number
    if found.any():
        found[found] = (block[:, found] == number).all(axis=0)
    return found


def _typed(value: float, dtype: np.dtype) -> Any:
    with np.errstate(over="ignore"):
        return np.asarray(value).astype(dtype)


def _as_column(nodata: tuple[float | None, ...], dtype: np.dtype) -> np.ndarray | None:
    """Nodata per band as (B, 1, 1) in the cube's type; None if no band has one that fits."""
    fits = [n is not None and _fits(n, dtype) for n in nodata]
    if not any(fits):
        return None
    if not all(fits):  # bands without nodata compare with NaN, which equals nothing
        return np.array(
            [n if ok else np.nan for n, ok in zip(nodata, fits, strict=True)], dtype=np.float64
        ).reshape(-1, 1, 1)
    with np.errstate(over="ignore"):
        return np.array(nodata).astype(dtype).reshape(-1, 1, 1)


def _fits(value: float, dtype: np.dtype) -> bool:
    """Whether a value can occur in an array of that type (NaN never compares equal)."""
    if dtype.kind == "f":
        return value == value
    if dtype.kind == "b" or not np.isfinite(value) or value != int(value):
        return False
    limits = np.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)


def _reasons(tally: _Tally) -> str:
    counts = {NAN: 0, INFINITE: 0, NODATA: 0, **tally.counts}
    shown = (NAN, INFINITE, NODATA)
    return ", ".join(f"{name} {n}" for name, n in counts.items() if n or name in shown)


def _notes(tally: _Tally) -> tuple[str, ...]:
    masked = tally.valid.size - int(np.count_nonzero(tally.valid))
    if not masked:
        return ()
    notes = [f"{masked} of {tally.valid.size} pixels are masked ({_reasons(tally)})"]
    undeclared = tally.counts.get(UNDECLARED, 0)
    if undeclared:
        notes.append(
            f"{undeclared} pixels are -32768 or -9999 in every band although the file "
            "declares no such nodata; they are taken as nodata"
        )
    return tuple(notes)
