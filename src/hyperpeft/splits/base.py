"""What every way of drawing shares: pixels by class, sizes, seeds, notes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import scipy  # its parts are loaded when they are used

from hyperpeft.errors import SplitError
from hyperpeft.records import UNLABELLED, Labels, Split

PARTS = ("train", "validation", "test")


Pixels = dict[int, np.ndarray]  # class id -> flat pixel indices, in drawn order


def at_most_half(n: int) -> Callable[[int], int]:
    """From the pixels of a class to how many train: `n`, and never more than half."""
    if n < 1:
        raise SplitError("training pixels per class", expected="at least 1", got=n)
    return lambda count: min(n, count // 2)


def rounded_share(share: float) -> Callable[[int], int]:
    """From the pixels of a class to how many train: the rounded share, at least one."""
    if not 0 < share < 1:
        raise SplitError("share of training pixels", expected="between 0 and 1", got=share)

    def quota(count: int) -> int:
        most = count // 2 if share <= 0.5 else count - 1
        return min(max(round(share * count), 1), most)

    return quota


def size_rule(n: int | None, share: float | None, what: str) -> tuple[Callable[[int], int], str]:
    """From the pixels of a class to how many train, and the rule in words, such as "per-class 10".

    Raises
    ------
    SplitError
        Both of `n` and `share` are given, or none.
    """
    if n is not None and share is None:
        return at_most_half(n), f"per-class {n}"
    if share is not None and n is None:
        return rounded_share(share), f"fraction {share:g}"
    raise SplitError(what, expected="either n or share", got=(n, share))


def checked_gap(window: int, gap: int | None, otherwise: int) -> int:
    """The distance of training and test pixels: `otherwise` for None, beyond half the window."""
    gap = otherwise if gap is None else gap
    if gap <= window // 2:
        raise SplitError("gap", expected=f"more than half the window of {window}", got=gap)
    return gap


def class_rng(seed: int, c: int) -> np.random.Generator:
    """A generator of its own for each class, so that classes do not disturb each other."""
    if seed < 0:
        raise SplitError("seed", expected="0 or more", got=seed)
    return np.random.default_rng([seed, c % 2**32])


def name_of(classes: Mapping[int, str], c: int) -> str:
    """A class in a note."""
    return f"class {c} ({classes.get(c, 'unnamed')})"


def fewer(
    classes: Mapping[int, str], c: int, got: int, asked: int, why: str = "", *, half_of: int = 0
) -> str:
    """The note on a class that trains on fewer pixels than requested; `half_of`: its cap."""
    pixels = "training pixel" if got == 1 else "training pixels"
    half = f" (at most half of its {half_of})" if half_of else ""
    return f"{name_of(classes, c)}: {got} {pixels} instead of {asked}{half}{why}"


def usable(
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
        raise SplitError(f"{what}no labelled pixels", hint="give labels that overlap the scene")
    return ids, notes


def by_class(ids: np.ndarray) -> Pixels:
    """Flat indices of the labelled pixels of each class, in the scene's order."""
    flat = ids.ravel()
    return {int(c): np.flatnonzero(flat == c) for c in np.unique(flat) if c != UNLABELLED}


def assemble(
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
            notes = [*notes, f"{name_of(classes, c)}: left out ({len(rest)} test pixels): {why}"]
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


class Board:
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

    def spare(self, c: int) -> None:
        """Demand no test pixels of a class that is left out."""
        self.keep[np.searchsorted(self.classes, c)] = 0

    def fits(self, where: np.ndarray) -> bool:
        """Whether two of these pixels are far enough apart for training and test."""
        return any(np.ptp(axis) >= self.gap for axis in np.divmod(where, self.free.shape[1]))

    def place(self, where: np.ndarray, keep: np.ndarray, gone: np.ndarray | None = None) -> bool:
        """Train on these pixels, unless that left some class fewer than `keep` test pixels.

        `gone`: pixels that cannot be tested either, such as the rest of a polygon.
        """
        rows, columns = np.divmod(where, self.free.shape[1])
        reach = self.gap - 1
        out = where if gone is None else np.concatenate([where, gone])
        out_rows, out_columns = np.divmod(out, self.free.shape[1])
        top, left = max(out_rows.min() - reach, 0), max(out_columns.min() - reach, 0)
        box = np.s_[top : out_rows.max() + reach + 1, left : out_columns.max() + reach + 1]
        near = np.zeros(self.free[box].shape, bool)
        near[rows - top, columns - left] = True
        near = scipy.ndimage.maximum_filter(near, 2 * reach + 1, mode="constant")
        near[out_rows - top, out_columns - left] = True
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
            self.spare(c)
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
        members = np.split(  # of each block, in the order of `where`
            np.argsort(block.ravel(), kind="stable"), np.cumsum(np.bincount(block.ravel()))[:-1]
        )
        order = rng.permutation(len(blocks))
        # Training pixels beside each other share their surroundings: more is left to the test.
        distances = scipy.spatial.distance.cdist(blocks[order], blocks[order[:3]], "chebyshev")
        order = order[np.argsort(distances.min(axis=1), kind="stable")].tolist()
        firsts = [rng.integers(len(members[b])) for b in order]
        clumps: dict[int, np.ndarray] = {}  # of blocks that were tried, from `first` outwards
        placed = [where[:0]]
        missing = wanted
        for most in (-(-wanted // 3), wanted):  # the second time, clumps grow to make up the number
            for b, first in zip(order, firsts, strict=True):
                size = min(most, missing)
                if not size:
                    break
                if b not in clumps:
                    y, x = rows[members[b]], columns[members[b]]
                    away = np.maximum(abs(y - y[first]), abs(x - x[first]))
                    clumps[b] = where[members[b][np.argsort(away, kind="stable")]]
                clump = clumps[b]
                if len(clump) and self.place(clump[:size], self.keep):
                    placed.append(clump[:size])
                    missing -= len(clump[:size])
                    clumps[b] = clump[size:]
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
