"""Scenes that are none in MATLAB, NumPy, Zarr and NetCDF files, and in products of missions."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
import zarr

from tests.corpus.cases import World, cube, heading
from tests.helpers.scene_files import (
    cube as counted_cube,
)
from tests.helpers.scene_files import (
    emit,
    enmap,
    envi,
    labelled_dataset,
    mat5,
    mat73,
    prisma,
    tanager,
)

matlab_case = heading("MATLAB")
numpy_case = heading("NumPy")


@matlab_case("there is no such file", "there is no scene", "cube.mat", "give a path, or one of")
def _(w: World):
    return w.train(w / "cube.mat")


@matlab_case("an empty file", "cube.mat is empty (0 bytes)", "get it again")
def _(w: World):
    return w.train(w.file("cube.mat", ""))


@matlab_case("a web page under the name of a download", "is a web page, not data", "get it again")
def _(w: World):
    return w.train(w.file("Salinas.mat", "\n<!DOCTYPE html><html><body>404</body></html>"))


@matlab_case("random bytes", "cannot be read as a MATLAB or HDF5 file", "damaged")
def _(w: World):
    return w.train(w.file("cube.mat", np.random.default_rng(0).bytes(4000)))


@matlab_case("a text file", "cannot be read as a MATLAB or HDF5 file")
def _(w: World):
    return w.train(w.file("cube.mat", "band,row,column\n1,2,3\n" * 40))


@matlab_case("v5 cut short", "cube.mat cannot be read as a MATLAB or HDF5 file", "cut short")
def _(w: World):
    return w.train(w.cut(mat5(w / "cube.mat", cube=cube())))


@matlab_case("v5 with bytes changed in the middle", "cannot be read as a MATLAB or HDF5 file")
def _(w: World):
    path = mat5(w / "cube.mat", cube=cube())
    content = bytearray(path.read_bytes())
    content[5000:5200] = b"\xa5" * 200
    path.write_bytes(content)
    return w.train(path)


@matlab_case("v7.3 cut short", "cube.mat cannot be read as an HDF5 file", "cut short")
def _(w: World):
    return w.train(w.cut(mat73(w / "cube.mat", cube=cube())))


@matlab_case("v7.3 without a cube", "one 3-D numeric variable", "cube.mat:labels (24, 24)")
def _(w: World):
    return w.train(mat73(w / "cube.mat", labels=np.ones((24, 24))))


@matlab_case("a matrix only", "one 3-D numeric variable", "data (24, 20)")
def _(w: World):
    return w.train(mat5(w / "cube.mat", data=np.ones((24, 20))))


@matlab_case("four dimensions", "one 3-D numeric variable", "cube (2, 24, 24, 20)")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=np.ones((2, 24, 24, 20))))


@matlab_case("complex numbers", "expected real numbers", "complex64")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=cube() + 1j))


@matlab_case("a cell array", "one 3-D numeric variable")
def _(w: World):
    cells = np.empty((2, 2, 2), object)
    cells[:] = "soil"
    return w.train(mat5(w / "cube.mat", cube=cells))


@matlab_case("text", "one 3-D numeric variable")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube="an image"))


@matlab_case("a structure around the cube", "one 3-D numeric variable")
def _(w: World):
    return w.train(mat5(w / "cube.mat", scene={"cube": cube(), "wavelength": np.arange(20)}))


@matlab_case("NaN everywhere", "no pixel is valid in all 20 bands", "NaN 576")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=np.full((24, 24, 20), np.nan)))


@matlab_case("infinite everywhere", "no pixel is valid in all 20 bands", "infinite 576")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=np.full((24, 24, 20), np.inf)))


@matlab_case("one value everywhere", "cube: all 576 fitted pixels are equal")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=np.full((24, 24, 20), 7.0)))


@matlab_case("a single pixel", "expected (1, 1)", "(24, 24)")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=np.ones((1, 1, 20))))


@matlab_case("no rows", "one 3-D numeric variable", "(0, 24, 20)")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=np.empty((0, 24, 20))))


@matlab_case("two cubes", "cube.mat:a", "cube.mat:b", "one 3-D numeric variable")
def _(w: World):
    return w.train(mat5(w / "cube.mat", a=cube(), b=cube()))


@matlab_case("a variable that is not there", "cube.mat", "paviaU", "cube.mat:pavia")
def _(w: World):
    return w.train(f"{mat5(w / 'cube.mat', pavia=cube())}:paviaU")


@matlab_case("the labels given as the cube", "scene_gt.mat", "3 dimensions")
def _(w: World):
    return w.train(f"{mat5(w / 'scene_gt.mat', gt=np.ones((24, 24)))}:gt")


@matlab_case("v7.3 with a cell array as the cube", "one 3-D numeric variable")
def _(w: World):
    path = w / "cube.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        item = file.create_dataset("cube", (2, 2, 2), dtype=h5py.ref_dtype)
        item.attrs["MATLAB_class"] = np.bytes_("cell")
    return w.train(path)


@matlab_case("v7.3 with values in other files", "cube.mat:cube keeps its values in another file")
def _(w: World):
    layout = h5py.VirtualLayout((20, 24, 24), "float32")
    layout[:] = h5py.VirtualSource("/home/other.h5", "x", (20, 24, 24))
    with h5py.File(w / "cube.mat", "w") as file:
        file.create_virtual_dataset("cube", layout)
    return w.train(w / "cube.mat")


@matlab_case("v7.3 that claims a terapixel in a few kilobytes", "memory", "cube.mat")
def _(w: World):
    path = w / "cube.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        shape = (200, 2_000_000, 2_000_000)
        file.create_dataset("cube", shape, "float32", chunks=(1, 1000, 1000))
    return w.train(path)


@matlab_case("v5 that claims more values than its bytes hold", "cube.mat", "TiB of memory")
def _(w: World):
    from scipy.io import savemat

    path = w / "cube.mat"
    savemat(path, {"cube": cube(6, 5, 4, "float64")}, do_compression=False)
    content = path.read_bytes()
    real, huge = struct.pack("<iii", 6, 5, 4), struct.pack("<iii", 60000, 50000, 400)
    assert content.count(real) == 1
    path.write_bytes(content.replace(real, huge))
    return w.train(path)


@matlab_case("a layout of unknown axes", "layout 'x y z'")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=cube()), layout="x y z")


@matlab_case("a layout whose sizes do not fit", "layout")
def _(w: World):
    path = mat5(w / "cube.mat", cube=np.ones((20, 570)))
    return w.train(path, layout="b (h=24 w=24)")


@numpy_case("an empty file", "cube.npy is empty (0 bytes)")
def _(w: World):
    return w.train(w.file("cube.npy", ""))


def npy(w: World, array: np.ndarray, name: str = "cube.npy", pickle: bool = False):
    np.save(w / name, array, allow_pickle=pickle)
    return w / name


@numpy_case("cut short", "cube.npy", "cut short")
def _(w: World):
    return w.train(w.cut(npy(w, cube())))


@numpy_case("Python objects, which are pickled", "holds Python objects", "can run code")
def _(w: World):
    return w.train(npy(w, np.array([[[{}]]], object), pickle=True))


@numpy_case("structured records", "cube.npy", "numeric")
def _(w: World):
    return w.train(npy(w, np.zeros((4, 4, 4), [("a", "f4"), ("b", "f4")])))


@numpy_case("text", "cube.npy", "numeric")
def _(w: World):
    return w.train(npy(w, np.full((4, 4, 4), "a")))


@numpy_case("complex numbers", "cube.npy", "numeric")
def _(w: World):
    return w.train(npy(w, cube() + 1j))


@numpy_case("a single number", "cube.npy", "3-D")
def _(w: World):
    return w.train(npy(w, np.array(3.0)))


@numpy_case("a header that claims 1.8 TB", "cube.npy", "cut short")
def _(w: World):
    path, buffer = w / "cube.npy", io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": (30000, 30000, 500)}
    np.lib.format.write_array_header_1_0(buffer, header)
    path.write_bytes(buffer.getvalue() + b"\0" * 1000)
    return w.train(path)


@numpy_case("a header that is no dictionary", "cube.npy cannot be read as a NumPy file")
def _(w: World):
    return w.train(w.file("cube.npy", b"\x93NUMPY\x01\x00\x10\x00" + b"__import__('os')"))


@numpy_case("an archive without a cube", "one 3-D numeric variable", "cube.npz:x (3,)")
def _(w: World):
    np.savez(w / "cube.npz", x=np.ones(3))
    return w.train(w / "cube.npz")


@numpy_case("an archive of two cubes", "cube.npz:a", "cube.npz:b")
def _(w: World):
    np.savez(w / "cube.npz", a=cube(), b=cube())
    return w.train(w / "cube.npz")


@numpy_case("an archive cut short", "cube.npz cannot be read as a NumPy file")
def _(w: World):
    np.savez(w / "cube.npz", a=cube())
    return w.train(w.cut(w / "cube.npz"))


@numpy_case("an archive of pickled objects", "holds Python objects", "can run code")
def _(w: World):
    np.savez(w / "cube.npz", a=np.array([{}], object), allow_pickle=True)
    return w.train(w / "cube.npz")


@numpy_case("an archive that is a bomb", "cube.npz", "unpacks to")
def _(w: World):
    return w.train(bomb(w / "cube.npz", "cube{}.npy"))


def bomb(path: Path, names: str) -> Path:
    """An archive of a megabyte that unpacks to 8 TB, by what its directory says."""
    size, member = 12_345_678, b"\0" * 12_345_678
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(names.format(""), member)
        for number in range(2000):
            archive.writestr(names.format(number), b"")
    content = path.read_bytes()
    assert content.count(struct.pack("<I", size)) == 2
    content = content.replace(struct.pack("<I", size), struct.pack("<I", 2**32 - 2))
    start = content.index(b"PK\x01\x02")
    head, entries = content[:start], content[start:].split(b"PK\x01\x02")
    # Of an entry of the directory, bytes 20 to 24 are the size of what it unpacks to.
    large = [entry[:20] + struct.pack("<I", 2**32 - 2) + entry[24:] for entry in entries[1:]]
    path.write_bytes(head + b"".join(b"PK\x01\x02" + entry for entry in large))
    return path


enmap_case, prisma_case = heading("EnMAP"), heading("PRISMA")
emit_case, aviris_case = heading("EMIT"), heading("AVIRIS")
NM = np.array([450.0, 550.0, 650.0, 940.0, 1380.0, 2200.0])


def product(w: World, change=lambda text: text, **how):
    """An EnMAP folder whose metadata is changed."""
    metadata = enmap(w / "enmap", counted_cube(), centres=NM, **how)
    metadata.write_text(change(metadata.read_text()))
    return metadata


@enmap_case("no spectral image", "has no spectral image beside it")
def _(w: World):
    metadata = product(w)
    next(metadata.parent.glob("*SPECTRAL_IMAGE.TIF")).unlink()
    return w.train(metadata)


def swath(w: World, change=None, level: str = "L2D"):
    """A PRISMA file that is changed through h5py."""
    vnir, swir = counted_cube(bands=3, dtype="uint16"), counted_cube(bands=3, dtype="uint16")
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
    path = emit(w / "emit.nc", counted_cube(dtype="float32"), x, y, centres=NM)
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
    path = envi(w / "ang20260101t000000_rfl_v2.img", counted_cube())
    path.with_suffix(".hdr").unlink()
    return w.train(path)


@aviris_case("the image is half downloaded", "shorter than its header says")
def _(w: World):
    return w.train(
        w.cut(envi(w / "ang20260101t000000_rfl_v2.img", counted_cube(), interleave="bil"))
    )


@aviris_case("AVIRIS-3 without reflectance", "AV3.nc")
def _(w: World):
    with h5py.File(w / "AV3.nc", "w") as file:
        file["reflectance/wavelength"] = NM
        file["reflectance/uncertainty"] = np.ones(6)
    return w.train(w / "AV3.nc")


@heading("Tanager")("a flat table instead of a cube", "surface_reflectance", "3 dimensions")
def _(w: World):
    path = tanager(w / "tanager.h5", counted_cube(dtype="float32"), centres=NM)
    with h5py.File(path, "r+") as file:
        fields = file["HDFEOS/GRIDS/HYP/Data Fields"]
        del fields["surface_reflectance"]
        fields["surface_reflectance"] = np.ones((7, 6), np.float32)
    return w.train(path)


@heading("NEON")("whole numbers of radiance alone", "without their decimals")
def _(w: World):
    with h5py.File(w / "neon.h5", "w") as file:
        file["SITE/Radiance/RadianceIntegerPart"] = counted_cube()
    return w.train(w / "neon.h5")


zarr_case, netcdf_case = heading("Zarr"), heading("NetCDF")


def store(w: World, dataset: xr.Dataset | None = None, version: int = 3):
    path = w / "cube.zarr"
    dataset = labelled_dataset(counted_cube(), NM) if dataset is None else dataset
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
    one = labelled_dataset(counted_cube(), NM)["reflectance"]
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
    labelled_dataset(counted_cube(), NM, **how).to_netcdf(path, engine="h5netcdf")
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
