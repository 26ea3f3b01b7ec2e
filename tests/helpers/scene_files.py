"""Scenes as files of every format, also in odd forms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from scipy.io import savemat

UTM = "EPSG:32633"
ORIGIN = from_origin(364_000, 5_810_000, 30, 30)
ENVI_TYPES = {
    **{"uint8": 1, "int16": 2, "int32": 3, "float32": 4, "float64": 5},
    **{"uint16": 12, "uint32": 13, "int64": 14, "uint64": 15},
}


def cube(height: int = 7, width: int = 5, bands: int = 6, dtype: str = "int16") -> np.ndarray:
    """(H, W, B), every value different."""
    return np.arange(1, height * width * bands + 1, dtype=dtype).reshape(height, width, bands)


def mat5(path: Path, **arrays: Any) -> Path:
    savemat(path, arrays, do_compression=True)
    return path


def mat73(path: Path, header: bool = True, **arrays: np.ndarray) -> Path:
    """Axes reversed, classes as attributes and a 512-byte text header, as MATLAB writes it."""
    with h5py.File(path, "w", userblock_size=512 if header else 0) as file:
        for name, array in arrays.items():
            item = file.create_dataset(name, data=array.T)
            item.attrs["MATLAB_class"] = np.bytes_(
                {"float64": "double"}.get(str(array.dtype), str(array.dtype))
            )
        file.create_group("#refs#").create_dataset("a", data=np.zeros((3, 3, 3)))
    if header:
        with path.open("r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return path


def geotiff(
    path: Path,
    array: np.ndarray,
    *,
    nodata: float | None = None,
    crs: str | None = UTM,
    band_tags: list[dict[str, str]] | None = None,
    tags: dict[str, str] | None = None,
    colours: dict[int, tuple[int, int, int]] | None = None,
    transform: Any = ORIGIN,
    **options: Any,
) -> Path:
    """An (H, W, B) or (H, W) array as GeoTIFF."""
    stack = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    if crs is None:
        transform = None
    profile = dict(
        driver="GTiff",
        count=len(stack),
        height=stack.shape[1],
        width=stack.shape[2],
        dtype=stack.dtype,
        nodata=nodata,
        crs=crs,
        transform=transform,
        **options,
    )
    with rasterio.open(path, "w", **{k: v for k, v in profile.items() if v is not None}) as file:
        file.write(stack)
        for band, values in enumerate(band_tags or [], start=1):
            file.update_tags(band, **values)
        file.update_tags(**(tags or {}))
        if colours:
            file.write_colormap(1, colours)
    return path


def large_by_pixel(path: Path) -> Path:
    """An ENVI file of 14 GB that takes no space, stored by pixel: 6000 x 6000 pixels, 200 bands."""
    envi(path, np.zeros((1, 1, 200), np.int16), interleave="bip")
    header = path.with_suffix(".hdr")
    text = header.read_text().replace("samples = 1", "samples = 6000")
    header.write_text(text.replace("lines = 1", "lines = 6000"))
    with path.open("r+b") as file:
        file.truncate(6000 * 6000 * 200 * 2)
    if path.stat().st_blocks > 2**16:
        pytest.skip("the file system has no sparse files")
    return path


def envi(
    path: Path,
    array: np.ndarray,
    *,
    interleave: str = "bsq",
    big_endian: bool = False,
    header: Path | None = None,
    offset: int = 0,
    **fields: str,
) -> Path:
    """An (H, W, B) array as raw bytes and a header written by hand."""
    axes = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}[interleave]
    order = array.dtype.newbyteorder(">" if big_endian else "<")
    values = np.ascontiguousarray(array.transpose(axes)).astype(order).tobytes()
    path.write_bytes(b"\x07" * offset + values)
    height, width, bands = array.shape
    lines = [
        "ENVI",
        f"samples = {width}",
        f"lines = {height}",
        f"bands = {bands}",
        f"header offset = {offset}",
        "file type = ENVI Standard",
        f"data type = {ENVI_TYPES[array.dtype.name]}",
        f"interleave = {interleave}",
        f"byte order = {int(big_endian)}",
        *(f"{name.replace('_', ' ')} = {value}" for name, value in fields.items()),
    ]
    (header or path.with_suffix(".hdr")).write_text("\n".join(lines) + "\n")
    return path


def scaled(values: np.ndarray, scale: float, offset: float = 0.0) -> np.ndarray:
    """What a reader that scales in float32 has to return."""
    out = values.astype(np.float32)
    out *= np.float32(scale)
    out += np.float32(offset)
    return out


def enmap(
    folder: Path,
    array: np.ndarray,
    *,
    centres: np.ndarray,
    level: str = "L2A",
    background: int = -32768,
    gain: float = 1e-4,
    clouds: np.ndarray | None = None,
    scene: str = "ENMAP01-____L2A-DT0000001867_20220724T104526Z_008_V010302_20230628T165614Z",
) -> Path:
    """An EnMAP product: the image, the cloud mask and METADATA.XML, as the specification has them.

    Bands that are background everywhere have the mean -1000000 in the statistics.
    """
    folder.mkdir()
    geotiff(folder / f"{scene}-SPECTRAL_IMAGE.TIF", array, nodata=background)
    if clouds is not None:
        geotiff(folder / f"{scene}-QL_QUALITY_CLOUD.TIF", clouds.astype(np.uint8))
    table, statistics = [], []
    for i, centre in enumerate(centres):
        there = array[..., i] != background
        mean = array[..., i][there].mean() * gain if there.any() else -1000000
        table.append(
            f'<bandID number="{i + 1}"><wavelengthCenterOfBand>{centre}</wavelengthCenterOfBand>'
            f"<FWHMOfBand>{7.5 + i}</FWHMOfBand><GainOfBand>{gain}</GainOfBand>"
            "<OffsetOfBand>0</OffsetOfBand></bandID>"
        )
        statistics.append(f'<bandID number="{i + 1}"><mean>{mean}</mean></bandID>')
    channels = ",".join(str(i + 1) for i in range(len(centres)))
    path = folder / f"{scene}-METADATA.XML"
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<level_X>'
        f"<base><format>GeoTIFF+Metadata</format><level>{level}</level></base><specific>"
        f"<backgroundValue>{background}</backgroundValue>"
        f"<vnirProductQuality><expectedChannelsList>{channels}</expectedChannelsList>"
        f"</vnirProductQuality><bandCharacterisation>{''.join(table)}</bandCharacterisation>"
        f"</specific><product><bandStatistics>{''.join(statistics)}</bandStatistics></product>"
        "</level_X>\n"
    )
    return path


def prisma(
    path: Path,
    vnir: np.ndarray,
    swir: np.ndarray,
    *,
    vnir_nm: np.ndarray,
    swir_nm: np.ndarray,
    scale: tuple[float, float, float, float] = (0.0, 1.0, -0.1, 0.9),
    corner: str = "centre",
    epsg: int = 32633,
    level: str = "L2D",
) -> Path:
    """A PRISMA product of two (H, W, B) cubes whose bands are as in the file: falling, 0 = absent.

    Corners are the centres of the corner pixels, or their outer edges ("edge").
    """
    height, width, _ = vnir.shape
    left, top = ORIGIN.c, ORIGIN.f
    half = 15.0 if corner == "centre" else 0.0
    with h5py.File(path, "w") as file:
        fields = file.create_group(f"HDFEOS/SWATHS/PRS_{level}_HCO/Data Fields")
        for name, cube_ in (("VNIR", vnir), ("SWIR", swir)):
            fields.create_dataset(
                f"{name}_Cube", data=cube_.transpose(0, 2, 1), chunks=True, compression="gzip"
            )
            fields[f"{name}_PIXEL_L2_ERR_MATRIX"] = np.zeros(
                cube_.transpose(0, 2, 1).shape, np.uint8
            )
        for name, nm in (("Vnir", vnir_nm), ("Swir", swir_nm)):
            file.attrs[f"List_Cw_{name}"] = nm.astype(np.float32)
            file.attrs[f"List_Cw_{name}_Flags"] = (nm > 0).astype(np.uint8)
            file.attrs[f"List_Fwhm_{name}"] = np.where(nm > 0, 10 + nm / 1000, 0).astype("f4")
        for name, value in zip(("VnirMin", "VnirMax", "SwirMin", "SwirMax"), scale, strict=True):
            file.attrs[f"L2Scale{name}"] = np.float32(value)
        file.attrs["Epsg_Code"] = np.uint32(epsg)
        file.attrs["Processing_Level"] = np.bytes_(level[1:])
        right, bottom = left + 30 * width, top - 30 * height
        for name, x, y in (
            ("UL", left + half, top - half),
            ("UR", right - half, top - half),
            ("LL", left + half, bottom + half),
            ("LR", right - half, bottom + half),
        ):
            file.attrs[f"Product_{name}corner_easting"] = np.float64(x)
            file.attrs[f"Product_{name}corner_northing"] = np.float64(y)
    return path


def emit(
    path: Path,
    array: np.ndarray,
    glt_x: np.ndarray,
    glt_y: np.ndarray,
    *,
    centres: np.ndarray,
    good: np.ndarray | None = None,
    origin: tuple[float, float] = (-115.9, 33.4),
    pixel: float = 0.000542232520256367,
) -> Path:
    """An EMIT L2A product: (downtrack, crosstrack, bands) and the table to the map grid."""
    from rasterio.crs import CRS

    with h5py.File(path, "w") as file:
        values = file.create_dataset("reflectance", data=array.astype(np.float32))
        values.attrs["_FillValue"] = np.array([-9999.0], np.float32)
        for name, table in (("glt_x", glt_x), ("glt_y", glt_y)):
            item = file.create_dataset(f"location/{name}", data=table.astype(np.int32))
            item.attrs["_FillValue"] = np.array([0], np.int32)
        for name in ("lon", "lat", "elev"):
            file[f"location/{name}"] = np.zeros(array.shape[:2])
        parameters = file.create_group("sensor_band_parameters")
        parameters["wavelengths"] = centres.astype(np.float32)
        parameters["fwhm"] = np.full(len(centres), 8.5, np.float32)
        if good is not None:
            parameters["good_wavelengths"] = good.astype(np.uint8)
        file.attrs["geotransform"] = np.array([origin[0], pixel, -0.0, origin[1], -0.0, -pixel])
        file.attrs["spatial_ref"] = CRS.from_epsg(4326).to_wkt()
    return path


def tanager(
    path: Path,
    array: np.ndarray,
    *,
    centres: np.ndarray,
    kind: str = "GRIDS",
    name: str = "surface_reflectance",
    zone: int = 33,
    clouds: np.ndarray | None = None,
    good: Sequence[int] | None = None,
) -> Path:
    """A Tanager product of (H, W, B): GRIDS on a map grid of 30 m, SWATHS with degrees."""
    height, width, bands = array.shape
    with h5py.File(path, "w") as file:
        root = file.create_group(f"HDFEOS/{kind}/HYP")
        fields = root.create_group("Data Fields")
        item = fields.create_dataset(name, data=array.transpose(2, 0, 1), chunks=(bands, 4, 4))
        item.attrs["wavelengths"], item.attrs["fwhm"] = centres, np.full(bands, 5.5)
        item.attrs["_FillValue"] = np.float32(-9999)
        if good is not None:
            item.attrs["good_wavelengths"] = np.array(good, np.uint8)
        fields["nodata_pixels"] = (array == -9999).all(axis=2).astype(np.uint8)
        fields["beta_cloud_mask"] = np.zeros((height, width), "u1") if clouds is None else clouds
        fields["sun_zenith"] = np.full((height, width), 30.0)
        if kind == "GRIDS":
            right, bottom = ORIGIN.c + 30 * width, ORIGIN.f - 30 * height
            file["HDFEOS INFORMATION/StructMetadata.0"] = np.bytes_(
                f'GROUP=GridStructure\n\tGROUP=GRID_1\n\t\tGridName="HYP"\n\t\tXDim={width}\n'
                f"\t\tYDim={height}\n\t\tUpperLeftPointMtrs=({ORIGIN.c:f},{ORIGIN.f:f})\n"
                f"\t\tLowerRightMtrs=({right:f},{bottom:f})\n\t\tProjection=HE5_GCTP_UTM\n"
                f"\t\tZoneCode={zone}\n\t\tSphereCode=12\n\tEND_GROUP=GRID_1\n"
            )
        else:
            y, x = np.mgrid[:height, :width]
            root["Geolocation Fields/Latitude"] = 52 - 3e-4 * y
            root["Geolocation Fields/Longitude"] = 13 + 4e-4 * x
    return path


def labelled_dataset(
    array: np.ndarray,
    centres: np.ndarray,
    *,
    order: tuple[str, str, str] = ("band", "y", "x"),
    fill: float | None = None,
    scale: float | None = None,
    units: str = "nm",
    southwards: bool = True,
) -> Any:
    """An (H, W, B) array as xarray and CF write it; north is up in `array`, whatever the file."""
    import rioxarray  # noqa: F401
    import xarray as xr

    height, width, bands = array.shape
    x = ORIGIN.c + 30 * (np.arange(width) + 0.5)
    y = ORIGIN.f - 30 * (np.arange(height) + 0.5)
    stack = array.transpose(2, 0, 1)
    if not southwards:
        y, stack = y[::-1], stack[:, ::-1]
    data = xr.DataArray(
        stack,
        dims=("band", "y", "x"),
        coords={
            "y": y,
            "x": x,
            "wavelength": ("band", centres, {"units": units}),
            "fwhm": ("band", np.full(bands, 9.0 if units == "nm" else 0.009), {"units": units}),
        },
        name="reflectance",
    )
    for name, value in (("_FillValue", fill), ("scale_factor", scale)):
        if value is not None:
            data.attrs[name] = array.dtype.type(value) if name == "_FillValue" else value
    names = dict(zip(("band", "y", "x"), order, strict=True))
    return data.rio.write_crs(UTM).rename({k: v for k, v in names.items() if k != v}).to_dataset()


HEIGHT, WIDTH, BANDS = 24, 18, 8
NM = np.linspace(430, 2300, BANDS)
FIRST, SECOND, THIRD = 1, 2, 3


def ground() -> np.ndarray:
    """Class of each pixel (H, W), 1 to 3: a strip, an L and the rest."""
    ids = np.full((HEIGHT, WIDTH), THIRD, np.uint8)
    ids[:7] = FIRST
    ids[:, :5] = SECOND
    ids[-4:, -6:] = FIRST
    return ids


def spectra() -> np.ndarray:
    """Reflectance (4, B) of the classes; row 0 is not used."""
    x = np.linspace(0, 1, BANDS)
    return np.stack([0 * x, 0.1 + 0.4 * x, 0.55 - 0.35 * x, 0.3 + 0.2 * np.sin(7 * x)])


def reflectance(seed: int = 0) -> np.ndarray:
    """(H, W, B) float32 between 0 and 1."""
    noise = np.random.default_rng(seed).normal(0, 0.01, (HEIGHT, WIDTH, BANDS))
    return np.clip(spectra()[ground()] + noise, 0.005, 1).astype(np.float32)


def integers(seed: int = 0, dtype: str = "int16") -> np.ndarray:
    """Reflectance x 10,000."""
    return (reflectance(seed) * 10_000).astype(dtype)


def class_of(values: np.ndarray) -> np.ndarray:
    """The class (...) of the nearest spectrum to values (B, ...) in reflectance."""
    known = spectra()[1:]
    distance = ((values[None] - known[(..., *[None] * (values.ndim - 1))]) ** 2).sum(axis=1)
    nearest: np.ndarray = distance.argmin(axis=0) + 1
    return nearest


def centres() -> tuple[np.ndarray, np.ndarray]:
    """x of the columns and y of the rows, from the north."""
    x = ORIGIN.c + 30 * (np.arange(WIDTH) + 0.5)
    return x, ORIGIN.f - 30 * (np.arange(HEIGHT) + 0.5)
