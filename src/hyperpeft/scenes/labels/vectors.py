"""Points and polygons of vector files: GeoPackage, GeoJSON, shapefile and what else OGR opens."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from hyperpeft.errors import LabelsError
from hyperpeft.scenes.labels.features import Features, choose_field, to_ids
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.gdal_checks import refuse_remote_vectors
from hyperpeft.system.gdal_env import stay_offline

SUFFIXES = (".gpkg", ".geojson", ".json", ".shp", ".fgb", ".gml", ".kml", ".gdb", ".zip", ".shz")
_PARTS = (".dbf", ".shx", ".prj", ".cpg")  # of a shapefile


def is_vector(probe: Probe) -> bool:
    """Whether a file is one of points, lines or polygons; a GeoPackage may hold a raster."""
    path, suffix = probe.path, probe.suffix
    if suffix in _PARTS and path.with_suffix(".shp").is_file():
        raise LabelsError(
            f"{path} is a part of a shapefile", hint=f"give {path.with_suffix('.shp')}"
        )
    if suffix != ".gpkg":
        return suffix in SUFFIXES
    try:
        return any(kind is not None for kind in list_layers(path).values())
    except LabelsError:
        return False


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
    layers = [name for name, kind in list_layers(path).items() if kind is not None]
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
    field, notes = choose_field(what, table, class_field)
    ids, classes = to_ids(what, field, table)
    if meta["crs"] is None:
        notes.append(f"{what} name no CRS; taken to be the scene's")
    return Features(
        geometries=_call_ogr(path, shapely.from_wkb, wkb),
        ids=ids,
        classes=classes,
        crs=meta["crs"],
        source=f"{what.removeprefix('labels ')} field {field}",
        notes=tuple(notes),
    )


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

    meta, _, geometry, columns = _call_ogr(path, read, path, layer=layer, force_2d=True)
    return meta, geometry, columns


def _call_ogr(path: Path, call: Any, *arguments: Any, **options: Any) -> Any:
    """Call OGR without its messages; its errors become one."""
    logger = logging.getLogger("pyogrio")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(*arguments, **options)
    except Exception as problem:  # pyogrio's errors have no common root
        why = " ".join(str(problem).split())[:160]
        beside = "; a shapefile needs its .shx and .dbf beside it" if path.suffix == ".shp" else ""
        raise LabelsError(f"{path} cannot be read as vectors ({why}){beside}") from None
    finally:
        logger.setLevel(level)
