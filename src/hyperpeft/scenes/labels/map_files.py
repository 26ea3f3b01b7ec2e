"""Label maps of rasters (ids, names, colours) and of files of named arrays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import ColorInterp

from hyperpeft.errors import LabelsError, SceneError
from hyperpeft.records import Colour, role_of
from hyperpeft.scenes.labels.class_names import names_of_ids
from hyperpeft.scenes.labels.legend import ids_of_picture
from hyperpeft.scenes.labels.maps import LabelMap
from hyperpeft.scenes.readers import cf
from hyperpeft.scenes.readers.arrays import read_array
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.envi_header import envi_data_file
from hyperpeft.scenes.readers.gdal import crs_of, open_raster, transform_of
from hyperpeft.scenes.readers.netcdf_zarr import PLACES, open_named
from hyperpeft.scenes.readers.place import georeference
from hyperpeft.scenes.readers.rasters import hidden_by_mask
from hyperpeft.scenes.readers.stores import Variable, choose_map
from hyperpeft.system.resources import require_memory

_ROUNDING = 1e-6  # of a class id that is scaled


def read_array_map(probe: Probe, key: Any = None) -> LabelMap:
    """The one 2-D array, or the one that is named."""
    array, stored = read_array(probe, key, LabelsError)
    return _by_attributes(probe.path, array, stored)


def read_named_map(probe: Probe, key: Any = None) -> LabelMap:
    """The one 2-D variable, or the one that is named.

    Raises
    ------
    LabelsError
        No such variable, or several.
    """
    path = probe.path
    datasets = open_named(probe)
    maps = {
        f"{group}/{name}" if group else str(name): (dataset, dataset[name])
        for group, dataset in datasets.items()
        for name in dataset.variables
    }
    key = key if isinstance(key, str) else None
    listed = [Variable(n, v.shape, v.dtype.kind in "biuf") for n, (_, v) in maps.items()]
    plain = [v for v in listed if v.name.rsplit("/", 1)[-1].lower() not in PLACES]
    name = choose_map(path, plain if key is None else listed, key)
    dataset, values = maps[name]
    if values.ndim != 2:
        raise LabelsError(f"{path}:{name}", expected="2 dimensions", got=values.dims)
    dims = [str(dim) for dim in values.dims]
    x_first = [role_of(dim) for dim in dims] == ["x", "y"]
    y, x = (dims[1], dims[0]) if x_first else (dims[0], dims[1])
    place = georeference(dataset, values, y, x)
    stored = cf.Stored(name, values.dtype, values.attrs)
    labels = _by_attributes(path, np.asarray(values.values), stored)
    if x_first:
        labels = replace(labels, array=labels.array.T, blank=_transposed(labels.blank))
    return replace(labels, crs=place.crs, transform=place.transform)


def _transposed(mask: np.ndarray | None) -> np.ndarray | None:
    return None if mask is None else mask.T


def _by_attributes(path: Path, array: np.ndarray, stored: cf.Stored) -> LabelMap:
    """A map (H, W), or abundances (H, W, C), as the attributes of its variable say.

    What marks nodata or lies beyond the valid range is unlabelled, see `readers.cf`.
    """
    try:
        rules = cf.value_rules(path, stored)
    except SceneError as problem:
        raise LabelsError(str(problem)) from None
    array = array.astype(rules.dtype, copy=False)
    if array.ndim == 3:
        blank = np.any(rules._replace(empty=()).hides(array), axis=2)  # 0 is an abundance
        return LabelMap(path, rules.physical(array), blank=blank)
    marks = () if rules.is_scaled else (*rules.marks, *rules.empty)
    return LabelMap(
        path,
        _whole(rules.physical(array)) if rules.is_scaled else array,
        nodata=float(marks[0]) if marks else None,
        blank=rules.hides(array),
        names=_flags(stored, rules),
    )


def _whole(values: np.ndarray) -> np.ndarray:
    """Scaled values that are whole numbers but for rounding as such; others as they are."""
    with np.errstate(invalid="ignore"):
        near = np.rint(values)
        return np.where(np.abs(values - near) <= _ROUNDING * np.abs(near), near, values)


def _flags(stored: cf.Stored, rules: cf.ValueRules) -> dict[int, str]:
    """Names of classes as CF 3.5 gives them, where there is one for each value."""
    values = np.ravel(np.asarray(stored.attrs.get("flag_values", ())))
    meanings = np.ravel(np.asarray(stored.attrs.get("flag_meanings", ""), dtype=object))
    text = meanings[0] if len(meanings) == 1 else ""
    names = (text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)).split()
    if len(values) != len(names) or values.dtype.kind not in "iu":
        return {}
    meant = [cf.reinterpreted(value, stored.dtype, rules.dtype) for value in values.tolist()]
    ids = _whole(rules.physical(np.array(meant, dtype=np.float64)))
    return {int(i): name for i, name in zip(ids.tolist(), names, strict=True) if i == int(i)}


def read_raster_map(probe: Probe, key: Any = None) -> LabelMap:
    """The one band of class ids of a raster, or a picture in colours with a legend beside it.

    Raises
    ------
    LabelsError
        Not a raster, colours without a legend, or several bands.
    """
    path = envi_data_file(probe.path, LabelsError)
    key = key if isinstance(key, str) else None
    with open_raster(probe if path == probe.path else path, key, LabelsError) as dataset:
        if _is_picture(dataset):
            return _of_picture(path, dataset)
        band, alpha = _band(path, dataset)
        if np.dtype(dataset.dtypes[band - 1]).kind not in "biuf":
            kind = dataset.dtypes[band - 1]
            raise LabelsError(f"label raster {path}", expected="whole numbers", got=f"type {kind}")
        size = 16 * dataset.height * dataset.width
        require_memory(f"label raster {path} of {dataset.shape} pixels", size, error=LabelsError)
        try:
            array = dataset.read(band)
            blank = dataset.read(alpha) == 0 if alpha else None
        except Exception as problem:  # rasterio's errors of damaged files have no common root
            raise LabelsError(f"{path} cannot be read ({type(problem).__name__})") from None
        return LabelMap(
            path,
            array,
            nodata=dataset.nodata,
            blank=hidden_by_mask(dataset, LabelsError) if blank is None else blank,
            names=names_of_ids(dataset, path),
            colours=_colour_table(dataset, np.unique(array)),
            crs=crs_of(dataset),
            transform=transform_of(dataset),
        )


def _is_picture(dataset: Any) -> bool:
    return dataset.count in (3, 4) and set(dataset.dtypes) == {"uint8"}


def _of_picture(path: Path, dataset: Any) -> LabelMap:
    size = 32 * dataset.height * dataset.width
    require_memory(f"label raster {path} of {dataset.shape} pixels", size, error=LabelsError)
    try:
        picture = dataset.read((1, 2, 3))
        blank = np.zeros(dataset.shape, bool) if dataset.count == 3 else dataset.read(4) == 0
    except Exception as problem:  # rasterio's errors of damaged files have no common root
        raise LabelsError(f"{path} cannot be read ({type(problem).__name__})") from None
    hidden = hidden_by_mask(dataset, LabelsError)
    if hidden is not None:
        blank |= hidden
    if dataset.nodata is not None:
        blank |= (picture == dataset.nodata).all(axis=0)
    ids, legend = ids_of_picture(path, picture, blank)
    return LabelMap(
        path,
        ids,
        names=legend.names,
        colours=legend.colours,
        crs=crs_of(dataset),
        transform=transform_of(dataset),
    )


def _band(path: Path, dataset: Any) -> tuple[int, int]:
    """The band of ids, and the alpha band or 0; several bands of ids are refused."""
    alpha = [i for i, c in enumerate(dataset.colorinterp, 1) if c == ColorInterp.alpha]
    others = [i for i in range(1, dataset.count + 1) if i not in alpha]
    if len(others) == 1:
        return others[0], alpha[0] if alpha else 0
    raise LabelsError(f"label raster {path}", expected="1 band", got=dataset.count)


def _colour_table(dataset: Any, ids: np.ndarray) -> dict[int, Colour]:
    try:
        table = dataset.colormap(1)
    except ValueError:
        return {}
    return {int(i): tuple(table[int(i)][:3]) for i in ids if i > 0 and int(i) in table}
