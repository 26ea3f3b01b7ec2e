"""Training and test pixels from different polygons, with a buffer between them."""

from __future__ import annotations

import numpy as np
import scipy  # its parts are loaded when they are used

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
from hyperpeft.splits.disjoint import radius_of


def polygons(
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
    r"""Train in some polygons and test in the others, with no training pixel in a test window.

    Up to half of the polygons of a class train (T), in random order and each on an equal number of
    random pixels; their other pixels are neither trained nor tested (:). Of the other polygons
    the pixels nearer than `gap` to a training pixel, along rows or columns, are left out, and the
    rest is tested (o):

    >>> ids = np.zeros((4, 29), np.int32)
    >>> regions = ids.copy()
    >>> for k, column in enumerate((0, 5, 11, 16, 21, 25), start=1):
    ...     ids[:, column : column + 4], regions[:, column : column + 4] = 1, k
    >>> split = polygons(Labels(ids, {1: "roof"}, {}, regions=regions), window=5, n=6, seed=2)
    >>> drawing = np.where(ids > 0, ":", " ")
    >>> for part, sign in ((split.train, "T"), (split.test, "o")):
    ...     drawing[tuple(part.T)] = sign
    >>> print("\n".join(map("".join, drawing)))
    :::: :ooo  :::: ooo: :::T::oo
    :::: :ooo  ::T: ooo: T:::::oo
    :::T :ooo  T::: ooo: ::::::oo
    :::T :ooo  :::: ooo: ::::oooo

    Every polygon that trains leaves each class a quarter of its pixels to test. Classes in one
    polygon, or too crowded to be on both sides, are left out of both. Validation pixels lie among
    the training pixels.

    Parameters
    ----------
    labels : Labels
        Their `regions` are the polygons. Without any, pixels of one class that touch each other,
        corners included, count as one polygon.
    window : int
        Side of the window around a pixel, odd.
    seed : int
        Not negative; the same seed gives the same split.
    n, share : int or float, optional
        Training pixels per class as in `per_class`, or the share of each class as in `fraction`:
        one of the two. A class gives fewer where half of its polygons hold no more.
    validation, valid
        As for `per_class`.
    gap : int, optional
        Smallest distance between a training and a test pixel, the larger of rows and columns.
        By default `window // 2 + 1`: training pixels stay just out of test windows.

    Returns
    -------
    Split
        Its notes name the classes that gave fewer pixels than requested, or none.

    Raises
    ------
    SplitError
        When an argument is out of range or no class can be on both sides.
    """
    gap = checked_gap(window, gap, otherwise=radius_of(window) + 1)
    quota, rule = size_rule(n, share, "split by polygons")
    ids, notes = usable(labels, valid)
    if labels.regions is None:
        regions = connected(ids)
        notes = [*notes, "labels without polygons: pixels of one class that touch count as one"]
    else:
        regions = np.where(ids == UNLABELLED, 0, labels.regions)
    pixels = by_class(ids)
    whole = _by_region(regions, np.flatnonzero(ids))
    of_class = {c: _by_region(regions, where) for c, where in pixels.items()}
    board = Board(ids, gap)
    for c, parts in of_class.items():
        if len(parts) < 2:
            board.spare(c)
    drawn: Pixels = {}
    short: dict[int, str] = {}  # notes on classes that give fewer pixels
    for c in sorted(pixels, key=lambda c: (len(of_class[c]), len(pixels[c]))):
        count = len(pixels[c])
        wanted = quota(count)
        asked = n or wanted
        placed = _draw(board, of_class[c], whole, wanted, class_rng(seed, c))
        if not len(placed):
            board.spare(c)
        elif len(placed) < asked:
            why = f" from its {len(of_class[c])} polygons" if len(placed) < wanted else ""
            half = count if wanted < asked else 0
            short[c] = fewer(labels.classes, c, len(placed), asked, why, half_of=half)
        drawn[c] = placed
    tested = {c: where[board.free.flat[where]] for c, where in pixels.items()}
    for c, rest in tested.items():
        if not len(rest):  # trained alone, it would silently be missing from the average accuracy
            drawn[c] = rest
            short.pop(c, None)
    notes = [*notes, *short.values()]
    why = f"no training and test polygons of it are {gap} apart"
    kind = f"polygons {rule}, gap {gap}"
    return assemble(kind, labels.classes, ids.shape, drawn, tested, validation, notes, why)


def connected(ids: np.ndarray) -> np.ndarray:
    """Numbers from 1 (H, W) of the connected pixels of one class, corners included; 0 elsewhere."""
    regions = np.zeros(ids.shape, np.int32)
    found = 0
    for c in by_class(ids):
        parts, count = scipy.ndimage.label(ids == c, structure=np.ones((3, 3)))
        regions[parts > 0] = parts[parts > 0] + found
        found += count
    return regions


def _by_region(regions: np.ndarray, where: np.ndarray) -> Pixels:
    """Flat indices polygon by polygon."""
    numbers = regions.flat[where]
    order = np.argsort(numbers, kind="stable")
    found, starts = np.unique(numbers[order], return_index=True)
    return dict(zip(found.tolist(), np.split(where[order], starts[1:]), strict=True))


def _draw(
    board: Board, parts: Pixels, whole: Pixels, wanted: int, rng: np.random.Generator
) -> np.ndarray:
    """Pixels of up to half of the polygons, equally many of each and more where some are small."""
    orders = {int(k): rng.permutation(parts[k]) for k in rng.permutation(list(parts))}
    most = min(len(parts) // 2, wanted)
    placed = [np.empty(0, np.int64)]
    taken: dict[int, int] = {}  # polygon -> pixels that train
    share = -(-wanted // most) if most else 0  # of one polygon; it grows while there are too few
    while share:
        for k, pixels in orders.items():
            have = taken.get(k, 0)
            if not have and len(taken) == most:
                continue
            size = min(share - have, len(pixels) - have, wanted - sum(taken.values()))
            while size > 0 and not board.place(
                pixels[have : have + size], board.keep, gone=whole[k]
            ):
                size //= 2
            if size > 0:
                placed.append(pixels[have : have + size])
                taken[k] = have + size
        share = min(2 * share, wanted) if share < wanted > sum(taken.values()) else 0
    return rng.permutation(np.concatenate(placed))
