"""Rasters through GDAL (rasterio, rioxarray): GeoTIFF, ENVI and whatever else it opens.

The cube stays on disk and is read by windows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import MaskFlags

from hyperpeft.errors import SceneError
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.cubes.scaling import scale_note
from hyperpeft.scenes.readers.band_tags import BandTags
from hyperpeft.scenes.readers.detect import Probe
from hyperpeft.scenes.readers.gdal import ENVI_DATA, crs_of, open_raster, transform_of
from hyperpeft.system.text import whole_number

_LARGEST_SIDECAR = 2**24  # bytes


def read_raster(
    probe: Probe, key: str | Sequence[str] | None = None, layout: str | None = None
) -> Cube:
    """A lazy cube of a raster file, with its wavelengths, bad-band list, nodata and georeference.

    Parameters
    ----------
    probe : Probe
        GeoTIFF, VRT, or the header or the data file of an ENVI pair, or anything else GDAL opens.

    Raises
    ------
    SceneError
        Not a raster, damaged, or of complex numbers.
    """
    key = key if isinstance(key, str) else None
    path = envi_data_file(probe.path)
    with open_raster(probe if path == probe.path else path, key) as dataset:
        if any(np.dtype(t).kind not in "biuf" for t in dataset.dtypes):
            raise SceneError(f"{path}", expected="real numbers", got=f"type {dataset.dtypes[0]}")
        data = _lazy(dataset.name)
        if dataset.driver == "ENVI":
            _check_interleave(path)
            if _envi_field(path, "file compression"):
                data = data.load()  # a window of a gzip stream costs the whole stream
            else:
                _refuse_short_envi(path, dataset)
        tags = BandTags(dataset)
        scale, offset = tags.scaling()
        cube = Cube(
            path=path,
            data=data,
            good=tags.good(),
            nodata=tuple(None if value == 0 else value for value in dataset.nodatavals),
            empty=(0.0,) if 0 in dataset.nodatavals else (),
            masks=_mask_band(dataset),
            scale=scale,
            offset=offset,
            crs=crs_of(dataset),
            transform=transform_of(dataset),
            block=_block(dataset),
            key=key or "",
            others=sources_of(path, dataset),
        )
        cube = replace(cube, notes=scale_note(cube))
        wavelengths, fwhm = tags.spectral()
        if wavelengths is None and dataset.driver == "VRT":
            return _like_first_source(cube, dataset)
        return replace(cube, wavelengths=wavelengths, fwhm=fwhm)


def sources_of(path: Path, dataset: Any, seen: tuple[Path, ...] = ()) -> tuple[Path, ...]:
    """What else decides a raster's values: an ENVI header; the sources of a VRT, and theirs."""
    sidecar = Path(f"{path}.aux.xml")
    beside = (sidecar,) if decides_values(sidecar) else ()
    if dataset.driver not in ("ENVI", "VRT"):
        return beside
    listed = [Path(name) for name in dataset.files if not name.endswith((".aux.xml", ".ovr"))]
    found = [o for o in listed if o.is_file() and not o.samefile(path) and o not in seen]
    seen = (path, *seen, *found)
    if dataset.driver == "VRT":
        for other in found:
            with open_raster(other) as source:
                seen = (*seen, *sources_of(other, source, seen))
    return tuple(dict.fromkeys(o for o in (*seen, *beside) if o != path))


def decides_values(sidecar: Path) -> bool:
    """Whether FILE.aux.xml holds more than the statistics that GIS tools write into it."""
    if not sidecar.is_file() or sidecar.stat().st_size > _LARGEST_SIDECAR:
        return False
    text = sidecar.read_bytes()
    return any(tag in text for tag in (b"<NoDataValue", b"<Scale>", b"<Offset>", b"<GeoTransform"))


def _block(dataset: Any) -> tuple[int, int]:
    shapes = dataset.block_shapes
    return max(rows for rows, _ in shapes), max(columns for _, columns in shapes)


def _mask_band(dataset: Any) -> dict[str, np.ndarray] | None:
    """What the file's own mask band hides: one mask for all bands, which has no nodata value."""
    flags = dataset.mask_flag_enums[0]
    if MaskFlags.per_dataset not in flags or MaskFlags.nodata in flags:
        return None
    if MaskFlags.alpha in flags:
        return None  # an alpha band belongs to a picture
    try:
        return {"mask band": dataset.read_masks(1) == 0}
    except Exception as problem:  # rasterio's errors of damaged files have no common root
        raise SceneError(f"{dataset.name}: its mask cannot be read ({problem})") from None


def _like_first_source(cube: Cube, dataset: Any) -> Cube:
    """A VRT leaves out what its sources say of their bands: ask the first one."""
    sources = [Path(name) for name in dataset.files[1:]]
    bands = cube.data.shape[0]
    for source in sources:
        if source == cube.path or source.suffix.lower() == ".vrt" or not source.is_file():
            continue
        with open_raster(source) as first:
            if first.count != bands:
                return cube
            tags = BandTags(first)
            wavelengths, fwhm = tags.spectral()
            good = tags.good() if cube.good is None or cube.good.all() else cube.good
            return replace(cube, wavelengths=wavelengths, fwhm=fwhm, good=good)
    return cube


def envi_data_file(path: Path) -> Path:
    """The data file of an ENVI header; any other path as it is.

    Raises
    ------
    SceneError
        No data file lies beside the header.
    """
    if path.suffix.lower() != ".hdr":
        return path
    stem = path.with_suffix("")  # scene.hdr or scene.bsq.hdr
    beside = {p.name.lower(): p for p in path.parent.iterdir() if p.is_file()}
    for ending in ENVI_DATA:
        data = beside.get((stem.name + ending).lower())
        if data is not None:
            return data
    raise SceneError(
        f"the ENVI header {path} has no data file beside it",
        expected=f"{stem.name} with no ending or one of {', '.join(ENVI_DATA[1:])}",
    )


def _lazy(name: str) -> Any:
    import rioxarray  # after GDAL is kept offline

    data: Any = rioxarray.open_rasterio(name, parse_coordinates=False, cache=False, masked=False)
    data = data.drop_vars(list(data.coords))
    data.attrs.clear()
    return data


def _envi_field(path: Path, field: str) -> int:
    """A whole number of the ENVI header beside a data file; 0 where there is none."""
    return whole_number(_envi_text(path, field)) or 0


def _envi_text(path: Path, field: str) -> str:
    """A word of the ENVI header beside a data file; "" where there is none."""
    for header in (path.with_suffix(".hdr"), Path(f"{path}.hdr")):
        if header.is_file():
            with header.open(encoding="latin-1") as file:
                text = file.read(100_000)
            found = re.search(rf"(?im)^[ \t]*{field}[ \t]*=[ \t]*(\S+)", text)
            return found[1] if found else ""
    return ""


def _check_interleave(path: Path) -> None:
    """GDAL reads an unknown interleave as bsq, and the pixels of every band from others."""
    found = _envi_text(path, "interleave")
    if found.lower() not in ("bsq", "bil", "bip"):
        raise SceneError(
            f"{path}: interleave in its header", expected="bsq, bil or bip", got=found or "none"
        )


def _refuse_short_envi(path: Path, dataset: Any) -> None:
    """GDAL reads zeros behind the end of a raw file: compare its size with the header's."""
    pixels = dataset.count * dataset.height * dataset.width
    offset = _envi_field(path, "header offset")
    size = offset + pixels * np.dtype(dataset.dtypes[0]).itemsize
    if path.stat().st_size < size:
        raise SceneError(
            f"{path} is shorter than its header says",
            expected=f"{size} bytes",
            got=path.stat().st_size,
            hint="the file is cut short, or its header belongs to another one: get both again",
        )
