"""Zarr stores and NetCDF files that are no scene."""

from __future__ import annotations

import json

import h5py
import numpy as np
import xarray as xr
import zarr

from tests.corpus.table import heading
from tests.corpus.world import World
from tests.helpers.scene_files import cube, labelled_dataset

case, netcdf_case = heading("Zarr"), heading("NetCDF")
NM = np.array([450.0, 550.0, 650.0, 940.0, 1380.0, 2200.0])


def store(w: World, dataset: xr.Dataset | None = None, version: int = 3):
    path = w / "cube.zarr"
    dataset = labelled_dataset(cube(), NM) if dataset is None else dataset
    dataset.to_zarr(path, zarr_format=version, consolidated=False)
    return path


@case("an empty store", "cube.zarr")
def _(w: World):
    zarr.create_group(w / "cube.zarr")
    return w.train(w / "cube.zarr")


@case("metadata cut short", "cube.zarr cannot be read as a Zarr store")
def _(w: World):
    path = store(w)
    w.cut(path / "reflectance" / "zarr.json")
    return w.train(path)


@case("damaged values", "cube.zarr: rows", "cannot be read")
def _(w: World):
    path = store(w)
    for chunk in (path / "reflectance" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"\x01\x02\x03")
    return w.train(path)


@case("two cubes", "cube.zarr:a", "cube.zarr:b")
def _(w: World):
    one = labelled_dataset(cube(), NM)["reflectance"]
    return w.train(store(w, xr.Dataset({"a": one, "b": one + 1})))


@case("no cube, only maps", "cube.zarr", "3-D")
def _(w: World):
    return w.train(store(w, xr.Dataset({"map": (("y", "x"), np.ones((4, 4)))})))


@case("dimensions of unknown names", "has dimensions p, q, r")
def _(w: World):
    return w.train(store(w, xr.Dataset({"data": (("p", "q", "r"), np.ones((6, 7, 5)))})))


@case("an array that claims a petabyte", "memory", "cube.zarr")
def _(w: World):
    zarr.create_array(
        w / "cube.zarr", shape=(200, 2_000_000, 2_000_000), chunks=(1, 1000, 1000),
        dtype="float32", dimension_names=("band", "y", "x"),
    )  # fmt: skip
    return w.train(w / "cube.zarr", layout="b h w")


@case("a coordinate of pickled objects", "cube.zarr", "pickle", "can run code")
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
