"""Which pixels and bands can be used: streamed over the scene, each block of the file read once.

Values are compared as stored, in the file's own type, and a block is the unit of memory: at most
`_MAX_VALUES` values are looked at together, unless the file stores more than that in one block.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.records import cover
from hyperpeft.scenes.cubes.band_values import (
    HUGE,
    all_equal,
    as_column,
    candidates,
    constants,
    fits,
    from_the_edge,
    impossible,
    largest_stored,
    typed,
)
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.lazy import LazyMask
from hyperpeft.scenes.cubes.scan import (
    IMPOSSIBLE,
    INFINITE,
    NAN,
    NODATA,
    OUTSIDE,
    UNDECLARED,
    ZEROS,
    Tally,
    load_scan,
    notes_of,
    reasons,
    save_scan,
)
from hyperpeft.scenes.cubes.scan import LARGE as _LARGE
from hyperpeft.system.resources import require_memory

_MAX_VALUES = 2**24
_NOTED_ZEROS = 16
_BORDER = 4  # pixels of 0 at the edge; fewer are dark ground as likely as not
_BYTES_PER_PIXEL = 6  # the mask, its copies, and class ids


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
    scaled, count as infinite. Fill values are masked even where the file declares no nodata (see
    `fill_values`), and the notes say so.

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
            f"{cube.path}: no pixel is valid in all {bands} bands ({reasons(tally)})",
            hint="check the nodata value, or flag the empty bands in the header's bad-band list",
        )
    empty = bands - int(np.count_nonzero(tally.alive))
    if empty:
        note = f"{empty} of {bands} bands hold no valid value and are dropped"
        cube = cube.select(np.flatnonzero(tally.alive), note)
    return replace(cube, masks=None, notes=(*cube.notes, *notes_of(tally))), tally.valid


def look_when_asked(cube: Cube, sample: tuple[slice, slice]) -> tuple[Cube, LazyMask]:
    """The same for a cube on a server, whose pixels are looked at when they are asked for.

    A `sample` window tells which bands are empty. Zeros in every band stay valid: where they
    begin at the edge of the scene is not known.

    Raises
    ------
    SceneError
        The sample cannot be read.
    """
    bands = cube.data.shape[0]
    ruled = any(value is not None for value in (*cube.nodata, *cube.marks))
    if ruled or cube.data.dtype.kind == "f":
        tally = _look_at_window(cube, sample)
        empty = bands - int(np.count_nonzero(tally.alive))
    else:
        empty = 0
    if 0 < empty < bands:
        note = f"{empty} of {bands} bands hold no valid value in a sample and are dropped"
        cube = cube.select(np.flatnonzero(tally.alive), note)
    note = "pixels are looked at when they are asked for: how many are valid is not known before"
    cube = replace(cube, notes=(*cube.notes, note))
    _, height, width = cube.data.shape
    return cube, LazyMask((height, width), cube.block, _Look(cube))


class _Look:
    """Which pixels of a window are valid."""

    def __init__(self, cube: Cube) -> None:
        self.cube = cube

    def __call__(self, rows: slice, columns: slice) -> np.ndarray:
        tally = _look_at_window(self.cube, (rows, columns))
        found = tally.valid & bool(tally.alive.all())
        for mask in (self.cube.masks or {}).values():
            found &= ~mask[rows, columns]
        return found


def _look_at_window(cube: Cube, where: tuple[slice, slice]) -> Tally:
    """A tally of a window alone."""
    part = replace(cube, data=cube.data.isel(y=where[0], x=where[1]))
    bands, height, width = part.data.shape
    tally = Tally(np.ones((height, width), dtype=bool), np.zeros(bands, dtype=bool))
    nodata = as_column(part.nodata, part.data.dtype)
    _check(part, (slice(0, height), slice(0, width)), nodata, HUGE, tally)
    return tally


def _scan(cube: Cube) -> Tally:
    """Look at every pixel; where all values are large, that is how the scene is scaled."""
    tally = _look_at_all(cube, HUGE)
    if tally.counts.get(IMPOSSIBLE) and np.count_nonzero(tally.valid) < 2:
        tally = _look_at_all(cube, np.inf)
    if cube.data.size > _LARGE:
        answer = {"valid": np.packbits(tally.valid), "alive": tally.alive}
        answer |= {"reasons": np.array(list(tally.counts)), "fills": np.array([*tally.fills])}
        save_scan(
            cube.path, _question(cube), {**answer, "counts": np.array([*tally.counts.values()])}
        )
    return tally


def _look_at_all(cube: Cube, huge: float) -> Tally:
    bands, height, width = cube.data.shape
    tally = Tally(np.ones((height, width), dtype=bool), np.zeros(bands, dtype=bool))
    nodata = as_column(cube.nodata, cube.data.dtype)
    ruled = nodata is not None or cube.marks or np.isfinite(cube.limits).any()
    probe = not ruled and cube.data.dtype.kind != "f" and cube.data.size > _LARGE
    for where in cover((bands, height, width), cube.block, _MAX_VALUES):
        if probe and not _suspect(cube, where):
            tally.alive[:] = True
            continue
        _check(cube, where, nodata, huge, tally)
    # A band that is dead in one block and alive elsewhere leaves no valid pixel in that block.
    for rows, columns, dead in tally.dead_in:
        if (dead & tally.alive).any():
            whole = np.ones_like(tally.valid[rows, columns])
            tally.mask((rows, columns), whole, NODATA)
    if tally.zeros is not None:
        for mask in (cube.masks or {}).values():
            tally.zeros &= ~mask
        outside = from_the_edge(tally.zeros)
        if np.count_nonzero(outside) >= _BORDER and bands > 3:
            tally.fills.add(0.0)
            tally.mask((slice(0, height), slice(0, width)), outside, UNDECLARED)
        inside = int(np.count_nonzero(tally.zeros & tally.valid))
        if inside >= _NOTED_ZEROS:
            tally.counts[ZEROS] = inside
    return tally


def _load_tally(cube: Cube) -> Tally | None:
    """What an earlier look at the same large file has found."""
    kept = load_scan(cube.path, _question(cube)) if cube.data.size > _LARGE else None
    if kept is None:
        return None
    height, width = cube.data.shape[1:]
    valid = np.unpackbits(kept["valid"], count=height * width).reshape(height, width).astype(bool)
    counts = dict(zip(kept["reasons"].tolist(), kept["counts"].tolist(), strict=True))
    return Tally(valid, kept["alive"], counts, fills=set(kept["fills"].tolist()))


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
        "masks": {name: int(mask.sum()) for name, mask in (cube.masks or {}).items()},
        "others": [
            [str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in cube.others
        ],
    }


def _suspect(cube: Cube, where: tuple[slice, slice]) -> bool:
    """Whether a block of whole numbers, without nodata, may hold a fill value.

    The first band tells, of 8 and 16 bits; the last one is read with it so that a file that is cut
    short is noticed.
    """
    values = _read(cube, *where, bands=[0, cube.data.shape[0] - 1])
    if impossible(values, HUGE) is not None:
        return True
    marks = np.array([v for v in cube.empty if fits(v, values.dtype)]).astype(values.dtype)
    return bool((candidates(values[0], cube.data.shape[0]) | np.isin(values[0], marks)).any())


def _read(cube: Cube, rows: slice, columns: slice, bands: list[int] | None = None) -> np.ndarray:
    """A window in the file's own type; a file that is damaged inside is refused."""
    data = cube.data if bands is None else cube.data.isel(band=bands)
    with reading_rows(cube, rows):
        block: np.ndarray = data.isel(y=rows, x=columns).values
    return block


@contextmanager
def reading_rows(cube: Cube, rows: slice) -> Iterator[None]:
    """Turn what a library raises while rows are read into one sentence about the file."""
    try:
        yield
    except SceneError:
        raise
    except Exception as problem:  # GDAL's and HDF5's errors have no common root
        reason = " ".join(str(problem).split())[:120] or type(problem).__name__
        raise SceneError(
            f"{cube.path}: rows {rows.start} to {rows.stop} cannot be read ({reason})",
            hint="the file is damaged or cut short: get it again",
        ) from None


def _check(
    cube: Cube, where: tuple[slice, slice], nodata: np.ndarray | None, huge: float, tally: Tally
) -> None:
    """Look at one block (B, rows, columns)."""
    block = _read(cube, *where)
    kinds: list[tuple[str, Any]] = []  # (B, rows, columns), True where a value is bad
    # nodata first: its value may itself be NaN or beyond float32
    if nodata is not None:
        kinds.append((NODATA, block == nodata))
    marked: Any = False
    for value in cube.marks:
        if fits(value, block.dtype):
            marked |= block == typed(value, block.dtype)
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
    if huge < np.inf:
        wrong = impossible(block, np.minimum(largest_stored(cube, huge), largest_stored(cube)))
        if wrong is not None and wrong.any():
            kinds.append((IMPOSSIBLE, wrong))
    if np.isfinite(cube.limits).any():
        kinds.append((OUTSIDE, _outside(block, cube.limits)))
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
    live = block[~dead] if dead.any() else block  # "in every band" is in every band that is kept
    for value in cube.empty:
        if fits(value, live.dtype):
            tally.mask(where, all_equal(live, value), NODATA)
    fill, zeros = constants(live)
    if fill.any():
        tally.fills |= {float(v) for v in np.unique(live[0][fill & tally.valid[where]])}
        tally.mask(where, fill, UNDECLARED)
    if zeros.any() and 0.0 not in cube.empty:
        if tally.zeros is None:
            tally.zeros = np.zeros_like(tally.valid)
        tally.zeros[where] = zeros


def _outside(block: np.ndarray, limits: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Values (B, rows, columns) beyond the limits of their band."""
    found = np.zeros(block.shape, dtype=bool)
    for low, high in set(limits):  # mostly one pair for all bands
        bands = [pair == (low, high) for pair in limits]
        part = block if all(bands) else block[bands]
        with np.errstate(over="ignore"):
            found[bands] = (part < low) | (part > high)
    return found
