"""A map and checked points to accuracies and areas with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform

from hyperpeft.assessment.class_raster import ClassRaster, distinct_names, read_class_raster
from hyperpeft.assessment.estimators import LEVEL, Estimates, Observations, Rule, estimate
from hyperpeft.assessment.points import Design, read_design, read_points, reference_ids
from hyperpeft.errors import LabelsError
from hyperpeft.records import UNLABELLED, pixel_centres
from hyperpeft.scenes import HECTARE, pixel_areas

FEW = 30  # checked pixels of a class, below which a note says that it is few


@dataclass(frozen=True)
class Assessment:
    """What a checked sample says of a map.

    Attributes
    ----------
    map, reference : str
        Names of the files.
    names : dict of int to str
        Of the classes of map and reference; those only the reference has follow the map's ids.
    strata : dict of str to (int, int)
        Pixels, and checked pixels.
    estimates : Estimates
    pixels : int
        That the estimates speak of.
    hectares : float or None
        Their area; estimated where strata are not the map's classes and do not cover the map.
    mapped : dict of int to float
        What the map itself says: the share of each class in the area that the estimates speak of
        (in its pixels where areas are not known). Where strata are not the map's classes, in the
        whole map.
    mapped_hectares : dict of int to float, or None
        The same as areas.
    how : str
        Which areas these are, or why there are none.
    level : float
        Of confidence.
    left_out : int
        Points without a reference class, or where the map has none.
    notes : tuple of str
    """

    map: str
    reference: str
    names: dict[int, str]
    strata: dict[str, tuple[int, int]]
    estimates: Estimates
    pixels: int
    hectares: float | None
    mapped: dict[int, float]
    mapped_hectares: dict[int, float] | None
    how: str
    level: float
    left_out: int
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with areas in hectares where they are known."""
        found, names = self.estimates, self.names
        areas = {}
        for i, share in found.areas.items():
            areas[names[i]] = {"share": asdict(share), "mapped_share": self.mapped.get(i, 0.0)}
            if self.hectares is not None and self.mapped_hectares is not None:
                areas[names[i]]["mapped_hectares"] = self.mapped_hectares.get(i, 0.0)
                areas[names[i]]["hectares"] = {
                    key: None if value is None else value * self.hectares
                    for key, value in asdict(share).items()
                    if key != "rule"
                }
        return {
            "map": self.map,
            "reference": self.reference,
            "points": int(found.counts.sum()),
            "left_out": self.left_out,
            "pixels": self.pixels,
            "hectares": self.hectares,
            "areas_are": self.how,
            "level": self.level,
            "classes": [names[i] for i in found.classes],
            "strata": {name: {"pixels": n, "points": k} for name, (n, k) in self.strata.items()},
            "counts": found.counts.tolist(),
            "proportions": found.proportions.tolist(),
            "overall": asdict(found.overall),
            "users": {names[i]: asdict(e) for i, e in found.users.items()},
            "producers": {names[i]: asdict(e) for i, e in found.producers.items()},
            "areas": areas,
            "notes": list(self.notes),
        }


def assess_map(
    path: str | Path,
    reference: str | Path,
    field: str | None = None,
    *,
    rule: Rule = "wilson",
    level: float = LEVEL,
) -> Assessment:
    """Assess a class map by points whose class on the ground is known.

    Parameters
    ----------
    path : str or Path
        The class map; the one that was sampled, or another one on its grid.
    reference : str or Path
        What `sample_map` wrote, with the reference field filled in; or other points, which are then
        taken to be a random sample within each class of the map.
    field : str, optional
        Of the reference classes, as names or ids; "reference" by default.
    rule : {"wilson", "normal"}
        How intervals are made, see `hyperpeft.assessment.estimators`.
    level : float
        Of confidence.

    Raises
    ------
    ConfigError, LabelsError
        A file that cannot be read, or points that say nothing of this map.
    """
    reference = Path(reference)
    if not reference.exists():
        raise LabelsError(f"reference {reference}: there is no such file")
    mapped = read_class_raster(path)
    columns, xy, crs, field = read_points(reference, field)
    design = read_design(reference)
    notes: list[str] = []
    if design is None:
        notes.append(
            f"{reference.name} does not say how its points were drawn; taken to be a random sample "
            "within each class of the map. The intervals are wrong for points chosen otherwise"
        )
        rows, columns_ = _pixels_of(xy, crs, mapped, reference)
        at = mapped.classes_at(rows, columns_)
        order = list(mapped.pixels)
        strata = np.array([order.index(i) if i in mapped.pixels else -1 for i in at.tolist()])
        sizes, strata_names = np.array(list(mapped.pixels.values())), tuple(mapped.names.values())
        classes: np.ndarray | None = np.array(order)
    else:
        at, strata, rows = _designed(mapped, design, columns, (xy, crs), reference, notes)
        sizes, strata_names = design.pixels, design.names
        classes = _classes_of(design, mapped)
    names = {**mapped.names, **mapped.legend}
    found = reference_ids(columns[field], names, reference, field, notes)
    names = distinct_names(names)
    use = (found != UNLABELLED) & (at != UNLABELLED) & (strata >= 0)
    empty, off = int(np.count_nonzero(found == UNLABELLED)), int(np.count_nonzero(
        (found != UNLABELLED) & ((at == UNLABELLED) | (strata < 0))))  # fmt: skip
    if empty:
        notes.append(
            f"{empty} of {len(found)} points have no reference class (the field is empty, or 0) "
            "and are left out"
        )
    absent = [names[i] for i in mapped.legend if i not in mapped.names and (found == i).any()]
    if absent:
        notes.append(f"classes of the legend that the map shows nowhere: {', '.join(absent)}")
    if off:
        notes.append(f"{off} points lie where the map has no class and are left out")
    if not use.any():
        raise LabelsError(
            f"reference {reference}", expected=f"classes in the field {field}", got="none to use",
            hint=f"fill in the field: a name or an id of {', '.join(mapped.names.values())}",
        )  # fmt: skip
    used = _Used(at[use], strata[use], found[use], rows[use], sizes, strata_names, classes)
    left_out = len(found) - int(use.sum())
    return _assessed(mapped, reference, names, used, rule, level, left_out, notes)


@dataclass(frozen=True)
class _Used:
    mapped: np.ndarray
    strata: np.ndarray
    reference: np.ndarray
    rows: np.ndarray
    sizes: np.ndarray
    names: tuple[str, ...]
    classes: np.ndarray | None


def _assessed(
    mapped: ClassRaster,
    reference: Path,
    names: dict[int, str],
    used: _Used,
    rule: Rule,
    level: float,
    left_out: int,
    notes: list[str],
) -> Assessment:
    checked = np.bincount(used.strata, minlength=len(used.sizes))
    if (checked > used.sizes).any():
        raise LabelsError(
            f"reference {reference}", expected="at most one point a pixel", got="more in a stratum"
        )
    kept = np.flatnonzero(checked)
    unseen = [used.names[h] for h in np.flatnonzero(checked == 0)]
    share = 1.0 if not unseen else float(used.sizes[kept].sum() / used.sizes.sum())
    if unseen:
        notes.append(
            f"no point of {', '.join(unseen)} was checked: the estimates speak of the other "
            f"{100 * share:.1f} % of the pixels"
        )
    renumbered = np.searchsorted(kept, used.strata)
    classes = None if used.classes is None else used.classes[kept]
    areas, areas_of_pixels = _hectares(mapped, used, kept, renumbered)
    seen = Observations(
        renumbered, used.mapped, used.reference, used.sizes[kept].astype(float), classes,
        None if areas_of_pixels is None else areas, areas_of_pixels,
    )  # fmt: skip
    order = tuple(i for i in names if (seen.mapped == i).any() or (seen.reference == i).any())
    estimates = estimate(seen, order, rule=rule, level=level)
    for i in order:
        few = int(estimates.counts[order.index(i)].sum())
        if 0 < few < FEW:
            notes.append(f"{few} checked pixels are mapped as {names[i]}: few for its accuracy")
    if rule == "normal":
        notes += _replaced(estimates, names)
    pixels = int(used.sizes[kept].sum())
    amounts: Mapping[int, float] = mapped.pixels if areas is None else mapped.hectares or {}
    if classes is not None:
        amounts = {i: amounts[i] for i in classes.tolist()}
    elif pixels != (everything := sum(mapped.pixels.values())):
        notes.append(
            f"what is mapped is that of the whole map, {everything:,} pixels; the estimates speak "
            f"of {pixels:,}"
        )
    return Assessment(
        map=mapped.path.name,
        reference=reference.name,
        names={i: names[i] for i in order},
        strata={used.names[h]: (int(used.sizes[h]), int(checked[h])) for h in kept.tolist()},
        estimates=estimates,
        pixels=pixels,
        hectares=None if areas is None else float(areas.sum()),
        mapped={i: amount / sum(amounts.values()) for i, amount in amounts.items()},
        mapped_hectares=None if areas is None else dict(amounts),
        how=mapped.how,
        level=level,
        left_out=left_out,
        notes=tuple(notes),
    )


def _hectares(
    mapped: ClassRaster, used: _Used, kept: np.ndarray, strata: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Areas of the strata that are kept (H,), where they are known, and of checked pixels (n,).

    Strata that are classes of the map have their mapped areas. Of others the pixels are known,
    whose mean area is estimated by that of the checked ones; so is the sum, unless it is the map's.
    Areas of pixels are None where all are alike.
    """
    of_row, _ = pixel_areas(mapped.shape, mapped.crs, mapped.transform)
    if of_row is None or mapped.hectares is None:
        return None, None
    pixel = of_row[used.rows] / HECTARE
    if used.classes is not None:
        areas = np.array([mapped.hectares[i] for i in used.classes[kept].tolist()])
    else:
        areas = used.sizes[kept] * np.bincount(strata, weights=pixel) / np.bincount(strata)
        if used.sizes[kept].sum() == sum(mapped.pixels.values()):
            areas *= sum(mapped.hectares.values()) / areas.sum()
    return areas, pixel if np.ptp(of_row) > 0 else None


def _replaced(estimates: Estimates, names: Mapping[int, str]) -> list[str]:
    """A note where a normal interval would have no width."""
    kinds = (("user's accuracy", estimates.users), ("producer's accuracy", estimates.producers),
             ("area", estimates.areas))  # fmt: skip
    found = [f"{kind} of {names[i]}" for kind, many in kinds for i, e in many.items()
             if e.rule == "wilson"]  # fmt: skip
    found += ["overall accuracy"] if estimates.overall.rule == "wilson" else []
    if not found:
        return []
    return [f"{', '.join(found)}: no error was seen, or too few points for a variance; the "
            "interval is Wilson's, because p +- 1.96 SE would have no width"]  # fmt: skip


def _designed(
    mapped: ClassRaster,
    design: Design,
    columns: Mapping[str, np.ndarray],
    points: tuple[np.ndarray, str | None],
    reference: Path,
    notes: list[str],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Map class, stratum and row of each point of a sample; `points` are coordinates and CRS."""
    place = {i: n for n, i in enumerate(design.ids.tolist())}
    ids = columns["id"].tolist() if "id" in columns else []
    if not ids or any(i not in place for i in ids) or len(set(ids)) != len(ids):
        raise LabelsError(
            f"reference {reference}: its points are not those of its design",
            expected="each id of the sample once",
            hint="keep the field id and the tables of the file that `hyperpeft sample` wrote",
        )
    index = np.array([place[i] for i in ids])
    rows, across = design.rows[index], design.columns[index]
    if design.about.get("map_sha256") == mapped.sha256:
        return design.map_ids[index], design.strata[index], rows
    notes += _check_grid(mapped, np.stack([rows, across], axis=1), *points, reference)
    if int(design.pixels.sum()) != sum(mapped.pixels.values()):
        notes.append(
            f"{mapped.path.name} has classes on {sum(mapped.pixels.values()):,} pixels, the map "
            f"that was sampled on {int(design.pixels.sum()):,}: the estimates speak of the latter"
        )
    notes.append(
        f"the sample was drawn on {design.about.get('map', 'another map')}; its strata stay as "
        f"they were drawn, and the classes are those of {mapped.path.name} (Stehman 2014)"
    )
    return mapped.classes_at(rows, across), design.strata[index], rows


def _check_grid(
    mapped: ClassRaster, drawn: np.ndarray, xy: np.ndarray, crs: str | None, reference: Path
) -> list[str]:
    """Refuse a map on whose grid the points (n, 2) do not lie at the pixels that were drawn."""
    what = f"reference {reference} was drawn on another grid than {mapped.path}"
    hint = "bring the map onto the grid of the one that was sampled, or draw a sample of it"
    if ((drawn < 0) | (drawn >= mapped.shape)).any():
        raise LabelsError(what, expected=f"rows and columns within {mapped.shape}", hint=hint)
    there = np.isfinite(xy).all(axis=1)
    drawn, xy = drawn[there], xy[there]
    plain = crs is None and np.allclose(xy, pixel_centres(drawn, None))
    if plain or mapped.transform is None:
        side = "the map that was sampled" if plain else mapped.path.name
        return [f"{side} has no georeference: rows and columns are taken to be of one grid"]
    pixels = np.stack(_pixels_of(xy, crs, mapped, reference), axis=1)
    moved = int(np.count_nonzero((pixels != drawn).any(axis=1)))
    if moved:
        raise LabelsError(
            what, expected="every point at the row and column that was drawn",
            got=f"{moved} of {len(drawn)} at others", hint=hint,
        )  # fmt: skip
    return []


def _classes_of(design: Design, mapped: ClassRaster) -> np.ndarray | None:
    """The map class of each stratum, where the strata are the classes of this very map."""
    if design.about.get("map_sha256") != mapped.sha256 or (
        design.about.get("strata") != "map classes"
    ):
        return None
    classes = np.full(len(design.pixels), -1)
    classes[design.strata] = design.map_ids
    return classes


def _pixels_of(
    xy: np.ndarray, crs: str | None, mapped: ClassRaster, reference: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of points of any CRS."""
    if mapped.transform is None:
        raise LabelsError(
            f"reference {reference} cannot be placed: {mapped.path} has no georeference",
            hint="use points that `hyperpeft sample` drew",
        )
    if crs is not None and mapped.crs is not None:
        try:
            theirs, ours = CRS.from_user_input(crs), CRS.from_wkt(mapped.crs)
        except CRSError as problem:
            raise LabelsError(f"reference {reference}: its CRS ({problem})") from None
        if theirs != ours:
            xy = np.stack(transform(theirs, ours, xy[:, 0], xy[:, 1]), axis=1)
    a, b, c, d, e, f = mapped.transform
    inverse = np.linalg.inv(np.array([[a, b], [d, e]]))
    with np.errstate(invalid="ignore"):
        moved = (xy - np.array([c, f])) @ inverse.T
    moved[~(np.abs(moved) < 2**31).all(axis=1)] = -1
    across, rows = np.floor(moved).astype(np.int64).T
    return rows, across
