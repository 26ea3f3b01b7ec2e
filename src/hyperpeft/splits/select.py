"""Kinds of splits in one table, and the split that the options of a run ask for.

The table is read by the configuration, the command line's help, benchmarks, reports and records.
A new kind is one row: a `SplitKind` and a function from a `SplitRequest` to a `Split`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hyperpeft.errors import SplitError
from hyperpeft.records import Labels, Split
from hyperpeft.splits.disjoint import disjoint
from hyperpeft.splits.polygons import polygons
from hyperpeft.splits.random import fraction, from_masks, per_class
from hyperpeft.splits.save_load import load

DEFAULT_PER_CLASS = 10  # training pixels per class where no size is given
AS_GIVEN = "as-given"  # the budget of a split that brings its own training pixels


@dataclass(frozen=True)
class SplitRequest:
    """What a split is drawn from.

    Attributes
    ----------
    labels : Labels
    valid : ndarray of bool, shape (H, W)
    split : str or None
        The option: a kind's name, TRAIN,TEST or a file.
    masks : tuple of two Labels, or None
        Training and test labels that are given.
    per_class : int or None
        Training pixels per class.
    fraction : float or None
        Share of each class that trains; goes before `per_class`.
    seed : int
    validation : float
        Share of the training pixels moved to validation.
    reach : int
        Side of the largest window that a prediction reads, odd: spatial splits keep training and
        test pixels further apart than that.
    window, gap : int or None
        Side of the blocks of a spatial split, and pixels from training to test; `reach` decides
        where they are not given.
    scene : str
        Name, for messages.
    """

    labels: Labels
    valid: np.ndarray
    split: str | None = None
    masks: tuple[Labels, Labels] | None = None
    per_class: int | None = None
    fraction: float | None = None
    seed: int = 0
    validation: float = 0.0
    reach: int = 1
    window: int | None = None
    gap: int | None = None
    scene: str = "scene"


@dataclass(frozen=True)
class SplitKind:
    """A row of the table.

    Attributes
    ----------
    name : str
        In reports, and for `--split` where `named`.
    description : str
        For help and documentation.
    draw : callable
        From a request to a split.
    sized : bool
        Takes its size from `per_class` or `fraction`.
    spatial : bool
        Keeps training pixels out of the windows of test pixels; takes `window` and `gap`.
    named : bool
        Selected by its name.
    """

    name: str
    description: str
    draw: Callable[[SplitRequest], Split]
    sized: bool = False
    spatial: bool = False
    named: bool = True


def _random(request: SplitRequest) -> Split:
    how: dict[str, Any] = {
        "seed": request.seed,
        "validation": request.validation,
        "valid": request.valid,
    }
    labels, share, n = request.labels, request.fraction, request.per_class or DEFAULT_PER_CLASS
    return per_class(labels, n, **how) if share is None else fraction(labels, share, **how)


def _spatial(draw: Callable[..., Split]) -> Callable[[SplitRequest], Split]:
    def drawn(request: SplitRequest) -> Split:
        window = request.window or request.reach
        gap, half = request.gap or window // 2 + 1, request.reach // 2
        if gap <= half:
            raise SplitError(
                f"split_window, split_gap: a window of {request.reach} reaches training pixels",
                expected=f"a gap of more than {half}",
                got=gap,
            )
        sized = request.fraction is not None
        return draw(
            request.labels,
            window=window,
            n=None if sized else request.per_class or DEFAULT_PER_CLASS,
            share=request.fraction,
            seed=request.seed,
            validation=request.validation,
            valid=request.valid,
            gap=request.gap,
        )

    return drawn


def _masks(kind: str) -> Callable[[SplitRequest], Split]:
    def drawn(request: SplitRequest) -> Split:
        if request.masks is None:
            raise SplitError(
                f"scene {request.scene} has no official training and test rasters",
                hint="give --split TRAIN,TEST with two label files, or --per-class N",
            )
        return from_masks(
            *request.masks,
            kind=kind,
            seed=request.seed,
            validation=request.validation,
            valid=request.valid,
        )

    return drawn


def _file(request: SplitRequest) -> Split:
    given = request.split or ""
    if not Path(given).exists():
        names = [name for name, kind in SPLIT_KINDS.items() if kind.named]
        close = difflib.get_close_matches(given.lower(), names, n=1)
        raise SplitError(
            f"there is no split file {given}",
            expected=f"{', '.join(names)}; TRAIN,TEST label files; or the split.npz of a run",
            hint=f"did you mean {close[0]}?" if close else None,
        )
    return load(Path(request.split or ""), request.labels, request.valid)


SPLIT_KINDS = {
    kind.name: kind
    for kind in (
        SplitKind("random", "pixels drawn at random per class", _random, sized=True),
        SplitKind(
            "disjoint",
            "training pixels in blocks, no test window touches one",
            _spatial(disjoint),
            sized=True,
            spatial=True,
        ),
        SplitKind(
            "polygons",
            "whole polygons or connected fields train, no test window touches one",
            _spatial(polygons),
            sized=True,
            spatial=True,
        ),
        SplitKind("official", "the benchmark's training and test rasters", _masks("official")),
        SplitKind(
            "rasters", "TRAIN,TEST: two label files of the scene's grid", _masks("rasters"),
            named=False,
        ),
        SplitKind("file", "the split.npz of another run", _file, named=False),
    )
}  # fmt: skip


def register_split(kind: SplitKind) -> None:
    """Add a kind, or replace the one of that name."""
    SPLIT_KINDS[kind.name] = kind


def split_kind(split: str | None) -> SplitKind:
    """The row that the option `split` selects.

    Examples
    --------
    >>> [split_kind(split).name for split in (None, "disjoint", "a.tif,b.tif", "split.npz")]
    ['random', 'disjoint', 'rasters', 'file']
    """
    if split is None:
        return SPLIT_KINDS["random"]
    kind = SPLIT_KINDS.get(split)
    if kind is not None and kind.named:
        return kind
    return SPLIT_KINDS["rasters" if "," in split else "file"]


def budget_label(
    split: str | None, per_class: int | None = None, fraction: float | None = None
) -> str:
    """How many pixels train, as reports name it.

    Examples
    --------
    >>> budget_label("polygons", per_class=20), budget_label(None, fraction=0.1)
    ('20-per-class', '10-percent')
    >>> budget_label("official")
    'as-given'
    """
    if not split_kind(split).sized:
        return AS_GIVEN
    if fraction is not None:
        return f"{100 * fraction:g}-percent"
    return f"{per_class or DEFAULT_PER_CLASS}-per-class"


def select(request: SplitRequest) -> Split:
    """Draw or read the split that a request asks for.

    Raises
    ------
    SplitError
        The labels do not allow it, or a gap is too narrow for the window.
    """
    return split_kind(request.split).draw(request)
