"""Spatially disjoint training and test pixels."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial.distance import cdist

from hyperpeft.errors import SplitError
from hyperpeft.records import UNLABELLED, Labels, Split
from hyperpeft.splits.drawing import (
    Pixels,
    assemble,
    at_most_half,
    by_class,
    class_rng,
    fewer,
    rounded_share,
    usable,
)
from hyperpeft.splits.leaking import radius_of


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
    radius = radius_of(window)
    gap = window if gap is None else gap
    if gap <= radius:
        raise SplitError("gap", expected=f"more than half the window of {window}", got=gap)
    if n is not None and share is None:
        quota, kind = at_most_half(n), f"disjoint {window}x{window} per-class {n}"
    elif share is not None and n is None:
        quota, kind = rounded_share(share), f"disjoint {window}x{window} fraction {share:g}"
    else:
        raise SplitError("disjoint split", expected="either n or share", got=(n, share))
    ids, notes = usable(labels, valid)
    pixels = by_class(ids)
    board = Board(ids, gap)
    corner = class_rng(seed, UNLABELLED).integers(window, size=2)
    drawn: Pixels = {}
    for c in sorted(pixels, key=lambda c: len(pixels[c])):
        wanted = quota(len(pixels[c]))
        asked = n or wanted
        placed = board.spread(c, pixels[c], wanted, window, corner, class_rng(seed, c))
        if 0 < len(placed) < asked:
            crowded = "; more would leave a class too few test pixels"
            why = crowded if len(placed) < wanted else ""
            half = len(pixels[c]) if wanted < asked else 0
            notes.append(fewer(labels.classes, c, len(placed), asked, why, half_of=half))
        drawn[c] = placed
    tested = {c: where[board.free.flat[where]] for c, where in pixels.items()}
    why = f"no training and test pixels of it can be {gap} apart"
    return assemble(kind, labels.classes, ids.shape, drawn, tested, validation, notes, why)


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
        near = ndimage.maximum_filter(near, 2 * reach + 1, mode="constant")
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
