"""A stratified random sample of a class map, to be checked by a person.

Olofsson et al. (2014), section 5.1: the size for a wanted standard error of overall accuracy
(their eq. 13, Cochran 1977 eq. 5.25), and its allocation: in proportion to area, with a minimum
for rare classes. Neyman's allocation (Cochran 1977, eq. 5.26) takes n_h in proportion to
W_h S_h, with S_h = sqrt(U_h (1 - U_h)) from the user's accuracies U_h that are expected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyperpeft.assessment.class_raster import ClassRaster, count_pixels, read_class_raster
from hyperpeft.assessment.points import LAYERS, REFERENCE, Design, refuse_filled, write_points
from hyperpeft.errors import ConfigError
from hyperpeft.records import UNLABELLED, pixel_centres
from hyperpeft.scenes import pixel_areas
from hyperpeft.system.output_folder import refuse_inputs, require_ending


def sample_size(weights: np.ndarray, users: np.ndarray, standard_error: float) -> int:
    """Pixels for a standard error of overall accuracy.

    Parameters
    ----------
    weights, users : ndarray of float, shape (H,)
        Share of each stratum, and the user's accuracy that is expected in it.
    standard_error : float

    Examples
    --------
    The example of Olofsson et al. (2014), section 5.1.1:

    >>> sample_size(np.array([0.02, 0.015, 0.32, 0.645]), np.array([0.7, 0.6, 0.9, 0.95]), 0.01)
    641
    """
    spread = float(weights @ np.sqrt(users * (1 - users)))
    return max(1, math.ceil((spread / standard_error) ** 2))


def allocate(
    sizes: np.ndarray, total: int, *, minimum: int, users: np.ndarray | None = None
) -> np.ndarray:
    """Pixels to check in each stratum.

    Strata whose share is below the minimum get the minimum, or all their pixels; the others share
    what is left. Rounding is by largest remainder, so that the sum is `total`.

    Parameters
    ----------
    sizes : ndarray of int, shape (H,)
        Pixels of each stratum.
    total : int
        Pixels to check in all.
    minimum : int
        In each stratum.
    users : ndarray of float, shape (H,), optional
        Expected user's accuracies: Neyman's allocation instead of the proportional one.

    Raises
    ------
    ConfigError
        When the minimum alone is more than `total`, or there are fewer pixels.

    Examples
    --------
    >>> allocate(np.array([200, 150, 3200, 6450]), 640, minimum=75).tolist()
    [75, 75, 162, 328]
    """
    if total > sizes.sum():
        raise ConfigError(
            "the size of the sample", expected=f"at most {int(sizes.sum())} pixels", got=total
        )
    least = np.minimum(minimum, sizes)
    if least.sum() > total:
        raise ConfigError(
            f"the size of the sample: {len(sizes)} strata of at least {minimum} pixels need "
            f"{int(least.sum())}",
            got=total,
            hint="give a larger --size or a smaller --minimum",
        )
    wants = sizes.astype(float)
    if users is not None:
        wants = wants * np.sqrt(users * (1 - users))
        if not wants.any():
            wants = sizes.astype(float)
    counts = least.astype(float)
    free = np.ones(len(sizes), bool)
    while free.any():  # each pass fixes at least one stratum, or is the last
        left = total - counts[~free].sum()
        share = left * wants / wants[free].sum() if wants[free].sum() > 0 else least.astype(float)
        low, high = free & (share < least), free & (share > sizes)
        if not (low | high).any():
            counts[free] = share[free]
            break
        bound = low if low.any() else high
        counts[bound] = (least if low.any() else sizes)[bound]
        free &= ~bound
    return _rounded(counts, sizes, total)


def _rounded(counts: np.ndarray, sizes: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers of this sum, by largest remainder and never above the sizes."""
    whole = np.floor(counts + 1e-9).astype(int)
    for i in np.argsort(whole - counts, kind="stable"):
        if whole.sum() < total and whole[i] < sizes[i]:
            whole[i] += 1
    for i in np.argsort(whole - sizes, kind="stable"):  # where strata were full
        extra = min(total - int(whole.sum()), int(sizes[i] - whole[i]))
        whole[i] += max(extra, 0)
    return whole


MINIMUM = 50  # checked pixels a class, the rule of thumb of Congalton (1991)


@dataclass(frozen=True)
class Sampled:
    """What was drawn.

    Attributes
    ----------
    path : Path
    strata : dict of str to (int, int)
        Pixels of each stratum, and how many of them are to be checked.
    rule : str
        Of allocation.
    notes : tuple of str
    """

    path: Path
    strata: dict[str, tuple[int, int]]
    rule: str
    notes: tuple[str, ...] = ()


def sample_map(
    path: str | Path,
    out: str | Path,
    *,
    size: int | None = None,
    standard_error: float | None = None,
    minimum: int | None = None,
    users: Mapping[str, float] | float | None = None,
    strata: str | Path | None = None,
    show_class: bool = False,
    seed: int = 0,
) -> Sampled:
    """Draw pixels of a class map at random within strata, and write them as points.

    Parameters
    ----------
    path : str or Path
        The class map.
    out : str or Path
        GeoPackage to write.
    size : int, optional
        Pixels in all; or
    standard_error : float, optional
        of overall accuracy that is wanted, from which the size follows, or from the minimum where
        that needs more; it needs `users`.
    minimum : int, optional
        In each stratum; by default 50, or less where `size` leaves less for each.
    users : float or mapping of str to float, optional
        Expected user's accuracy of all strata, or of each by name: Neyman's allocation instead of
        the proportional one.
    strata : str or Path, optional
        Another raster on the map's grid whose values are the strata, instead of the map's classes.
    show_class : bool
        Show the map's class beside each point; it biases the person who judges them.
    seed : int

    Raises
    ------
    ConfigError
        A file that cannot be read or written, a size that cannot be drawn, or `out` is a sample
        that has been filled in, or another file.
    """
    out = Path(out)
    require_ending(out, "--out", ".gpkg")
    if (size is None) == (standard_error is None):
        raise ConfigError("sample", expected="either --size or --standard-error")
    inputs = [("the map", Path(path))] + ([("the strata", Path(strata))] if strata else [])
    refuse_inputs([out], inputs)
    refuse_filled(out, LAYERS, (REFERENCE, "comment"))
    mapped = read_class_raster(path)
    layer = read_class_raster(strata, "strata") if strata else mapped
    if not layer.lies_on(mapped):
        raise ConfigError(
            f"strata {strata}", expected=f"the grid of the map, {mapped.shape} pixels",
            got=f"{layer.shape} pixels" if layer.shape != mapped.shape else "another transform",
        )  # fmt: skip
    frame = _frame(mapped, layer)
    sizes, unused = frame.sizes, frame.unused
    expected = _users(users, frame.names)
    total = size or _size_for(sizes, expected, standard_error)
    least = min(MINIMUM, max(2, total // len(sizes))) if minimum is None else minimum
    notes = [f"{unused:,} pixels with a class are in no stratum and are left out"] if unused else []
    needed = int(np.minimum(least, sizes).sum())
    if size is None and needed > total:
        notes.append(f"{len(sizes)} strata of at least {least} points need {needed}; the standard "
                     f"error alone asks for {total}")  # fmt: skip
        total = needed
    counts = allocate(sizes, total, minimum=least, users=expected)
    places = _draw(frame, counts, seed)
    rule = "neyman" if expected is not None else "proportional"
    design, xy = _design(frame, places, seed, rule)
    hectares = None if unused else frame.hectares
    names = mapped.names if show_class else None
    write_points(out, design, xy, mapped.crs, hectares=hectares, map_names=names)
    drawn = {name: (int(s), int(c))
             for name, s, c in zip(frame.names, sizes, counts, strict=True)}  # fmt: skip
    return Sampled(out, drawn, f"{design.about['allocation']}, at least {least} each", tuple(notes))


@dataclass(frozen=True)
class _Frame:
    """The sampling frame: the pixels with a class, by the strata of a layer.

    Attributes
    ----------
    mapped, layer : ClassRaster
        The map; the strata, which may be its classes.
    codes : list of int
        Of the H strata in the layer.
    sizes : ndarray of int, shape (H,)
        Pixels of each.
    hectares : ndarray of float, shape (H,), or None
    unused : int
        Pixels in no stratum.
    """

    mapped: ClassRaster
    layer: ClassRaster
    codes: list[int]
    sizes: np.ndarray
    hectares: np.ndarray | None
    unused: int

    @property
    def names(self) -> list[str]:
        """Of the strata."""
        return [self.layer.names[i] for i in self.codes]


def _frame(mapped: ClassRaster, layer: ClassRaster) -> _Frame:
    pixels, areas, unused = _counted(mapped, layer)
    hectares = None if areas is None else np.array([areas[i] for i in pixels])
    return _Frame(mapped, layer, list(pixels), np.array(list(pixels.values())), hectares, unused)


def _counted(
    mapped: ClassRaster, layer: ClassRaster
) -> tuple[dict[int, int], dict[int, float] | None, int]:
    """Pixels with a class: their number and hectares in each stratum, their number in none."""
    if layer is mapped:
        return mapped.pixels, mapped.hectares, 0
    of_row, _ = pixel_areas(mapped.shape, mapped.crs, mapped.transform)
    counts: dict[int, int] = {}
    areas: dict[int, float] = {}
    unused = 0
    for (top, ids), (_, codes) in zip(mapped.blocks(), layer.blocks(), strict=True):
        unused += int(np.count_nonzero((ids != UNLABELLED) & (codes == UNLABELLED)))
        there = np.where(ids != UNLABELLED, codes, UNLABELLED)
        count_pixels(there, top, of_row, counts, areas)
    counts.pop(UNLABELLED, None)
    if not counts:
        raise ConfigError(f"strata {layer.path}", expected="strata where the map has classes")
    return dict(sorted(counts.items())), None if of_row is None else areas, unused


def _users(users: Mapping[str, float] | float | None, names: list[str]) -> np.ndarray | None:
    if users is None:
        return None
    given = dict.fromkeys(names, users) if isinstance(users, int | float) else dict(users)
    missing, unknown = [n for n in names if n not in given], sorted(set(given) - set(names))
    if missing or unknown:
        raise ConfigError(
            "expected user's accuracies", expected=f"one for each of {', '.join(names)}",
            got=f"unknown {', '.join(unknown)}" if unknown else f"none for {', '.join(missing)}",
        )  # fmt: skip
    values = np.array([float(given[name]) for name in names])
    if not ((values > 0) & (values <= 1)).all():
        raise ConfigError("expected user's accuracies", expected="above 0 and at most 1",
                          got=", ".join(f"{v:g}" for v in values))  # fmt: skip
    return values


def _size_for(sizes: np.ndarray, users: np.ndarray | None, wanted: float | None) -> int:
    if users is None or wanted is None or not 0 < wanted < 0.5:
        raise ConfigError(
            "--standard-error", expected="between 0 and 0.5, with --users-accuracy",
            got=f"{wanted}" if users is not None else "no --users-accuracy",
        )  # fmt: skip
    return min(sample_size(sizes / sizes.sum(), users, wanted), int(sizes.sum()))


def _draw(frame: _Frame, counts: np.ndarray, seed: int) -> np.ndarray:
    """Stratum, map id, row and column (n, 4) of pixels drawn without replacement."""
    random = np.random.default_rng(seed)
    ranks = [
        np.sort(random.choice(s, c, replace=False))
        for s, c in zip(frame.sizes, counts, strict=True)
    ]
    seen = np.zeros(len(frame.codes), np.int64)
    places = []
    blocks = zip(frame.mapped.blocks(), frame.layer.blocks(), strict=True)
    for (top, ids), (_, codes) in blocks:
        for h, code in enumerate(frame.codes):
            here = np.flatnonzero((codes == code) & (ids != UNLABELLED))
            wanted = ranks[h][(ranks[h] >= seen[h]) & (ranks[h] < seen[h] + len(here))] - seen[h]
            seen[h] += len(here)
            rows, columns = np.divmod(here[wanted], ids.shape[1])
            places.append(
                np.stack([np.full(len(rows), h), ids[rows, columns], rows + top, columns], axis=1)
            )
    found = np.concatenate(places)
    return found[random.permutation(len(found))]  # the order must not tell the stratum


def _design(frame: _Frame, places: np.ndarray, seed: int, rule: str) -> tuple[Design, np.ndarray]:
    """What is written of places (n, 4), and their coordinates (n, 2)."""
    mapped, layer = frame.mapped, frame.layer
    about = {
        "map": mapped.path.name,
        "map_sha256": mapped.sha256,
        "strata": "map classes" if layer is mapped else layer.path.name,
        "allocation": rule,
        "seed": str(seed),
    }
    ids = np.arange(1, len(places) + 1)
    numbers, map_ids, rows, columns = places.T
    names = tuple(frame.names)
    design = Design(ids, numbers, map_ids, rows, columns, names, frame.sizes, about)
    return design, pixel_centres(places[:, 2:], mapped.transform)
