"""A class map as polygons: connected pixels of a class, without specks, in a GeoPackage."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import rasterio
import rasterio.features
import shapely
from rasterio.errors import NotGeoreferencedWarning

from hyperpeft.errors import ConfigError, LabelsError
from hyperpeft.mapping.outputs.qgis_style import polygon_style
from hyperpeft.records import UNLABELLED, UNPLACED, Colour
from hyperpeft.scenes import HECTARE, list_layers, pixel_areas, read_layer
from hyperpeft.system.files import replacing
from hyperpeft.system.output_folder import refuse_foreign_file
from hyperpeft.system.resources import require_memory

LAYER, STYLES = "classes", "layer_styles"
FIELDS = ("class", "name", "area_ha", "pixels")
SMALLEST = 4  # pixels; smaller patches take the class of their largest neighbour


def write_polygons(
    raster: Path,
    path: Path,
    classes: Mapping[int, str],
    colours: Mapping[int, Colour],
    *,
    smallest: int = SMALLEST,
) -> int:
    """Polygons of a class map with the attributes class, name, area_ha and pixels; their number.

    Pixels are connected through their sides. A patch of fewer than `smallest` pixels takes the
    class of its largest neighbour (GDAL's sieve); one without a neighbour stays. The style of the
    layer is in the file, where QGIS finds it.

    Parameters
    ----------
    raster : Path
        A class map.
    path : Path
        Ends in .gpkg.
    classes, colours : mapping
        Names and RGB of the ids.
    smallest : int

    Raises
    ------
    ConfigError
        The file cannot be written, or the map does not fit into memory.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(raster) as source:
            size = source.height * source.width
            require_memory(f"polygons of {size:,} pixels", 8 * size)
            ids, crs, transform = source.read(1), source.crs, source.transform
    ids = np.asarray(ids, np.int32)
    valid = ids != UNLABELLED
    if smallest > 1 and valid.any():
        ids = rasterio.features.sieve(ids, min(smallest, ids.size), mask=valid)
    found = list(rasterio.features.shapes(ids, mask=valid, connectivity=4))
    shapes = shapely.from_geojson([_json(geometry) for geometry, _ in found])
    codes = np.array([int(code) for _, code in found], np.int32)
    pixels = np.round(shapely.area(shapes)).astype(np.int64)
    wkt = crs.to_wkt() if crs else None
    place = None if transform.is_identity else tuple(transform)[:6]
    areas, _ = pixel_areas(ids.shape, wkt, place)
    hectares = np.full(len(codes), np.nan)
    if areas is not None and len(codes):
        # Rows drawn as high as their pixels are large: the area of a polygon is that of its pixels.
        edges = np.concatenate([[0.0], np.cumsum(areas / HECTARE)])
        drawn = shapely.transform(shapes, lambda xy: np.c_[xy[:, 0], edges[xy[:, 1].astype(int)]])
        hectares = np.round(shapely.area(drawn), 4)
    a, b, c, d, e, f = place or UNPLACED
    matrix, move = np.array([[a, b], [d, e]]), np.array([c, f])
    placed = shapely.transform(shapes, lambda xy: xy @ matrix.T + move)
    names = np.array([classes[i] for i in codes.tolist()], dtype=object)
    table = dict(zip(FIELDS, (codes, names, hectares, pixels), strict=True))
    present = {i: classes[i] for i in sorted(set(codes.tolist()))}
    _write(path, shapely.to_wkb(placed), table, wkt, polygon_style(present, colours))
    return len(codes)


def refuse_foreign_polygons(path: Path) -> None:
    """Refuse to replace a file that `write_polygons` did not write.

    Raises
    ------
    ConfigError
    """
    what = "does not hold polygons that hyperpeft wrote"
    refuse_foreign_file(path, is_polygons, what, "--polygons")


def is_polygons(path: Path) -> bool:
    """Whether a file has the layers and fields of `write_polygons`, and no others."""
    try:
        if set(list_layers(path)) != {LAYER, STYLES}:
            return False
        return tuple(read_layer(path, LAYER)[0]["fields"]) == FIELDS
    except LabelsError:
        return False


def _json(geometry: object) -> str:
    return json.dumps(geometry)


def _write(
    path: Path, wkb: np.ndarray, table: Mapping[str, np.ndarray], crs: str | None, style: str
) -> None:
    # pyogrio is loaded after GDAL is kept offline.
    import pyogrio.raw  # after GDAL is kept offline

    with replacing(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a map without a CRS
        temporary.unlink()
        try:
            pyogrio.raw.write(
                temporary, wkb, list(table.values()), list(table), layer=LAYER, driver="GPKG",
                geometry_type="Polygon", crs=crs,
            )  # fmt: skip
            pyogrio.raw.write(
                temporary, None, [np.array([v], dtype=object) for v in _style_row(style).values()],
                list(_style_row(style)), layer=STYLES, driver="GPKG", geometry_type=None,
                crs=None,
            )  # fmt: skip
        except (pyogrio.errors.DataLayerError, pyogrio.errors.DataSourceError) as problem:
            raise ConfigError(f"{path} cannot be written ({problem})") from None


def _style_row(style: str) -> dict[str, object]:
    """A row of the table in which QGIS keeps styles."""
    return {
        "f_table_catalog": "", "f_table_schema": "", "f_table_name": LAYER,
        "f_geometry_column": "geom", "styleName": "classes", "styleQML": style, "styleSLD": "",
        "useAsDefault": "1", "description": "", "owner": "", "ui": None,
        "update_time": "2000-01-01T00:00:00Z",
    }  # fmt: skip
