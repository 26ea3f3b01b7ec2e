"""What is shown: bands, class maps and confidence, and the pictures that are made of them.

A picture is uint32 (h, w), the bytes of a pixel R, G, B, A. Class maps and confidence of a run are
read by windows at the step at which they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyperpeft.errors import BundleError
from hyperpeft.explorer.jobs import MappedRegion
from hyperpeft.records import UNLABELLED, Colour
from hyperpeft.runs.file_names import MAP, RUN
from hyperpeft.runs.record import RunRecord
from hyperpeft.scenes import SceneView, open_raster, read_thin

COMPONENTS = "components"
PRESETS = {  # nm, for red, green and blue
    "natural": (650.0, 550.0, 470.0),
    "near infrared": (860.0, 650.0, 550.0),
    "short-wave infrared": (2200.0, 860.0, 650.0),
}
NEAR = 60.0  # nm from a preset's wavelength to the band that stands for it
NO_DATA = (226, 228, 232, 255)
# Viridis at nine places (Smith and van der Walt, CC0): even steps, also without colour vision.
_VIRIDIS = np.array([
    (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141), (39, 173, 129),
    (92, 200, 99), (170, 220, 50), (253, 231, 37),
], np.float64)  # fmt: skip


def presets(view: SceneView) -> dict[str, tuple[int, int, int]]:
    """Bands of the false-colour presets that a scene has, by name; the scene's own first."""
    found = {"default": view.rgb}
    if view.wavelengths is None:
        return found
    centres = np.where(view.good, view.wavelengths, np.inf)
    for name, wanted in PRESETS.items():
        bands = [int(np.abs(centres - w).argmin()) for w in wanted]
        if all(abs(centres[b] - w) <= NEAR for b, w in zip(bands, wanted, strict=True)):
            found[name] = (bands[0], bands[1], bands[2])
    return found


@dataclass(frozen=True)
class Components:
    """Principal components of the good bands, as another source of three channels.

    Attributes
    ----------
    bands : ndarray of int, shape (B,)
    mean : ndarray, shape (B,)
    axes : ndarray, shape (3, B)
    """

    bands: np.ndarray
    mean: np.ndarray
    axes: np.ndarray

    @classmethod
    def fit(cls, view: SceneView) -> Components:
        """Of a sample of the scene."""
        bands = np.flatnonzero(view.good)
        values = view.sample(bands.tolist()).astype(np.float64)  # (B, n)
        usable = np.isfinite(values).all(axis=1)
        bands, values = bands[usable], values[usable]
        mean = values.mean(axis=1) if values.shape[1] else np.zeros(len(bands))
        axes = np.zeros((3, len(bands)))
        if values.shape[1] > 3:
            found = np.linalg.svd(values - mean[:, None], full_matrices=False)[0].T[:3]
            axes[: len(found)] = found
        return cls(bands, mean, axes)

    def of(self, values: np.ndarray) -> np.ndarray:
        """Components (3, ...) of values (B, ...)."""
        flat = values.reshape(len(values), -1).astype(np.float64) - self.mean[:, None]
        return (self.axes @ flat).reshape(3, *values.shape[1:])


@dataclass(frozen=True)
class Stretch:
    """The values that become black and white in each channel."""

    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, sample: np.ndarray, cut: float) -> Stretch:
        """From values (3, n): `cut` percent are left out at either end."""
        finite = sample[:, np.isfinite(sample).all(axis=0)]
        if not finite.shape[1]:
            return cls(np.zeros(len(sample)), np.ones(len(sample)))
        low, high = np.percentile(finite, [cut, 100 - cut], axis=1)
        return cls(low, np.where(high > low, high, low + 1))


def false_colour(values: np.ndarray, shown: np.ndarray, stretch: Stretch) -> np.ndarray:
    """A picture of three channels (3, h, w); pixels that are not shown are light grey."""
    with np.errstate(invalid="ignore", over="ignore"):
        level = (values - stretch.low[:, None, None]) / (stretch.high - stretch.low)[:, None, None]
        level = np.clip(np.nan_to_num(level), 0, 1)
    out = np.empty((*shown.shape, 4), np.uint8)
    out[..., :3] = np.round(255 * level).astype(np.uint8).transpose(1, 2, 0)
    out[..., 3] = 255
    out[~shown] = NO_DATA
    return _packed(out)


def class_picture(
    ids: np.ndarray, colours: Mapping[int, tuple[int, int, int]], alpha: int = 255
) -> np.ndarray:
    """A picture of class ids; pixels without a class are transparent."""
    out = np.zeros((*ids.shape, 4), np.uint8)
    for i in np.unique(ids).tolist():
        if i != UNLABELLED:
            out[ids == i] = (*colours.get(i, (128, 128, 128)), alpha)
    return _packed(out)


def scale_picture(values: np.ndarray) -> np.ndarray:
    """A picture of numbers from 0, dark blue, to 1, yellow; NaN is transparent."""
    place = np.clip(np.nan_to_num(values), 0, 1) * (len(_VIRIDIS) - 1)
    out = np.zeros((*values.shape, 4), np.uint8)
    for channel in range(3):
        out[..., channel] = np.interp(place, np.arange(len(_VIRIDIS)), _VIRIDIS[:, channel])
    out[..., 3] = 255
    out[np.isnan(values)] = 0
    return _packed(out)


def _packed(pixels: np.ndarray) -> np.ndarray:
    packed: np.ndarray = np.ascontiguousarray(pixels).view(np.uint32).reshape(pixels.shape[:2])
    return packed


@dataclass
class MapLayer:
    """What is shown of a run: first a region, then the files.

    Attributes
    ----------
    classes, colours : mapping
        By id.
    region : MappedRegion or None
    path, confidence : Path or None
        Rasters on the scene's grid.
    """

    classes: Mapping[int, str]
    colours: Mapping[int, Colour]
    region: MappedRegion | None = None
    path: Path | None = None
    confidence: Path | None = None

    @property
    def has_confidence(self) -> bool:
        """Whether there is anything to show as confidence."""
        return self.region is not None or self.confidence is not None

    def ids(self, rows: slice, columns: slice) -> np.ndarray:
        """Class ids (h, w), 0 where there are none yet."""
        if self.path is not None:
            return _read(self.path, rows, columns)
        out = np.zeros(_size(rows, columns), np.uint16)
        return out if self.region is None else _paste(out, self.region, self.region.ids,
                                                      rows, columns)  # fmt: skip

    def margin(self, rows: slice, columns: slice) -> np.ndarray:
        """Margin between the two best probabilities (h, w), NaN where it is not known."""
        if self.confidence is not None:
            return _read(self.confidence, rows, columns).astype(np.float32)
        out = np.full(_size(rows, columns), np.nan, np.float32)
        return out if self.region is None else _paste(out, self.region, self.region.margin,
                                                      rows, columns)  # fmt: skip


def layer_of_run(folder: Path, shape: tuple[int, int]) -> tuple[RunRecord, MapLayer]:
    """The record of a run and its map.

    Raises
    ------
    BundleError
        No run, no map, or one of another grid.
    """
    record = RunRecord.from_file(folder / RUN)
    path = folder / MAP
    classes, colours = record.class_names, record.class_colours
    if not path.is_file():
        return record, MapLayer(classes, colours)
    with open_raster(path, error=BundleError) as dataset:
        if dataset.shape != shape:
            raise BundleError(
                f"{path} is not a map of this scene", expected=shape, got=dataset.shape
            )
    confidence = confidence_path(folder)
    return record, MapLayer(
        classes, colours, path=path, confidence=confidence if confidence.is_file() else None
    )


def confidence_path(folder: Path) -> Path:
    """Where the confidence of a run's map is, beside its folder."""
    return folder.with_name(f"{folder.name}-confidence.tif")


def _read(path: Path, rows: slice, columns: slice) -> np.ndarray:
    with open_raster(path) as dataset:
        return read_thin(dataset, [1], rows, columns)[0]


def _places(span: slice) -> np.ndarray:
    return np.arange(span.start, span.stop, span.step or 1)


def _size(rows: slice, columns: slice) -> tuple[int, int]:
    return len(_places(rows)), len(_places(columns))


def _paste(
    out: np.ndarray, region: MappedRegion, values: np.ndarray, rows: slice, columns: slice
) -> np.ndarray:
    """Put the values of a region where it lies in a window."""
    here = region.region
    y, x = _places(rows), _places(columns)
    inside = np.ix_((y >= here.top) & (y < here.bottom), (x >= here.left) & (x < here.right))
    y, x = y[inside[0].ravel()], x[inside[1].ravel()]
    out[inside] = values[np.ix_(y - here.top, x - here.left)]
    return out
