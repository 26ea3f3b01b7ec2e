"""Labels from whatever a user holds: arrays, records, files, or features in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import shapely.geometry

from hyperpeft.errors import LabelsError
from hyperpeft.records import Labels, Scene, labels_of_array
from hyperpeft.scenes.labels.features import Features, choose_field, to_ids
from hyperpeft.scenes.labels.rasterize import rasterize_features
from hyperpeft.scenes.labels.read import read_labels


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
    if hasattr(labels, "geometry") and hasattr(labels, "columns"):
        features = _of_frame(labels, class_field)
    elif isinstance(labels, Mapping):
        features = _of_geojson(labels, class_field)
    if features is not None:
        return rasterize_features(features, scene, all_touched=all_touched)
    if class_field is not None:
        raise LabelsError(f"labels of type {type(labels).__name__} have no field {class_field!r}")
    found = labels_of_array(getattr(labels, "values", labels))
    scene.with_labels(found)  # the grid
    return found


def _of_frame(frame: Any, class_field: str | None) -> Features:
    """Features of a GeoDataFrame."""
    own = frame.geometry.name
    table = {str(name): frame[name].to_numpy() for name in frame.columns if name != own}
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
        shapes = [shapely.geometry.shape(feature["geometry"]) for feature in listed]
        fields = dict.fromkeys(name for feature in listed for name in feature["properties"])
        table = {
            str(name): np.array([f["properties"].get(name) for f in listed], dtype=object)
            for name in fields
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
    field, notes = choose_field(what, table, class_field)
    ids, classes = to_ids(what, field, table)
    if crs is None:
        notes.append(f"{what} name no CRS; taken to be the scene's")
    return Features(shapes, ids, classes, crs, f"in memory, field {field}", notes=tuple(notes))
