"""Regions of interest of ENVI: as text, the form of Houston 2013's official samples, and as XML.

; ENVI Output of ROIs (4.8)
; File Dimension: 1905 x 349          columns x rows
; ROI name: grass_healthy
; ROI npts: 1053
;    ID     X    Y                    column and row, from 1; the regions follow each other
1   784   12

RegionsOfInterest/Region name="soil" color="255,0,0"
GeometryDef/CoordSysStr                          WKT, or "none": pixel coordinates
GeometryDef/Polygon/Exterior/LinearRing/Coordinates     x y x y ...
GeometryDef/Polygon/Interior/LinearRing/Coordinates     holes
GeometryDef/Point or MultiPoint/.../Coordinates          points
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import shapely

from hyperpeft.errors import LabelsError
from hyperpeft.scenes.labels.class_names import normal_form
from hyperpeft.scenes.labels.features import Features
from hyperpeft.scenes.labels.maps import LabelMap
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.notes import listing
from hyperpeft.system.resources import require_memory

_MOST = 2**28  # pixels, of which each takes 4 bytes
_MAGIC = b"; ENVI Output of ROIs"


def is_rois(probe: Probe) -> bool:
    """Whether a file begins as ENVI's regions of interest do."""
    return probe.head.startswith(_MAGIC)


def read_rois(probe: Probe, key: Any = None) -> LabelMap:
    """Class ids (H, W) and names: the classes are numbered as their regions stand in the file.

    Regions of one name are one class; one without a name is a class of its own. A pixel in regions
    of several classes stays unlabelled, as one in vectors of several classes does.

    Raises
    ------
    LabelsError
        The header or the points are incomplete, or a point lies outside the image.
    """
    path = probe.path
    text = path.read_text(encoding="latin-1")
    size = re.search(r"(?m)^; File Dimension:\s*(\d{1,9})\s*x\s*(\d{1,9})\s*$", text)
    lines = text.splitlines()
    names = [
        normal_form(line.partition(":")[2]) for line in lines if line.startswith("; ROI name:")
    ]
    counts = [int(n) for n in re.findall(r"(?m)^; ROI npts:\s*(\d{1,9})\s*$", text)]
    if size is None or not counts or len(names) != len(counts):
        raise LabelsError(f"{path} has no complete header of ENVI regions of interest")
    width, height = int(size[1]), int(size[2])
    if width * height > _MOST:
        raise LabelsError(
            f"{path}: File Dimension",
            expected=f"at most {_MOST:,} pixels",
            got=f"{width} x {height}",
            hint="its header is damaged, or the regions have to be cut to a smaller image",
        )
    rows = [line.split() for line in lines if line.strip() and line[0] != ";"]
    try:
        points = np.array([(int(row[2]), int(row[1])) for row in rows], np.int64)
        points = points.reshape(-1, 2) - 1
    except (ValueError, IndexError, OverflowError):
        raise LabelsError(f"{path}", expected="lines of ID, X, Y behind the header") from None
    if len(points) != sum(counts):
        raise LabelsError(f"{path}", expected=f"{sum(counts)} points", got=len(points))
    require_memory(
        f"{path}: an image of {height} x {width} pixels", 4 * height * width, error=LabelsError
    )
    if ((points < 0) | (points >= (height, width))).any():
        raise LabelsError(f"{path} has points outside its {height} x {width} pixels")
    ids = np.zeros((height, width), dtype=np.int32)
    keys = [name or number for number, name in enumerate(names)]
    classes = {key: k for k, key in enumerate(dict.fromkeys(keys), start=1)}
    owners = np.repeat([classes[key] for key in keys], counts)
    ids[points[:, 0], points[:, 1]] = owners
    claims = np.unique(np.column_stack([points, owners]), axis=0)  # each class once a pixel
    places, times = np.unique(claims[:, :2], axis=0, return_counts=True)
    several = places[times > 1]
    ids[several[:, 0], several[:, 1]] = 0
    note = (
        f"labels {path.name}: {len(several)} pixels lie in regions of several classes and stay "
        "unlabelled"
    )
    return LabelMap(
        path,
        ids,
        names={k: name for name, k in classes.items() if isinstance(name, str)},
        notes=(note,) if len(several) else (),
    )


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
        # a MultiPoint holds Points or coordinates of its own
        whole = [p for p in geometry.iter("MultiPoint") if p.find(".//Point") is None]
        for points in (*geometry.iter("Point"), *whole):
            pairs = [pair for place in points.iter("Coordinates") for pair in _pairs(place)]
            found += [(shapely.Point(pair), system) for pair in pairs]
    return found


def _pairs(place: ElementTree.Element) -> list[tuple[float, float]]:
    numbers = [float(word) for word in (place.text or "").replace(",", " ").split()]
    return list(zip(numbers[::2], numbers[1::2], strict=True))
