"""Files of any format to the pieces of a scene: the format is told by the content, not the name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hyperpeft.downloads import is_web_page
from hyperpeft.errors import ConfigError, HyperpeftError, SceneError
from hyperpeft.files import sha256_of
from hyperpeft.records import Scene
from hyperpeft.scenes.arrays import NPY_MAGIC, ZIP_MAGIC, read_arrays
from hyperpeft.scenes.cube import Cube
from hyperpeft.scenes.layouts import parse_layout
from hyperpeft.scenes.matfiles import is_hdf5
from hyperpeft.scenes.validity import valid_pixels
from hyperpeft.scenes.variables import split_spec

_HDF5_NAMES = (".mat", ".h5", ".hdf5", ".he5")
_RED_GREEN_BLUE = (650.0, 550.0, 470.0)  # nm


def read_cube(
    path: str | Path,
    key: str | Sequence[str] | None = None,
    layout: str | None = None,
    *,
    name: str | None = None,
    rgb: tuple[int, int, int] | None = None,
) -> Scene:
    """Read one file as a scene without labels.

    Rasters and .npy files stay on disk and are read by rows; the others are read whole. Every
    pixel is looked at once to find the invalid ones.

    Parameters
    ----------
    path : str or Path
        MATLAB (v4, v5, v7.3), HDF5, .npy, .npz, GeoTIFF, ENVI (header or data file) or another
        raster; FILE:KEY chooses a variable where the file has several.
    key : str, sequence of str or None
        The variable, as in FILE:KEY; a sequence holds accepted names.
    layout : str or None
        Axes of an array file, see `hyperpeft.scenes.layouts`; rasters know their own. The
        default "h w b" is trusted: a last axis longer than both others is only noted.
    name : str or None
        The scene's name; the file's stem unless given.
    rgb : (int, int, int) or None
        Bands of the false-colour image; chosen by wavelength unless given.

    Returns
    -------
    Scene

    Raises
    ------
    SceneError
        Missing, empty, damaged, ambiguous or not a cube.
    ConfigError
        An unknown layout, or one for a raster.
    """
    file, chosen = split_spec(path)
    check_file(file, SceneError)
    key = chosen if chosen is not None else key
    parsed = parse_layout(layout)
    if format_of(file) == "arrays":
        cube = read_arrays(file, parsed, key)
    elif layout is not None:
        raise ConfigError(f"layout {layout!r}: {file} is a raster and knows its own axes")
    else:
        from hyperpeft.scenes.rasters import quiet, read_raster

        with quiet():
            cube = read_raster(file, key if isinstance(key, str) else None)
            return _to_scene(cube.drop_bad(), name or file.stem, rgb)
    return _to_scene(cube.drop_bad(), name or file.stem, rgb)


def check_file(path: Path, error: type[HyperpeftError]) -> None:
    """Refuse what is missing, empty or a saved web page."""
    if not path.exists():
        raise error(f"there is no file {path}")
    if path.is_dir():
        return  # some rasters are folders
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise error(f"{path} is empty (0 bytes)", do="get it again")
    if is_web_page(head):
        raise error(
            f"{path} is a web page, not data: its download failed",
            do="delete it and get it again",
        )


def format_of(path: Path) -> str:
    """Tell "arrays" (MATLAB, HDF5, NumPy) from "raster" (through GDAL) by the first bytes."""
    if path.is_dir():
        return "raster"
    with path.open("rb") as file:
        head = file.read(128)
    suffix = path.suffix.lower()
    if head.startswith(NPY_MAGIC) or (head.startswith(ZIP_MAGIC) and suffix == ".npz"):
        return "arrays"
    if head.startswith(b"MATLAB") or suffix in (".mat", ".npy", ".npz"):
        return "arrays"
    return "arrays" if suffix in _HDF5_NAMES and is_hdf5(path) else "raster"


def _to_scene(cube: Cube, name: str, rgb: tuple[int, int, int] | None) -> Scene:
    bands = cube.data.shape[0]
    valid, notes = valid_pixels(cube)
    return Scene(
        name=name,
        cube=cube.data,
        valid=valid,
        wavelengths=cube.wavelengths,
        crs=cube.crs,
        transform=cube.transform,
        rgb=rgb or default_rgb(bands, cube.wavelengths),
        sha256="" if cube.path.is_dir() else sha256_of(cube.path),
        notes=(*cube.notes, *notes),
    )


def default_rgb(bands: int, wavelengths: np.ndarray | None) -> tuple[int, int, int]:
    """Bands nearest to 650, 550 and 470 nm, or spread over the first half of the bands.

    Examples
    --------
    >>> default_rgb(3, np.array([450.0, 560.0, 660.0]))
    (2, 1, 0)
    """
    if wavelengths is not None:
        red, green, blue = (int(np.abs(wavelengths - w).argmin()) for w in _RED_GREEN_BLUE)
        return red, green, blue
    return int(0.25 * (bands - 1)), int(0.14 * (bands - 1)), int(0.05 * (bands - 1))
