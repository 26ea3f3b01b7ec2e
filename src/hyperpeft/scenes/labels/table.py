"""The readers of labels: one row a kind of file, asked in this order."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hyperpeft.errors import LabelsError
from hyperpeft.scenes.labels.envi_rois import is_rois, is_xml_rois
from hyperpeft.scenes.labels.vectors import is_table, is_vector
from hyperpeft.scenes.readers import detect
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.notes import reading_errors


@dataclass(frozen=True)
class LabelReader:
    """How one kind of labels is recognised and read.

    Attributes
    ----------
    kind, title : str
        The title as in "... cannot be read as a raster of labels"; "" where the function words the
        errors of its libraries itself.
    recognises : callable
        From a `Probe` to bool.
    home : str
        "module:function": from a `Probe` and a key to a `LabelMap`, or for vectors from a `Probe`,
        a key and the class field to `Features`.
    vectors : bool
    files, used : str
        What to give, and what of it is used: the row of docs/reference/formats.md.
    """

    kind: str
    title: str
    recognises: Callable[[Probe], bool]
    home: str
    vectors: bool = False
    files: str = ""
    used: str = ""

    def read(self, probe: Probe, *arguments: Any) -> Any:
        """What the function returns for a file of this kind."""
        module, _, function = self.home.partition(":")
        read = getattr(importlib.import_module(module), function)
        if not self.title:
            return read(probe, *arguments)
        with reading_errors(probe.path, self.title, LabelsError):
            return read(probe, *arguments)


_HERE = "hyperpeft.scenes.labels"

LABEL_READERS: list[LabelReader] = [
    LabelReader(
        "points",
        "",
        is_table,
        f"{_HERE}.vectors:read_table",
        vectors=True,
        files="CSV with a header: x,y or lon,lat or row,column, and a class",
        used="rows and columns are those of the scene's file",
    ),
    LabelReader(
        "XML regions",
        "",
        is_xml_rois,
        f"{_HERE}.envi_rois:read_xml_rois",
        vectors=True,
        files="regions of interest of ENVI 5 (.xml): polygons and points",
        used="names of the regions, their coordinate system",
    ),
    LabelReader(
        "vectors",
        "",
        is_vector,
        f"{_HERE}.vectors:read_vectors",
        vectors=True,
        files="GeoPackage, GeoJSON (also by lines), shapefile, FlatGeobuf, KML, KMZ, GML, GPX, "
        "SQLite, MapInfo, DXF and what else OGR opens; FILE:LAYER",
        used="geometries, CRS, the class field, names beside it",
    ),
    LabelReader(
        "regions",
        "",
        is_rois,
        f"{_HERE}.envi_rois:read_rois",
        files="regions of interest of ENVI as text",
        used="size of the image, names, pixels",
    ),
    LabelReader(
        "named maps",
        "labels",
        detect.is_named_arrays,
        f"{_HERE}.map_files:read_named_map",
        files="a 2-D variable of a Zarr store or NetCDF file; FILE:VARIABLE",
        used="its own coordinates, _FillValue, flag_values and flag_meanings",
    ),
    LabelReader(
        "arrays",
        "",
        detect.is_arrays,
        f"{_HERE}.map_files:read_array_map",
        files="MATLAB, HDF5, .npy, .npz; FILE:VARIABLE",
        used="the one 2-D array; its rows are those of the scene's file",
    ),
    LabelReader(
        "raster",
        "a raster of labels",
        lambda probe: True,
        f"{_HERE}.map_files:read_raster_map",
        files="one band of ids in GeoTIFF, ENVI or another raster of GDAL; a picture in colours "
        "with its legend FILE.legend.csv",
        used="CRS, transform, nodata, alpha band, colour table; names from tags, FILE.aux.xml "
        "(categories, attribute table), ENVI's class names or the legend",
    ),
]


def label_reader(probe: Probe) -> LabelReader:
    """The first row that recognises a file."""
    return next(row for row in LABEL_READERS if row.recognises(probe))
