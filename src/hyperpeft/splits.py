"""Which pixels train, validate and test: drawn, official or spatially disjoint.

A drawn class depends on the labels, the seed and the class id only: the first `n` pixels of one
seeded permutation per class. So 5 pixels per class are among the 10 of the same seed, and adding
a class to the map moves no pixel of another. A class without training pixels cannot be predicted
and leaves the test set as well; `Split.notes` says so.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial.distance import cdist

from hyperpeft.errors import SplitError
from hyperpeft.files import replacing
from hyperpeft.records import UNLABELLED, Labels, Split

PARTS = ("train", "validation", "test")
Pixels = dict[int, np.ndarray]  # class id -> flat pixel indices, in drawn order


def per_class(
    labels: Labels,
    n: int,
    *,
    seed: int,
    validation: float = 0.0,
    valid: np.ndarray | None = None,
) -> Split:
    """Draw `n` training pixels of each class, never more than half of a class; test on the rest.

    Parameters
    ----------
    labels : Labels
    n : int
        Training pixels per class, those moved to validation included.
    seed : int
        Not negative; the same seed gives the same split.
    validation : float
        Share of each class's training pixels moved to validation; at least one stays.
    valid : ndarray of bool, shape (H, W), optional
        Labelled pixels that are not valid are left out and counted in the notes.

    Returns
    -------
    Split
        Classes smaller than 2 n gave half of their pixels; a class of one pixel is left out. The
        notes name them.

    Raises
    ------
    SplitError
        When an argument is out of range or no class has two pixels.
    """
    quota = _at_most_half(n)
    ids, notes = _usable(labels, valid)
    return _draw(labels, ids, quota, f"per-class {n}", seed, validation, notes, asked=n)


def fraction(
    labels: Labels,
    share: float,
    *,
    seed: int,
    validation: float = 0.0,
    valid: np.ndarray | None = None,
) -> Split:
    """Draw the same share of every class for training; test on the rest.

    Each class gives its share rounded to whole pixels, at least one. Up to a share of 0.5 no class
    gives more than half; above it the share is what was asked for, and at least one pixel of the
    class stays for the test.

    Parameters
    ----------
    labels : Labels
    share : float
        Between 0 and 1, both excluded.
    seed, validation, valid
        As for `per_class`.

    Returns
    -------
    Split

    Raises
    ------
    SplitError
        When an argument is out of range or no class has two pixels.
    """
    quota = _rounded_share(share)
    ids, notes = _usable(labels, valid)
    return _draw(labels, ids, quota, f"fraction {share:g}", seed, validation, notes)


def from_masks(
    train: Labels,
    test: Labels,
    *,
    seed: int,
    validation: float = 0.0,
    valid: np.ndarray | None = None,
    kind: str = "official",
) -> Split:
    """Take training and test pixels from two rasters, with the rasters' own class ids.

    A pixel in both rasters trains and is removed from the test; the notes count such pixels. The
    seed decides only which training pixels are moved to validation.

    Parameters
    ----------
    train, test : Labels
        On the same grid.
    seed, validation, valid
        As for `per_class`.
    kind : str
        Recorded as `Split.kind`.

    Returns
    -------
    Split

    Raises
    ------
    SplitError
        When the grids differ, a raster is empty or an argument is out of range.
    """
    if train.ids.shape != test.ids.shape:
        raise SplitError(
            "training and test rasters differ in size", expected=train.ids.shape, got=test.ids.shape
        )
    train_ids, notes = _usable(train, valid, "training raster: ")
    test_ids, test_notes = _usable(test, valid, "test raster: ")
    both = (train_ids != UNLABELLED) & (test_ids != UNLABELLED)
    if both.any():
        clash = np.count_nonzero(both & (train_ids != test_ids))
        notes = [
            *notes,
            f"{np.count_nonzero(both)} pixels are in both rasters ({clash} of them with another "
            "class) and were removed from the test set",
        ]
    drawn = {c: _rng(seed, c).permutation(where) for c, where in _by_class(train_ids).items()}
    tested = _by_class(np.where(both, UNLABELLED, test_ids))
    notes += test_notes
    notes += [
        f"{_name(train.classes, c)}: no test pixel, so no accuracy"
        for c in sorted(drawn.keys() - tested.keys())
    ]
    names = {**test.classes, **train.classes}
    return _assemble(kind, names, train_ids.shape, drawn, tested, validation, notes)


def disjoint(
    labels: Labels,
    *,
    window: int,
    seed: int,
    n: int | None = None,
    share: float | None = None,
    validation: float = 0.0,
    valid: np.ndarray | None = None,
    gap: int | None = None,
) -> Split:
    r"""Train in small blocks and test at least one window away from every one of them.

    Training pixels (T) come in clumps from three random blocks of `window` x `window` pixels per
    class, and as many around these as it takes. Every other pixel nearer than `gap` to one of
    them, along rows or columns, is left out (.), and the rest is tested (o). With the default gap
    not even the windows around training and test pixels overlap:

    >>> ids = np.ones((9, 40), np.int32)
    >>> split = disjoint(Labels(ids, {1: "grass"}, {}), window=5, n=12, seed=10)
    >>> drawing = np.full(ids.shape, ".")
    >>> for part, sign in ((split.train, "T"), (split.test, "o")):
    ...     drawing[tuple(part.T)] = sign
    >>> print("\n".join(map("".join, drawing)))
    ooooo....TT....oooo...........oooooooooo
    ooooo....TT....oooo...........oooooooooo
    ooooo..........oooo....TTT....oooooooooo
    ooooo..................T......oooooooooo
    ooooo.........................oooooooooo
    ooooo.........................oooooooooo
    ooooooooooooo.................oooooooooo
    ooooooooooooo....TTT........oooooooooooo
    ooooooooooooo.....T.....oooooooooooooooo

    Small classes are placed first, and every placement leaves each class a quarter of its pixels
    to test. A class that cannot be placed so trains at one of its ends, on at most as many pixels
    as it tests. Classes too small or too crowded to be on both sides are left out of both.
    Validation pixels lie among the training pixels.

    Parameters
    ----------
    labels : Labels
    window : int
        Side of the window around a pixel, odd.
    seed : int
        Not negative; the same seed gives the same split.
    n, share : int or float, optional
        Training pixels per class as in `per_class`, or the share of each class as in `fraction`:
        one of the two. A class gives fewer where more would use up a test set.
    validation, valid
        As for `per_class`.
    gap : int, optional
        Smallest distance between a training and a test pixel, the larger of rows and columns.
        By default `window`; `window // 2 + 1` keeps training pixels just out of test windows.

    Returns
    -------
    Split
        Its notes name the classes that gave fewer pixels than asked for, or none.

    Raises
    ------
    SplitError
        When an argument is out of range or no class can be on both sides.
    """
    radius = _radius(window)
    gap = window if gap is None else gap
    if gap <= radius:
        raise SplitError("gap", expected=f"more than half the window of {window}", got=gap)
    if n is not None and share is None:
        quota, kind = _at_most_half(n), f"disjoint {window}x{window} per-class {n}"
    elif share is not None and n is None:
        quota, kind = _rounded_share(share), f"disjoint {window}x{window} fraction {share:g}"
    else:
        raise SplitError("disjoint split", expected="either n or share", got=(n, share))
    ids, notes = _usable(labels, valid)
    pixels = _by_class(ids)
    board = _Board(ids, gap)
    corner = _rng(seed, UNLABELLED).integers(window, size=2)
    drawn: Pixels = {}
    for c in sorted(pixels, key=lambda c: len(pixels[c])):
        wanted = quota(len(pixels[c]))
        placed = board.spread(c, pixels[c], wanted, window, corner, _rng(seed, c))
        if 0 < len(placed) < wanted:
            notes.append(
                f"{_name(labels.classes, c)}: {len(placed)} training pixels instead of {wanted}; "
                "more would leave a class too few test pixels"
            )
        drawn[c] = placed
    tested = {c: where[board.free.flat[where]] for c, where in pixels.items()}
    why = f"no training and test pixels of it can be {gap} apart"
    return _assemble(kind, labels.classes, ids.shape, drawn, tested, validation, notes, why)


def leakage(split: Split, shape: tuple[int, int], window: int) -> float | None:
    """Share of test pixels whose window contains at least one training pixel.

    Mirror padding at the scene's edge changes nothing: what it repeats is in the window already.

    Parameters
    ----------
    split : Split
    shape : tuple of 2 ints
        (H, W) of the scene.
    window : int
        Side of the window, odd.

    Returns
    -------
    float or None
        Between 0 and 1; None without test pixels.
    """
    radius = _radius(window)
    if not len(split.test):
        return None
    near = np.zeros(shape, bool)
    near[tuple(split.train.T)] = True
    near = ndimage.maximum_filter(near, 2 * radius + 1, mode="constant")
    return float(near[tuple(split.test.T)].mean())


def save(split: Split, path: Path) -> None:
    """Write `split.npz`: `train`, `validation`, `test` (n, 2), their `*_ids`, `kind`, `notes`."""
    members: dict[str, Any] = {"kind": split.kind, "notes": np.array(split.notes, dtype=str)}
    members |= {name: getattr(split, name) for part in PARTS for name in (part, f"{part}_ids")}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **members)


def load(path: Path, labels: Labels | None = None) -> Split:
    """Read and check a split file, of `save` or of anyone else.

    Parameters
    ----------
    path : Path
        An .npz with `train` and `test`, optionally `validation`: (n, 2) integers, row and column.
        Without `*_ids` the class ids are those of the labels.
    labels : Labels, optional
        Gives the grid that all pixels must be on.

    Returns
    -------
    Split

    Raises
    ------
    SplitError
        When the file is missing or damaged, pixels lie outside the grid, repeat or are in two
        parts, or ids are missing, do not match the pixels or are 0.
    """
    path = Path(path)
    arrays = _read_npz(path)
    missing = {"train", "test"} - arrays.keys()
    if missing:
        raise SplitError(f"split file {path}", expected="train and test", got=sorted(arrays))
    parts: dict[str, np.ndarray] = {}
    for part in PARTS:
        pixels = arrays.get(part, np.empty((0, 2), np.int64))
        _check_pixels(f"{part} of split file {path}", pixels, labels)
        parts[part] = pixels.astype(np.int64)
        ids = arrays.get(f"{part}_ids")
        if ids is None and labels is None and len(pixels):
            raise SplitError(f"split file {path} has no {part}_ids", do="give the labels too")
        if ids is None:
            ids = labels.ids[tuple(parts[part].T)] if labels else np.empty(0, np.int32)
        if ids.shape != (len(pixels),) or ids.dtype.kind not in "iu" or (ids == UNLABELLED).any():
            raise SplitError(
                f"{part}_ids of split file {path}",
                expected=f"{len(pixels)} class ids, none of them {UNLABELLED} (unlabelled)",
                got=f"{ids.dtype} {ids.shape}, {np.count_nonzero(ids == UNLABELLED)} of them 0",
            )
        parts[f"{part}_ids"] = ids.astype(np.int32)
    if not len(parts["train"]):
        raise SplitError(f"split file {path} has no training pixel")
    everything = np.concatenate([parts[part] for part in PARTS])
    repeated = len(everything) - len(np.unique(everything, axis=0))
    if repeated:
        raise SplitError(f"{repeated} pixels repeat or are in two parts of split file {path}")
    notes = tuple(np.atleast_1d(arrays.get("notes", np.empty(0, str))).astype(str).tolist())
    return Split(kind=str(arrays.get("kind", f"file {path.name}")), notes=notes, **parts)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:  # np.load alone would take a lone .npy as well
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            damaged = archive.testzip()
        if damaged:
            raise zipfile.BadZipFile(f"{damaged} is damaged")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except FileNotFoundError:
        raise SplitError(f"there is no split file {path}") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise SplitError(f"{path} is not a split file ({error})", expected=".npz") from None


def _check_pixels(what: str, pixels: np.ndarray, labels: Labels | None) -> None:
    if pixels.ndim != 2 or pixels.shape[1] != 2 or pixels.dtype.kind not in "iu":
        got = f"{pixels.dtype} {pixels.shape}"
        raise SplitError(what, expected="integers (n, 2): row, column", got=got)
    upper = labels.ids.shape if labels else (np.inf, np.inf)
    outside = ((pixels < 0) | (pixels >= np.array(upper))).any(axis=1)
    if outside.any():
        raise SplitError(what, expected=f"pixels within {upper}", got=pixels[outside][0].tolist())


def _at_most_half(n: int) -> Callable[[int], int]:
    if n < 1:
        raise SplitError("training pixels per class", expected="at least 1", got=n)
    return lambda count: min(n, count // 2)


def _rounded_share(share: float) -> Callable[[int], int]:
    if not 0 < share < 1:
        raise SplitError("share of training pixels", expected="between 0 and 1", got=share)

    def quota(count: int) -> int:
        most = min(max(count // 2, int(share * count)), count - 1)
        return min(max(round(share * count), 1), most)

    return quota


def _radius(window: int) -> int:
    if window < 1 or window % 2 == 0:
        raise SplitError("window", expected="an odd number of pixels", got=window)
    return window // 2


def _rng(seed: int, c: int) -> np.random.Generator:
    """A generator of its own for each class, so that classes do not disturb each other."""
    if seed < 0:
        raise SplitError("seed", expected="0 or more", got=seed)
    return np.random.default_rng([seed, c % 2**32])


def _name(classes: Mapping[int, str], c: int) -> str:
    return f"class {c} ({classes.get(c, 'unnamed')})"


def _usable(
    labels: Labels, valid: np.ndarray | None, what: str = ""
) -> tuple[np.ndarray, list[str]]:
    """Ids with invalid pixels unlabelled, and a note that counts them."""
    ids, notes = labels.ids, []
    if valid is not None:
        if valid.shape != ids.shape:
            raise SplitError("validity mask", expected=ids.shape, got=valid.shape)
        lost = np.count_nonzero((ids != UNLABELLED) & ~valid)
        notes = [f"{what}{lost} labelled pixels are not valid and were left out"] if lost else []
        ids = np.where(valid, ids, UNLABELLED)
    if not ids.any():
        raise SplitError(f"{what}no labelled pixels", do="give labels that overlap the scene")
    return ids, notes


def _by_class(ids: np.ndarray) -> Pixels:
    flat = ids.ravel()
    return {int(c): np.flatnonzero(flat == c) for c in np.unique(flat) if c != UNLABELLED}


def _draw(
    labels: Labels,
    ids: np.ndarray,
    quota: Callable[[int], int],
    kind: str,
    seed: int,
    validation: float,
    notes: list[str],
    asked: int = 0,
) -> Split:
    """Train on a seeded draw of `quota` pixels per class, test on the rest."""
    drawn: Pixels = {}
    tested: Pixels = {}
    for c, where in _by_class(ids).items():
        order, k = _rng(seed, c).permutation(where), quota(len(where))
        drawn[c], tested[c] = order[:k], order[k:]
        if 0 < k < asked:
            notes.append(
                f"{_name(labels.classes, c)}: {k} training pixels instead of {asked}, half of "
                f"its {len(where)}"
            )
    return _assemble(kind, labels.classes, ids.shape, drawn, tested, validation, notes)


def _assemble(
    kind: str,
    classes: Mapping[int, str],
    shape: tuple[int, ...],
    drawn: Pixels,
    tested: Pixels,
    validation: float,
    notes: list[str],
    why: str = "it has no training pixel",
) -> Split:
    """Move the validation share, drop classes that cannot be predicted, sort the pixels."""
    if not 0 <= validation < 1:
        raise SplitError("share of validation", expected="0 or more, below 1", got=validation)
    parts: dict[str, Pixels] = {part: {} for part in PARTS}
    for c in sorted(drawn.keys() | tested.keys()):
        order, rest = drawn.get(c, np.empty(0, np.int64)), tested.get(c, np.empty(0, np.int64))
        if not len(order):
            notes = [*notes, f"{_name(classes, c)}: left out ({len(rest)} test pixels): {why}"]
            continue
        kept = max(len(order) - round(validation * len(order)), 1)
        parts["train"][c], parts["validation"][c] = order[:kept], order[kept:]
        parts["test"][c] = rest
    if not parts["train"]:
        raise SplitError(f"{kind}: no class can be split", got="; ".join(notes))
    arrays: dict[str, np.ndarray] = {}
    for part, pixels in parts.items():
        flat = np.concatenate([np.sort(where) for where in pixels.values()])
        ids = np.repeat(np.array(list(pixels)), [len(where) for where in pixels.values()])
        arrays[part] = np.stack(np.divmod(flat, shape[1]), axis=1).astype(np.int64)
        arrays[f"{part}_ids"] = ids.astype(np.int32)
    return Split(kind=kind, notes=tuple(notes), **arrays)


class _Board:
    """Pixels that can still be tested, while training pixels are placed.

    Attributes: `free` (H, W) bool; `left` and `keep`, per class the test pixels that are left and
    those that every placement must leave.
    """

    def __init__(self, ids: np.ndarray, gap: int) -> None:
        self.classes, self.codes = np.unique(ids, return_inverse=True)
        self.codes = self.codes.reshape(ids.shape)
        self.gap = gap
        self.free = ids != UNLABELLED
        self.left = np.bincount(self.codes[self.free], minlength=len(self.classes))
        self.keep = -(-self.left // 4)
        for code, c in enumerate(self.classes):
            if not self.fits(np.flatnonzero(ids == c)):
                self.keep[code] = 0  # a class that is left out must not stand in the way of others

    def fits(self, where: np.ndarray) -> bool:
        """Whether two of these pixels are far enough apart for training and test."""
        return any(np.ptp(axis) >= self.gap for axis in np.divmod(where, self.free.shape[1]))

    def place(self, where: np.ndarray, keep: np.ndarray) -> bool:
        """Train on these pixels, unless that left some class fewer than `keep` test pixels."""
        rows, columns = np.divmod(where, self.free.shape[1])
        reach = self.gap - 1
        top, left = max(rows.min() - reach, 0), max(columns.min() - reach, 0)
        box = np.s_[top : rows.max() + reach + 1, left : columns.max() + reach + 1]
        near = np.zeros(self.free[box].shape, bool)
        near[rows - top, columns - left] = True
        near = ndimage.maximum_filter(near, 2 * reach + 1, mode="constant")
        lost = np.bincount(self.codes[box][near & self.free[box]], minlength=len(self.left))
        if (self.left - lost < keep).any():
            return False
        self.free[box] &= ~near
        self.left = self.left - lost
        self.keep = np.minimum(self.keep, self.left)  # where `keep` asked for less
        return True

    def spread(
        self,
        c: int,
        where: np.ndarray,
        wanted: int,
        window: int,
        corner: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Place a class: in clumps, else at one of its ends, else nowhere; flat indices."""
        code = int(np.searchsorted(self.classes, c))
        placed = where[:0]
        if self.fits(where):
            placed = self._clumps(where, wanted, window, corner, rng)
            if not len(placed):
                placed = self._end(code, where, wanted, rng)
        if not len(placed):
            self.keep[code] = 0
        return placed

    def _clumps(
        self,
        where: np.ndarray,
        wanted: int,
        window: int,
        corner: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Train in up to three random blocks, and in those around them until it is enough."""
        rows, columns = np.divmod(where, self.free.shape[1])
        place = np.stack([rows + corner[0], columns + corner[1]], axis=1) // window  # (n, 2)
        blocks, block = np.unique(place, axis=0, return_inverse=True)
        order = rng.permutation(len(blocks))
        # Training pixels beside each other share their surroundings: more is left to the test.
        away = cdist(blocks[order], blocks[order[:3]], "chebyshev").min(axis=1)
        clumps = []
        for b in order[np.argsort(away, kind="stable")]:
            inside = np.flatnonzero(block.ravel() == b)
            pixels = np.stack([rows[inside], columns[inside]], axis=1)
            away = cdist(pixels, pixels[[rng.integers(len(inside))]], "chebyshev")[:, 0]
            clumps.append(where[inside[np.argsort(away, kind="stable")]])
        placed = [where[:0]]
        missing = wanted
        for most in (-(-wanted // 3), wanted):  # the second time, clumps grow to make up the number
            for i, clump in enumerate(clumps):
                size = min(most, missing)
                if size and len(clump) and self.place(clump[:size], self.keep):
                    placed.append(clump[:size])
                    missing -= len(clump[:size])
                    clumps[i] = clump[size:]
        return rng.permutation(np.concatenate(placed))

    def _end(
        self, code: int, where: np.ndarray, wanted: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Train at one end of a cramped class, on as many pixels as leave as many to the test."""
        rows, columns = np.divmod(where, self.free.shape[1])
        ends = [np.argsort(key, kind="stable") for key in (rows, -rows, columns, -columns)]
        at_least_one = np.minimum(self.keep, 1)
        for keep in (self.keep, at_least_one):
            size = wanted
            while size:
                own = keep.copy()
                own[code] = size
                for end in rng.permutation(4):
                    clump: np.ndarray = where[ends[end][:size]]
                    if self.place(clump, own):
                        return clump
                size //= 2
        for pixel in rng.permutation(where):
            if self.place(np.array([pixel]), at_least_one):
                return np.array([pixel])
        return where[:0]
