"""The readers: one row a kind of file. A new one is a module and a row, from anywhere.

    def read_toy(probe, key=None, layout=None) -> Cube: ...

    def is_toy(probe) -> bool:
        return probe.head.startswith(b"TOY")

    register_reader(Reader("toy", "a toy file", is_toy, "mine.toy:read_toy"))

Rows are asked in their order, and the first that recognises a file reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hyperpeft.errors import ConfigError
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.layouts import parse_layout
from hyperpeft.scenes.readers import detect
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.notes import reading_errors
from hyperpeft.system.lazy_names import named_object


@dataclass(frozen=True)
class Reader:
    """How one kind of file is recognised and read.

    Attributes
    ----------
    kind : str
    title : str
        With its article, as in "... cannot be read as an EnMAP product".
    recognises : callable
        From a `Probe` to bool.
    home : str
        "module:function", imported when a file needs it: from a `Probe`, `key` and `layout` (the
        words of the user, or None) to a `Cube`.
    takes_key, takes_layout : bool
        Whether FILE:KEY and --layout mean something; a key for a reader without them makes an
        HDF5 file be read as plain arrays, a layout is refused.
    own_errors : bool
        The function words the errors of the libraries it uses itself.
    files, used : str
        What to give, and what of it is used: the row of docs/reference/formats.md.
    """

    kind: str
    title: str
    recognises: Callable[[Probe], bool]
    home: str
    takes_key: bool = False
    takes_layout: bool = False
    own_errors: bool = False
    files: str = ""
    used: str = ""

    def read(self, probe: Probe, key: str | Sequence[str] | None, layout: str | None) -> Cube:
        """The cube of a file of this kind.

        Raises
        ------
        ConfigError
            An unknown layout, or one that this kind of file does not take.
        SceneError
            Whatever is wrong with the file.
        """
        if layout is not None:
            parse_layout(layout)
        if layout is not None and not self.takes_layout:
            raise ConfigError(
                f"layout {layout!r}: {probe.path} is {self.title} and knows its own axes"
            )
        read = named_object(self.home)
        if self.own_errors:
            return _as_cube(read(probe, key=key, layout=layout))
        with reading_errors(probe.path, self.title):
            return _as_cube(read(probe, key=key, layout=layout))


def _as_cube(value: Any) -> Cube:
    if not isinstance(value, Cube):
        raise TypeError(f"a reader returns a Cube, not {type(value).__name__}")
    return value


_HERE = "hyperpeft.scenes.readers"

READERS: list[Reader] = [
    Reader(
        "zarr",
        "a Zarr store",
        detect.is_zarr,
        f"{_HERE}.netcdf_zarr:read_zarr",
        takes_key=True,
        takes_layout=True,
        files="the folder of a store, version 2 or 3; FILE:VARIABLE",
        used="dimensions by name, wavelengths with units, fwhm, bad bands, scale, fill and valid "
        "range, grid mapping (WKT or parameters) or coordinates of one or two dimensions",
    ),
    Reader(
        "desis",
        "a DESIS product",
        detect.is_desis,
        f"{_HERE}.products.dlr:read_desis",
        files="SPECTRAL_IMAGE.tif, its folder or METADATA.xml",
        used="centres, widths, gains and offsets of the XML",
    ),
    Reader(
        "enmap",
        "an EnMAP product",
        detect.is_enmap,
        f"{_HERE}.products.dlr:read_enmap",
        files="the folder, METADATA.XML (also of an odd name) or SPECTRAL_IMAGE of L2A",
        used="centres, FWHM, gains, offsets and background of the XML; QL_QUALITY_CLOUD masks",
    ),
    Reader(
        "prisma",
        "a PRISMA product",
        detect.is_prisma,
        f"{_HERE}.products.prisma:read_prisma",
        files=".he5 of L2D; of other levels in sensor geometry",
        used="VNIR and SWIR by rising wavelength, scale of each, EPSG code and corners, or "
        "latitudes and longitudes",
    ),
    Reader(
        "tanager",
        "a Tanager product",
        detect.is_tanager,
        f"{_HERE}.products.tanager:read_tanager",
        files=".h5 of surface reflectance or radiance, ortho or basic",
        used="wavelengths, fwhm, good_wavelengths, _FillValue; the grid of StructMetadata.0 or "
        "latitudes and longitudes; nodata_pixels and beta_cloud_mask mask",
    ),
    Reader(
        "emit",
        "an EMIT product",
        detect.is_emit,
        f"{_HERE}.products.emit:read_emit",
        files=".nc of L2A reflectance or L1B radiance",
        used="the map grid of the look-up table (nearest pixel), wavelengths, good_wavelengths; "
        "without a sound table in sensor geometry",
    ),
    Reader(
        "neon",
        "a NEON file",
        detect.is_neon,
        f"{_HERE}.products.neon:read_neon",
        files=".h5 of the airborne reflectance or radiance of one site",
        used="Scale_Factor, Data_Ignore_Value, Wavelength, FWHM, Map_Info and EPSG code; the "
        "whole and the decimal part of radiance",
    ),
    Reader(
        "netcdf",
        "a NetCDF file",
        detect.is_netcdf,
        f"{_HERE}.netcdf_zarr:read_netcdf",
        takes_key=True,
        takes_layout=True,
        files="NetCDF-4 (.nc, and .h5 whose cube has named dimensions) and NetCDF-3 under any "
        "name; FILE:VARIABLE",
        used="as of Zarr stores; groups",
    ),
    Reader(
        "arrays",
        "a file of arrays",
        detect.is_arrays,
        f"{_HERE}.arrays:read_arrays",
        takes_key=True,
        takes_layout=True,
        own_errors=True,
        files="MATLAB v4, v5 and v7.3, HDF5, .npy, .npz; FILE:VARIABLE and --layout",
        used="the one cube, vectors of wavelengths and bad bands; of HDF5 scale, fill and valid "
        "range, map info and EPSG code",
    ),
    Reader(
        "raster",
        "a raster",
        lambda probe: True,
        f"{_HERE}.rasters:read_raster",
        takes_key=True,
        files="GeoTIFF, ENVI (header or data file), VRT and what else GDAL opens; FILE:PAGE",
        used="CRS, transform or ground control points, nodata, mask and alpha band, scale and "
        "offset, tags of wavelength, FWHM and bad bands; FILE.aux.xml; ENVI header",
    ),
]


def register_reader(reader: Reader) -> None:
    """Put a reader in front of the others; one of the same kind is replaced."""
    READERS[:] = [reader, *(row for row in READERS if row.kind != reader.kind)]


def identify(probe: Probe) -> Probe:
    """The probe with its kind filled in."""
    return replace(probe, kind=next(row.kind for row in READERS if row.recognises(probe)))


def reader_of(kind: str) -> Reader:
    """The row of a kind."""
    return next(row for row in READERS if row.kind == kind)
