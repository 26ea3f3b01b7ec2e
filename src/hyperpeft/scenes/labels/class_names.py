"""Class names of a raster of ids: in its tags, in ENVI's header, or as GDAL's category names."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hyperpeft.system.text import whole_number

_LARGEST_SIDECAR = 2**22  # bytes


def class_names(dataset: Any, path: Path) -> dict[int, str]:
    """Names of the ids of an opened label raster, from the first of these places that has any.

    1. tags `CLASS_<id>` or `CLASS_NAME_<id>` = name;
    2. a tag `CLASS_NAMES` = "name of 1,name of 2,...";
    3. `class names` of an ENVI header, the first of which is that of 0;
    4. GDAL's category names in `<name>.aux.xml`, the first of which is that of 0.

    Parameters
    ----------
    dataset : rasterio dataset
    path : Path
        Its file, beside which the sidecar lies.

    Returns
    -------
    dict of int to str
        Without empty names, and without that of 0.
    """
    tags = {**dataset.tags(), **dataset.tags(1)}
    names: dict[int, str] = {}
    for tag, value in tags.items():
        prefix, _, digits = tag.lower().rpartition("_")
        number = whole_number(digits)
        if prefix in ("class", "class_name") and number:
            names[number] = value
    if names:
        return names
    listed = next((v for tag, v in tags.items() if tag.lower() == "class_names"), "")
    names = _numbered(listed.split(","), first=1)
    if not names:
        envi = dataset.tags(ns="ENVI").get("class_names", "").strip("{} ")
        names = _numbered(envi.split(","), first=0)
    return names or _numbered(_categories(path), first=0)


def _numbered(texts: list[str], first: int) -> dict[int, str]:
    named = enumerate((text.strip().strip("\"'") for text in texts), start=first)
    return {i: text for i, text in named if text and i > 0}


def _categories(path: Path) -> list[str]:
    """Category names of the first band in GDAL's sidecar; none where it cannot be read."""
    sidecar = path.with_name(f"{path.name}.aux.xml")
    try:
        if sidecar.stat().st_size > _LARGEST_SIDECAR:
            return []
        root = ElementTree.fromstring(sidecar.read_bytes())
    except (OSError, ElementTree.ParseError, ValueError, LookupError):
        return []
    return [entry.text or "" for entry in root.findall("PAMRasterBand[1]/CategoryNames/Category")]
