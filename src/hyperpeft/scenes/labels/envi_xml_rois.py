"""Regions of interest as ENVI 5 keeps them, in XML.

RegionsOfInterest/Region name="soil" color="255,0,0"
  GeometryDef/CoordSysStr                          WKT, or "none": pixel coordinates
  GeometryDef/Polygon/Exterior/LinearRing/Coordinates     x y x y ...
  GeometryDef/Polygon/Interior/LinearRing/Coordinates     holes
  GeometryDef/Point or MultiPoint/.../Coordinates          points
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import numpy as np
import shapely

from hyperpeft.errors import LabelsError
from hyperpeft.scenes.labels.class_names import normal_form
from hyperpeft.scenes.labels.features import Features
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.unused import listing

_EXPORT = (
    "regions that are thresholds of a band are not read: export them from ENVI as a shapefile, or "
    "as a classification image"
)


def is_xml_rois(probe: Probe) -> bool:
    """Whether a file is XML of ENVI's regions of interest."""
    return probe.is_xml and b"<RegionsOfInterest" in probe.head


def read_xml_rois(probe: Probe, key: str | None, class_field: str | None) -> Features:
    """The polygons and points of all regions; a region's name is its class.

    Raises
    ------
    LabelsError
        The XML is damaged, holds nothing, or regions of several coordinate systems.
    """
    path = probe.path
    try:
        regions = [
            (normal_form(region.get("name", "")), _shapes(region))
            for region in ElementTree.parse(path).getroot().iter("Region")
        ]
        shapes = [(name, shape, system) for name, found in regions for shape, system in found]
    except (ElementTree.ParseError, ValueError, shapely.errors.GEOSException) as problem:
        raise LabelsError(f"{path} cannot be read as regions of interest ({problem})") from None
    if not shapes:
        raise LabelsError(
            f"labels {path} hold no polygon and no point",
            hint=_EXPORT,
        )
    empty = listing([name or "without a name" for name, found in regions if not found])
    notes = (f"labels {path.name}: regions without polygons or points: {empty}; {_EXPORT}",)
    systems = {system for _, _, system in shapes}
    if len(systems) > 1:
        raise LabelsError(f"labels {path}", expected="one coordinate system", got=len(systems))
    system = systems.pop()
    names = list(dict.fromkeys(name for name, _, _ in shapes))
    geometries = np.empty(len(shapes), dtype=object)
    geometries[:] = [shape for _, shape, _ in shapes]
    in_pixels = system.lower() in ("", "none")
    return Features(
        geometries=geometries,
        ids=np.array([names.index(name) + 1 for name, _, _ in shapes], np.int32),
        classes={i: name or f"class {i}" for i, name in enumerate(names, start=1)},
        crs=None if in_pixels else system,
        source=path.name,
        in_pixels=in_pixels,
        notes=notes if empty else (),
    )


def _shapes(region: ElementTree.Element) -> list[tuple[Any, str]]:
    found = []
    for geometry in region.iter("GeometryDef"):
        system = (geometry.findtext("CoordSysStr") or "").strip()
        for polygon in geometry.iter("Polygon"):
            outer = [_pairs(ring) for ring in polygon.findall("Exterior//Coordinates")]
            holes = [_pairs(ring) for ring in polygon.findall("Interior//Coordinates")]
            found += [(shapely.Polygon(ring, holes), system) for ring in outer]
        for points in (*geometry.iter("Point"), *geometry.iter("MultiPoint")):
            pairs = [pair for place in points.iter("Coordinates") for pair in _pairs(place)]
            found += [(shapely.Point(pair), system) for pair in pairs]
    return found


def _pairs(place: ElementTree.Element) -> list[tuple[float, float]]:
    numbers = [float(word) for word in (place.text or "").replace(",", " ").split()]
    return list(zip(numbers[::2], numbers[1::2], strict=True))
