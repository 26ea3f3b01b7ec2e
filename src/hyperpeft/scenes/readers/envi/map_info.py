"""ENVI's `map info`, which NEON's HDF5 files hold as well: CRS and transform of a grid.

{UTM, 1.000, 1.000, 364000.0, 5810000.0, 30.0, 30.0, 33, North, WGS-84, units=Meters}
 name  x     y      of the reference pixel, from 1; its easting and northing; pixel size;
 zone, hemisphere and datum; rotation=degrees (counter-clockwise)
"""

from __future__ import annotations

import math
import re

from hyperpeft.scenes.cubes.cube import Transform
from hyperpeft.scenes.readers.gdal import wkt_of

_NAD83 = ("nad83", "northamerica1983", "northamerican1983")


def parse_map_info(text: str, crs: str | None = None) -> tuple[str | None, Transform | None]:
    """CRS as WKT and transform; each None where the text does not tell.

    Parameters
    ----------
    text : str
    crs : str or None
        A code or WKT that is known otherwise and wins.
    """
    parts = [part.strip() for part in text.strip().strip("{}").split(",")]
    try:
        x, y, easting, northing, width, height = (float(part) for part in parts[1:7])
    except ValueError:
        return (None if crs is None else wkt_of(crs)), None
    rotation = re.search(r"rotation\s*=\s*([-+.\deE]+)", text)
    angle = math.radians(-float(rotation[1])) if rotation else 0.0
    cos, sin = math.cos(angle), math.sin(angle)
    a, b, d, e = width * cos, -width * sin, -height * sin, -height * cos  # as GDAL has it
    c, f = easting - (x - 1) * width, northing + (y - 1) * height
    transform = (a + 0.0, b + 0.0, c + 0.0, d + 0.0, e + 0.0, f + 0.0)
    known = (None if crs is None else wkt_of(crs)) or _crs(parts)
    return known, transform


def _crs(parts: list[str]) -> str | None:
    words = [re.sub(r"[\W_]", "", part).lower() for part in parts]
    is_wgs = any(word.startswith("wgs84") for word in words)
    is_nad = any(word in _NAD83 for word in words)
    if words[0] == "utm" and len(words) > 8 and words[7].isdecimal() and 1 <= int(words[7]) <= 60:
        zone, south = int(words[7]), words[8].startswith("s")
        if is_wgs:
            return wkt_of(f"EPSG:{(32700 if south else 32600) + zone}")
        return wkt_of(f"EPSG:{26900 + zone}") if is_nad and not south and zone <= 23 else None
    if words[0] in ("geographiclatlon", "geographic"):
        return wkt_of("EPSG:4326") if is_wgs else wkt_of("EPSG:4269") if is_nad else None
    return None
