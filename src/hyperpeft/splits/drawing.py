"""Pixels drawn at random per class, or taken from two rasters.

A drawn class depends on the labels, the seed and the class id only: the first `n` pixels of one
seeded permutation per class. So 5 pixels per class are among the 10 of the same seed, and adding
a class to the map moves no pixel of another. A class without training pixels cannot be predicted
and leaves the test set as well; `Split.notes` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from hyperpeft.errors import SplitError
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
        most = min(max(count // 2, int(share * count)), count - 1)
        return min(max(round(share * count), 1), most)

    return quota


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
    """The note on a class that trains on fewer pixels than asked for; `half_of`: its cap."""
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
        raise SplitError(f"{what}no labelled pixels", do="give labels that overlap the scene")
    return ids, notes


def by_class(ids: np.ndarray) -> Pixels:
    """Flat indices of the labelled pixels of each class, in the scene's order."""
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
    for c, where in by_class(ids).items():
        order, k = class_rng(seed, c).permutation(where), quota(len(where))
        drawn[c], tested[c] = order[:k], order[k:]
        if 0 < k < asked:
            notes.append(fewer(labels.classes, c, k, asked, half_of=len(where)))
    return assemble(kind, labels.classes, ids.shape, drawn, tested, validation, notes)


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
