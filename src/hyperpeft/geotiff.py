"""Class maps and band stacks as Cloud-Optimized GeoTIFF, written whole or not at all.

A class map carries its colour table and, twice, its class names: as tags CLASS_<id> inside the
TIFF, and as GDAL category names, which QGIS and gdalinfo show. TIFF has no place for the latter,
so they are in the sidecar `<name>.aux.xml` that GDAL reads along with the file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from hyperpeft.errors import ConfigError
from hyperpeft.files import replacing
from hyperpeft.records import UNLABELLED

Transform = tuple[float, float, float, float, float, float]
LARGEST_ID = 65535  # uint16


def write_class_map(
    path: Path,
    ids: np.ndarray,
    classes: Mapping[int, str],
    colours: Mapping[int, tuple[int, int, int]],
    *,
    crs: str | None = None,
    transform: Transform | None = None,
    extra_tags: Mapping[str, str] | None = None,
) -> None:
    """Write a class map, uint8 (uint16 if an id exceeds 255), nodata 0.

    Parameters
    ----------
    path : Path
        Ends in .tif; `path` + ".aux.xml" is written beside it.
    ids : ndarray of int, shape (H, W)
        Class ids, 0 where there is none.
    classes : mapping of int to str
        Names; every id of the map needs one.
    colours : mapping of int to (int, int, int)
        RGB, 0 to 255, for every id of the map. TIFF has no colour table of more than 8 bits, so
        a uint16 map has none.
    crs : str, optional
        WKT.
    transform : tuple of 6 floats, optional
        Affine coefficients (a, b, c, d, e, f) as in `Scene`.
    extra_tags : mapping of str to str, optional

    Raises
    ------
    ConfigError
        When the path cannot be written, or ids are negative, too large, unnamed or uncoloured.
    """
    path = Path(path)
    present = _check_ids(ids, classes, colours)
    largest = max([*classes, *present, UNLABELLED])
    dtype = "uint8" if largest <= 255 else "uint16"
    tags = {f"CLASS_{i}": name for i, name in sorted(classes.items())} | dict(extra_tags or {})
    # The inner file takes its name first: no sidecar is left where the map could not be written.
    with replacing(path.with_name(f"{path.name}.aux.xml")) as sidecar, _written(path) as temporary:
        with _memory(ids[None].astype(dtype), UNLABELLED, crs, transform, tags) as source:
            if dtype == "uint8":
                table = {i: (*map(int, rgb), 255) for i, rgb in colours.items() if 0 < i <= 255}
                source.write_colormap(1, {UNLABELLED: (0, 0, 0, 0), **table})
            _copy_cog(source, temporary, PREDICTOR="NO", OVERVIEW_RESAMPLING="NEAREST")
        # GDAL may have its own sidecar beside the temporary file; ours replaces it.
        temporary.with_name(f"{temporary.name}.aux.xml").unlink(missing_ok=True)
        sidecar.write_text(_category_names(classes, largest), encoding="utf-8")


def write_bands(
    path: Path,
    bands: np.ndarray,
    names: Sequence[str],
    *,
    crs: str | None = None,
    transform: Transform | None = None,
    nodata: float = float("nan"),
    half: bool = False,
    extra_tags: Mapping[str, str] | None = None,
) -> None:
    """Write named float bands, such as class probabilities.

    Parameters
    ----------
    path : Path
    bands : ndarray of float, shape (k, H, W)
    names : sequence of k str
        Band descriptions.
    crs, transform, extra_tags
        As for `write_class_map`.
    nodata : float
    half : bool
        Store 16 bits a value (about 3 digits, read back as float32) instead of 32.

    Raises
    ------
    ConfigError
        When the path cannot be written or names and bands differ in number.
    """
    if bands.ndim != 3 or len(names) != len(bands):
        raise ConfigError("bands", expected=f"({len(names)}, H, W), one name each", got=bands.shape)
    if half:  # rounded here, because GDAL truncates
        bands = bands.astype(np.float16)
    options = {"NBITS": "16"} if half else {}
    tags = dict(extra_tags or {})
    with (
        _written(Path(path)) as temporary,
        _memory(bands.astype(np.float32, copy=False), nodata, crs, transform, tags) as source,
    ):
        source.descriptions = tuple(names)
        _copy_cog(source, temporary, PREDICTOR="YES", OVERVIEW_RESAMPLING="AVERAGE", **options)


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """As `replacing`, with the errors of GDAL and of the last rename as ConfigError."""
    from rasterio.errors import RasterioError

    try:
        with replacing(path) as temporary:
            yield temporary
    except (RasterioError, OSError) as error:
        raise ConfigError(f"{path} cannot be written ({error})") from None


@contextmanager
def _memory(
    values: np.ndarray,
    nodata: float,
    crs: str | None,
    transform: Transform | None,
    tags: Mapping[str, str],
) -> Iterator[Any]:
    """A dataset in memory that holds values (k, H, W), to be copied: COG is written in one go."""
    import rasterio

    count, height, width = values.shape
    place = {} if transform is None else {"transform": rasterio.Affine(*transform)}
    with warnings.catch_warnings():
        # A scene without georeference is in order here and nothing that the user can change.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.MemoryFile() as file, file.open(
            driver="GTiff", count=count, height=height, width=width, dtype=values.dtype.name,
            nodata=nodata, crs=crs, **place,
        ) as dataset:  # fmt: skip
            dataset.write(values)
            dataset.update_tags(**tags)
            yield dataset


def _copy_cog(source: Any, path: Path, **options: str) -> None:
    """Copy a dataset to a Cloud-Optimized GeoTIFF with tiles, overviews and DEFLATE."""
    from rasterio.shutil import copy

    tile = 256 if max(source.shape) <= 1024 else 512
    copy(source, path, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=tile, **options)


def _check_ids(
    ids: np.ndarray, classes: Mapping[int, str], colours: Mapping[int, tuple[int, int, int]]
) -> list[int]:
    """The class ids of a map, all of them writable, named and coloured."""
    if ids.ndim != 2 or ids.dtype.kind not in "iu":
        raise ConfigError("class map", expected="integers (H, W)", got=f"{ids.dtype} {ids.shape}")
    present: list[int] = [i for i in np.unique(ids).tolist() if i != UNLABELLED]
    outside = [i for i in {*present, *classes} if not 0 <= i <= LARGEST_ID]
    if outside:
        raise ConfigError("class ids", expected=f"0 to {LARGEST_ID}", got=sorted(outside))
    for what, known in (("name", classes), ("colour", colours)):
        missing = [i for i in present if i not in known]
        if missing:
            raise ConfigError(f"classes {missing} of the map have no {what}")
    return present


def _category_names(classes: Mapping[int, str], largest: int) -> str:
    """GDAL's persistent auxiliary metadata with one category per value, from 0 on."""
    names = {UNLABELLED: "no data", **classes}
    rows = [f"      <Category>{escape(names.get(i, ''))}</Category>" for i in range(largest + 1)]
    return "\n".join(
        [
            "<PAMDataset>",
            '  <PAMRasterBand band="1">',
            "    <CategoryNames>",
            *rows,
            "    </CategoryNames>",
            "  </PAMRasterBand>",
            "</PAMDataset>",
            "",
        ]
    )
