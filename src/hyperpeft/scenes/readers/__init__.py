"""One module a file format, from a path to a cube; the table of them is in `readers.table`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from hyperpeft.scenes.readers.detect import Probe
    from hyperpeft.scenes.readers.gdal import open_raster
    from hyperpeft.scenes.readers.read import read_cube
    from hyperpeft.scenes.readers.table import READERS, Reader, register_reader

_MODULES = {
    "Probe": "detect",
    "READERS": "table",
    "Reader": "table",
    "open_raster": "gdal",
    "read_cube": "read",
    "register_reader": "table",
}

__all__ = [
    "READERS",
    "Probe",
    "Reader",
    "open_raster",
    "read_cube",
    "register_reader",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
