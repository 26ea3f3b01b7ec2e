"""Label maps of rasters: ids, names from tags and sidecars, colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import ColorInterp

from hyperpeft.errors import LabelsError
from hyperpeft.records import Colour
from hyperpeft.scenes.labels.class_names import names_of_ids
from hyperpeft.scenes.labels.legend import ids_of_picture
from hyperpeft.scenes.labels.maps import LabelMap
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.envi.header import envi_data_file
from hyperpeft.scenes.readers.gdal import crs_of, open_raster, transform_of
from hyperpeft.system.memory import require_memory


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
            if alpha:
                array = np.where(dataset.read(alpha) == 0, 0, array)
        except Exception as problem:  # rasterio's errors of damaged files have no common root
            raise LabelsError(f"{path} cannot be read ({type(problem).__name__})") from None
        return LabelMap(
            path,
            array,
            nodata=dataset.nodata,
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
