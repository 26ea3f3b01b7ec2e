"""Files of one grid whose bands belong together: a file a band, VNIR and SWIR apart, TIFF pages.

B1.tif B2.tif ... B10.tif      one band each: by wavelength, or by name with numbers as numbers
vnir.img swir.img              other wavelengths, other numbers of bands or such names
twice the same bands           not a stack, see `readers.mosaic`
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.lazy import StackedCube
from hyperpeft.scenes.readers.gdal import same_crs

SAME_WAVELENGTH = 2.0  # nm
_UNLIMITED = (-np.inf, np.inf)
_SAME_GRID = 0.01  # of a pixel
_IN_NAME = re.compile(r"(?<![\d.])(\d{3,4}(?:[.p]\d+)?)\s*nm", re.IGNORECASE)
_BY_NAMED_WAVELENGTHS = "wavelengths in their names"
_RANGES = ("pan", "uv", "vis", "vnir", "nir", "swir1", "swir", "swir2", "mwir", "tir", "lwir")
_EXTRA = re.compile(
    r"(?:^|[_\W])(?:qa|bqa|scl|udm2?|cloud\w*|mask|quality|tci|pvi|aot|wvp|angles?|dem|sza|saa|vza|"
    r"vaa)(?:[_\W]|$)",
    re.IGNORECASE,
)


def stack(cubes: Sequence[Cube], what: str) -> Cube | None:
    """One cube of the bands of several; None where they are tiles beside each other.

    Raises
    ------
    SceneError
        They lie on one grid, but not as bands of one image; or bands of several grids.
    """
    one_band = all(cube.data.shape[0] == 1 for cube in cubes)
    extra = [cube for cube in cubes if cube.data.shape[0] == 1 and _EXTRA.search(cube.path.stem)]
    if len(extra) < len(cubes):
        cubes = [cube for cube in cubes if cube not in extra]
    else:
        extra = []
    if not all(_on_grid(cubes[0], cube) for cube in cubes):
        if one_band:
            _refuse_mixed(cubes, what)
        return None
    order, by = _order(cubes)
    if order is None:
        return None
    chosen = [cubes[i] for i in order]
    named = None
    if by == _BY_NAMED_WAVELENGTHS:
        named = np.array([_wavelength_in_name(cube.path) for cube in chosen], np.float64)
    note = f"{len(chosen)} files are stacked as bands, in the order of their {by}: {_named(chosen)}"
    left = ", ".join(cube.path.name for cube in extra)
    notes = (note, f"{left}: not spectral by name, left out") if extra else (note,)
    whole = stacked(chosen, notes)
    return whole if named is None else replace(whole, wavelengths=named)


def stacked(cubes: Sequence[Cube], notes: tuple[str, ...]) -> Cube:
    """One cube of the bands of cubes on one grid, in their order."""
    first = cubes[0]
    data = StackedCube([cube.data for cube in cubes])
    block = (max(cube.block[0] for cube in cubes), max(cube.block[1] for cube in cubes))
    masks: dict[str, np.ndarray] = {}
    for cube in cubes:
        for name, mask in (cube.masks or {}).items():
            masks[name] = mask | masks.get(name, np.zeros_like(mask))
    files = [path for cube in cubes for path in (cube.path, *cube.others)]
    return Cube(
        path=first.path,
        data=data.to_xarray(block),
        wavelengths=_joined([cube.wavelengths for cube in cubes]),
        fwhm=_joined([cube.fwhm for cube in cubes]),
        good=_joined([np.ones(n, bool) if c.good is None else c.good for c, n in _sizes(cubes)]),
        nodata=tuple(v for c, n in _sizes(cubes) for v in (c.nodata or (None,) * n)),
        marks=tuple(sorted({value for cube in cubes for value in cube.marks})),
        empty=tuple(sorted({value for cube in cubes for value in cube.empty})),
        limits=tuple(v for c, n in _sizes(cubes) for v in (c.limits or (_UNLIMITED,) * n)),
        masks=masks or None,
        scale=_joined([np.ones(n) if c.scale is None else c.scale for c, n in _sizes(cubes)]),
        offset=_joined([np.zeros(n) if c.offset is None else c.offset for c, n in _sizes(cubes)]),
        crs=first.crs,
        transform=first.transform,
        block=block,
        notes=(*notes, *dict.fromkeys(note for cube in cubes for note in cube.notes)),
        key=" ".join(f"{cube.path.name}{cube.key}" for cube in cubes),
        others=tuple(p for p in dict.fromkeys(files) if p != first.path),
        flipped=first.flipped,
    )


def natural(name: str) -> list[Any]:
    """A key that sorts B2 before B10, and B8A behind B8."""
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p.lower()) for p in _parts(name)]


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"(\d{1,18})", name) if part]


def _sizes(cubes: Sequence[Cube]) -> list[tuple[Cube, int]]:
    return [(cube, cube.data.shape[0]) for cube in cubes]


def _joined(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if len(there) == len(parts) else None


def _on_grid(first: Cube, cube: Cube) -> bool:
    if first.data.shape[1:] != cube.data.shape[1:]:
        return False
    if (first.crs is None) != (cube.crs is None):
        return False
    if first.crs and cube.crs and not same_crs(first.crs, cube.crs):
        return False
    if first.transform is None or cube.transform is None:
        return first.transform is cube.transform
    size = max(abs(v) for v in (*first.transform[:2], *first.transform[3:5]))
    apart = np.subtract(first.transform, cube.transform)
    extent = max(first.data.shape[1:])
    steps = np.abs(apart[[0, 1, 3, 4]]).max() * extent
    return bool(max(steps, np.abs(apart[[2, 5]]).max()) <= _SAME_GRID * size)


def _order(cubes: Sequence[Cube]) -> tuple[list[int] | None, str]:
    """Indices in which the files are stacked, and what they are ordered by; None for no stack."""
    one_band = all(cube.data.shape[0] == 1 for cube in cubes)
    waves = [cube.wavelengths for cube in cubes]
    if one_band and any(w is None for w in waves):
        told = [_wavelength_in_name(cube.path) for cube in cubes]
        named = [nm for nm in told if nm is not None]
        if len(named) == len(cubes):
            return np.argsort(named, kind="stable").tolist(), _BY_NAMED_WAVELENGTHS
    known = [w for w in waves if w is not None]
    if len(known) == len(cubes):
        if len(cubes) > 1 and any(_alike(known[0], other) for other in known[1:]):
            return None, ""
        means = [float(w.mean()) for w in known]
        return np.argsort(means, kind="stable").tolist(), "wavelengths"
    names = sorted(range(len(cubes)), key=lambda i: natural(cubes[i].path.name))
    if one_band:
        return names, "names"
    ranges = [_range(cube.path) for cube in cubes]
    if None not in ranges and len(set(ranges)) == len(ranges):
        return sorted(names, key=lambda i: ranges[i] or 0), "spectral ranges by name"
    if not known and len({cube.data.shape[0] for cube in cubes}) == len(cubes):
        return names, "names"
    return None, ""


def _wavelength_in_name(path: Path) -> float | None:
    """In nm, from a name such as refl_450nm.tif."""
    found = _IN_NAME.search(path.stem)
    return float(found[1].replace("p", ".")) if found else None


def _alike(first: np.ndarray, other: np.ndarray) -> bool:
    """Whether most bands of one are bands of the other."""
    near = np.abs(first[:, None] - other[None]).min(axis=0) <= SAME_WAVELENGTH
    return bool(near.mean() > 0.5)


def _range(path: Path) -> int | None:
    words = re.split(r"[^a-z0-9]+", path.stem.lower())
    found = [_RANGES.index(word) for word in words if word in _RANGES]
    return found[-1] if found else None


def _refuse_mixed(cubes: Sequence[Cube], what: str) -> None:
    """Refuse files of one band on several grids, of which one holds two or more."""
    grids: dict[object, list[Cube]] = {}
    for cube in cubes:
        grids.setdefault((cube.transform, cube.data.shape[1:]), []).append(cube)
    if max(len(group) for group in grids.values()) < 2:
        return
    listed = "; ".join(
        f"{_named(group)} of {group[0].data.shape[1]} x {group[0].data.shape[2]} pixels"
        for group in grids.values()
    )
    raise SceneError(
        f"{what} holds files of one band on {len(grids)} grids",
        got=listed,
        hint="give those of one grid, as a list or a pattern, or resample the others onto it",
    )


def _named(cubes: Sequence[Cube]) -> str:
    names = [cube.path.name for cube in cubes]
    return ", ".join(names) if len(names) < 4 else f"{names[0]}, {names[1]}, ... {names[-1]}"
