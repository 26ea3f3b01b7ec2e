"""Rasters through GDAL (rasterio, rioxarray): GeoTIFF, ENVI and whatever else it opens.

The cube stays on disk and is read by windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import MaskFlags

from hyperpeft.errors import HyperpeftError, SceneError
from hyperpeft.scenes.cubes.band_values import scale_note
from hyperpeft.scenes.cubes.cube import Cube
from hyperpeft.scenes.readers.band_stack import stacked
from hyperpeft.scenes.readers.band_tags import BandTags, find_extra_bands
from hyperpeft.scenes.readers.detect import IMAGE, TIFF_MAGIC, Probe, metadata_of
from hyperpeft.scenes.readers.envi_header import (
    INTERLEAVES,
    envi_data_file,
    interleave,
    is_cut_short,
    number,
    read_fields,
    values_size,
)
from hyperpeft.scenes.readers.envi_raw import has_mark, read_raw
from hyperpeft.scenes.readers.gdal import crs_of, list_pages, open_raster, refuse_key, transform_of
from hyperpeft.scenes.readers.place import FITS, fit_affine

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
    if has_mark(path):
        refuse_key(path, key)
        return read_raw(path, "it begins with a byte-order mark")
    if key is None and probe.head[:4] in TIFF_MAGIC and (pages := _pages(probe)) is not None:
        return pages
    with open_raster(probe if path == probe.path else path, key) as dataset:
        if any(np.dtype(t).kind not in "biuf" for t in dataset.dtypes):
            raise SceneError(f"{path}", expected="real numbers", got=f"type {dataset.dtypes[0]}")
        _require_one_type(path, dataset)
        data = _lazy(dataset.name)
        notes: tuple[str, ...] = ()
        if dataset.driver == "ENVI":
            fields = read_fields(path)
            notes = _check_envi(path, fields)
            if is_cut_short(fields, dataset.tags(ns="ENVI")):
                return read_raw(path, "one of its lines is too long for GDAL")
            if number(fields, "file_compression"):
                data = data.load()  # a window of a gzip stream costs the whole stream
        tags = BandTags(dataset)
        extra = find_extra_bands(dataset, tags)
        if len(extra.keep) < dataset.count:
            tags.select(extra.keep)
            data = data.isel(band=extra.keep)
        nodata = [dataset.nodatavals[i] for i in extra.keep]
        scale, offset = tags.scaling()
        cube = Cube(
            path=path,
            data=data,
            good=tags.good(),
            nodata=tuple(None if value == 0 else value for value in nodata),
            empty=(0.0,) if 0 in nodata else (),
            masks={**_masks(dataset), **extra.masks} or None,
            scale=scale,
            offset=offset,
            crs=crs_of(dataset),
            transform=transform_of(dataset),
            block=_block(dataset),
            key=key or "",
            others=sources_of(path, dataset),
        )
        cube = _with_control_points(cube, dataset)
        cube = replace(
            cube, notes=(*notes, *cube.notes, *extra.notes, *scale_note(cube), *tags.unused())
        )
        if IMAGE.search(path.name) and metadata_of(path) is None:
            note = (
                "named as the image of an EnMAP or DESIS product without its METADATA.XML beside "
                "it: values are as stored, without wavelengths, gains and cloud mask"
            )
            cube = replace(cube, notes=(*cube.notes, note))
        wavelengths, fwhm = tags.spectral()
        if wavelengths is None and dataset.driver == "VRT":
            return _like_first_source(cube, dataset)
        return replace(cube, wavelengths=wavelengths, fwhm=fwhm)


def _with_control_points(cube: Cube, dataset: Any) -> Cube:
    """A place from ground control points, where the file has no other; and what is not used."""
    if cube.transform is not None:
        return cube
    points, crs = dataset.gcps
    notes: tuple[str, ...] = ()
    if points:
        xy = np.array([(p.x, p.y) for p in points], dtype=np.float64)
        columns, rows = (np.array([getattr(p, axis) for p in points]) for axis in ("col", "row"))
        fit = fit_affine(columns, rows, xy)
        if fit is not None and fit.residual <= FITS:
            note = (
                f"the place is fitted to {len(points)} ground control points, which lie up to "
                f"{fit.residual:.2g} pixels from it"
            )
            wkt = crs.to_wkt() if crs else cube.crs
            return replace(cube, transform=fit.transform, crs=wkt, notes=(*cube.notes, note))
        off = "" if fit is None else f" (up to {fit.residual:.1f} pixels off)"
        notes = (
            f"{len(points)} ground control points do not make a grid{off} and are not used: warp "
            "the image onto one, with gdalwarp for one",
        )
    elif dataset.rpcs is not None:
        notes = ("rational polynomial coefficients are not used: orthorectify the image first",)
    return replace(cube, notes=(*cube.notes, *notes))


def _pages(probe: Probe) -> Cube | None:
    """The pages of a TIFF as bands, where each is one band of the same size."""
    with list_pages(probe) as pages:
        shapes = {(page.count, page.shape, page.dtypes) for page in pages}
        if len(pages) < 2 or len(shapes) > 1 or pages[0].count > 1:
            return None
        count = len(pages)
    cubes = [read_raster(probe, str(number)) for number in range(1, count + 1)]
    note = f"the {count} pages of the file are stacked as bands; FILE:NUMBER chooses one"
    cube = stacked(cubes, (note,))
    return replace(cube, key="pages", others=tuple(p for p in cube.others if p != probe.path))


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


def _masks(dataset: Any) -> dict[str, np.ndarray]:
    mask = hidden_by_mask(dataset)
    return {} if mask is None else {"mask band": mask}


def hidden_by_mask(
    dataset: Any, error: type[HyperpeftError] = SceneError, window: Any = None
) -> np.ndarray | None:
    """What (H, W) the file's own mask band hides: one mask for all bands, without nodata value.

    Of a window of rasterio's (h, w), where one is given.

    Raises
    ------
    HyperpeftError
        Of the class `error`: the mask cannot be read.
    """
    flags = dataset.mask_flag_enums[0]
    if MaskFlags.per_dataset not in flags or MaskFlags.nodata in flags:
        return None
    if MaskFlags.alpha in flags:
        return None  # an alpha band belongs to a picture
    try:
        hidden: np.ndarray = dataset.read_masks(1, window=window) == 0
    except Exception as problem:  # rasterio's errors of damaged files have no common root
        raise error(f"{dataset.name}: its mask cannot be read ({problem})") from None
    return hidden


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


def _require_one_type(path: Path, dataset: Any) -> None:
    """Refuse bands of several types, as a VRT may have them: a cube has one."""
    if len(set(dataset.dtypes)) < 2:
        return
    common = np.result_type(*dataset.dtypes).name.capitalize().replace("Uint", "UInt")
    raise SceneError(
        f"{path}: types of its bands",
        expected="one type",
        got=", ".join(dict.fromkeys(dataset.dtypes)),
        hint=f"convert it, with gdal_translate -ot {common} for one",
    )


def _lazy(name: str) -> Any:
    import rioxarray  # after GDAL is kept offline

    data: Any = rioxarray.open_rasterio(name, parse_coordinates=False, cache=False, masked=False)
    data = data.drop_vars(list(data.coords))
    data.attrs.clear()
    return data


def _check_envi(path: Path, fields: dict[str, str]) -> tuple[str, ...]:
    """Refuse what GDAL reads as something else; note what is left over.

    GDAL reads an unknown interleave as bsq, and the pixels of every band from others; behind the
    end of a raw file it reads zeros.
    """
    order = interleave(fields)
    if order not in INTERLEAVES:
        raise SceneError(
            f"{path}: interleave in its header",
            expected="bsq, bil or bip",
            got=order.split()[0] if order else "none",
        )
    if number(fields, "file_compression"):
        return ()
    size = number(fields, "header_offset") + values_size(fields)
    stored = path.stat().st_size
    if stored < size:
        raise SceneError(
            f"{path} is shorter than its header says",
            expected=f"{size} bytes",
            got=stored,
            hint="the file is cut short, or its header belongs to another one: get both again",
        )
    if stored > size:
        return (
            f"the data file has {stored - size} bytes more than its header says; check that the "
            "header belongs to it",
        )
    return ()
