"""Several tiles as one scene: "a.tif,b.tif", a pattern, or a folder.

Tiles lie on one pixel grid, in one CRS, with the same bands. Where they overlap, the first tile in
the list wins where it is valid; where none is, the scene is not valid. A window is put together
from the tiles that it touches.

    a a a a .       a: first tile, b: second
    a a a a b
    . b b b b
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from affine import Affine

from hyperpeft.errors import SceneError
from hyperpeft.records import Scene, Transform
from hyperpeft.scenes.cubes.lazy import LazyCube
from hyperpeft.scenes.cubes.valid_pixels import check_size
from hyperpeft.scenes.readers.detect import METADATA
from hyperpeft.scenes.readers.gdal import crs_name, same_crs
from hyperpeft.scenes.readers.stores import split_spec

_PATTERN = "*?["
_SCENES = (".tif", ".tiff", ".vrt", ".hdr", ".nc", ".he5", ".h5", ".jp2")
_ON_GRID = 0.01  # of a pixel
_SAME_WAVELENGTH = 2.0  # nm
_COMPARED = 2**24  # values of two tiles
_MOST = 0.9  # of the bands have to be in every tile


def tile_paths(text: str) -> list[Path] | None:
    """The files of "a.tif,b.tif", of a pattern or of a folder of rasters; None for one file.

    Raises
    ------
    SceneError
        A file of the list is missing, or nothing fits the pattern.
    """
    path, _ = split_spec(text)
    if path.is_file():
        return None
    if path.is_dir():
        files = sorted(path.iterdir())
        products = [p for p in files if METADATA.search(p.name)]
        return products or [p for p in files if p.suffix.lower() in _SCENES] or None
    if any(mark in text for mark in _PATTERN):
        paths = sorted(p for part in text.split(",") for p in _expand(part.strip()))
        if not paths:
            raise SceneError(f"no file fits {text}")
        return paths
    if "," not in text:
        return None
    paths = [Path(part.strip()) for part in text.split(",") if part.strip()]
    missing = [str(p) for p in paths if not p.exists()]
    if len(missing) == len(paths):
        return None  # not a list of files: the caller reports it
    if missing:
        raise SceneError(f"there is no tile {', '.join(missing)}", hint="correct the list of tiles")
    return paths


def _expand(pattern: str) -> list[Path]:
    path = Path(pattern)
    root = Path(path.anchor) if path.anchor else Path()
    return list(root.glob(str(path.relative_to(path.anchor) if path.anchor else path)))


def join(tiles: Sequence[Scene], name: str, rgb: tuple[int, int, int] | None = None) -> Scene:
    """One scene of several tiles.

    Parameters
    ----------
    tiles : sequence of Scene
        In the order in which they win.
    name : str
    rgb : (int, int, int) or None
        Bands of the false-colour image; the first tile's unless given.

    Raises
    ------
    SceneError
        A tile has other bands, another CRS or another pixel grid than the first, or none.
    """
    tiles, dropped = _common_bands(tiles)
    first = tiles[0]
    for tile in tiles:
        _same_crs(first, tile)
    corners = [_corner(first, tile) for tile in tiles]  # row, column in the first tile's grid
    top, left = (min(corner[i] for corner in corners) for i in (0, 1))
    places = [(row - top, column - left) for row, column in corners]
    height, width = (
        max(place[i] + tile.valid.shape[i] for place, tile in zip(places, tiles, strict=True))
        for i in (0, 1)
    )
    same = _refuse_covered(tiles, places)
    check_size(f"a mosaic of {len(tiles)} tiles", (height, width))
    cube = MosaicCube(tiles, places, (height, width))
    valid = np.zeros((height, width), dtype=bool)
    for (row, column), tile in zip(places, tiles, strict=True):
        h, w = tile.valid.shape
        valid[row : row + h, column : column + w] |= tile.valid
    chunks = first.cube.encoding.get("preferred_chunks")
    data = cube.to_xarray((chunks["y"], chunks["x"]) if chunks else None)
    digest = hashlib.sha256("".join(tile.sha256 for tile in tiles).encode())
    notes = [f"{tile.name}: {note}" for tile in tiles for note in tile.notes]
    return Scene(
        name=name,
        cube=data,
        valid=valid,
        wavelengths=first.wavelengths,
        crs=first.crs,
        transform=tuple(Affine(*_transform(first)) @ Affine.translation(left, top))[:6],
        rgb=rgb or first.rgb,
        sha256=digest.hexdigest(),
        notes=(
            f"a mosaic of {len(tiles)} tiles, {int((~valid).sum())} of {valid.size} pixels "
            "not valid in any",
            *dropped,
            *same,
            *_few(notes),
        ),
        fwhm=first.fwhm,
        part=" ".join(tile.part for tile in tiles),
    )


def _refuse_covered(tiles: Sequence[Scene], places: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """Refuse a tile that lies wholly in another one and has other values; note equal ones."""
    notes = []
    for i, (tile, (row, column)) in enumerate(zip(tiles, places, strict=True)):
        height, width = tile.valid.shape
        for other, (top, left) in zip(tiles[:i], places[:i], strict=True):
            rows = slice(row - top, row - top + height)
            columns = slice(column - left, column - left + width)
            inside = rows.start >= 0 and columns.start >= 0
            if not inside or rows.stop > len(other.valid) or columns.stop > other.valid.shape[1]:
                continue
            both = tile.valid & other.valid[rows, columns]
            step = max(1, height * width * tile.shape[2] // _COMPARED)
            for r in range(0, height, step):
                there = both[r]
                mine = tile.window(slice(r, r + 1), slice(0, width))[:, 0][:, there]
                at = slice(rows.start + r, rows.start + r + 1)
                theirs = other.window(at, columns)[:, 0][:, there]
                if not np.array_equal(mine, theirs):
                    raise SceneError(
                        f"tile {tile.name} lies wholly in {other.name} and has other values",
                        expected="tiles beside each other, or bands of one image",
                        hint="give one of them; bands are told from tiles by their wavelengths, or "
                        "by names such as vnir and swir",
                    )
            notes.append(f"{tile.name} lies wholly in {other.name} and has the same values")
    return tuple(notes)


class MosaicCube(LazyCube):
    """Tiles on one grid; 0 where no tile is valid."""

    def __init__(
        self, tiles: Sequence[Scene], places: Sequence[tuple[int, int]], size: tuple[int, int]
    ) -> None:
        self.cubes: list[xr.DataArray] = [tile.cube for tile in tiles]
        self.valid = [tile.valid for tile in tiles]
        self.places = list(places)
        self.shape = (self.cubes[0].shape[0], *size)
        self.dtype = np.result_type(*(cube.dtype for cube in self.cubes))

    def window(self, bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        out = np.zeros((len(bands), *shape), self.dtype)
        wanting = np.ones(shape, dtype=bool)
        for cube, valid, (row, column) in zip(self.cubes, self.valid, self.places, strict=True):
            y0, y1 = max(rows.start, row), min(rows.stop, row + valid.shape[0])
            x0, x1 = max(columns.start, column), min(columns.stop, column + valid.shape[1])
            if y0 >= y1 or x0 >= x1:
                continue
            here = np.s_[y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start]
            there = np.s_[y0 - row : y1 - row, x0 - column : x1 - column]
            new = wanting[here] & valid[there]
            if not new.any():
                continue
            values = cube.isel(band=bands, y=there[0], x=there[1]).values
            out[:, *here][:, new] = values[:, new]
            wanting[here] &= ~new
        return out


def _common_bands(tiles: Sequence[Scene]) -> tuple[list[Scene], tuple[str, ...]]:
    """The tiles with the bands that all have: some bands may be empty in one tile alone."""
    first = tiles[0]
    waves = [tile.wavelengths for tile in tiles if tile.wavelengths is not None]
    if len(waves) < len(tiles):
        for tile in tiles:
            if tile.shape[2] != first.shape[2]:
                raise _differ(first, tile, "bands", first.shape[2], tile.shape[2])
        return list(tiles), ()
    near = [np.abs(own[None, :] - waves[0][:, None]).argmin(axis=1) for own in waves]
    same = [
        np.abs(own[index] - waves[0]) <= _SAME_WAVELENGTH
        for own, index in zip(waves, near, strict=True)
    ]
    common = np.flatnonzero(np.logical_and.reduce(same))
    most = max(tile.shape[2] for tile in tiles)
    if len(common) < _MOST * most:
        worst = min(range(1, len(tiles)), key=lambda i: int(same[i].sum()) / tiles[i].shape[2])
        expected, got = (
            f"{w[0]:.1f} to {w[-1]:.1f} nm in {len(w)} bands" for w in (waves[0], waves[worst])
        )
        raise _differ(first, tiles[worst], "wavelengths", expected, got)
    if all(tile.shape[2] == len(common) for tile in tiles):
        return list(tiles), ()
    chosen = [_only(tile, index[common]) for tile, index in zip(tiles, near, strict=True)]
    return chosen, (f"{len(common)} bands are in every tile, of up to {most}; the rest is dropped",)


def _only(tile: Scene, keep: np.ndarray) -> Scene:
    """A tile with some of its bands."""
    red, green, blue = (int(np.abs(keep - band).argmin()) for band in tile.rgb)
    return replace(
        tile,
        cube=tile.cube.isel(band=keep),
        wavelengths=None if tile.wavelengths is None else tile.wavelengths[keep],
        fwhm=None if tile.fwhm is None else tile.fwhm[keep],
        rgb=(red, green, blue),
    )


def _same_crs(first: Scene, tile: Scene) -> None:
    if first.crs == tile.crs:
        return
    if first.crs and tile.crs:
        if same_crs(first.crs, tile.crs):
            return
        raise _differ(first, tile, "CRS", crs_name(first.crs), crs_name(tile.crs))
    raise _differ(first, tile, "CRS", *("one" if s.crs else "none" for s in (first, tile)))


def _corner(first: Scene, tile: Scene) -> tuple[int, int]:
    """Row and column of a tile's first pixel in the grid of the first tile."""
    a, b, c, d, e, f = _transform(first)
    ta, tb, tc, td, te, tf = _transform(tile)
    size = max(abs(v) for v in (a, b, d, e))
    extent = max(tile.valid.shape)
    if max(abs(ta - a), abs(tb - b), abs(td - d), abs(te - e)) * extent > _ON_GRID * size:
        raise _differ(first, tile, "pixel size", (a, b, d, e), (ta, tb, td, te))
    column, row = ~Affine(a, b, c, d, e, f) @ (tc, tf)
    off = max(abs(column - round(column)), abs(row - round(row)))
    if off > _ON_GRID:
        raise SceneError(
            f"tile {tile.name} does not lie on the pixel grid of {first.name}",
            expected="a shift of whole pixels",
            got=f"{row:.2f} rows and {column:.2f} columns",
            hint="resample it onto that grid, with gdalwarp -tap for one",
        )
    return round(row), round(column)


def _transform(tile: Scene) -> Transform:
    if tile.transform is None:
        raise SceneError(f"tile {tile.name} has no georeference, so its place is unknown")
    return tile.transform


def _differ(first: Scene, tile: Scene, what: str, expected: object, got: object) -> SceneError:
    return SceneError(
        f"tile {tile.name} has other {what} than {first.name}", expected=expected, got=got
    )


def _few(notes: list[str]) -> list[str]:
    """The notes of many tiles would bury the scene's own."""
    shown = 6
    return notes if len(notes) <= shown else [*notes[:shown], f"{len(notes) - shown} more notes"]
