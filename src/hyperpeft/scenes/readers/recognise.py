"""What tells the kinds of file apart: contents first, names only where contents are alike."""

from __future__ import annotations

import re
from pathlib import Path

from hyperpeft.scenes.readers.detect import NPY_MAGIC, ZIP_MAGIC, Probe

ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
METADATA = "-METADATA.XML"  # of EnMAP
IMAGE = re.compile(r"-SPECTRAL_IMAGE(_COG)?\.(tiff?|bsq|bil|bip|hdr)$", re.IGNORECASE)
SWATHS = "HDFEOS/SWATHS"  # of PRISMA
EMIT_CUBES = ("reflectance", "radiance")
EMIT_TABLE = ("location/glt_x", "location/glt_y")
_HDF5_NAMES = (".mat", ".h5", ".hdf5", ".he5")
_NETCDF_NAMES = (".nc", ".nc4", ".cdf", ".netcdf")


def is_zarr(probe: Probe) -> bool:
    """A folder that is a Zarr store, of version 2 or 3."""
    return probe.is_folder and any((probe.path / name).is_file() for name in ZARR_MARKS)


def is_enmap(probe: Probe) -> bool:
    """A folder, image or metadata of an EnMAP product."""
    return metadata_of(probe.path) is not None


def metadata_of(path: Path) -> Path | None:
    """The METADATA.XML of a product's folder, spectral image or of itself; None for other files."""
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.name.upper().endswith(METADATA))
        return found[0] if len(found) == 1 else None
    if path.name.upper().endswith(METADATA):
        return path
    stem = IMAGE.sub("", path.name)
    if stem == path.name:
        return None
    beside = {p.name.upper(): p for p in path.parent.iterdir()}
    return beside.get((stem + METADATA).upper())


def is_prisma(probe: Probe) -> bool:
    """A PRISMA product of any level."""
    return any(name.startswith(f"{SWATHS}/PRS_L") for name in _hdf5_members(probe))


def is_emit(probe: Probe) -> bool:
    """An EMIT cube with its look-up table."""
    members = _hdf5_members(probe)
    return members.issuperset(EMIT_TABLE) and not members.isdisjoint(EMIT_CUBES)


def is_netcdf4(probe: Probe) -> bool:
    """NetCDF-4, which is HDF5: told from others by its name."""
    return probe.is_hdf5 and probe.suffix in _NETCDF_NAMES


def is_netcdf3(probe: Probe) -> bool:
    """NetCDF-3 (classic, 64-bit offset) or the later 64-bit data."""
    return probe.head[:4] in (b"CDF\x01", b"CDF\x02", b"CDF\x05")


def is_netcdf(probe: Probe) -> bool:
    """NetCDF of any version."""
    return is_netcdf4(probe) or is_netcdf3(probe)


def is_named_arrays(probe: Probe) -> bool:
    """A Zarr store or a NetCDF file, whose dimensions have names."""
    return is_zarr(probe) or is_netcdf(probe)


def is_arrays(probe: Probe) -> bool:
    """MATLAB, NumPy and HDF5 under the names that they have."""
    if probe.is_folder:
        return False
    if probe.head.startswith(NPY_MAGIC):
        return True
    if probe.head.startswith(ZIP_MAGIC) and probe.suffix == ".npz":
        return True
    if probe.head.startswith(b"MATLAB") or probe.suffix in (".mat", ".npy", ".npz"):
        return True
    return probe.is_hdf5 and probe.suffix in _HDF5_NAMES


def _hdf5_members(probe: Probe) -> frozenset[str]:
    """Of an HDF5 file that is not MATLAB's."""
    return probe.members if probe.is_hdf5 and probe.suffix != ".mat" else frozenset()
