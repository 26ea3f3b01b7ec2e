"""Frozen records that travel between the packages: Scene, Labels, Split, RunRecord."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hyperpeft.errors import LabelsError, SceneError

if TYPE_CHECKING:
    import xarray as xr

UNLABELLED = 0  # the id of pixels without a label, and of nodata in a class map


@dataclass(frozen=True)
class Labels:
    """Class ids on the scene's grid.

    Attributes
    ----------
    ids : ndarray of int32, shape (H, W)
        0 is unlabelled; any other ids, not necessarily contiguous, are classes.
    classes : dict of int to str
        Names of the ids that occur (and of known ids that do not), in ascending order of id.
    colours : dict of int to (int, int, int)
        RGB of each class, 0 to 255.
    source : str
        Where the labels came from, for the record.
    regions : ndarray of int32, shape (H, W), or None
        Which polygon or point each labelled pixel came from, counted from 1; 0 where unlabelled.
        None for labels that were given as a raster.
    notes : tuple of str
        What was guessed, reprojected or left out on the way; `Scene.with_labels` passes it on.
    """

    ids: np.ndarray
    classes: Mapping[int, str]
    colours: Mapping[int, tuple[int, int, int]]
    source: str = ""
    regions: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.ids.ndim != 2:
            raise LabelsError(f"labels {self.source}", expected="2 dimensions", got=self.ids.shape)
        unnamed = sorted(set(np.unique(self.ids).tolist()) - set(self.classes) - {UNLABELLED})
        if unnamed:
            raise LabelsError(f"labels {self.source}", expected="a name per id", got=unnamed)
        if self.regions is not None and not np.array_equal(
            self.regions > 0, self.ids != UNLABELLED
        ):
            raise LabelsError(
                f"labels {self.source}", expected="a region for every labelled pixel, 0 elsewhere"
            )

    def counts(self, where: np.ndarray | None = None) -> dict[int, int]:
        """Pixels per class id, in ascending order; `where` (H, W) bool restricts the count."""
        ids = self.ids if where is None else self.ids[where]
        found, counts = np.unique(ids[ids != UNLABELLED], return_counts=True)
        return dict(zip(found.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True)
class Scene:
    """A hyperspectral cube with everything needed to map it.

    Attributes
    ----------
    name : str
        Card name or file stem.
    cube : xarray.DataArray, dims ("band", "y", "x")
        Good bands only, scaled as the file says, possibly not loaded yet: read it by `rows` or
        by a window, `cube.isel(y=slice, x=slice).values`, which reads nothing else.
        `cube.encoding["preferred_chunks"]`, where present, is what the file stores together.
    valid : ndarray of bool, shape (H, W)
        False where any band is NaN, infinite or nodata.
    wavelengths : ndarray of float64, shape (B,), or None
        Band centres in nm.
    crs : str or None
        Coordinate reference system as WKT.
    transform : tuple of 6 floats or None
        Affine coefficients (a, b, c, d, e, f): x = a col + b row + c, y = d col + e row + f.
    labels : Labels or None
    rgb : tuple of 3 ints
        Indices (from 0) of the bands of the false-colour image: red, green, blue.
    sha256 : str
        Hash of the cube's file, with its header or its sources where it has such; of the values,
        for a generated scene.
    notes : tuple of str
        What was masked, dropped or assumed while reading, for the user and the record.
    masks : tuple of two Labels, or None
        Official train and test labels, where the benchmark has them.
    fwhm : ndarray of float64, shape (B,), or None
        Full widths at half maximum of the bands in nm.
    part : str
        Which array of the file the cube is, and in which order of axes and bands.
    flipped : bool
        The file's rows run north and are in reverse here, so that the first row is the
        northernmost; labels that are given by row and column are in the file's order.
    """

    name: str
    cube: xr.DataArray
    valid: np.ndarray
    wavelengths: np.ndarray | None = None
    crs: str | None = None
    transform: tuple[float, float, float, float, float, float] | None = None
    labels: Labels | None = None
    rgb: tuple[int, int, int] = (0, 0, 0)
    sha256: str = ""
    notes: tuple[str, ...] = ()
    masks: tuple[Labels, Labels] | None = None
    fwhm: np.ndarray | None = None
    part: str = ""
    flipped: bool = False

    def __repr__(self) -> str:
        height, width, bands = self.shape
        said = [f"{self.name}: {height} x {width} pixels, {bands} bands"]
        if self.wavelengths is not None:
            said.append(f"{self.wavelengths.min():g} to {self.wavelengths.max():g} nm")
        said.append(f"{np.count_nonzero(self.valid):,} pixels valid")
        if self.labels is not None:
            classes = self.labels.counts()
            said.append(f"{sum(classes.values()):,} labelled in {len(classes)} classes")
        return f"<Scene {', '.join([*said, 'georeferenced' if self.crs else 'no CRS'])}>"

    def __post_init__(self) -> None:
        if self.cube.dims != ("band", "y", "x"):
            raise SceneError(f"{self.name}", expected="dims (band, y, x)", got=self.cube.dims)
        if self.valid.shape != self.cube.shape[1:]:
            raise SceneError(
                f"{self.name}: validity mask", expected=self.cube.shape[1:], got=self.valid.shape
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, B)."""
        bands, height, width = self.cube.shape
        return height, width, bands

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows start..stop as float32 (B, stop - start, W); invalid values are as in the file."""
        return self.cube.isel(y=slice(start, stop)).values.astype(np.float32, copy=False)

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """A window (B, rows, columns) in the file's own number type, read from where it lies."""
        values: np.ndarray = self.cube.isel(y=rows, x=columns).values
        return values

    def blocks(self, max_values: int = 2**24) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield (start, stop, rows) down the scene, each block of at most `max_values` values."""
        height, width, bands = self.shape
        step = max(1, max_values // (width * bands))
        for start in range(0, height, step):
            stop = min(start + step, height)
            yield start, stop, self.rows(start, stop)

    def pieces(
        self, max_values: int = 2**22, where: np.ndarray | None = None
    ) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
        """Yield ((rows, columns), values) that cover the scene, as the file stores it.

        A file of tiles is read tile by tile, each once, where `blocks` would decode a row of
        tiles for each of its strips. Values are float32 (B, rows, columns), `max_values` at most.
        What holds no pixel of `where` (H, W) bool is not read.
        """
        height, width, bands = self.shape
        chunks = self.cube.encoding.get("preferred_chunks", {})
        stored = int(chunks.get("y", 1)), int(chunks.get("x", width))
        for rows, columns in cover((bands, height, width), stored, max_values):
            if where is not None and not where[rows, columns].any():
                continue
            block = self.cube.isel(y=rows, x=columns).values
            step = max(1, max_values // (bands * block.shape[2]))
            for start in range(0, block.shape[1], step):
                part = block[:, start : start + step]
                inner = slice(rows.start + start, rows.start + start + part.shape[1])
                yield (inner, columns), part.astype(np.float32, copy=False)

    def with_labels(self, labels: Labels) -> Scene:
        """The same scene with these labels and their notes; their grid must be the scene's."""
        if labels.ids.shape != self.valid.shape:
            raise LabelsError(
                f"labels {labels.source} do not fit scene {self.name}",
                expected=f"{self.valid.shape} pixels (rows, columns)",
                got=labels.ids.shape,
                hint="give labels on the same grid as the cube",
            )
        new = [note for note in labels.notes if note not in self.notes]
        return replace(self, labels=labels, notes=(*self.notes, *new))


def cover(
    shape: tuple[int, int, int],
    block: tuple[int, int],
    max_values: int,
    max_block: int = 2**26,
) -> Iterator[tuple[slice, slice]]:
    """Windows (rows, columns) that cover a cube (B, H, W) once, wide before they are high.

    Each is a multiple of the (rows, columns) that the file stores together, and holds at most
    `max_values` values, or one such block where that is more; blocks of more than `max_block`
    values, such as a file in one piece, are cut.

    Examples
    --------
    >>> [(r.start, c.start, c.stop) for r, c in cover((2, 4, 6), (2, 4), 30)]
    [(0, 0, 4), (0, 4, 6), (2, 0, 4), (2, 4, 6)]
    """
    bands, height, width = shape
    limit = max(1, max_values // bands)  # pixels
    rows, columns = min(block[0], height), min(block[1], width)
    while rows * columns > max(limit, max_block // bands):
        rows, columns = (-(-rows // 2), columns) if rows > 1 else (rows, -(-columns // 2))
    step_x = min(width, max(1, limit // (rows * columns)) * columns)
    step_y = min(height, max(1, limit // (rows * step_x)) * rows)
    for top in range(0, height, step_y):
        for left in range(0, width, step_x):
            yield slice(top, min(top + step_y, height)), slice(left, min(left + step_x, width))


@dataclass(frozen=True)
class Split:
    """Which pixels train, validate and test.

    Attributes
    ----------
    kind : str
        How it was drawn, such as "per-class 10" or "official".
    train, validation, test : ndarray of int64, shape (n, 2)
        Row and column of each pixel.
    train_ids, validation_ids, test_ids : ndarray of int32, shape (n,)
        Class id of each pixel. They travel with the pixels because official rasters may disagree
        with the ground truth.
    notes : tuple of str
        Classes that were too small, pixels that were left out.
    """

    kind: str
    train: np.ndarray
    train_ids: np.ndarray
    validation: np.ndarray
    validation_ids: np.ndarray
    test: np.ndarray
    test_ids: np.ndarray
    notes: tuple[str, ...] = ()

    def per_class(self) -> dict[int, dict[str, int]]:
        """Pixels per class id and part."""
        parts = {
            "train": self.train_ids,
            "validation": self.validation_ids,
            "test": self.test_ids,
        }
        ids = np.unique(np.concatenate(list(parts.values()))).tolist()
        return {
            i: {part: int(np.count_nonzero(values == i)) for part, values in parts.items()}
            for i in ids
        }
