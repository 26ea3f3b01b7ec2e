"""A scene looked at through windows: what is shown is read, and nothing else.

A `Scene` has every pixel examined when it is opened, which takes minutes for one of many gigabytes.
A `SceneView` opens at once, keeps the bands that are flagged as bad, and reads some bands of a
window at every n-th row and column:

    ENVI                             row by row from its data file
    other rasters that GDAL opens    decimated by GDAL, which uses overviews
    the rest                         the rows that are wanted, block by block
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import Resampling
from rasterio.windows import Window

from hyperpeft.errors import SceneError
from hyperpeft.records import Scene, Transform, default_rgb
from hyperpeft.scenes.catalog.cards import CARDS, card_key, no_scene
from hyperpeft.scenes.cubes.band_values import HUGE, constants, fits, typed
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.scan import LARGE
from hyperpeft.scenes.cubes.valid_pixels import reading_rows
from hyperpeft.scenes.open import cube_file, open_scene
from hyperpeft.scenes.readers.envi_header import INTERLEAVES, header_of, interleave, read_fields
from hyperpeft.scenes.readers.envi_raw import RawCube, holds_numbers, raw_cube
from hyperpeft.scenes.readers.gdal import open_raster
from hyperpeft.scenes.readers.read import exists, read_unchecked
from hyperpeft.system.files import printable

Read = Callable[[np.ndarray, slice, slice], np.ndarray]
"""As `DecimatedReader.read`."""

_STRIP = 64  # rows that are read together
_SAMPLE = 64  # blocks of a sample
_BLOCK = 8  # pixels a side
_QUICK, _WHOLE = 2**28, 2**30  # bytes of a view: in half a second where nothing is cached, in two


@dataclass
class SceneView:
    """A scene of any size, for showing it.

    Attributes
    ----------
    name : str
    cube : Cube
        With its bad bands.
    rgb : tuple of 3 ints
        Bands of the false-colour image, counted from 0 with the bad ones.
    scene : Scene or None
        With every pixel examined; None as long as nobody has asked.
    """

    name: str
    cube: Cube
    rgb: tuple[int, int, int]
    scene: Scene | None = None
    _reader: DecimatedReader = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._reader = DecimatedReader(self.cube)

    @classmethod
    def of(cls, scene: Scene) -> SceneView:
        """A view of an opened scene, which knows its good bands alone."""
        chunks = scene.cube.encoding.get("preferred_chunks", {})
        block = int(chunks.get("y", 1)), int(chunks.get("x", scene.shape[1]))
        cube = Cube(
            Path(scene.name), scene.cube, scene.wavelengths, scene.fwhm, crs=scene.crs,
            transform=scene.transform, block=block, notes=scene.notes, flipped=scene.flipped,
        )  # fmt: skip
        return cls(scene.name, cube, scene.rgb, scene)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, B), with bad bands."""
        bands, height, width = self.cube.data.shape
        return int(height), int(width), int(bands)

    @property
    def good(self) -> np.ndarray:
        """Bands (B,) that are not flagged as bad."""
        good = self.cube.good
        return np.ones(self.shape[2], bool) if good is None else good

    @property
    def wavelengths(self) -> np.ndarray | None:
        """Band centres (B,) in nm."""
        return self.cube.wavelengths

    @property
    def crs(self) -> str | None:
        """As in `Scene`."""
        return self.cube.crs

    @property
    def transform(self) -> Transform | None:
        """As in `Scene`."""
        return self.cube.transform

    @property
    def notes(self) -> tuple[str, ...]:
        """What was masked, dropped or assumed."""
        return self.cube.notes if self.scene is None else self.scene.notes

    @property
    def grid_scene(self) -> Scene:
        """The scene where it is examined; else one whose pixels all count as valid."""
        if self.scene is not None:
            return self.scene
        height, width, _ = self.shape
        return Scene(
            self.name, self.cube.data, np.ones((height, width), bool), self.wavelengths, self.crs,
            self.transform, flipped=self.cube.flipped,
        )  # fmt: skip

    def read(
        self, bands: Sequence[int], rows: slice, columns: slice
    ) -> tuple[np.ndarray, np.ndarray]:
        """Some bands of a window; its slices may have steps, see `hyperpeft.records.thinned`.

        Returns
        -------
        values : ndarray of float32, shape (n, h, w)
        shown : ndarray of bool, shape (h, w)
            Valid pixels; as long as the scene is not examined, by the values of these bands.
        """
        chosen = np.asarray(bands, np.int64)
        stored = self._reader.read(chosen, rows, columns)
        shown = (
            self.scene.valid[rows, columns].copy()
            if self.scene is not None
            else self._by_value(stored, chosen)
        )
        if self.scene is None:
            for mask in (self.cube.masks or {}).values():
                shown &= ~mask[rows, columns]
        return self._scaled(stored, chosen), shown

    def step_for(
        self, rows: slice, columns: slice, pixels: int, bands: int = 3, *, quick: bool = False
    ) -> int:
        """The step at which a window has at most `pixels` a side, and does not take long to read.

        Where all bands of a pixel lie together each pixel costs a read of its own: `quick` asks for
        half a second of them, otherwise it is about two.
        """
        height, width = rows.stop - rows.start, columns.stop - columns.start
        step, most = max(1, -(-max(height, width) // pixels)), _QUICK if quick else _WHOLE
        while -(-height // step) * self._reader.row_bytes(width, step, bands) > most:
            step += 1
        return step

    def spectrum(self, row: int, column: int) -> tuple[np.ndarray, bool]:
        """All bands (B,) float32 of a pixel, bad ones included, and whether the pixel is valid."""
        every = np.arange(self.shape[2])
        stored = self._reader.read(every, slice(row, row + 1), slice(column, column + 1))
        values = self._scaled(stored, every)[:, 0, 0]
        if self.scene is not None:
            return values, bool(self.scene.valid[row, column])
        good = np.flatnonzero(self.good)
        hidden = any(mask[row, column] for mask in (self.cube.masks or {}).values())
        valid = self._by_value(stored[good], good)[0, 0] and not constants(stored[good])[0][0, 0]
        return values, bool(valid and not hidden)

    def sample(self, bands: Sequence[int], seed: int = 0) -> np.ndarray:
        """Values (n, pixels) float32 of a few thousand shown pixels, in blocks over the scene."""
        height, width, _ = self.shape
        random = np.random.default_rng(seed)
        parts = []
        for _ in range(_SAMPLE):
            top = int(random.integers(max(1, height - _BLOCK + 1)))
            left = int(random.integers(max(1, width - _BLOCK + 1)))
            rows, columns = slice(top, min(top + _BLOCK, height)), slice(left, left + _BLOCK)
            values, shown = self.read(bands, rows, slice(left, min(columns.stop, width)))
            parts.append(values[:, shown])
        return np.concatenate(parts, axis=1)

    def place_of(self, row: float, column: float) -> tuple[float, float] | None:
        """Coordinates x, y in the scene's CRS; row and column are whole at corners of pixels."""
        if self.transform is None:
            return None
        a, b, c, d, e, f = self.transform
        return a * column + b * row + c, d * column + e * row + f

    def _by_value(self, stored: np.ndarray, bands: np.ndarray) -> np.ndarray:
        """Which pixels (h, w) hold no value that the file marks as missing."""
        cube = self.cube
        bad = np.zeros(stored.shape, bool)
        for value in cube.marks:
            if fits(value, stored.dtype):
                bad |= stored == typed(value, stored.dtype)
        for number, band in enumerate(bands.tolist()):
            nodata = cube.nodata[band] if cube.nodata else None
            if nodata is not None and fits(nodata, stored.dtype):
                bad[number] |= stored[number] == typed(nodata, stored.dtype)
            low, high = cube.limits[band] if cube.limits else (-np.inf, np.inf)
            bad[number] |= (stored[number] < low) | (stored[number] > high)
        if stored.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                bad |= ~(np.abs(stored) <= HUGE)
        shown = np.asarray(~bad.any(axis=0))
        for value in cube.empty:
            if fits(value, stored.dtype):
                shown &= ~(stored == typed(value, stored.dtype)).all(axis=0)
        return shown

    def _scaled(self, stored: np.ndarray, bands: np.ndarray) -> np.ndarray:
        values = stored.astype(np.float32)
        if self.cube.scale is None and self.cube.offset is None:
            return values
        with np.errstate(over="ignore", invalid="ignore"):
            if self.cube.scale is not None:
                values *= self.cube.scale[bands, None, None].astype(np.float32)
            if self.cube.offset is not None:
                values += self.cube.offset[bands, None, None].astype(np.float32)
        return values


def open_view(name_or_path: str | Path, layout: str | None = None) -> SceneView:
    """A view of what `open_scene` opens; large files are not examined yet.

    Raises
    ------
    SceneError, ConfigError
        As `open_scene`.
    """
    text = str(name_or_path)
    known = card_key(text)
    if known in CARDS and not Path(text).is_file():
        card = CARDS[known]
        path, file = cube_file(card)
        cube = read_unchecked(path, file.key, card.layout)
        title: str | None = card.name
    elif known == "demo" and not Path(text).is_file():
        return SceneView.of(open_scene(text))
    elif not exists(text):
        raise no_scene(text)
    else:
        cube, title = read_unchecked(text, layout=layout), None
    if cube is None:
        return SceneView.of(open_scene(text, layout=layout))
    if cube.data.size <= LARGE:
        scene = open_scene(text, layout=layout)
        bands = np.flatnonzero(_kept(cube, scene))
        rgb = (int(bands[scene.rgb[0]]), int(bands[scene.rgb[1]]), int(bands[scene.rgb[2]]))
        return SceneView(scene.name, cube, rgb, scene)
    good = np.flatnonzero(cube.good) if cube.good is not None else np.arange(cube.data.shape[0])
    if not len(good):
        cube.drop_bad()  # says so
    centres = None if cube.wavelengths is None else cube.wavelengths[good]
    red, green, blue = good[list(default_rgb(len(good), centres))].tolist()
    name = title or printable(cube.path.stem)
    return SceneView(name, cube, (red, green, blue))


def _kept(cube: Cube, scene: Scene) -> np.ndarray:
    """Bands of the file that are the scene's, bool (B,).

    Where bands without a valid value were dropped besides the bad ones, the wavelengths tell.
    """
    good = np.ones(cube.data.shape[0], bool) if cube.good is None else cube.good.copy()
    if np.count_nonzero(good) == scene.shape[2] or scene.wavelengths is None:
        return good
    if cube.wavelengths is not None:
        good &= np.isin(cube.wavelengths, scene.wavelengths)
    return good


class DecimatedReader:
    """Reads some bands of a window of a cube at every n-th row and column.

    Parameters
    ----------
    cube : Cube
    """

    def __init__(self, cube: Cube) -> None:
        self._cube, self._raw = cube, _raw(cube)
        self._thin = self._raw.thin if self._raw is not None else _gdal(cube) or _by_blocks(cube)

    def row_bytes(self, columns: int, step: int, bands: int) -> int:
        """What a row of a window costs to read at a step."""
        if self._raw is not None:
            return self._raw.row_bytes(columns, step, bands)
        size: int = self._cube.data.dtype.itemsize
        return columns * size * bands

    def read(self, bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """Values (n, h, w) as stored; the slices may have steps.

        Of a file with overviews, steps take values from those.

        Raises
        ------
        SceneError
            The file is damaged or gone.
        """
        cube = self._cube
        with reading_rows(cube, rows):
            if self._raw is not None or max(rows.step or 1, columns.step or 1) > 1:
                return self._thin(bands, rows, columns)
            values: np.ndarray = cube.data.isel(band=bands, y=rows, x=columns).values
        return values


def read_thin(dataset: Any, bands: Sequence[int], rows: slice, columns: slice) -> np.ndarray:
    """Bands, counted from 1, of an open raster at rows and columns with steps: (n, h, w).

    GDAL takes the middle of each stretch of `step` pixels; where the stretches leave the image,
    the window is read whole.
    """
    spans = []
    for span, size in ((rows, dataset.height), (columns, dataset.width)):
        step = span.step or 1
        count = len(range(span.start, span.stop, step))
        first = span.start - step // 2
        spans.append((first, count, step, first >= 0 and first + count * step <= size))
    (top, high, down, fits), (left, wide, across, also) = spans
    if fits and also:
        window = Window(left, top, wide * across, high * down)
        thin: np.ndarray = dataset.read(
            list(bands), window=window, out_shape=(len(bands), high, wide),
            resampling=Resampling.nearest,
        )  # fmt: skip
        return thin
    window = Window(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
    values: np.ndarray = dataset.read(list(bands), window=window)
    return values[:, ::down, ::across]


def _raw(cube: Cube) -> RawCube | None:
    """Of an ENVI pair whose bands are those of the cube."""
    path = cube.path
    if cube.flipped or cube.key or not path.is_file() or header_of(path) is None:
        return None
    fields = read_fields(path)
    if interleave(fields) not in INTERLEAVES or fields.get("file_compression", "0").strip() != "0":
        return None
    raw = raw_cube(path, fields) if holds_numbers(path, fields) else None
    if raw is None or raw.shape != cube.data.shape or raw.dtype != cube.data.dtype:
        return None
    return raw


def _gdal(cube: Cube) -> Read | None:
    """Of a raster whose bands are those of the cube."""
    path = cube.path
    if cube.flipped or cube.key or not path.is_file():
        return None
    try:
        with open_raster(path) as dataset:
            same = (dataset.count, *dataset.shape) == cube.data.shape
            if not same or any(np.dtype(t) != cube.data.dtype for t in dataset.dtypes):
                return None
    except SceneError:  # no raster
        return None

    def read(bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        with open_raster(path) as dataset:
            return read_thin(dataset, (bands + 1).tolist(), rows, columns)

    return read


def _by_blocks(cube: Cube) -> Read:
    def read(bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        block = max(1, min(cube.block[0], _STRIP))
        wanted = np.arange(rows.start, rows.stop, rows.step or 1)
        whole = slice(columns.start, columns.stop)
        parts = []
        for group in np.unique(wanted // block):
            inside = wanted[wanted // block == group]
            span = slice(int(inside[0]), int(inside[-1]) + 1)
            values = cube.data.isel(band=bands, y=span, x=whole).values
            parts.append(values[:, inside - span.start, :: columns.step or 1])
        return np.concatenate(parts, axis=1)

    return read
