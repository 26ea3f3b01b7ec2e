"""DESIS products: a GeoTIFF and the METADATA.xml that describes its bands.

    hsi_doc/base/level                                L1C, L2A
    hsi_doc/specific/bandCharacterisation/band        wavelengthCenterOfBand, gainOfBand,
                                                      wavelengthWidthOfBand, offsetOfBand

Reflectance (L2A) is gain * value + offset, radiance (L1C) as well. Quality layers are not applied.

Source: DLR, DESIS Ground Segment, Products Specification, PAV-DES-TN.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np

from hyperpeft.scenes.cubes.band_scale import scale_note
from hyperpeft.scenes.cubes.cube import Cube, to_nm
from hyperpeft.scenes.readers.detect import Probe, image_of, metadata_of
from hyperpeft.scenes.readers.rasters import read_raster

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
