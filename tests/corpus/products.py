"""Products of missions, Zarr stores and NetCDF files."""

from __future__ import annotations

import json

import h5py
import numpy as np
import xarray as xr
import zarr

from tests.corpus.table import heading
from tests.corpus.world import World
from tests.helpers.scene_files import cube, emit, enmap, envi, labelled_dataset, prisma, tanager

enmap_case, prisma_case = heading("EnMAP"), heading("PRISMA")
emit_case, aviris_case = heading("EMIT"), heading("AVIRIS")
NM = np.array([450.0, 550.0, 650.0, 940.0, 1380.0, 2200.0])


def product(w: World, change=lambda text: text, **how):
    """An EnMAP folder whose metadata is changed."""
    metadata = enmap(w / "enmap", cube(), centres=NM, **how)
    metadata.write_text(change(metadata.read_text()))
    return metadata


@enmap_case("no spectral image", "has no spectral image beside it")
def _(w: World):
    metadata = product(w)
    next(metadata.parent.glob("*SPECTRAL_IMAGE.TIF")).unlink()
    return w.train(metadata)


def swath(w: World, change=None, level: str = "L2D"):
    """A PRISMA file that is changed through h5py."""
    vnir, swir = cube(bands=3, dtype="uint16"), cube(bands=3, dtype="uint16")
    path = prisma(w / "prisma.he5", vnir, swir, vnir_nm=NM[2::-1], swir_nm=NM[:2:-1], level=level)
    if change is not None:
        with h5py.File(path, "r+") as file:
            change(file)
    return path


FIELDS = "HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields"


@prisma_case("cut short", "prisma.he5")
def _(w: World):
    return w.train(w.cut(swath(w)))


@prisma_case("one detector's cube is missing", "SWIR_Cube")
def _(w: World):
    def change(file):
        del file[f"{FIELDS}/SWIR_Cube"]

    return w.train(swath(w, change))


@prisma_case("the cubes differ in size", "prisma.he5", "VNIR")
def _(w: World):
    def change(file):
        del file[f"{FIELDS}/SWIR_Cube"]
        file[f"{FIELDS}/SWIR_Cube"] = np.ones((9, 3, 9), np.uint16)

    return w.train(swath(w, change))


@prisma_case("a level without a cube", "processing level", "L2D", "got L3")
def _(w: World):
    return w.train(swath(w, level="L3"))


@prisma_case("flags that name no band", "name no band")
def _(w: World):
    def change(file):
        for name in ("Vnir", "Swir"):
            file.attrs[f"List_Cw_{name}_Flags"] = np.zeros(3, np.uint8)

    return w.train(swath(w, change))


def granule(w: World, change=None):
    """An EMIT file that is changed through h5py."""
    x, y = np.meshgrid(np.arange(1, 6), np.arange(1, 8))
    path = emit(w / "emit.nc", cube(dtype="float32"), x, y, centres=NM)
    if change is not None:
        with h5py.File(path, "r+") as file:
            change(file)
    return path


@emit_case("cut short", "emit.nc")
def _(w: World):
    return w.train(w.cut(granule(w)))


@emit_case("a flat table instead of a cube", "emit.nc:reflectance", "3 dimensions")
def _(w: World):
    def change(file):
        del file["reflectance"]
        file["reflectance"] = np.ones((7, 6), np.float32)

    return w.train(granule(w, change))


@aviris_case("the orthocorrected image without its header", "needs its header")
def _(w: World):
    path = envi(w / "ang20260101t000000_rfl_v2.img", cube())
    path.with_suffix(".hdr").unlink()
    return w.train(path)


@aviris_case("the image is half downloaded", "shorter than its header says")
def _(w: World):
    return w.train(w.cut(envi(w / "ang20260101t000000_rfl_v2.img", cube(), interleave="bil")))


@aviris_case("AVIRIS-3 without reflectance", "AV3.nc")
def _(w: World):
    with h5py.File(w / "AV3.nc", "w") as file:
        file["reflectance/wavelength"] = NM
        file["reflectance/uncertainty"] = np.ones(6)
    return w.train(w / "AV3.nc")


@heading("Tanager")("a flat table instead of a cube", "surface_reflectance", "3 dimensions")
def _(w: World):
    path = tanager(w / "tanager.h5", cube(dtype="float32"), centres=NM)
    with h5py.File(path, "r+") as file:
        fields = file["HDFEOS/GRIDS/HYP/Data Fields"]
        del fields["surface_reflectance"]
        fields["surface_reflectance"] = np.ones((7, 6), np.float32)
    return w.train(path)


@heading("NEON")("whole numbers of radiance alone", "without their decimals")
def _(w: World):
    with h5py.File(w / "neon.h5", "w") as file:
        file["SITE/Radiance/RadianceIntegerPart"] = cube()
    return w.train(w / "neon.h5")


zarr_case, netcdf_case = heading("Zarr"), heading("NetCDF")


def store(w: World, dataset: xr.Dataset | None = None, version: int = 3):
    path = w / "cube.zarr"
    dataset = labelled_dataset(cube(), NM) if dataset is None else dataset
    dataset.to_zarr(path, zarr_format=version, consolidated=False)
    return path


@zarr_case("an empty store", "cube.zarr")
def _(w: World):
    zarr.create_group(w / "cube.zarr")
    return w.train(w / "cube.zarr")


@zarr_case("metadata cut short", "cube.zarr cannot be read as a Zarr store")
def _(w: World):
    path = store(w)
    w.cut(path / "reflectance" / "zarr.json")
    return w.train(path)


@zarr_case("damaged values", "cube.zarr: rows", "cannot be read")
def _(w: World):
    path = store(w)
    for chunk in (path / "reflectance" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"\x01\x02\x03")
    return w.train(path)


@zarr_case("two cubes", "cube.zarr:a", "cube.zarr:b")
def _(w: World):
    one = labelled_dataset(cube(), NM)["reflectance"]
    return w.train(store(w, xr.Dataset({"a": one, "b": one + 1})))


@zarr_case("no cube, only maps", "cube.zarr", "3-D")
def _(w: World):
    return w.train(store(w, xr.Dataset({"map": (("y", "x"), np.ones((4, 4)))})))


@zarr_case("dimensions of unknown names", "has dimensions p, q, r")
def _(w: World):
    return w.train(store(w, xr.Dataset({"data": (("p", "q", "r"), np.ones((6, 7, 5)))})))


@zarr_case("an array that claims a petabyte", "memory", "cube.zarr")
def _(w: World):
    zarr.create_array(
        w / "cube.zarr", shape=(200, 2_000_000, 2_000_000), chunks=(1, 1000, 1000),
        dtype="float32", dimension_names=("band", "y", "x"),
    )  # fmt: skip
    return w.train(w / "cube.zarr", layout="b h w")


@zarr_case("a coordinate of pickled objects", "cube.zarr", "pickle", "can run code")
def _(w: World):
    path = store(w, version=2)
    for name in ("band", "x"):
        folder = path / name
        folder.mkdir(exist_ok=True)
        size = {"band": 6, "x": 5}[name]
        values = {
            "zarr_format": 2, "shape": [size], "chunks": [size], "dtype": "|O", "order": "C",
            "fill_value": None, "compressor": None, "filters": [{"id": "pickle", "protocol": 5}],
        }  # fmt: skip
        (folder / ".zarray").write_text(json.dumps(values))
        (folder / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": [name]}))
        evil = b"cbuiltins\nopen\n(V%s\nVw\ntR." % str(w / "run-by-pickle").encode()
        (folder / "0").write_bytes(evil)
    return w.train(path)


def netcdf(w: World, change=None, **how):
    path = w / "cube.nc"
    labelled_dataset(cube(), NM, **how).to_netcdf(path, engine="h5netcdf")
    if change is not None:
        with h5py.File(path, "r+") as file:
            change(file)
    return path


@netcdf_case("an empty file", "cube.nc is empty (0 bytes)")
def _(w: World):
    return w.train(w.file("cube.nc", ""))


@netcdf_case("cut short", "cube.nc")
def _(w: World):
    return w.train(w.cut(netcdf(w)))


@netcdf_case("no cube", "cube.nc", "3-D")
def _(w: World):
    def change(file):
        del file["reflectance"]

    return w.train(netcdf(w, change))


@netcdf_case("a layout, though it names its dimensions", "names its own dimensions")
def _(w: World):
    return w.train(netcdf(w), layout="b h w")


@netcdf_case("a variable that is not there", "cube.nc", "radiance")
def _(w: World):
    return w.train(f"{netcdf(w)}:radiance")


@netcdf_case("a valid range that begins at its end", "valid_range: expected numbers, the lower")
def _(w: World):
    return w.train(
        netcdf(w, lambda file: file["reflectance"].attrs.__setitem__("valid_range", [9, 2]))
    )


@netcdf_case("text for the scale factor", "cube.nc", "scale_factor")
def _(w: World):
    return w.train(
        netcdf(w, lambda file: file["reflectance"].attrs.__setitem__("scale_factor", "tenth"))
    )
