"""Spatially disjoint training and test pixels; how far training pixels reach into test windows."""

from __future__ import annotations

import numpy as np
import scipy  # its parts are loaded when they are used

from hyperpeft.errors import SplitError
from hyperpeft.records import UNLABELLED, Labels, Split
from hyperpeft.splits.base import (
    Board,
    Pixels,
    assemble,
    by_class,
    checked_gap,
    class_rng,
    fewer,
    size_rule,
    usable,
)


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
    radius = radius_of(window)
    if not len(split.test):
        return None
    near = np.zeros(shape, bool)
    near[tuple(split.train.T)] = True
    near = scipy.ndimage.maximum_filter(near, 2 * radius + 1, mode="constant")
    return float(near[tuple(split.test.T)].mean())


def radius_of(window: int) -> int:
    """Pixels from a window's centre to its edge; SplitError unless the window is odd."""
    if window < 1 or window % 2 == 0:
        raise SplitError("window", expected="an odd number of pixels", got=window)
    return window // 2


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
        Its notes name the classes that gave fewer pixels than requested, or none.

    Raises
    ------
    SplitError
        When an argument is out of range or no class can be on both sides.
    """
    radius_of(window)
    gap = checked_gap(window, gap, otherwise=window)
    quota, rule = size_rule(n, share, "disjoint split")
    kind = f"disjoint {window}x{window} {rule}"
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
