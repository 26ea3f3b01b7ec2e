"""Products of DLR's ground segment: EnMAP and DESIS.

EnMAP:

    <scene>-METADATA.XML              level_X/base/level; level_X/specific/backgroundValue;
                                      .../specific/bandCharacterisation/bandID number="1":
                                      wavelengthCenterOfBand, FWHMOfBand, GainOfBand, OffsetOfBand
    <scene>-SPECTRAL_IMAGE.TIF        int16, bands in the order of bandID
    <scene>-QL_QUALITY_CLOUD.TIF      1 where a cloud hides the ground

Reflectance is gain * value + offset. Bands that are background everywhere, as those around 1.4 um
are, hold no valid value and are dropped with all other such bands. Haze, cirrus, cloud shadow and
snow masks are not applied: the ground is still seen there.

Source: EnMAP Ground Segment, HSI Product Specification Level 1/Level 2, EN-PCV-ICD-2009-2.

DESIS:

    hsi_doc/base/level                                L1C, L2A
    hsi_doc/specific/bandCharacterisation/band        wavelengthCenterOfBand, gainOfBand,
                                                      wavelengthWidthOfBand, offsetOfBand

Reflectance (L2A) is gain * value + offset, radiance (L1C) as well. Quality layers are not applied.

Source: DLR, DESIS Ground Segment, Products Specification, PAV-DES-TN.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.records import to_nm
from hyperpeft.scenes.cubes.band_values import scale_note
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.readers.detect import Probe, image_of, images_of, metadata_of, stem_of
from hyperpeft.scenes.readers.gdal import open_raster
from hyperpeft.scenes.readers.products.parts import PartError, part
from hyperpeft.scenes.readers.rasters import read_raster
from hyperpeft.system.text import whole_number

_CLOUD = "QL_QUALITY_CLOUD"
_COLUMNS = (
    ("wavelengthCenterOfBand", None),
    ("FWHMOfBand", None),
    ("GainOfBand", "1"),
    ("OffsetOfBand", "0"),
)


def read_enmap(probe: Probe, key: Any = None, layout: Any = None) -> Cube:
    """The cube of an EnMAP product, clouds masked; as a plain raster, with a note, where the
    metadata do not fit the image.

    Parameters
    ----------
    probe : Probe
        Of the product's folder, METADATA.XML or image.

    Raises
    ------
    SceneError
        No spectral image beside the metadata.
    """
    metadata = metadata_of(probe.path) or probe.path
    image = _image(metadata)
    plain = read_raster(Probe.of(image))
    notes: list[str] = []
    if metadata.name.upper() != f"{stem_of(metadata)}-METADATA.XML".upper():
        notes.append(f"{metadata.name} is taken for the product's METADATA.XML")
    table = part(notes, _table, metadata, plain.data.shape[0])
    clouds = part(notes, _clouds, metadata, plain.data.shape[1:])
    plain = replace(plain, others=(*plain.others, metadata), masks=clouds)
    if table is None:
        return replace(plain, notes=(*plain.notes, *notes, "values are those of the image"))
    centres, widths, gains, offsets = table.numbers.T
    if table.level != "L2A":
        notes.append(f"the product is {table.level or 'of no level'}, not L2A: no reflectance")
    cube = replace(
        plain,
        wavelengths=to_nm(centres, "nm"),
        fwhm=to_nm(widths, "nm"),
        nodata=(table.background,) * len(centres),
        scale=gains,
        offset=offsets,
    )
    return replace(cube, notes=(*notes, *scale_note(cube)))


class _Table(NamedTuple):
    """Level, background value, and centre, FWHM, gain and offset of every band (B, 4)."""

    level: str
    background: float
    numbers: np.ndarray


def _table(metadata: Path, bands: int) -> _Table:
    """What the metadata say of the bands.

    Raises
    ------
    PartError
        The XML is damaged, of another mission, incomplete, or of another image.
    """
    try:
        root = ElementTree.parse(metadata).getroot()
    except ElementTree.ParseError as problem:
        raise PartError(f"{metadata.name} cannot be read as XML ({problem})") from None
    listed = root.findall("specific/bandCharacterisation/bandID")
    if not listed:
        raise PartError(f"{metadata.name} describes no bands of EnMAP")
    if len(listed) != bands:
        raise PartError(f"{metadata.name} describes {len(listed)} bands, the image has {bands}")
    order = [whole_number(band.get("number", "0")) for band in listed]
    try:
        place = np.argsort([int(n) for n in order if n is not None], kind="stable")
        if len(place) < bands:
            raise ValueError
        rows = [[listed[i].findtext(tag, default) for tag, default in _COLUMNS] for i in place]
        numbers = np.array(rows, dtype=np.float64)
        background = float(root.findtext("specific/backgroundValue", "-32768"))
    except (TypeError, ValueError):
        raise PartError(f"the table of bands in {metadata.name} is incomplete") from None
    return _Table(root.findtext("base/level", "").strip(), background, numbers)


def _image(metadata: Path) -> Path:
    found = images_of(metadata)
    if not found:
        raise SceneError(
            f"{metadata} has no spectral image beside it",
            expected=f"{stem_of(metadata)}-SPECTRAL_IMAGE.TIF",
        )
    return found[0]


def _clouds(metadata: Path, shape: tuple[int, ...]) -> dict[str, np.ndarray] | None:
    stem = stem_of(metadata).upper()
    names = {f"{stem}-{_CLOUD}.TIF", f"{stem}-{_CLOUD}_COG.TIF"}
    path = next((p for p in metadata.parent.iterdir() if p.name.upper() in names), None)
    if path is None:
        return None
    try:
        with open_raster(path) as dataset:
            if dataset.shape != shape:
                raise PartError(f"{path.name} has {dataset.shape} pixels instead of {shape}")
            return {"cloud": dataset.read(1) == 1}
    except PartError:
        raise
    except Exception as problem:  # rasterio's errors of damaged files have no common root
        raise PartError(f"{path.name} cannot be read ({type(problem).__name__})") from None


_TAGS = ("wavelengthCenterOfBand", "wavelengthWidthOfBand", "gainOfBand", "offsetOfBand")


def read_desis(probe: Probe, key: Any = None, layout: Any = None) -> Cube:
    """The cube of a DESIS product, scaled as its metadata says; as a plain raster with a note
    where the metadata do not fit the image.
    """
    metadata = metadata_of(probe.path) or probe.path
    image = image_of(metadata)
    cube = read_raster(probe if image == probe.path else Probe.of(image))
    cube = replace(cube, others=(*cube.others, metadata))
    try:
        root = ElementTree.parse(metadata).getroot()
        rows = [
            [float(band.findtext(tag, "")) for tag in _TAGS]
            for band in root.findall("specific/bandCharacterisation/band")
        ]
    except (ElementTree.ParseError, ValueError) as problem:
        note = f"{metadata.name} is not used ({problem}): the values are those of the image"
        return replace(cube, notes=(*cube.notes, note))
    bands = cube.data.shape[0]
    if len(rows) != bands:
        note = f"{metadata.name} describes {len(rows)} bands of {bands} and is not used"
        return replace(cube, notes=(*cube.notes, note))
    centres, widths, gains, offsets = np.array(rows).T
    cube = replace(
        cube,
        wavelengths=to_nm(centres, "nm"),
        fwhm=to_nm(widths, "nm"),
        scale=gains,
        offset=offsets,
    )
    return replace(cube, notes=(*cube.notes, *scale_note(cube)))
