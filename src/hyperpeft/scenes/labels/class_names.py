"""Class names of a raster of ids: in its tags, in ENVI's header, or in GDAL's sidecar."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hyperpeft.system.text import whole_number

_LARGEST_SIDECAR = 2**22  # bytes


def class_names(dataset: Any, path: Path) -> dict[int, str]:
    """Names of the ids of an opened label raster, from the first of these places that has any.

    1. tags `CLASS_<id>` or `CLASS_NAME_<id>` = name;
    2. a tag `CLASS_NAMES` = "name of 1,name of 2,...";
    3. GDAL's category names, of 0, 1, 2, ..., or an attribute table in `<name>.aux.xml` or a VRT;
    4. `class names` of an ENVI header, the first of which is that of 0.

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
    return {i: name for i, name in names_of_ids(dataset, path).items() if i > 0}


def normal_form(name: str) -> str:
    """A class name in one Unicode form (NFC), without spaces around it."""
    return unicodedata.normalize("NFC", name).strip()


def names_of_ids(dataset: Any, path: Path) -> dict[int, str]:
    """As `class_names`, with the name of 0 where there is one."""
    tags = {**dataset.tags(), **dataset.tags(1)}
    names: dict[int, str] = {}
    for tag, value in tags.items():
        prefix, _, digits = tag.lower().rpartition("_")
        number = whole_number(digits)
        if prefix in ("class", "class_name") and number is not None:
            names[number] = value
    listed = next((v for tag, v in tags.items() if tag.lower() == "class_names"), "")
    envi = dataset.tags(ns="ENVI").get("class_names", "").strip("{} ")
    names = names or _numbered(listed, first=1) or sidecar_names(path) or _numbered(envi, first=0)
    return {i: normal_form(name) for i, name in names.items() if name.strip()}


def _numbered(text: str, first: int) -> dict[int, str]:
    names = (name.strip().strip("\"'") for name in text.split(","))
    return {i: name for i, name in enumerate(names, start=first) if name}


def sidecar_names(path: Path) -> dict[int, str]:
    """Class names of the first band in a VRT or in FILE.aux.xml: categories or a table.

    PAMRasterBand/CategoryNames/Category                 names of 0, 1, 2, ...
    PAMRasterBand/GDALRasterAttributeTable               FieldDefn (Usage 2: name, 5: value)
                                                         and rows of fields
    """
    for file in (Path(f"{path}.aux.xml"), path if path.suffix.lower() == ".vrt" else None):
        if file is None or not file.is_file() or file.stat().st_size > _LARGEST_SIDECAR:
            continue
        try:
            root = ElementTree.parse(file).getroot()
        except (ElementTree.ParseError, ValueError, LookupError, OSError):
            continue  # GDAL does without a sidecar that is damaged
        for band in root.iter():
            if band.tag not in ("PAMRasterBand", "VRTRasterBand"):
                continue
            categories = band.find("CategoryNames")
            if categories is not None:
                listed = enumerate(c.text or "" for c in categories.findall("Category"))
                return {i: name for i, name in listed if name.strip()}
            table = band.find("GDALRasterAttributeTable")
            return {} if table is None else _table_names(table)
    return {}


def _table_names(table: ElementTree.Element) -> dict[int, str]:
    usage = [field.findtext("Usage", "") for field in table.findall("FieldDefn")]
    titles = [field.findtext("Name", "").lower() for field in table.findall("FieldDefn")]
    value = _column(usage, titles, "5", ("value", "id", "class_id"))
    name = _column(usage, titles, "2", ("class_name", "class_names", "name", "class", "label"))
    if value is None or name is None:
        return {}
    names = {}
    for row in table.findall("Row"):
        fields = [field.text or "" for field in row.findall("F")]
        number = whole_number(fields[value].split(".")[0]) if value < len(fields) else None
        if number is not None and name < len(fields) and fields[name].strip():
            names[number] = fields[name]
    return names


def _column(usage: list[str], titles: list[str], code: str, known: tuple[str, ...]) -> int | None:
    if code in usage:
        return usage.index(code)
    return next((titles.index(title) for title in known if title in titles), None)
