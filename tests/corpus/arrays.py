"""MATLAB and NumPy files that are no scene."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import h5py
import numpy as np

from tests.corpus.table import heading
from tests.corpus.world import World, cube
from tests.helpers.scene_files import mat5, mat73

case = heading("MATLAB")
numpy_case = heading("NumPy")


@case("there is no such file", "there is no scene", "cube.mat", "give a path, or one of")
def _(w: World):
    return w.train(w / "cube.mat")


@case("an empty file", "cube.mat is empty (0 bytes)", "get it again")
def _(w: World):
    return w.train(w.file("cube.mat", ""))


@case("a web page under the name of a download", "is a web page, not data", "get it again")
def _(w: World):
    return w.train(w.file("Salinas.mat", "\n<!DOCTYPE html><html><body>404</body></html>"))


@case("random bytes", "cannot be read as a MATLAB or HDF5 file", "damaged")
def _(w: World):
    return w.train(w.file("cube.mat", np.random.default_rng(0).bytes(4000)))


@case("a text file", "cannot be read as a MATLAB or HDF5 file")
def _(w: World):
    return w.train(w.file("cube.mat", "band,row,column\n1,2,3\n" * 40))


@case("v5 cut short", "cube.mat cannot be read as a MATLAB or HDF5 file", "cut short")
def _(w: World):
    return w.train(w.cut(mat5(w / "cube.mat", cube=cube())))


@case("v5 with bytes changed in the middle", "cannot be read as a MATLAB or HDF5 file")
def _(w: World):
    path = mat5(w / "cube.mat", cube=cube())
    content = bytearray(path.read_bytes())
    content[5000:5200] = b"\xa5" * 200
    path.write_bytes(content)
    return w.train(path)


@case("v7.3 cut short", "cube.mat cannot be read as an HDF5 file", "cut short")
def _(w: World):
    return w.train(w.cut(mat73(w / "cube.mat", cube=cube())))


@case("v7.3 without a cube", "one 3-D numeric variable", "cube.mat:labels (24, 24)")
def _(w: World):
    return w.train(mat73(w / "cube.mat", labels=np.ones((24, 24))))


@case("a matrix only", "one 3-D numeric variable", "data (24, 20)")
def _(w: World):
    return w.train(mat5(w / "cube.mat", data=np.ones((24, 20))))


@case("four dimensions", "one 3-D numeric variable", "cube (2, 24, 24, 20)")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=np.ones((2, 24, 24, 20))))


@case("complex numbers", "expected real numbers", "complex64")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=cube() + 1j))


@case("a cell array", "one 3-D numeric variable")
def _(w: World):
    cells = np.empty((2, 2, 2), object)
    cells[:] = "soil"
    return w.train(mat5(w / "cube.mat", cube=cells))


@case("text", "one 3-D numeric variable")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube="an image"))


@case("a structure around the cube", "one 3-D numeric variable")
def _(w: World):
    return w.train(mat5(w / "cube.mat", scene={"cube": cube(), "wavelength": np.arange(20)}))


@case("NaN everywhere", "no pixel is valid in all 20 bands", "NaN 576")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=np.full((24, 24, 20), np.nan)))


@case("infinite everywhere", "no pixel is valid in all 20 bands", "infinite 576")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=np.full((24, 24, 20), np.inf)))


@case("one value everywhere", "cube: all 576 fitted pixels are equal")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=np.full((24, 24, 20), 7.0)))


@case("a single pixel", "expected (1, 1)", "(24, 24)")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=np.ones((1, 1, 20))))


@case("no rows", "one 3-D numeric variable", "(0, 24, 20)")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=np.empty((0, 24, 20))))


@case("two cubes", "cube.mat:a", "cube.mat:b", "one 3-D numeric variable")
def _(w: World):
    return w.train(mat5(w / "cube.mat", a=cube(), b=cube()))


@case("a variable that is not there", "cube.mat", "paviaU", "cube.mat:pavia")
def _(w: World):
    return w.train(f"{mat5(w / 'cube.mat', pavia=cube())}:paviaU")


@case("the labels given as the cube", "scene_gt.mat", "3 dimensions")
def _(w: World):
    return w.train(f"{mat5(w / 'scene_gt.mat', gt=np.ones((24, 24)))}:gt")


@case("v7.3 with a cell array as the cube", "one 3-D numeric variable")
def _(w: World):
    path = w / "cube.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        item = file.create_dataset("cube", (2, 2, 2), dtype=h5py.ref_dtype)
        item.attrs["MATLAB_class"] = np.bytes_("cell")
    return w.train(path)


@case("v7.3 with values in other files", "cube.mat:cube keeps its values in another file")
def _(w: World):
    layout = h5py.VirtualLayout((20, 24, 24), "float32")
    layout[:] = h5py.VirtualSource("/home/other.h5", "x", (20, 24, 24))
    with h5py.File(w / "cube.mat", "w") as file:
        file.create_virtual_dataset("cube", layout)
    return w.train(w / "cube.mat")


@case("v7.3 that claims a terapixel in a few kilobytes", "memory", "cube.mat")
def _(w: World):
    path = w / "cube.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        shape = (200, 2_000_000, 2_000_000)
        file.create_dataset("cube", shape, "float32", chunks=(1, 1000, 1000))
    return w.train(path)


@case("v5 that claims more values than its bytes hold", "cube.mat", "TiB of memory")
def _(w: World):
    from scipy.io import savemat

    path = w / "cube.mat"
    savemat(path, {"cube": cube(6, 5, 4, "float64")}, do_compression=False)
    content = path.read_bytes()
    real, huge = struct.pack("<iii", 6, 5, 4), struct.pack("<iii", 60000, 50000, 400)
    assert content.count(real) == 1
    path.write_bytes(content.replace(real, huge))
    return w.train(path)


@case("a layout of unknown axes", "layout 'x y z'")
def _(w: World):
    return w.train(mat5(w / "cube.mat", cube=cube()), layout="x y z")


@case("a layout whose sizes do not fit", "layout")
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
