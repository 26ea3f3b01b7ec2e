"""What a file says of itself, before anything is trained on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import CRS
from pyproj.exceptions import CRSError

from hyperpeft.errors import SceneError
from hyperpeft.records import Scene
from hyperpeft.scenes.ground_area import HECTARE, pixel_areas
from hyperpeft.scenes.open import open_scene
from hyperpeft.scenes.readers.detect import check_file
from hyperpeft.scenes.readers.stores import split_spec
from hyperpeft.scenes.readers.table import identify, reader_of

_SIDE = 32  # pixels of the blocks whose values are looked at


@dataclass(frozen=True)
class FileDescription:
    """A scene's file in plain values.

    Attributes
    ----------
    name, format : str
        `format` is the kind of reader; None for tiles and generated scenes.
    rows, columns, bands : int
    bands_in_file : int or None
        With those that are flagged as bad, which `bad_bands` counts from 1.
    dtype : str
        Of the values as they are read.
    wavelengths, fwhm : list of float or None
        In nm.
    crs, epsg : str or None, int or None
    transform : list of 6 floats, or None
    pixel_hectares : float or None
        In the middle row.
    nodata : list of float
        Distinct values that mark pixels as invalid.
    scale, offset : list of float or None
        From stored values to those that are read, where the file has them.
    valid_pixels : int or None
        None of a scene on a server, whose pixels are not looked at.
    levels : list of 3 floats, or None
        Smallest, mean and largest value of the valid pixels in a grid of blocks.
    notes : list of str
        What was masked, dropped or assumed.
    """

    name: str
    format: str | None
    rows: int
    columns: int
    bands: int
    dtype: str
    valid_pixels: int | None
    notes: list[str]
    bands_in_file: int | None = None
    bad_bands: list[int] = field(default_factory=list)
    wavelengths: list[float] | None = None
    fwhm: list[float] | None = None
    crs: str | None = None
    epsg: int | None = None
    transform: list[float] | None = None
    pixel_hectares: float | None = None
    nodata: list[float] = field(default_factory=list)
    scale: list[float] | None = None
    offset: list[float] | None = None
    levels: list[float] | None = None


def describe_file(spec: str | Path, layout: str | None = None) -> FileDescription:
    """Open a scene as training would, and say what was found.

    Parameters
    ----------
    spec : str or Path
        As for `open_scene`.
    layout : str, optional

    Raises
    ------
    SceneError
        As `open_scene` does.
    """
    scene = open_scene(spec, layout=layout)
    height, width, bands = scene.shape
    return FileDescription(
        name=scene.name,
        rows=height,
        columns=width,
        bands=bands,
        dtype=str(scene.cube.dtype),
        valid_pixels=scene.valid_pixels,
        notes=list(scene.notes),
        wavelengths=_list(scene.wavelengths),
        fwhm=_list(scene.fwhm),
        transform=None if scene.transform is None else list(scene.transform),
        levels=_levels(scene),
        **_place(scene),
        **_as_stored(spec, layout),
    )


def _list(values: np.ndarray | None) -> list[float] | None:
    return None if values is None else [float(v) for v in values]


def _place(scene: Scene) -> dict[str, Any]:
    if scene.crs is None:
        return {}
    try:
        system = CRS.from_user_input(scene.crs)
    except CRSError:
        return {"crs": scene.crs}
    areas, _ = pixel_areas((scene.shape[0], scene.shape[1]), scene.crs, scene.transform)
    middle = None if areas is None else float(areas[len(areas) // 2]) / HECTARE
    return {"crs": system.name, "epsg": system.to_epsg(), "pixel_hectares": middle}


def _as_stored(spec: str | Path, layout: str | None) -> dict[str, Any]:
    """What only the reader knows: of one file, and not of tiles."""
    path, key = split_spec(spec)
    if not path.exists():
        return {"format": None}
    try:
        probe = identify(check_file(path, SceneError))
        cube = reader_of(probe.kind).read(probe, key, layout)
    except (SceneError, KeyError):  # tiles in a folder: each has its own
        return {"format": None}
    nodata = sorted({float(v) for v in (*cube.nodata, *cube.marks) if v is not None and v == v})
    good = cube.good
    return {
        "format": probe.kind,
        "bands_in_file": int(cube.data.shape[0]),
        "bad_bands": [] if good is None else [int(i) + 1 for i in np.flatnonzero(~good)],
        "nodata": nodata,
        "scale": _list(cube.scale),
        "offset": _list(cube.offset),
    }


def _levels(scene: Scene) -> list[float] | None:
    height, width = scene.valid.shape
    found = []
    for row in sorted(set(np.linspace(0, max(height - _SIDE, 0), 3).astype(int).tolist())):
        for column in sorted(set(np.linspace(0, max(width - _SIDE, 0), 3).astype(int).tolist())):
            window = slice(row, row + _SIDE), slice(column, column + _SIDE)
            found.append(scene.window(*window)[:, scene.valid[window]].ravel())
    values = np.concatenate(found)
    if not values.size:
        return None
    return [float(values.min()), float(values.mean(dtype=np.float64)), float(values.max())]
