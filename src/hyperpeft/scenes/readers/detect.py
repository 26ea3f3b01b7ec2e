"""What kind of file a path is, by its content."""

from __future__ import annotations

from pathlib import Path

from hyperpeft.errors import HyperpeftError
from hyperpeft.scenes.readers import hdf5_checks
from hyperpeft.scenes.readers.arrays import NPY_MAGIC, ZIP_MAGIC
from hyperpeft.scenes.readers.matlab import is_hdf5
from hyperpeft.system.downloads import is_web_page

_HDF5_NAMES = (".mat", ".h5", ".hdf5", ".he5")


_NETCDF_NAMES = (".nc", ".nc4", ".cdf", ".netcdf")


def check_file(path: Path, error: type[HyperpeftError]) -> None:
    """Refuse what is missing, empty, a saved web page or HDF5 that leads elsewhere."""
    if not path.exists():
        raise error(f"there is no file {path}")
    if path.is_dir():
        return  # some rasters are folders
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise error(f"{path} is empty (0 bytes)", hint="get it again")
    if is_web_page(head) and path.suffix.lower() != ".xml":
        raise error(
            f"{path} is a web page, not data: its download failed",
            hint="delete it and get it again",
        )
    if is_hdf5(path):
        hdf5_checks.check(path, error)


def kind_of(path: Path) -> str:
    """Tell the reader by the content: enmap, prisma, emit, zarr, netcdf or as `format_of`."""
    from hyperpeft.scenes.readers import emit, enmap, prisma, stores

    if stores.is_zarr(path):
        return "zarr"
    if enmap.metadata_of(path) is not None:
        return "enmap"
    if not path.is_dir() and is_hdf5(path) and path.suffix.lower() != ".mat":
        if prisma.is_prisma(path):
            return "prisma"
        if emit.is_emit(path):
            return "emit"
        if path.suffix.lower() in _NETCDF_NAMES:
            return "netcdf"
    return format_of(path)


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
