"""Honest model selection on the training pixels: folds that follow how the labels lie.

A classifier that looks at a window recognises a held-out pixel by neighbours that trained, as far
as the window reaches. Two kinds of folds ask two questions:

    random      a fold's pixels are held out, their neighbours train    near labels
    dead zone   whole clumps are held out, and what lies within the     far from labels
                reach of one of their pixels does not train either

             . . z z z z z . .          h  held out and scored
             . . z h h h z t .          z  within the reach: neither trains nor is scored
             t . z z z z z . t          t  trains

Scores of pixels that were left out are pooled over folds and kinds; from them come the temperature
of each part of a combination, its weights and every other choice. Ridge heads need no fits for it:
for a linear smoother with hat matrix H the residuals of pixels S, when S is left out, are

    r_S = (I - H_SS)^-1 (y - H y)_S

which is exact with a free intercept and a fixed penalty (see `ridge.leave_out`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy  # its parts are loaded when they are used
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

FOLDS = 5
DEALING = 100  # added to the seed for the second dealing of random folds
MANY = 1500  # training pixels: of more, about so many are drawn to select on
DEAD_ZONE = 5  # pixels: more would leave too few pixels and classes to score
MOST_FAR = 0.5  # of the weight of left-out pixels, see `far_share`


class Fold(NamedTuple):
    """One way of leaving pixels out: indices into the training pixels.

    Attributes
    ----------
    train : ndarray of int
        What is fitted.
    held : ndarray of int
        What is scored: never within the reach of `train` in a dead-zone fold, and of classes that
        train.
    """

    train: np.ndarray
    held: np.ndarray


def random_folds(targets: np.ndarray, folds: int, seed: int) -> list[Fold]:
    """Deal pixels into folds class by class; the only pixel of a class always trains.

    Parameters
    ----------
    targets : ndarray of int, shape (n,)
        Class indices.
    folds : int
        At most the pixels of the largest class are used.
    seed : int

    Returns
    -------
    list of Fold
        None where every class has one pixel.

    Examples
    --------
    >>> [len(fold.held) for fold in random_folds(np.array([0, 0, 0, 0, 1, 1, 2]), 2, seed=0)]
    [3, 3]
    """
    groups = np.arange(len(targets))
    return _folds(_deal(groups, targets, folds, seed), targets, None)


def dead_zone_folds(
    positions: np.ndarray,
    targets: np.ndarray,
    reach: int,
    folds: int,
    seed: int,
    regions: np.ndarray | None = None,
) -> list[Fold]:
    """Deal clumps of pixels into folds; what lies within the reach of a fold does not train.

    Parameters
    ----------
    positions : ndarray of int, shape (n, 2)
        Row and column of the training pixels.
    targets : ndarray of int, shape (n,)
        Class indices.
    reach : int
        Pixels, the larger of rows and columns: how far the classifier looks.
    folds, seed
        As for `random_folds`.
    regions : ndarray of int, shape (n,), optional
        The polygon that each pixel was drawn in; 0 for none. A polygon is held out whole.

    Returns
    -------
    list of Fold
        A pixel whose class has none left beyond the reach is not scored; a fold that scores no
        pixel is dropped. Empty where no pixel can be scored, such as one clump per class.
    """
    groups = clumps(positions, targets, reach, regions)
    near = cKDTree(positions).query_ball_point(positions, reach, p=np.inf)
    return _folds(_deal(groups, targets, folds, seed), targets, near)


def clumps(
    positions: np.ndarray, targets: np.ndarray, reach: int, regions: np.ndarray | None = None
) -> np.ndarray:
    """Number (n,) the groups of pixels that one object may hold.

    Pixels of a class belong together when a chain of pixels of it, each within `reach` of the
    next, joins them, and pixels of one region always do.
    """
    pairs = cKDTree(positions).query_pairs(reach, p=np.inf, output_type="ndarray")
    pairs = pairs[targets[pairs[:, 0]] == targets[pairs[:, 1]]]
    if regions is not None:
        order = np.argsort(regions, kind="stable")
        same = (regions[order[1:]] == regions[order[:-1]]) & (regions[order[1:]] != 0)
        pairs = np.concatenate([pairs, np.stack([order[:-1], order[1:]], axis=1)[same]])
    n = len(positions)
    ones = np.ones(len(pairs), np.int8)
    numbers: np.ndarray = connected_components(coo_matrix((ones, pairs.T), (n, n)), False)[1]
    return numbers


def _deal(groups: np.ndarray, targets: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold (n,) that holds each pixel out, whole groups, large ones first; -1 for none.

    Each group goes to the fold that has fewest pixels of its class; the only group of a class
    always trains. A group of several classes counts for its most frequent one.
    """
    rng = np.random.default_rng(seed)
    sizes = np.bincount(groups)
    owner = _most_frequent(groups, targets)
    fold_of = np.full(len(sizes), -1)
    load = np.zeros(folds)  # pixels of all classes: the next class starts where there are fewest
    for c in np.unique(owner):
        members = rng.permutation(np.flatnonzero(owner == c))
        if len(members) < 2:
            continue
        members = members[np.argsort(-sizes[members], kind="stable")]
        mine = np.zeros(folds)
        for group in members:
            chosen = np.lexsort((load, mine))[0]
            fold_of[group] = chosen
            mine[chosen] += sizes[group]
            load[chosen] += sizes[group]
    return fold_of[groups]


def _most_frequent(groups: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The most frequent class (G,) of each group of pixels; the first of equals.

    >>> _most_frequent(np.array([0, 1, 0, 1, 0]), np.array([2, 1, 2, 0, 1])).tolist()
    [2, 0]
    """
    classes = int(targets.max(initial=0)) + 1
    pairs, counts = np.unique(groups.astype(np.int64) * classes + targets, return_counts=True)
    group, target = np.divmod(pairs, classes)
    order = np.lexsort((target, -counts, group))
    most: np.ndarray = target[order][np.unique(group[order], return_index=True)[1]]
    return most


def _folds(fold: np.ndarray, targets: np.ndarray, near: Sequence[list[int]] | None) -> list[Fold]:
    """From the fold of each pixel to what trains and what is scored."""
    out = []
    for number in range(int(fold.max(initial=-1)) + 1):
        held = fold == number
        gone = held.copy()
        if near is not None:
            for i in np.flatnonzero(held).tolist():
                gone[near[i]] = True
        train = np.flatnonzero(~gone)
        scored = np.flatnonzero(held & np.isin(targets, targets[train]))
        if len(scored) and len(np.unique(targets[train])) > 1:
            out.append(Fold(train, scored))
    return out


def pooled(
    near: Sequence[Fold], far: Sequence[Fold], share: float = MOST_FAR
) -> tuple[np.ndarray, np.ndarray]:
    """The held-out pixels of random and of dead-zone folds, and how much each counts.

    Parameters
    ----------
    near, far : sequence of Fold
        Where one kind has no folds, the other counts alone.
    share : float
        What the pixels of `far` sum to, see `far_share`; those of `near` sum to the rest.

    Returns
    -------
    held : ndarray of int, shape (m,)
        Indices into the training pixels, fold by fold; a pixel may be there several times.
    weights : ndarray, shape (m,)
    """
    held, weights = [np.empty(0, np.int64)], [np.empty(0)]
    for folds, part in ((near, 1 - share), (far, share)):
        count = sum(len(fold.held) for fold in folds)
        held += [fold.held for fold in folds]
        weights += [np.full(len(fold.held), part / count) for fold in folds]
    return np.concatenate(held), np.concatenate(weights)


def far_share(positions: np.ndarray, valid: np.ndarray, reach: int) -> float:
    """Share of a scene's valid pixels farther than the reach from every label, at most 1/2.

    Where labels are dense, hardly a pixel is far from all, and what happens far from them does not
    matter; with few labels both questions count alike (at most half: far folds score few pixels,
    and fewer classes).
    """
    near = np.zeros(valid.shape, bool)
    near[tuple(positions.T)] = True
    near = scipy.ndimage.maximum_filter(near, 2 * reach + 1, mode="constant")
    return min(float(np.mean(~near[np.asarray(valid)])), MOST_FAR)


class Folds(NamedTuple):
    """Random and dead-zone folds of training pixels, and how much each left-out pixel counts.

    Attributes
    ----------
    pixels : ndarray of int, shape (p,)
        The training pixels that the folds divide, by index; everything below counts in these.
    folds : list of Fold
    held : ndarray of int, shape (m,)
        The left-out pixels, fold by fold.
    weights : ndarray, shape (m,)
        They sum to 1, or there is no pixel.
    near : int
        The first so many folds are random ones.
    """

    pixels: np.ndarray
    folds: list[Fold]
    held: np.ndarray
    weights: np.ndarray
    near: int


def honest_folds(
    positions: np.ndarray,
    targets: np.ndarray,
    valid: np.ndarray,
    seed: int,
    regions: np.ndarray | None = None,
) -> Folds:
    """Folds by which everything about a run is selected.

    Parameters
    ----------
    positions : ndarray of int, shape (n, 2)
        Row and column of the training pixels.
    targets : ndarray of int, shape (n,)
        Class indices.
    valid : ndarray of bool, shape (H, W)
    seed : int
    regions : ndarray of int, shape (n,), optional
        The polygon that each pixel was drawn in; 0 for none.
    """
    pixels = some_of_each(targets, MANY, seed)
    where, what = positions[pixels], targets[pixels]
    near = random_folds(what, FOLDS, seed) + random_folds(what, FOLDS, seed + DEALING)
    places = None if regions is None else regions[pixels]
    far = dead_zone_folds(where, what, DEAD_ZONE, FOLDS, seed, places)
    share = far_share(positions, valid, DEAD_ZONE)
    if not near or not far or not share:
        share = 1.0 if far and not near else 0.0
        far = far if share else []
    held, weights = pooled(near, far, share)
    total = weights.sum()
    return Folds(pixels, [*near, *far], held, weights / total if total else weights, len(near))


def some_of_each(targets: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Indices of all pixels, or of about `most`, as many of each class as its share; sorted."""
    n = len(targets)
    if n <= most:
        return np.arange(n)
    rng = np.random.default_rng(seed)
    kept = []
    for c in np.unique(targets):
        members = np.flatnonzero(targets == c)
        kept.append(rng.permutation(members)[: max(2, round(most * len(members) / n))])
    return np.sort(np.concatenate(kept))
