"""Where a cube of an HDF5 file lies, as NEON and others say it: ENVI's map info and an EPSG code.

.../Coordinate_System/Map_Info     "UTM, 1.000, 1.000, 364000.00, ...", a dataset or an attribute
.../Coordinate_System/EPSG Code    "32633"
.../Coordinate_System/Coordinate_System_String     WKT
"""

from __future__ import annotations

import re
from typing import Any

import h5py
import numpy as np

from hyperpeft.scenes.cubes.cube import Transform
from hyperpeft.scenes.readers.envi.map_info import parse_map_info

_MAP, _CODES = ("mapinfo",), ("epsgcode", "epsg", "epsgcodes")
_SYSTEMS = ("coordinatesystemstring", "crswkt", "spatialref")


def hdf5_place(file: h5py.File) -> tuple[str | None, Transform | None]:
    """CRS as WKT and transform, each None where the file does not tell."""
    texts: dict[str, str] = {}

    def visit(name: str, item: Any) -> None:
        _collect(texts, name, item)
        for key in item.attrs:
            _keep(texts, key, item.attrs[key])

    for key in file.attrs:
        _keep(texts, key, file.attrs[key])
    file.visititems(visit)
    system = next((texts[key] for key in (*_CODES, *_SYSTEMS) if key in texts), None)
    if "mapinfo" not in texts:
        return None, None
    return parse_map_info(texts["mapinfo"], system)


def _collect(texts: dict[str, str], name: str, item: Any) -> None:
    if isinstance(item, h5py.Dataset) and item.size == 1:
        key = name.rsplit("/", 1)[-1]
        if _plain(key) in (*_MAP, *_CODES, *_SYSTEMS):
            _keep(texts, key, item[()])


def _keep(texts: dict[str, str], key: str, value: Any) -> None:
    plain = _plain(key)
    if plain in (*_MAP, *_CODES, *_SYSTEMS):
        found = np.ravel(np.asarray(value))
        if found.size == 1:
            one = found[0]
            text = one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one)
            texts.setdefault(plain, text)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()
