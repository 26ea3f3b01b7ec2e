"""EnMAP L2A products: a folder of GeoTIFFs and the METADATA.XML that describes them.

    <scene>-METADATA.XML              level_X/base/level; level_X/specific/backgroundValue;
                                      .../specific/bandCharacterisation/bandID number="1":
                                      wavelengthCenterOfBand, FWHMOfBand, GainOfBand, OffsetOfBand
    <scene>-SPECTRAL_IMAGE.TIF        int16, bands in the order of bandID
    <scene>-QL_QUALITY_CLOUD.TIF      1 where a cloud hides the ground

Reflectance is gain * value + offset. Bands that are background everywhere, as those around 1.4 um
are, hold no valid value and are dropped with all other such bands. Haze, cirrus, cloud shadow and
snow masks are not applied: the ground is still seen there.

Source: EnMAP Ground Segment, HSI Product Specification Level 1/Level 2, EN-PCV-ICD-2009-2.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from hyperpeft.errors import SceneError
from hyperpeft.scenes.cubes.band_scale import scale_note
from hyperpeft.scenes.cubes.cube import Cube, to_nm
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.gdal import open_raster
from hyperpeft.scenes.readers.rasters import read_raster
from hyperpeft.scenes.readers.recognise import images_of, metadata_of, stem_of
from hyperpeft.system.text import whole_number

_CLOUD = "QL_QUALITY_CLOUD"


def read_enmap(probe: Probe, key: Any = None, layout: Any = None) -> Cube:
    """The cube of an EnMAP L2A product, clouds masked.

    Parameters
    ----------
    probe : Probe
        Of the product's folder, METADATA.XML or image.

    Raises
    ------
    SceneError
        Not EnMAP metadata, not L2A, or no spectral image of as many bands beside it.
    """
    metadata = metadata_of(probe.path) or probe.path
    root = _parse(metadata)
    image = _image(metadata)
    cube = read_raster(Probe.of(image))
    bands = cube.data.shape[0]
    table = [
        [band.findtext(tag) for tag in ("wavelengthCenterOfBand", "FWHMOfBand")]
        + [band.findtext("GainOfBand", "1"), band.findtext("OffsetOfBand", "0")]
        for band in sorted(_bands(root), key=lambda band: _number(metadata, band))
    ]
    if len(table) != bands:
        raise SceneError(
            f"{image} does not belong to {metadata.name}",
            expected=f"{len(table)} bands",
            got=bands,
        )
    try:
        centres, widths, gains, offsets = np.array(table, dtype=np.float64).T
        background = float(root.findtext("specific/backgroundValue", "-32768"))
    except (TypeError, ValueError):
        raise SceneError(
            f"{metadata}: the band table is incomplete",
            expected="numbers for centre, FWHM, gain and offset of every band",
        ) from None
    if metadata.name.upper() != f"{stem_of(metadata)}-METADATA.XML".upper():
        cube = replace(cube, notes=(f"{metadata.name} is taken for the product's METADATA.XML",))
    else:
        cube = replace(cube, notes=())
    cube = replace(
        cube,
        others=(*cube.others, metadata),
        wavelengths=to_nm(centres, "nm"),
        fwhm=to_nm(widths, "nm"),
        nodata=(background,) * bands,
        scale=gains,
        offset=offsets,
        masks=_clouds(metadata, cube.data.shape[1:]),
    )
    return replace(cube, notes=(*cube.notes, *scale_note(cube)))


def _parse(metadata: Path) -> ElementTree.Element:
    try:
        root = ElementTree.parse(metadata).getroot()
    except ElementTree.ParseError as problem:
        raise SceneError(
            f"{metadata} cannot be read as XML ({problem})",
            hint="the file is damaged or cut short: get it again",
        ) from None
    if not _bands(root):
        raise SceneError(
            f"{metadata} describes no EnMAP product",
            expected="specific/bandCharacterisation/bandID in it",
        )
    level = root.findtext("base/level", "").strip()
    if level != "L2A":
        raise SceneError(
            f"{metadata}: processing level",
            expected="L2A, which is reflectance on a map grid",
            got=level or "none",
            hint="order the scene as L2A",
        )
    return root


def _bands(root: ElementTree.Element) -> list[ElementTree.Element]:
    return root.findall("specific/bandCharacterisation/bandID")


def _number(metadata: Path, band: ElementTree.Element) -> int:
    text = band.get("number", "0")
    number = whole_number(text)
    if number is None:
        raise SceneError(f"{metadata}: bandID", expected="a whole number", got=repr(text))
    return number


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
    with open_raster(path) as dataset:
        if dataset.shape != shape:
            raise SceneError(f"{path}", expected=f"{shape} pixels", got=dataset.shape)
        try:
            return {"cloud": dataset.read(1) == 1}
        except Exception as problem:  # rasterio's errors of damaged files have no common root
            raise SceneError(
                f"{path} cannot be read ({type(problem).__name__})",
                hint="get it again, or move it away to go without a cloud mask",
            ) from None
