"""Label maps of any format, or labels from memory, to `Labels`, by a table of readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
import shapely.geometry

from hyperpeft.errors import LabelsError
from hyperpeft.records import Labels, Scene, labels_of_array
from hyperpeft.scenes.labels.class_values import from_abundances, make_labels, set_unlabelled
from hyperpeft.scenes.labels.envi_rois import is_rois, is_xml_rois
from hyperpeft.scenes.labels.features import Features, read_classes
from hyperpeft.scenes.labels.maps import LabelMap, oriented, resampled
from hyperpeft.scenes.labels.rasterize import Placed, place, rasterize_features
from hyperpeft.scenes.labels.vectors import is_table, is_vector
from hyperpeft.scenes.readers import detect
from hyperpeft.scenes.readers.detect import Probe, check_file
from hyperpeft.scenes.readers.notes import reading_errors
from hyperpeft.scenes.readers.remote.address import is_address
from hyperpeft.scenes.readers.stores import split_spec
from hyperpeft.system.lazy_names import named_object


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
        read = named_object(self.home)
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
        used="its own coordinates, sign, scale, fill and valid range, flag_values, flag_meanings",
    ),
    LabelReader(
        "arrays",
        "",
        detect.is_arrays,
        f"{_HERE}.map_files:read_array_map",
        files="MATLAB, HDF5, .npy, .npz; FILE:VARIABLE",
        used="the one 2-D array; its rows are those of the scene's file; attributes of HDF5 as of "
        "named maps",
    ),
    LabelReader(
        "raster",
        "a raster of labels",
        lambda probe: True,
        f"{_HERE}.map_files:read_raster_map",
        files="one band of ids in GeoTIFF, ENVI or another raster of GDAL; a picture in colours "
        "with its legend FILE.legend.csv",
        used="CRS, transform, nodata, mask and alpha band, colour table; names from tags, "
        "FILE.aux.xml (categories, attribute table), ENVI's class names or the legend",
    ),
]


def label_reader(probe: Probe) -> LabelReader:
    """The first row that recognises a file."""
    return next(row for row in LABEL_READERS if row.recognises(probe))


LABEL_OPTIONS = ("class_field", "all_touched", "resample_labels")  # of `read_labels`


def read_labels(
    spec: str | Path,
    key: str | Sequence[str] | None = None,
    *,
    classes: Mapping[int, str] | None = None,
    rule: Literal["ids", "abundances"] = "ids",
    scene: Scene | None = None,
    class_field: str | None = None,
    all_touched: bool = False,
    resample_labels: bool = False,
) -> Labels:
    """Read a map of class ids, or points and polygons that have a class.

    Parameters
    ----------
    spec : str or Path
        FILE or FILE:KEY; MATLAB, HDF5, .npy, .npz, GeoTIFF or another raster, or ENVI's regions
        of interest as text. Nodata of a raster is unlabelled (0). Or vectors, which need a scene:
        GeoPackage, GeoJSON, shapefile (FILE:LAYER where there are several), and CSV of points.
    key : str, sequence of str or None
        The variable, as in FILE:KEY; a sequence holds accepted names.
    classes : mapping of int to str, optional
        Class names; else those in the raster's tags, else "class N".
    rule : {"ids", "abundances"}
        "abundances": the array is (H, W, C) and a pixel belongs to class argmax + 1 where its
        largest abundance exceeds 0.7, else to none.
    scene : Scene, optional
        The labels have to lie on its grid: the same rows and columns and, where both are
        georeferenced, the same CRS and transform. Vectors are reprojected to it.
    class_field : str, optional
        The field of vectors that holds the classes, see `hyperpeft.scenes.labels.features`.
    all_touched : bool
        Vectors also label pixels that they touch and whose centre nothing covers.
    resample_labels : bool
        Bring a raster of another grid onto the scene's by nearest neighbour.

    Returns
    -------
    Labels

    Raises
    ------
    LabelsError
        Missing, unreadable, ambiguous, negative or fractional ids, or another grid.
    """
    if is_address(spec):
        raise LabelsError(
            f"labels {spec}: only scenes are read from a server",
            hint="download them, and give the file",
        )
    path, chosen = split_spec(spec)
    key = chosen if chosen is not None else key
    probe = check_file(path, LabelsError)
    reader = label_reader(probe)
    if reader.vectors:
        if scene is None:
            raise LabelsError(f"labels {path} are vectors", expected="a scene to put them on")
        features = reader.read(probe, key if isinstance(key, str) else None, class_field)
        return rasterize_features(features, scene, all_touched=all_touched)
    if class_field is not None:
        raise LabelsError(
            f"labels {path} are not vectors and have no field {class_field!r}",
            hint="leave out --class-field; FILE:KEY chooses a variable",
        )
    labels: LabelMap = reader.read(probe, key)
    if rule == "abundances":
        labels = replace(labels, array=from_abundances(labels.array, str(path)))
    moves = False
    if scene is not None and labels.array.ndim == 2:
        labels, moves = oriented(labels, scene, resample_labels)
    labels = set_unlabelled(labels, classes or {})
    if scene is not None and moves:
        labels = resampled(labels, scene)
    source = f"{path.name}:{chosen}" if chosen else path.name
    made = make_labels(labels.array, labels.names, labels.colours, source, scene)
    return replace(made, notes=labels.notes)


def read_shapes(
    spec: str | Path, scene: Scene, class_field: str | None = None
) -> tuple[Placed, Mapping[int, str]] | None:
    """Points and polygons in the pixel coordinates of a scene, and their classes.

    None for labels that are not vectors. Parameters and errors are those of `read_labels`.
    """
    path, key = split_spec(spec)
    probe = check_file(path, LabelsError)
    reader = label_reader(probe)
    if not reader.vectors:
        return None
    features = reader.read(probe, key, class_field)
    return place(features, scene), features.classes


def labels_for(
    scene: Scene,
    labels: Any,
    *,
    class_field: str | None = None,
    all_touched: bool = False,
    resample_labels: bool = False,
) -> Labels:
    """Labels on the grid of a scene.

    Parameters
    ----------
    scene : Scene
    labels : Labels, ndarray or DataArray of int (H, W), path, GeoDataFrame, or GeoJSON as a dict
    class_field, all_touched, resample_labels
        As in `read_labels`.

    Raises
    ------
    LabelsError
        Whatever cannot be labels, or does not fit the scene.
    """
    if isinstance(labels, str | Path):
        return read_labels(
            labels, scene=scene, class_field=class_field, all_touched=all_touched,
            resample_labels=resample_labels,
        )  # fmt: skip
    features = None
    if all(hasattr(labels, name) for name in ("geometry", "columns", "crs")):
        features = _of_frame(labels, class_field)
    elif isinstance(labels, Mapping):
        features = _of_geojson(labels, class_field)
    if features is not None:
        return rasterize_features(features, scene, all_touched=all_touched)
    if class_field is not None:
        raise LabelsError(f"labels of type {type(labels).__name__} have no field {class_field!r}")
    found = labels_of_array(labels, scene.cube)
    scene.with_labels(found)  # the grid
    return found


def _of_frame(frame: Any, class_field: str | None) -> Features:
    """Features of a GeoDataFrame."""
    own = frame.geometry.name
    names = [name for name in frame.columns if name != own]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    if twice:
        raise LabelsError("labels in memory", expected="one field of a name", got=", ".join(twice))
    table: dict[str, np.ndarray] = {}
    for name in names:
        table[str(name)] = frame[name].to_numpy(object, copy=True)
        table[str(name)][frame[name].isna().to_numpy()] = None  # pandas has several values for it
    crs = None if frame.crs is None else frame.crs.to_wkt()
    return _features(np.asarray(frame.geometry, dtype=object), table, crs, class_field)


def _of_geojson(document: Mapping[str, Any], class_field: str | None) -> Features:
    """Features of a GeoJSON FeatureCollection, whose coordinates are longitude and latitude."""
    listed = document.get("features")
    if document.get("type") != "FeatureCollection" or not isinstance(listed, list):
        raise LabelsError(
            "labels in a dict", expected="a GeoJSON FeatureCollection", got=sorted(document)[:8]
        )
    try:
        drawn = [feature.get("geometry") for feature in listed]  # null where there is none
        shapes = [None if shape is None else shapely.geometry.shape(shape) for shape in drawn]
        rows = [feature.get("properties") or {} for feature in listed]  # null where there are none
        table = {
            str(name): np.array([row.get(name) for row in rows], dtype=object)
            for name in dict.fromkeys(name for row in rows for name in row)
        }
    except (KeyError, TypeError, AttributeError, ValueError, shapely.errors.ShapelyError) as error:
        raise LabelsError(f"labels in a dict are no GeoJSON features ({error})") from None
    crs = document.get("crs", {"properties": {"name": "EPSG:4326"}})
    name = crs.get("properties", {}).get("name") if isinstance(crs, Mapping) else None
    return _features(np.array(shapes, dtype=object), table, name, class_field)


def _features(
    shapes: np.ndarray, table: Mapping[str, np.ndarray], crs: str | None, class_field: str | None
) -> Features:
    what = "labels in memory"
    if len(shapes) == 0:
        raise LabelsError(f"{what} hold no features")
    field, ids, classes, notes = read_classes(what, table, class_field)
    if crs is None:
        notes.append(f"{what} name no CRS; taken to be the scene's")
    return Features(shapes, ids, classes, crs, f"in memory, field {field}", notes=tuple(notes))
