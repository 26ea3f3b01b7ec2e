"""What is said of a file that is damaged or holds more than is used.

h5py, zarr, xarray and GDAL raise whatever their parsers stumble over, from KeyError to
UnicodeEncodeError: their errors have no common root. Around our own code this would hide its
defects, so it stands around the readers of such files alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from hyperpeft.errors import HyperpeftError, SceneError

_LONGEST = 120


@contextmanager
def reading_errors(
    path: Path, kind: str = "a scene", error: type[HyperpeftError] = SceneError
) -> Iterator[None]:
    """Turn every exception but our own into "... cannot be read as `kind` (reason)"."""
    try:
        yield
    except HyperpeftError:
        raise
    except Exception as problem:
        raise unreadable(path, kind, problem, error) from problem


def unreadable(
    path: Path, kind: str, problem: Exception, error: type[HyperpeftError] = SceneError
) -> HyperpeftError:
    """The error for a file that a library cannot read."""
    reason = first_words(problem, _LONGEST)
    hint = "the file is damaged or cut short: get it again"
    if isinstance(problem, MemoryError):
        hint = "it needs more memory than there is: cut the scene into parts, or get the file again"
    return error(f"{path} cannot be read as {kind} ({reason})", hint=hint)


def first_words(problem: Exception, most: int) -> str:
    """The beginning of an exception's message in one line, or the name of its type."""
    return " ".join(str(problem).split())[:most] or type(problem).__name__


_SHOWN = 6
_KNOWN = (  # fields that are used, or that only describe
    "acquisition_time", "area_or_point", "band_names", "bands", "bandwidth", "bbl", "byte_order",
    "center_wavelength", "centre_wavelength", "class_lookup", "class_names", "classes",
    "cloud_cover", "colorinterp", "compression", "coordinate_system_string", "copyright",
    "data_gain_values", "data_ignore_value", "data_offset_values", "data_type", "date",
    "default_bands", "default_stretch", "description", "file_compression", "file_type", "fwhm",
    "fwhms", "geo_points", "header_offset", "history", "interleave", "layer_type", "lines",
    "line_numbers", "long_name", "map_info", "name", "overviews", "pixel_size", "pixeltype",
    "projection_info", "read_procedures", "reflectance_scale_factor", "samples", "sensor_type",
    "smoothing_factors", "source_color_space", "spectra_names", "sun_azimuth", "sun_elevation",
    "title", "units", "wavelength", "wavelengths", "wavelength_unit", "wavelength_units",
    "wavelengths_units", "units_wavelength", "x_start", "y_start", "z_plot_average",
    "z_plot_range", "z_plot_titles", "correction_factors", "bit_depth",
)  # fmt: skip
_FAMILIES = re.compile(
    r"tiff?tag_|statistics_|class_|hyperpeft|nc_global|software|author|source|comment|legend|"
    r"representation|repr|vertical_|metadatatype|band_\d+$|band\d+$|x_|gdal"
)


def unused_tags(tags: Iterable[Mapping[str, str]]) -> tuple[str, ...]:
    """A note that names the tags that no reader knows; names in lower case with "_"."""
    names = dict.fromkeys(name for group in tags for name in group)
    odd = [n for n in names if n.lower() not in _KNOWN and not _FAMILIES.match(n.lower())]
    return (f"tags that are not used: {listing(odd)}",) if odd else ()


def unused_layers(names: Iterable[str]) -> tuple[str, ...]:
    """A note that names the layers of a file that are not the cube."""
    found = sorted(names)
    return (f"layers of the file that the cube does not use: {listing(found)}",) if found else ()


def unused_datasets(file: h5py.File, used: Iterable[str]) -> tuple[str, ...]:
    """A note that names the arrays of an HDF5 file, of two dimensions or more, that are not used.

    `used` names datasets and groups.
    """
    known = tuple(used)
    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "biuf":
            return
        if len(item.shape or ()) > 1 and not any(f"{name}/".startswith(f"{u}/") for u in known):
            found.append(name.rsplit("/", 1)[-1])

    file.visititems(visit)
    return unused_layers(dict.fromkeys(found))


def listing(names: list[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
