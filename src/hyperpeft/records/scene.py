"""A hyperspectral cube with everything needed to map it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperpeft.errors import LabelsError, SceneError
from hyperpeft.records.labels import Labels
from hyperpeft.records.windows import cover, with_coordinates
from hyperpeft.system.resources import stay_offline

if TYPE_CHECKING:  # it takes seconds to load
    import xarray as xr


_UNPLACED = "the scene has a CRS and no transform: where it lies is unknown, its maps have no CRS"


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
        False where any band is NaN, infinite or nodata. Of a scene on a server it behaves as an
        array whose blocks are looked at when they are asked for.
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
    sources : tuple of str
        What scene and labels were opened from, as `scenes.files_of` takes it: no map of the scene
        is written over it. Not compared.
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
    sources: tuple[str, ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        height, width, bands = self.shape
        said = [f"{self.name}: {height} x {width} pixels, {bands} bands"]
        if self.wavelengths is not None:
            said.append(f"{self.wavelengths.min():g} to {self.wavelengths.max():g} nm")
        if self.valid_pixels is not None:
            said.append(f"{self.valid_pixels:,} pixels valid")
        if self.labels is not None:
            classes = self.labels.counts()
            said.append(f"{sum(classes.values()):,} labelled in {len(classes)} classes")
        place = "no CRS" if not self.crs else "georeferenced" if self.transform else "no transform"
        return f"<Scene {', '.join([*said, place])}>"

    def _repr_html_(self) -> str:
        from hyperpeft.records.describe import scene_table  # only a notebook asks

        return scene_table(self)

    def __post_init__(self) -> None:
        if self.cube.dims != ("band", "y", "x"):
            raise SceneError(f"{self.name}", expected="dims (band, y, x)", got=self.cube.dims)
        if self.valid.shape != self.cube.shape[1:]:
            raise SceneError(
                f"{self.name}: validity mask", expected=self.cube.shape[1:], got=self.valid.shape
            )

        if self.crs and self.transform is None and _UNPLACED not in self.notes:
            object.__setattr__(self, "notes", (*self.notes, _UNPLACED))
        located = with_coordinates(self.cube, self.wavelengths, self.crs, self.transform)
        object.__setattr__(self, "cube", located)

    @classmethod
    def from_array(
        cls,
        cube: Any,
        labels: Any = None,
        wavelengths: Any = None,
        crs: Any = None,
        transform: Any = None,
        valid: Any = None,
        name: str = "array",
    ) -> Scene:
        """A scene of values in memory, which are not copied: they have to stay as they are.

        Parameters
        ----------
        cube : ndarray (H, W, B), or xarray.DataArray with dims band, y, x in any order
            The coordinates of a DataArray (wavelength, x, y, the CRS of rioxarray) and its nodata
            value are used where the arguments do not say otherwise.
        labels : Labels, or ndarray or DataArray of int (H, W), optional
            0, nodata of a DataArray, masked pixels and NaN are unlabelled. A DataArray lies where
            its coordinates say: turned rows and columns are turned back, another place is refused.
        wavelengths : sequence of B floats, optional
            In nm; all below 100 are taken as micrometres. The `units` of a DataArray decide where
            it has them; others than nm and micrometres are noted and not used.
        crs : str, optional
            WKT, "EPSG:32633", or anything whose text is one of these.
        transform : sequence of 6 floats, optional
            As in `Scene`, or an affine.Affine.
        valid : ndarray of bool (H, W), optional
            By default where all bands are finite and none is nodata.
        name : str

        Raises
        ------
        SceneError
            Not a cube of real numbers, or parts that do not fit it.
        LabelsError
            Labels that do not fit it.

        Examples
        --------
        >>> Scene.from_array(np.zeros((4, 5, 30)), np.eye(4, 5, dtype=int))
        <Scene array: 4 x 5 pixels, 30 bands, 20 pixels valid, 4 labelled in 1 classes, no CRS>
        """
        from hyperpeft.records.arrays import parts_of_array  # which imports this module

        parts, given = parts_of_array(cube, labels, wavelengths, crs, transform, valid, name)
        scene = cls(**parts)
        if scene.crs is not None:  # so that `scene.cube.rio` is there, as of a scene from a file
            stay_offline()  # before GDAL is loaded
            import rioxarray  # noqa: F401  # takes a second
        return scene if given is None else scene.with_labels(given)

    def plot(self, ax: Any = None, *, labels: bool = True) -> Any:
        """Draw the false-colour image, with labels beside it where there are any; the axes."""
        from hyperpeft.records.describe import plot_scene  # only a notebook asks

        return plot_scene(self, ax, labels=labels)

    def plot_spectra(self, ax: Any = None, *, most: int = 2000) -> Any:
        """Draw mean and deviation of each class, of at most `most` pixels a class; the axes."""
        from hyperpeft.records.describe import plot_spectra  # only a notebook asks

        return plot_spectra(self, ax, most)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, B)."""
        bands, height, width = self.cube.shape
        return height, width, bands

    @property
    def valid_pixels(self) -> int | None:
        """How many pixels are valid; None of a scene on a server, which is not read for that."""
        return int(np.count_nonzero(self.valid)) if isinstance(self.valid, np.ndarray) else None

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
