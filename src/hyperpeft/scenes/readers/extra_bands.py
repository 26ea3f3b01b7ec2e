"""Bands of a raster that are no spectrum: alpha, quality, masks, angles.

An alpha band masks where it is 0 and is no band of the cube. A band that is marked as alpha but
holds many values is one of the sensor's: RGB and near infrared are often written so. Bands whose
name says that they hold something else, or that alone have no wavelength, are left out.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.scenes.readers.band_tags import BandTags

_LOOK = 512  # rows and columns of the reduced image that is looked at
_NAMES = re.compile(
    r"(?:^|[^a-z])(?:qa|bqa|quality|alpha|mask|clouds?|cloud mask|scl|snow|flags?|validity|dem|"
    r"elevation|height|slope|aspect|angles?|zenith|azimuth|latitude|longitude|class|labels?)"
    r"(?:[^a-z]|$)",
    re.IGNORECASE,
)


class ExtraBands(NamedTuple):
    """Indices of the spectral bands, what the others hide, and notes."""

    keep: np.ndarray  # (K,)
    masks: dict[str, np.ndarray]  # (H, W) True where hidden
    notes: tuple[str, ...]


def find_extra_bands(dataset: Any, tags: BandTags) -> ExtraBands:
    """Tell the spectral bands of a raster from the others."""
    from rasterio.enums import ColorInterp  # loaded with GDAL alone

    count = dataset.count
    masks: dict[str, np.ndarray] = {}
    notes: list[str] = []
    out: set[int] = set()
    marked = [i for i, c in enumerate(dataset.colorinterp) if c == ColorInterp.alpha]
    named = [i for i, text in enumerate(tags.descriptions) if text.strip().lower() == "alpha"]
    for i in sorted({*marked, *named}) if count > 1 else []:
        values = np.unique(_look(dataset, i))
        if len(values) > 2:
            notes.append(
                f"band {i + 1} is marked as alpha but holds {len(values)} or more values; it is "
                "taken as a spectral band"
            )
        else:
            out.add(i)
    if not marked and not named and _last_is_alpha(dataset):
        out.add(count - 1)
        notes.append(f"band {count} holds 0 outside the image and one value in it, as alpha does")
    for i in sorted(out):
        masks["alpha"] = masks.get("alpha", False) | (_read(dataset, i) == 0)
        notes.append(f"band {i + 1} is alpha: it masks, and is no band of the scene")
    named_out, named_notes = not_spectral(tags, out, marked)
    out |= named_out
    notes += named_notes
    keep = np.array([i for i in range(count) if i not in out])
    return ExtraBands(keep, masks, tuple(notes))


def not_spectral(tags: BandTags, out: set[int], marked: list[int]) -> tuple[set[int], list[str]]:
    """Indices of the bands that their names or a missing wavelength leave out, and notes.

    `out` are left out already; `marked` as alpha are judged by their values.
    """
    notes: list[str] = []
    others = [
        i
        for i, text in enumerate(tags.descriptions)
        if i not in out and i not in marked and _NAMES.search(text)
    ]
    without = [i for i in tags.without_wavelength() if i not in out and i not in others]
    if len(others) + len(without) + len(out) >= tags.count:
        return set(), notes
    for indices, why in ((others, "not spectral by name"), (without, "without a wavelength")):
        if indices:
            shown = ", ".join(
                f"{i + 1} ({tags.descriptions[i]})" if tags.descriptions[i] else f"{i + 1}"
                for i in indices[:6]
            )
            more = f" and {len(indices) - 6} more" if len(indices) > 6 else ""
            notes.append(f"bands {shown}{more} are left out: {why}")
    return {*others, *without}, notes


def _last_is_alpha(dataset: Any) -> bool:
    """Whether the last band looks like alpha though nothing says so: the largest value and 0."""
    kind = np.dtype(dataset.dtypes[-1])
    if dataset.count < 4 or kind.kind != "u" or len(set(dataset.dtypes)) > 1:
        return False
    last = _look(dataset, dataset.count - 1)
    if set(np.unique(last).tolist()) != {0, np.iinfo(kind).max}:
        return False
    outside = last == 0
    return all(not _look(dataset, i)[outside].any() for i in range(dataset.count - 1))


def _look(dataset: Any, index: int) -> np.ndarray:
    """A band, reduced where it is large."""
    shape = tuple(min(size, _LOOK) for size in dataset.shape)
    return _read(dataset, index, out_shape=shape)


def _read(dataset: Any, index: int, **options: Any) -> np.ndarray:
    try:
        values: np.ndarray = dataset.read(index + 1, **options)
    except Exception as problem:  # rasterio's errors of damaged files have no common root
        reason = " ".join(str(problem).split())[:120]
        raise SceneError(
            f"{dataset.name}: band {index + 1} cannot be read ({reason})",
            hint="the file is damaged or cut short: get it again",
        ) from None
    return values
