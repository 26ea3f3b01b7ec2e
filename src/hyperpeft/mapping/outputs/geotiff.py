"""Class maps and band stacks as Cloud-Optimized GeoTIFF, written whole or not at all.

A class map carries its colour table and, twice, its class names: as tags CLASS_<id> inside the
TIFF, and as GDAL category names, which QGIS and gdalinfo show. TIFF has no place for the latter,
so they are in the sidecar `<name>.aux.xml` that GDAL reads along with the file. QGIS draws the map
by the style `<stem>.qml`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.shutil import copy
from rasterio.windows import Window

from hyperpeft._version import __version__
from hyperpeft.errors import ConfigError
from hyperpeft.mapping.outputs.qgis_style import class_style, style_path
from hyperpeft.records import LARGEST_ID, UNLABELLED, Transform
from hyperpeft.system.files import replacing
from hyperpeft.system.output_folder import refuse_foreign_file
from hyperpeft.system.text import xml_text

_SOFTWARE = "TIFFTAG_SOFTWARE"


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
        Ends in .tif; what `sidecars` names is written beside it.
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
    _check_ids(ids, classes, colours)
    largest = int(ids.max(initial=UNLABELLED))
    with class_map_writer(
        path,
        ids.shape,
        classes,
        colours,
        crs=crs,
        transform=transform,
        extra_tags=extra_tags,
        largest=largest,
    ) as write:
        write(ids, 0, 0)


@contextmanager
def class_map_writer(
    path: Path,
    shape: tuple[int, ...],
    classes: Mapping[int, str],
    colours: Mapping[int, tuple[int, int, int]],
    *,
    crs: str | None = None,
    transform: Transform | None = None,
    extra_tags: Mapping[str, str] | None = None,
    largest: int = UNLABELLED,
    staged: bool = False,
) -> Iterator[Callable[[np.ndarray, int, int], None]]:
    """A class map that is written piece by piece, as `write_class_map` writes it at once.

    Yields a function that takes ids (h, w) and the row and column of their first pixel. The file
    takes its name when the block ends without error.

    Parameters
    ----------
    shape : (H, W)
    largest : int
        An id that may occur although no class has it.
    staged : bool
        Hold the pieces in a file beside `path` until all are there, and not in memory.
    """
    path = Path(path)
    largest = max([*classes, largest, UNLABELLED])
    dtype = "uint8" if largest <= 255 else "uint16"
    tags = {f"CLASS_{i}": name for i, name in sorted(classes.items())} | dict(extra_tags or {})
    size = (1, *shape)
    # The inner file takes its name first: no sidecar is left where the map could not be written.
    aux, qml = sidecars(path)
    present: set[int] = set()
    with replacing(qml) as style, replacing(aux) as sidecar, _written(path) as temporary:
        stage = _stage(temporary) if staged else None
        with _pieces(size, dtype, UNLABELLED, crs, transform, tags, stage) as source:
            if dtype == "uint8":
                table = {i: (*map(int, rgb), 255) for i, rgb in colours.items() if 0 < i <= 255}
                source.write_colormap(1, {UNLABELLED: (0, 0, 0, 0), **table})

            def write(ids: np.ndarray, top: int, left: int) -> None:
                _check_ids(ids, classes, colours)
                present.update(np.unique(ids).tolist())
                source.write(ids[None].astype(dtype), window=_window(ids.shape, top, left))

            yield write
            _copy_cog(source, temporary, PREDICTOR="NO", OVERVIEW_RESAMPLING="NEAREST")
        # GDAL may have its own sidecar beside the temporary file; ours replaces it.
        temporary.with_name(f"{temporary.name}.aux.xml").unlink(missing_ok=True)
        sidecar.write_text(_category_names(classes, largest), encoding="utf-8")
        style.write_text(class_style(present, classes, colours), encoding="utf-8")


def refuse_foreign(path: Path) -> None:
    """Refuse to replace a file that is not a raster of this package.

    Raises
    ------
    ConfigError
    """
    refuse_foreign_file(path, is_written_here, "is not a map that hyperpeft wrote", "--out")


def is_written_here(path: Path) -> bool:
    """Whether a file is a raster that this package wrote, by its tags."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        try:
            with rasterio.open(path, driver="GTiff") as source:
                tags = source.tags()
                half = source.tags(1, ns="IMAGE_STRUCTURE").get("NBITS") == "16"
        except RasterioError:
            return False
    if tags.get(_SOFTWARE, "").startswith("hyperpeft"):
        return True
    # Up to 0.2.0 without that tag.
    return half or any(tag == "THRESHOLD" or tag.startswith("CLASS_") for tag in tags)


def sidecars(path: Path) -> tuple[Path, Path]:
    """The files of a raster beside it: GDAL's metadata, and the style for QGIS."""
    return path.with_name(f"{path.name}.aux.xml"), style_path(path)


@contextmanager
def bands_writer(
    path: Path,
    shape: tuple[int, ...],
    names: Sequence[str],
    *,
    crs: str | None = None,
    transform: Transform | None = None,
    half: bool = False,
    extra_tags: Mapping[str, str] | None = None,
    style: str | None = None,
) -> Iterator[Callable[[np.ndarray, int, int], None]]:
    """Write named float bands, such as class probabilities, piece by piece; nodata is NaN.

    Yields a function that takes bands (k, h, w) and the row and column of their first pixel.

    Parameters
    ----------
    path : Path
    shape : (H, W)
    names : sequence of k str
        Band descriptions.
    crs, transform, extra_tags
        As for `write_class_map`.
    half : bool
        Store 16 bits a value (about 3 digits, read back as float32) instead of 32.
    style : str, optional
        For QGIS, written beside the file.

    Raises
    ------
    ConfigError
        When the path cannot be written.
    """
    options = {"NBITS": "16"} if half else {}
    size = (len(names), *shape)
    with _written(Path(path)) as temporary:
        stage, tags = _stage(temporary), dict(extra_tags or {})
        with _pieces(size, "float32", float("nan"), crs, transform, tags, stage) as source:
            source.descriptions = tuple(names)

            def write(bands: np.ndarray, top: int, left: int) -> None:
                if half:  # rounded here, because GDAL truncates
                    bands = bands.astype(np.float16)
                window = _window(bands.shape[1:], top, left)
                source.write(bands.astype(np.float32, copy=False), window=window)

            yield write
            _copy_cog(source, temporary, PREDICTOR="YES", OVERVIEW_RESAMPLING="AVERAGE", **options)
        if style is not None:
            with replacing(style_path(Path(path))) as qml:
                qml.write_text(style, encoding="utf-8")


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """As `replacing`, with the errors of GDAL and of the last rename as ConfigError."""
    try:
        with replacing(path) as temporary:
            yield temporary
    except (RasterioError, OSError) as error:
        raise ConfigError(f"{path} cannot be written ({error})") from None


@contextmanager
def _pieces(
    size: tuple[int, ...],
    dtype: str,
    nodata: float,
    crs: str | None,
    transform: Transform | None,
    tags: Mapping[str, str],
    stage: Path | None,
) -> Iterator[Any]:
    """A dataset (k, H, W) to be filled and then copied, because COG is written in one go.

    It is held in memory, or in the file `stage`, which is removed at the end.
    """
    count, height, width = size
    place = {} if transform is None else {"transform": rasterio.Affine(*transform)}
    profile = {
        "driver": "GTiff", "count": count, "height": height, "width": width, "dtype": dtype,
        "nodata": nodata, "crs": None if transform is None else crs, **place,
    }  # fmt: skip
    tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256, "BIGTIFF": "IF_SAFER"}
    with warnings.catch_warnings(), ExitStack() as stack:
        # A scene without georeference is in order here and nothing that the user can change.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        if stage is None:
            memory = stack.enter_context(rasterio.MemoryFile())
            dataset = stack.enter_context(memory.open(**profile))
        else:
            stack.callback(stage.unlink, missing_ok=True)
            dataset = stack.enter_context(rasterio.open(stage, "w+", **profile, **tiled))
        dataset.update_tags(**{_SOFTWARE: f"hyperpeft {__version__}", **tags})
        yield dataset


def _stage(temporary: Path) -> Path:
    return temporary.with_name(f"{temporary.stem}.stage.tif")


def _window(shape: tuple[int, ...], top: int, left: int) -> Any:
    return Window(left, top, shape[1], shape[0])


def _copy_cog(source: Any, path: Path, **options: str) -> None:
    """Copy a dataset to a Cloud-Optimized GeoTIFF with tiles, overviews and DEFLATE."""
    tile = 256 if max(source.shape) <= 1024 else 512
    copy(source, path, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=tile, **options)


def _check_ids(
    ids: np.ndarray, classes: Mapping[int, str], colours: Mapping[int, tuple[int, int, int]]
) -> None:
    """Refuse ids that are not writable, named and coloured."""
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


def _category_names(classes: Mapping[int, str], largest: int) -> str:
    """GDAL's persistent auxiliary metadata with one category per value, from 0 on."""
    names = {UNLABELLED: "no data", **classes}
    texts = [escape(xml_text(names.get(i, ""))) for i in range(largest + 1)]
    rows = [f"      <Category>{text}</Category>" for text in texts]
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
