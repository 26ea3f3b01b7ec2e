"""Label maps in files of named arrays: MATLAB, NumPy, HDF5; Zarr and NetCDF on their own grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from hyperpeft.errors import LabelsError
from hyperpeft.scenes.labels.maps import LabelMap
from hyperpeft.scenes.readers.arrays import read_array
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.netcdf_zarr import AXES, PLACES, open_named
from hyperpeft.scenes.readers.places.cf_grid import georeference
from hyperpeft.scenes.readers.variables import Variable, choose_map


def read_array_map(probe: Probe, key: Any = None) -> LabelMap:
    """The one 2-D array, or the one that is named."""
    return LabelMap(probe.path, read_array(probe, key, LabelsError))


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
    x_first = dims[0].lower() in AXES["x"] and dims[1].lower() in AXES["y"]
    y, x = (dims[1], dims[0]) if x_first else (dims[0], dims[1])
    place = georeference(dataset, values, y, x)
    array = np.asarray(values.values)
    fill = values.attrs.get("_FillValue", values.attrs.get("missing_value"))
    return LabelMap(
        path,
        array.T if x_first else array,
        nodata=None if fill is None else float(np.ravel(fill)[0]),
        names=_flags(values.attrs),
        crs=place.crs,
        transform=place.transform,
    )


def _flags(attributes: dict[str, object]) -> dict[int, str]:
    """Names of classes as CF 3.5 gives them, where there is one for each value."""
    values = np.ravel(np.asarray(attributes.get("flag_values", ())))
    names = str(attributes.get("flag_meanings", "")).split()
    if len(values) != len(names) or values.dtype.kind not in "iu":
        return {}
    return {int(i): name for i, name in zip(values.tolist(), names, strict=True)}
