"""Label maps of rasters: ids, names from tags and sidecars, colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import ColorInterp

from hyperpeft.errors import LabelsError
from hyperpeft.records.colours import Colour
from hyperpeft.scenes.labels.class_names import names_of_ids
from hyperpeft.scenes.labels.maps import LabelMap
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.envi.header import envi_data_file
from hyperpeft.scenes.readers.gdal import crs_of, open_raster, transform_of
from hyperpeft.system.memory import require_memory


def read_raster_map(probe: Probe, key: Any = None) -> LabelMap:
    """The one band of class ids of a raster.

    Raises
    ------
    LabelsError
        Not a raster, colours instead of ids, or several bands.
    """
    path = envi_data_file(probe.path, LabelsError)
    key = key if isinstance(key, str) else None
    with open_raster(probe if path == probe.path else path, key, LabelsError) as dataset:
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


def _band(path: Path, dataset: Any) -> tuple[int, int]:
    """The band of ids, and the alpha band or 0.

    Raises
    ------
    LabelsError
        A picture in colours, or several bands.
    """
    alpha = [i for i, c in enumerate(dataset.colorinterp, 1) if c == ColorInterp.alpha]
    others = [i for i in range(1, dataset.count + 1) if i not in alpha]
    if len(others) == 1:
        return others[0], alpha[0] if alpha else 0
    if dataset.count in (3, 4) and set(dataset.dtypes) == {"uint8"}:
        raise LabelsError(
            f"label raster {path} is a picture in colours, not a map of class ids",
            expected="1 band of class ids",
            got=f"{dataset.count} bands of red, green, blue",
            hint="give each colour an id (0 where there is no class) and save them as one band, or "
            "give the classes as polygons or points",
        )
    raise LabelsError(f"label raster {path}", expected="1 band", got=dataset.count)


def _colour_table(dataset: Any, ids: np.ndarray) -> dict[int, Colour]:
    try:
        table = dataset.colormap(1)
    except ValueError:
        return {}
    return {int(i): tuple(table[int(i)][:3]) for i in ids if i > 0 and int(i) in table}
