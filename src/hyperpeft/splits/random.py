"""Pixels drawn at random per class, or taken from two rasters.

A drawn class depends on the labels, the seed and the class id only: the first `n` pixels of one
seeded permutation per class. So 5 pixels per class are among the 10 of the same seed, and adding
a class to the map moves no pixel of another. A class without training pixels cannot be predicted
and leaves the test set as well; `Split.notes` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hyperpeft.errors import SplitError
from hyperpeft.records import UNLABELLED, Labels, Split
from hyperpeft.splits.base import (
    Pixels,
    assemble,
    at_most_half,
    by_class,
    class_rng,
    fewer,
    name_of,
    rounded_share,
    usable,
)

ALL_LABELLED = "all labelled"  # the kind of a split that leaves nothing to test on


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
    quota = at_most_half(n)
    ids, notes = usable(labels, valid)
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
    quota = rounded_share(share)
    ids, notes = usable(labels, valid)
    return _draw(labels, ids, quota, f"fraction {share:g}", seed, validation, notes)


def all_labelled(
    labels: Labels, *, seed: int, validation: float = 0.0, valid: np.ndarray | None = None
) -> Split:
    """Train on every labelled valid pixel but the share that validates; the rows in their order.

    Parameters and errors are those of `per_class`; nothing is left to test on.
    """
    ids, notes = usable(labels, valid)
    drawn = {c: class_rng(seed, c).permutation(where) for c, where in by_class(ids).items()}
    split = assemble(ALL_LABELLED, labels.classes, ids.shape, drawn, {}, validation, notes)
    order = np.lexsort(split.train.T[::-1])
    return replace(split, train=split.train[order], train_ids=split.train_ids[order])


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
    train_ids, notes = usable(train, valid, "training raster: ")
    test_ids, test_notes = usable(test, valid, "test raster: ")
    both = (train_ids != UNLABELLED) & (test_ids != UNLABELLED)
    if both.any():
        clash = np.count_nonzero(both & (train_ids != test_ids))
        notes = [
            *notes,
            f"{np.count_nonzero(both)} pixels are in both rasters ({clash} of them with another "
            "class) and were removed from the test set",
        ]
    drawn = {c: class_rng(seed, c).permutation(where) for c, where in by_class(train_ids).items()}
    tested = by_class(np.where(both, UNLABELLED, test_ids))
    if not tested:
        raise SplitError(
            "the test raster leaves no pixel to test",
            expected="pixels that are not in the training raster",
            got=f"{np.count_nonzero(both)} pixels in both",
        )
    notes += test_notes
    notes += [
        f"{name_of(train.classes, c)}: no test pixel, so no accuracy"
        for c in sorted(drawn.keys() - tested.keys())
    ]
    names = {**test.classes, **train.classes}
    return assemble(kind, names, train_ids.shape, drawn, tested, validation, notes)


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
    for c, where in by_class(ids).items():
        order, k = class_rng(seed, c).permutation(where), quota(len(where))
        drawn[c], tested[c] = order[:k], order[k:]
        if 0 < k < asked:
            notes.append(fewer(labels.classes, c, k, asked, half_of=len(where)))
    return assemble(kind, labels.classes, ids.shape, drawn, tested, validation, notes)
