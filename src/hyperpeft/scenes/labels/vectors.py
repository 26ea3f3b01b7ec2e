"""Points and polygons of files: GeoPackage, GeoJSON, shapefile and what else OGR opens, and CSV.

GeoPackages are written as well, without GeoPandas. A CSV of points has a header:

    x,y,class              in the scene's CRS; also easting,northing
    lon,lat,class          WGS 84 degrees (EPSG:4326)
    row,column,class       pixels from 0, for scenes without a georeference
"""

from __future__ import annotations

import csv
import glob
import io
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from hyperpeft.errors import ConfigError, LabelsError
from hyperpeft.records import Colour, from_hex
from hyperpeft.scenes.labels.features import Features, read_classes
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.gdal import silence_gdal
from hyperpeft.scenes.readers.gdal_checks import refuse_remote_vectors
from hyperpeft.system.resources import stay_offline

SUFFIXES = (
    ".gpkg", ".geojson", ".geojsonl", ".geojsons", ".ndjson", ".json", ".topojson", ".shp", ".fgb",
    ".gml", ".kml", ".kmz", ".gpx", ".gdb", ".zip", ".shz", ".sqlite", ".db", ".tab", ".mif",
    ".dxf", ".gmt", ".jml", ".osm", ".pbf", ".parquet",
)  # fmt: skip
CLASSES = "classes"  # the table of a GeoPackage that names and colours the classes of its layer
PIXELS = "pixels"  # the layer of a GeoPackage whose coordinates are column and row
CLASS_ID = "class_id"
_COLOUR = re.compile(r"#[0-9a-f]{6}")
_PARTS = {
    ".shp": (".dbf", ".shx", ".prj", ".cpg"),
    ".tab": (".dat", ".map", ".id", ".ind"),
    ".mif": (".mid",),
}
_HINT = (
    "vectors are read from GeoPackage, GeoJSON, shapefile, FlatGeobuf, KML, GPX, SQLite, MapInfo "
    "and other formats of OGR, and points from CSV"
)
_UTF8 = re.compile(
    rb"[\xc3-\xdf][\x80-\xbf]|\xc2[\xa0-\xbf]|[\xe0-\xef][\x80-\xbf]{2}"
    rb"|[\xf0-\xf4][\x80-\xbf]{3}"
)
_LARGEST_TABLE = 2**26  # bytes of a .dbf that are looked at
_SQLITE = b"SQLite format 3\0"
_ROOT = re.compile(rb"<(?:\w+:)?(\w+)[\s>/]")
_XML_ROOTS = (b"kml", b"gpx", b"FeatureCollection", b"GeoPackage", b"osm")
_JSON = (b'"FeatureCollection"', b'"Feature"', b'"Topology"')


def is_vector(probe: Probe) -> bool:
    """Whether a file is one of points, lines or polygons, by its content or its name.

    A GeoPackage and other files of SQLite may hold a raster.
    """
    path, suffix = probe.path, probe.suffix
    for whole, parts in _PARTS.items():
        if suffix in parts and path.with_suffix(whole).is_file():
            raise LabelsError(
                f"{path} is a part of a {'shapefile' if whole == '.shp' else 'MapInfo layer'}",
                hint=f"give {path.with_suffix(whole)}",
            )
    if probe.is_folder:
        return suffix == ".gdb" or any(p.suffix.lower() == ".shp" for p in path.iterdir())
    if probe.head.startswith(_SQLITE):
        try:
            return any(kind is not None for kind in list_layers(path).values())
        except LabelsError:
            return False
    if suffix in SUFFIXES:
        return True
    if probe.is_xml:
        root = _ROOT.search(probe.head)
        return root is not None and root[1] in _XML_ROOTS
    return probe.head.lstrip().startswith(b"{") and any(mark in probe.head for mark in _JSON)


def read_vectors(probe: Probe, layer: str | None, class_field: str | None) -> Features:
    """Read the features of one layer and their classes.

    Parameters
    ----------
    probe : Probe
    layer : str or None
        Needed where the file has several.
    class_field : str or None
        Guessed where only one field can be meant.

    Raises
    ------
    LabelsError
        The file cannot be read, has several layers, no features or no clear class field.
    """
    path = probe.path
    listed = list_layers(path)
    layers = [name for name, kind in listed.items() if kind is not None]
    if layer is None and len(layers) > 1:
        layers = _filled(path, layers)
    if layer is not None and layer not in layers:
        listing = ", ".join(f"{path}:{name}" for name in layers)
        raise LabelsError(f"{path} has no layer {layer!r}", expected=f"one of {listing}")
    if layer is None and len(layers) != 1:
        listing = ", ".join(f"{path}:{name}" for name in layers) or "no layer of vectors"
        raise LabelsError(f"labels {path}", expected="one layer", got=listing)
    meta, wkb, columns = read_layer(path, layer or layers[0])
    if len(wkb) == 0:
        raise LabelsError(f"labels {path} hold no features")
    table = dict(zip(map(str, meta["fields"]), columns, strict=True))
    what = f"labels {path.name}:{layer}" if layer else f"labels {path.name}"
    field, ids, classes, notes = read_classes(what, table, class_field)
    colours: dict[int, Colour] = {}
    if field == CLASS_ID and listed.get(CLASSES, "") is None:
        with suppress(LabelsError):  # another table of this name
            for i, name, colour in read_class_table(path):
                if i in classes:
                    classes[i], colours[i] = name, colour
    in_pixels = (layer or layers[0]) == PIXELS and meta["crs"] is None
    if meta["crs"] is None and not in_pixels:
        notes.append(f"{what} name no CRS; taken to be the scene's")
    return Features(
        geometries=_call_ogr(path, shapely.from_wkb, wkb),
        ids=ids,
        classes=classes,
        crs=meta["crs"],
        in_pixels=in_pixels,
        source=f"{what.removeprefix('labels ')} field {field}",
        notes=tuple(notes),
        colours=colours,
    )


def read_class_table(path: Path) -> list[tuple[int, str, Colour]]:
    """Ids, names and colours of classes: the table `classes` of a GeoPackage of the explorer.

    Raises
    ------
    LabelsError
        It lacks a field, or holds other values.
    """
    meta, _, columns = read_layer(path, CLASSES)
    table = dict(zip(map(str, meta["fields"]), columns, strict=True))
    try:
        rows = zip(*(table[name].tolist() for name in (CLASS_ID, "name", "colour")), strict=True)
        return [(int(i), str(name), _colour(text)) for i, name, text in rows]
    except (KeyError, TypeError, ValueError) as problem:
        raise LabelsError(f"the classes in {path} are damaged ({problem})") from None


def _colour(text: object) -> Colour:
    if not isinstance(text, str) or not _COLOUR.fullmatch(text):
        raise ValueError(f"colour {text!r}")
    return from_hex(text)


def _filled(path: Path, layers: list[str]) -> list[str]:
    """The layers that hold features: GPX always has five."""
    import pyogrio  # after GDAL is kept offline

    counts = {
        name: _call_ogr(path, pyogrio.read_info, path, layer=name, force_feature_count=True)
        for name in layers
    }
    return [name for name, info in counts.items() if info["features"]] or layers


def list_layers(path: Path) -> dict[str, str | None]:
    """Layers of a file and their kind of geometry; None for a table without any."""
    stay_offline()
    refuse_remote_vectors(path, LabelsError)
    import pyogrio  # after GDAL is kept offline

    listed = _call_ogr(path, pyogrio.list_layers, path)
    return {str(name): None if kind is None else str(kind) for name, kind in listed}


def read_layer(path: Path, layer: str) -> tuple[dict[str, Any], np.ndarray, list[np.ndarray]]:
    """Meta data ("fields", "crs"), geometries as WKB, and the columns of a layer."""
    from pyogrio.raw import read  # after GDAL is kept offline

    options = {"layer": layer, "force_2d": True, "encoding": shapefile_encoding(path)}
    meta, _, geometry, columns = _call_ogr(path, read, path, **options)
    return meta, geometry, columns


def shapefile_encoding(path: Path) -> str | None:
    """UTF-8 for a shapefile whose texts are that although no .cpg says so; else as OGR decides."""
    table = path.with_suffix(".dbf")
    beside = [p.suffix.lower() for p in path.parent.glob(f"{glob.escape(path.stem)}.*")]
    if path.suffix.lower() != ".shp" or ".cpg" in beside or not table.is_file():
        return None
    with table.open("rb") as file:
        data = file.read(_LARGEST_TABLE)
    data = data[int.from_bytes(data[8:10], "little") :]
    pairs = _UTF8.findall(data)
    other = len(re.findall(rb"[\x80-\xff]", data)) - sum(map(len, pairs))
    return "UTF-8" if pairs and other * 10 <= len(pairs) else None


def _call_ogr(path: Path, call: Any, *arguments: Any, **options: Any) -> Any:
    """Call OGR without its messages; its errors become one."""
    try:
        with silence_gdal():
            return call(*arguments, **options)
    except Exception as problem:  # pyogrio's errors have no common root
        why = " ".join(str(problem).split())[:160]
        beside = "; a shapefile needs its .shx and .dbf beside it" if path.suffix == ".shp" else ""
        raise LabelsError(f"{path} cannot be read as vectors ({why}){beside}", hint=_HINT) from None


def write_layer(
    path: Path,
    layer: str,
    columns: Mapping[str, np.ndarray],
    geometry: np.ndarray | None = None,
    crs: str | None = None,
    kind: str = "Point",
) -> None:
    """Add a layer, or without geometry a table, to a GeoPackage.

    Parameters
    ----------
    path : Path
        Ends in .gpkg; written where it is not there.
    layer : str
    columns : mapping of str to ndarray
    geometry : ndarray of bytes (WKB), optional
    crs : str, optional
    kind : str
        Of the geometries: "Point", "Polygon", "Unknown" for any.

    Raises
    ------
    ConfigError
        It cannot be written.
    """
    # pyogrio is loaded after GDAL is kept offline.
    import pyogrio.errors
    import pyogrio.raw

    with silence_gdal():  # a layer without a CRS
        try:
            pyogrio.raw.write(
                path, geometry, list(columns.values()), list(columns), layer=layer,
                driver="GPKG", geometry_type=None if geometry is None else kind, crs=crs,
            )  # fmt: skip
        except (
            pyogrio.errors.DataLayerError,
            pyogrio.errors.DataSourceError,
            pyogrio.errors.FieldError,
            pyogrio.errors.GeometryError,
        ) as problem:
            raise ConfigError(f"{path} cannot be written ({problem})") from None


def text_column(values: Any) -> np.ndarray:
    """A column of text."""
    return np.array([str(value) for value in values], dtype=object)


CSV_SUFFIXES = (".csv", ".tsv")
_COORDINATES = (  # names of the first and the second axis, CRS, in pixels
    (("x", "easting", "east"), ("y", "northing", "north"), None, False),
    (("lon", "longitude", "long", "lng"), ("lat", "latitude"), "EPSG:4326", False),
    (("column", "col"), ("row", "line"), None, True),
)
_EXAMPLE = "a header such as x,y,class or lon,lat,class or row,column,class"


def is_table(probe: Probe) -> bool:
    """Whether a file is a table of points, by its name."""
    return not probe.is_folder and probe.suffix in CSV_SUFFIXES


def read_table(probe: Probe, key: str | None, class_field: str | None) -> Features:
    """Read labelled points.

    Raises
    ------
    LabelsError
        No header, no coordinates, a coordinate that is no number, or no clear class column.
    """
    path = probe.path
    table = text_columns(path, f"{_EXAMPLE}, and a line for each point")
    lower = {name.lower(): name for name in table}
    found = []
    for first, second, crs, in_pixels in _COORDINATES:
        x = next((lower[name] for name in first if name in lower), None)
        y = next((lower[name] for name in second if name in lower), None)
        if x is not None and y is not None:
            found.append((x, y, crs, in_pixels))
    if not found:
        raise LabelsError(f"labels {path}", expected=_EXAMPLE, got=", ".join(table))
    if len(found) > 1:
        pairs = " and ".join(f"{x},{y}" for x, y, _, _ in found)
        raise LabelsError(
            f"labels {path} give every point twice", expected="one pair of columns", got=pairs,
            hint="delete the other columns",
        )  # fmt: skip
    x, y, crs, in_pixels = found[0]
    points = np.stack([_numbers(path, name, table[name]) for name in (x, y)], axis=1)
    if crs is not None and (np.abs(points[:, 1]) > 90).any() and (np.abs(points[:, 0]) <= 90).all():
        raise LabelsError(
            f"labels {path}", expected=f"{y} from -90 to 90", got=f"{np.abs(points[:, 1]).max():g}",
            hint="lon and lat seem to be exchanged",
        )  # fmt: skip
    if in_pixels:
        points = points + 0.5  # centres
    rest = {name: column for name, column in table.items() if name not in (x, y)}
    what = f"labels {path.name}"
    field, ids, classes, notes = read_classes(what, rest, class_field)
    return Features(
        geometries=shapely.points(points),
        ids=ids,
        classes=classes,
        crs=crs,
        source=f"{path.name} field {field}",
        in_pixels=in_pixels,
        notes=tuple(notes),
    )


def text_columns(path: Path, expected: str) -> dict[str, np.ndarray]:
    """Columns of text by their names; `expected` says what there has to be.

    Raises
    ------
    LabelsError
        Not a table of a header and lines of as many values.
    """
    text = _decoded(path.read_bytes())
    if "\0" in text:
        raise LabelsError(f"labels {path}", expected="text in UTF-8", got="bytes that are no text")
    head = re.split(r"[\r\n]", text, maxsplit=1)[0]
    separator = max(",;\t", key=head.count)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        rows = [row for row in lines if any(row)]
    except csv.Error as problem:
        raise LabelsError(f"labels {path} cannot be read as a table ({problem})") from None
    names = [name.strip() for name in rows[0]] if rows else []
    if len(rows) < 2 or len(set(names)) < len(names):
        raise LabelsError(f"labels {path}", expected=expected)
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(names):
            raise LabelsError(
                f"labels {path}, row {number}", expected=f"{len(names)} values", got=row
            )
    columns = zip(*([value.strip() for value in row] for row in rows[1:]), strict=True)
    return {n: np.array(c, dtype=object) for n, c in zip(names, columns, strict=True)}


def _decoded(data: bytes) -> str:
    """A text in UTF-8, or else in that of Western Windows, of which some bytes are undefined."""
    for encoding in ("utf-8-sig", "cp1252"):
        with suppress(UnicodeDecodeError):
            return data.decode(encoding)
    return data.decode("latin-1")


def _numbers(path: Path, name: str, column: np.ndarray) -> np.ndarray:
    numbers = np.full(len(column), np.nan)
    for i, text in enumerate(column.tolist()):
        try:
            numbers[i] = float(text.replace("_", "?"))  # Python reads 1_1 as 11
        except ValueError:
            raise LabelsError(
                f"labels {path}, point {i + 1}: {name}",
                expected="a number, with a point for the decimals",
                got=repr(text),
            ) from None
    return numbers
