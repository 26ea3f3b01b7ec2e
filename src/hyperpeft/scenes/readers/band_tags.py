"""What a raster says about its bands: centres, widths, scale, and which are no spectrum.

    tag of every band        wavelength, fwhm, bbl           GDAL from ENVI, EnMAP-Box; "400 nm" too
    tag of the whole file    {400.0, 410.0, ...}             ENVI header fields, hand-made files
    IMAGERY domain           CENTRAL_WAVELENGTH_UM, FWHM_UM  newer GDAL drivers
    band description         "band 8 (0.460 Micrometers)"    ENVI's band names; "400-410 nm" too

An alpha band masks where it is 0 and is no band of the cube. A band that is marked as alpha but
holds many values is one of the sensor's: RGB and near infrared are often written so. Bands whose
name says that they hold something else, or that alone have no wavelength, are left out.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.records import to_nm
from hyperpeft.scenes.cubes.wavelengths import measures, named_wavelengths, widths_to_nm
from hyperpeft.scenes.readers.notes import unused_tags

_CENTRES = ("wavelength", "wavelengths", "center_wavelength", "centre_wavelength")
_WIDTHS = ("fwhm", "fwhms", "bandwidth")
_UNITS = ("wavelength_units", "wavelength_unit", "wavelengths_units", "units_wavelength")
_MOST = 0.5  # of the bands
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"


class BandTags:
    """The tags of a raster's bands, read once, their names in lower case."""

    def __init__(self, dataset: Any) -> None:
        self.name: str = dataset.name
        self.count: int = dataset.count
        numbers = range(1, dataset.count + 1)
        self.bands = [_lower({**dataset.tags(b, ns="ENVI"), **dataset.tags(b)}) for b in numbers]
        self.imagery = [dataset.tags(b, ns="IMAGERY") for b in numbers]
        self.whole = _lower({**dataset.tags(), **dataset.tags(ns="ENVI")})
        self.descriptions = [text or "" for text in dataset.descriptions]
        self.scales = np.array(dataset.scales, dtype=np.float64)
        self.offsets = np.array(dataset.offsets, dtype=np.float64)

    def select(self, keep: np.ndarray) -> None:
        """Forget all bands but some, by their indices, also in lists of all bands."""
        for name in (*_CENTRES, *_WIDTHS, "bbl"):
            listed = re.findall(_NUMBER, self.whole.get(name, ""))
            if len(listed) == self.count:
                self.whole[name] = ", ".join(listed[i] for i in keep)
        self.count = len(keep)
        self.bands = [self.bands[i] for i in keep]
        self.imagery = [self.imagery[i] for i in keep]
        self.descriptions = [self.descriptions[i] for i in keep]
        self.scales, self.offsets = self.scales[keep], self.offsets[keep]

    def spectral(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Band centres and widths in nm, each None unless every band has one."""
        centres = self._numbers(_CENTRES)
        if centres is not None:
            values, unit = centres
            found = self._numbers(_WIDTHS)
            if found is None:
                return to_nm(values, unit), None
            return to_nm(values, unit), widths_to_nm(found[0], found[1] or unit, values)
        imagery = self._imagery()
        if imagery is not None:
            widths = _from_texts([tags.get("FWHM_UM") for tags in self.imagery])
            return to_nm(imagery, "um"), None if widths is None else to_nm(widths, "um")
        return named_wavelengths(self.descriptions)[0], None

    def good(self) -> np.ndarray | None:
        """False where the bad-band list, per band or of the whole file, has 0.

        Raises
        ------
        SceneError
            The list has another length than the file has bands.
        """
        whole = self.whole.get("bbl")
        if whole:
            flags = re.findall(_NUMBER, whole)
        else:
            flags = [tags.get("bbl", "1") for tags in self.bands]
        try:
            good = np.array([float(flag) != 0 for flag in flags])
        except ValueError:
            return None
        if len(good) != self.count:
            raise SceneError(
                f"{self.name}: bad-band list", expected=f"{self.count} values", got=len(good)
            )
        return good

    def scaling(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Scale and offset of every band: the file's own, or ENVI's reflectance scale factor.

        ENVI's factor is what the stored values are divided by to give reflectance.

        Raises
        ------
        SceneError
            ENVI's factor is a number by which nothing can be divided.
        """
        if (self.scales != 1).any() or (self.offsets != 0).any():
            return self.scales, self.offsets
        try:
            factor = float(self.whole.get("reflectance_scale_factor", "1").strip("{} "))
        except ValueError:
            return None, None
        if factor == 1:
            return None, None
        if factor == 0 or not np.isfinite(factor):
            raise SceneError(
                f"{self.name}: reflectance scale factor of all bands",
                expected="a finite number other than 0",
                got=f"{factor:g}",
                hint="correct it in the header, or leave it out",
            )
        return np.full(self.count, 1 / factor), np.zeros(self.count)

    def unused(self) -> tuple[str, ...]:
        """Notes on lists of another length than bands, on numbers, names, units and other tags."""
        notes = []
        for name in (*_CENTRES, *_WIDTHS):
            count = len(re.findall(_NUMBER, self.whole.get(name, "")))
            if count not in (0, self.count):
                notes.append(f"{name} has {count} values for {self.count} bands and is not used")
            notes += self._unread(name)
        centres = self._numbers(_CENTRES)
        if centres is not None and to_nm(*centres) is None:
            unit = f"unit {centres[1]!r}" if centres[1] else "numbers"
            notes.append(f"wavelengths are not used: their {unit} cannot be understood")
        if centres is None and self._imagery() is None:
            name = named_wavelengths(self.descriptions)[1]
            if name:
                notes.append(f"wavelengths in names of bands are not used: {name!r} is not clear")
        return (*notes, *unused_tags([self.whole, *self.bands]))

    def without_wavelength(self) -> list[int]:
        """Indices of the few bands without a wavelength, where the others have one each."""
        for name in _CENTRES:
            if name in self.whole:  # a list, which may be too short
                continue
            there = [_is_number(tags.get(name)) for tags in self.bands]
            if any(there) and sum(there) >= _MOST * self.count:
                return [i for i, found in enumerate(there) if not found]
        return []

    def _imagery(self) -> np.ndarray | None:
        return _from_texts([tags.get("CENTRAL_WAVELENGTH_UM") for tags in self.imagery])

    def _unread(self, name: str) -> list[str]:
        """A note on a tag of every band that is not read as numbers."""
        texts = [tags[name] for tags in self.bands if name in tags]
        units, is_centre = self._units(), name in _CENTRES
        if len(texts) < self.count or measures(texts, units, centres=is_centre) is not None:
            return []
        if self._numbers((name,)) is not None:  # from the whole file's list
            return []
        odd = (text for text in texts if measures([text], units, centres=is_centre) is None)
        return [f"{name} of the bands is not used: {next(odd, texts[0])!r} is no clear number"]

    def _units(self) -> str | None:
        for tags in (*self.bands[:1], self.whole):
            for name in _UNITS:
                if name in tags:
                    return tags[name]
        return None

    def _numbers(self, names: tuple[str, ...]) -> tuple[np.ndarray, str | None] | None:
        """The numbers of all bands by the first of some tags, and their unit."""
        for name in names:
            if len(re.findall(_NUMBER, self.whole.get(name, ""))) not in (0, self.count):
                continue  # a list of another length: GDAL gives its numbers to the first bands
            texts = [tags[name] for tags in self.bands if name in tags]
            if len(texts) == self.count:
                values = measures(texts, self._units(), centres=name in _CENTRES)
                if values is not None:
                    return values
            listed = re.findall(_NUMBER, self.whole.get(name, ""))
            if len(listed) == self.count:
                return np.array([float(text) for text in listed]), self._units()
        return None


def _lower(tags: dict[str, str]) -> dict[str, str]:
    return {name.lower().replace(" ", "_"): value for name, value in tags.items()}


def _is_number(text: str | None) -> bool:
    """Whether a text is a number above 0, clear or not."""
    if text is None:
        return False
    read = measures([text], "nm", centres=True)
    return read is not None and bool(read[0][0] > 0)


def _from_texts(texts: list[str | None]) -> np.ndarray | None:
    """The numbers, or None unless every text is one."""
    try:
        return (
            np.array([float(text) for text in texts if text is not None])
            if all(text is not None for text in texts)
            else None
        )
    except ValueError:
        return None


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
