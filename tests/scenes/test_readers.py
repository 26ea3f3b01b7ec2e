"""Every format, written by another library, read by ours; the table of readers and its page.

`python -m tests.scenes.test_readers` makes docs/reference/formats.md from the tables.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import xarray as xr

from hyperpeft.errors import ConfigError, LabelsError, SceneError
from hyperpeft.scenes import Reader, open_scene, read_cube, register_reader
from hyperpeft.scenes.cubes.cube import Cube, from_array
from hyperpeft.scenes.cubes.layouts import CUBES
from hyperpeft.scenes.labels.read import LABEL_READERS
from hyperpeft.scenes.readers import table
from hyperpeft.scenes.readers.detect import HEAD, Probe, is_html
from hyperpeft.scenes.readers.stores import split_spec
from tests.helpers import scene_files as files
from tests.helpers.scene_files import cube, envi, geotiff, labelled_dataset, mat5, mat73, scaled

BHW = cube().transpose(2, 0, 1)


def same(scene, expected=BHW):
    np.testing.assert_array_equal(scene.cube.values, expected)
    assert scene.rows(2, 4).dtype == np.float32
    np.testing.assert_array_equal(scene.rows(2, 4), expected[:, 2:4].astype(np.float32))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_mat_v5(tmp_path, dtype):
    array = (cube(dtype="int32") % 251).astype(dtype)
    scene = open_scene(mat5(tmp_path / "a.mat", data=array, map=np.ones((7, 5))))
    same(scene, array.transpose(2, 0, 1))
    assert scene.name == "a"
    assert scene.shape == (7, 5, 6)
    assert scene.crs is None
    assert scene.transform is None
    assert scene.notes == ("layers of the file that the cube does not use: map",)


@pytest.mark.parametrize("header", [True, False])
def test_mat_v73_axes_are_turned_back(tmp_path, header):
    path = mat73(tmp_path / "a.mat", header, data=cube(), map=np.ones((7, 5)))
    same(open_scene(path))


def test_plain_hdf5_is_read_as_it_is(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["deep/cube"] = cube()
    same(open_scene(tmp_path / "a.h5"))
    same(open_scene(f"{tmp_path / 'a.h5'}:deep/cube"))


def test_npy_and_npz(tmp_path):
    np.save(tmp_path / "a.npy", cube())
    same(open_scene(tmp_path / "a.npy"))
    np.savez(tmp_path / "a.npz", one=cube(), two=cube() + 1)
    same(open_scene(f"{tmp_path / 'a.npz'}:two"), BHW + 1)


@pytest.mark.parametrize("axes", CUBES)
def test_cube_layouts(tmp_path, axes):
    order = ["hwb".index(axis) for axis in axes.split()]
    same(read_cube(mat5(tmp_path / "a.mat", x=cube().transpose(order)), layout=axes))


@pytest.mark.parametrize("axes", ["b (h w)", "b (w h)", "(h w) b", "(w h) b", "b ( w  h )"])
@pytest.mark.parametrize("stated", [True, False])
def test_matrix_layouts(tmp_path, axes, stated):
    order = "F" if "w " in axes.replace("h w", "") else "C"
    matrix = (
        cube().reshape(-1, 6, order=order)
        if order == "C"
        else cube().transpose(1, 0, 2).reshape(-1, 6)
    )
    matrix = matrix.T if axes.startswith("b") else matrix
    size = {"lines": 7, "cols": 5} if stated else {}
    path = mat5(tmp_path / "a.mat", Y=matrix, **size)
    same(read_cube(path, layout=axes if stated else f"{axes}:7x5"))
    if not stated:
        with pytest.raises(SceneError, match=r"how many rows and columns.*:100x100"):
            read_cube(path, layout=axes)
        with pytest.raises(SceneError, match=r"expected 6 x 5 = 30 pixels, got 35"):
            read_cube(path, layout=f"{axes}:6x5", key="Y")


@pytest.mark.parametrize("layout", ["h w", "b hw", "bhw", "b (w h):10", "h w b c"])
def test_unknown_layout(tmp_path, layout):
    with pytest.raises(ConfigError, match=r"is unknown: expected one of 'h w b'.*'b \(w h\)'"):
        read_cube(mat5(tmp_path / "a.mat", x=cube()), layout=layout)


def test_several_cubes_are_listed_as_they_are_typed(tmp_path):
    path = mat5(tmp_path / "a.mat", one=cube(), two=cube() + 1, picture=cube(bands=3))
    with pytest.raises(SceneError, match="ambiguous") as caught:
        open_scene(path)
    assert f"{path}:one (7, 5, 6), {path}:two (7, 5, 6)" in str(caught.value)
    assert "picture" not in str(caught.value)
    same(open_scene(f"{path}:two"), BHW + 1)
    with pytest.raises(SceneError, match="no variable 'three'"):
        open_scene(f"{path}:three")


def test_colons_in_names_of_files_and_of_variables(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("https", "C", "odd:folder"):
        Path(folder).mkdir()
    with h5py.File("col.h5", "w") as file:
        file["ns:refl"], file["refl"] = cube(), cube() + 1
    same(open_scene("col.h5:ns:refl"))
    same(open_scene(f"{tmp_path}/col.h5:ns:refl"))
    same(open_scene(shutil.copy("col.h5", "odd:folder/a:b.h5") + ":ns:refl"))
    same(open_scene(geotiff(Path("odd:folder/a:b.tif"), cube())))
    same(open_scene("odd:folder/a:b.tif:1"))
    for text, expected in {
        "no.mat:data": ("no.mat", "data"),
        "no.h5:ns:refl": ("no.h5:ns", "refl"),  # as it always was
        "a.tif,b.tif": ("a.tif,b.tif", None),
        "C:/no.mat": ("C:/no.mat", None),
        "C:\\no.mat:data": ("C:\\no.mat", "data"),
        "https://host/a.zarr": ("https", "//host/a.zarr"),
        "https://host:80/a.zarr:refl": ("https://host:80/a.zarr", "refl"),
        "col.h5:": ("col.h5:", None),
        ":data": (":data", None),
    }.items():
        assert split_spec(text) == (Path(expected[0]), expected[1]), text


def test_a_picture_beside_the_cube_is_no_second_cube(tmp_path):
    rgb = np.zeros((7, 5, 3), np.uint8)
    same(open_scene(mat5(tmp_path / "a.mat", img=cube(), rgb=rgb)))
    assert open_scene(mat5(tmp_path / "b.mat", rgb=rgb)).shape == (7, 5, 3)


def test_wavelengths_and_bad_bands_beside_the_cube(tmp_path):
    um = np.array([0.4, 0.5, 0.6, 0.7, 0.8, 2.4])
    path = mat5(tmp_path / "a.mat", img=cube(), wl=um, bbl=[1, 1, 0, 1, 1, 0])
    scene = open_scene(path)
    same(scene, BHW[[0, 1, 3, 4]])
    np.testing.assert_allclose(scene.wavelengths, [400, 500, 700, 800])
    assert scene.notes == ("2 of 6 bands are flagged as bad in the file and dropped",)


@pytest.mark.parametrize(
    ("units", "scale"), [("Nanometers", 1), ("Micrometers", 1e-3), (None, 1e-3)]
)
def test_geotiff(tmp_path, units, scale):
    nm = np.linspace(400, 900, 6)
    tags = [{"wavelength": str(w * scale), "bbl": "1"} for w in nm]
    for band in tags if units else []:
        band["wavelength_units"] = units
    tags[4]["bbl"] = "0"
    array = cube()
    array[3, 2, 1] = array[4, 2, 4] = -999  # band 4 is flagged bad: its nodata does not count
    scene = open_scene(geotiff(tmp_path / "a.tif", array, nodata=-999, band_tags=tags))
    same(scene, array.transpose(2, 0, 1)[[0, 1, 2, 3, 5]])
    np.testing.assert_allclose(scene.wavelengths, nm[[0, 1, 2, 3, 5]])
    assert scene.transform == (30.0, 0.0, 364_000.0, 0.0, -30.0, 5_810_000.0)
    assert "UTM zone 33N" in scene.crs
    assert scene.notes == (
        "1 of 6 bands are flagged as bad in the file and dropped",
        "1 of 35 pixels are masked (NaN 0, infinite 0, nodata 1)",
    )
    assert np.argwhere(~scene.valid).tolist() == [[3, 2]]


def test_geotiff_without_georeference_is_quiet(tmp_path, recwarn, capfd):
    scene = open_scene(geotiff(tmp_path / "a.tif", cube(), crs=None))
    same(scene)
    assert (scene.crs, scene.transform, scene.wavelengths) == (None, None, None)
    assert [w for w in recwarn if "georef" in str(w.message).lower()] == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_envi(tmp_path, interleave, big_endian, dtype):
    array = cube(dtype=dtype)
    array[0, 0] = -99
    fields = {
        "wavelength_units": "Micrometers",
        "wavelength": "{0.4, 0.5, 0.6, 0.7, 0.8, 0.9}",
        "bbl": "{1, 1, 1, 1, 1, 0}",
        "data_ignore_value": "-99",
        "map_info": "{UTM, 1, 1, 364000, 5810000, 30, 30, 33, North, WGS-84, units=Meters}",
    }
    envi(tmp_path / "a.img", array, interleave=interleave, big_endian=big_endian, **fields)
    for name in ("a.img", "a.hdr"):
        scene = open_scene(tmp_path / name)
        same(scene, array.transpose(2, 0, 1)[:5])
        np.testing.assert_allclose(scene.wavelengths, [400, 500, 600, 700, 800])
        assert scene.transform == (30.0, 0.0, 364_000.0, 0.0, -30.0, 5_810_000.0)
        assert np.argwhere(~scene.valid).tolist() == [[0, 0]]
        assert scene.notes[0].startswith("1 of 6 bands are flagged as bad")
    import hashlib

    parts = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
             for name in ("a.img", "a.hdr")]  # fmt: skip
    assert scene.sha256 == hashlib.sha256("".join(parts).encode()).hexdigest()


@pytest.mark.parametrize(
    ("data", "header"), [("a", "a.hdr"), ("a.bsq", "a.bsq.hdr"), ("A.DAT", "A.hdr")]
)
def test_envi_names(tmp_path, data, header):
    envi(tmp_path / data, cube(), header=tmp_path / header)
    same(open_scene(tmp_path / header))
    same(open_scene(tmp_path / data))


def test_envi_halves(tmp_path):
    envi(tmp_path / "a.bsq", cube())
    (tmp_path / "a.hdr").rename(tmp_path / "b.hdr")
    with pytest.raises(SceneError, match=r"b.hdr has no data file beside it: expected b with"):
        open_scene(tmp_path / "b.hdr")
    with pytest.raises(SceneError, match=r"needs its header a.hdr beside it"):
        open_scene(tmp_path / "a.bsq")


def test_validity_is_counted_by_reason(tmp_path):
    array = cube(dtype="float64")
    array[0, 0, 1] = np.nan
    array[1, 1, 2] = np.inf
    array[1, 2, 2] = 1e300
    array[2, 2] = -9999
    array[3, 3] = -32768
    array[4, 4] = 0
    scene = open_scene(mat5(tmp_path / "a.mat", x=array))
    assert np.argwhere(~scene.valid).tolist() == [[0, 0], [1, 1], [1, 2], [2, 2], [3, 3]]
    assert scene.notes[0] == (
        "5 of 35 pixels are masked (NaN 1, infinite 2, nodata 0, undeclared nodata 2)"
    )
    assert "declares no such nodata" in scene.notes[1]


def test_nothing_valid(tmp_path):
    with pytest.raises(SceneError, match=r"no pixel is valid in all 6 bands \(NaN 35"):
        open_scene(mat5(tmp_path / "a.mat", x=np.full((7, 5, 6), np.nan)))


def test_rows_read_windows_only(tmp_path, monkeypatch):
    """Nothing larger than a window is ever read, neither on opening nor by `rows`."""
    from hyperpeft.scenes.cubes import valid_pixels

    path = geotiff(tmp_path / "a.tif", np.ones((64, 32, 8), np.int16), blockysize=8)
    monkeypatch.setattr(valid_pixels, "_MAX_VALUES", 16 * 32 * 8)
    sizes = []
    read = rasterio.DatasetReader.read

    class Spy(rasterio.DatasetReader):
        def read(self, *args, **kwargs):
            array = read(self, *args, **kwargs)
            sizes.append(array.size)
            return array

    monkeypatch.setattr(rasterio, "DatasetReader", Spy)
    scene = open_scene(path)
    assert sum(sizes) == 64 * 32 * 8  # each pixel once
    assert max(sizes) == 16 * 32 * 8
    sizes.clear()
    scene.rows(3, 5)
    assert sizes == [2 * 32 * 8]


BAD_FILES = {
    "empty.mat": (b"", "is empty"),
    "empty.tif": (b"", "is empty"),
    "page.mat": (b"\n<!DOCTYPE html><html></html>", "is a web page"),
    "page.tif": (b"<html>", "is a web page"),
    "noise.mat": (b"MATLAB 5.0 MAT-file" + bytes(range(256)) * 4, "cannot be read as a MATLAB"),
    "hdf.mat": (b"\x89HDF\r\n\x1a\n" + b"\x00" * 99, "cannot be read as an HDF5 file"),
    "noise.tif": (b"II*\x00" + b"\xff" * 64, "cannot be opened as a raster"),
    "noise.npy": (b"\x93NUMPY\x01\x00", "cannot be read as a NumPy"),
    "noise.npz": (b"PK\x03\x04" + b"\x00" * 64, "cannot be read as a NumPy"),
    "text.txt": (b"hello", "cannot be opened as a raster"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_one_clear_error(tmp_path, name, capfd):
    content, message = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SceneError, match=message):
        open_scene(tmp_path / name)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["v5", "v73", "tif", "plain tif", "npy", "npz", "envi"])
def test_truncated_files(tmp_path, kind, capfd):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 9999, (40, 40, 20)).astype(np.int16)
    path = tmp_path / {"v5": "a.mat", "v73": "a.mat", "envi": "a.img", "plain tif": "a.tif"}.get(
        kind, f"a.{kind}"
    )
    writers = {
        "v5": lambda: mat5(path, x=array),
        "v73": lambda: mat73(path, x=array),
        "tif": lambda: geotiff(path, array, compress="deflate"),
        "plain tif": lambda: geotiff(path, array, interleave="pixel"),
        "npy": lambda: np.save(path, array),
        "npz": lambda: np.savez(path, x=array),
        "envi": lambda: envi(path, array),
    }
    writers[kind]()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(SceneError, match=r"again|that is complete"):
        open_scene(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((4, 4)), "expected one 3-D numeric variable"),
        (np.ones((4, 4, 4, 5)), "expected one 3-D numeric variable"),
        (np.ones((4, 4, 5), complex), "expected real numbers, got type complex128"),
        (np.full((4, 4, 5), {"a": 1}, dtype=object), "expected one 3-D numeric variable"),
        (np.zeros((0, 4, 5)), "expected one 3-D numeric variable"),
    ],
)
def test_arrays_that_are_no_cube(tmp_path, array, message):
    with pytest.raises(SceneError, match=message):
        open_scene(mat5(tmp_path / "a.mat", x=array))


def test_npy_of_objects_and_strings(tmp_path):
    np.save(tmp_path / "o.npy", np.array([{1: 2}]), allow_pickle=True)
    with pytest.raises(SceneError, match="Python objects"):
        open_scene(tmp_path / "o.npy")
    np.savez(tmp_path / "o.npz", np.array([{1: 2}]), allow_pickle=True)
    with pytest.raises(SceneError, match="Python objects"):
        open_scene(tmp_path / "o.npz")
    np.save(tmp_path / "s.npy", np.full((2, 2, 6), "a"))
    with pytest.raises(SceneError, match="expected one 3-D numeric"):
        open_scene(tmp_path / "s.npy")


def test_complex_raster(tmp_path):
    with pytest.raises(SceneError, match="expected real numbers, got type complex64"):
        open_scene(geotiff(tmp_path / "a.tif", np.ones((4, 4, 5), np.complex64)))


def test_doubtful_axes_are_noted(tmp_path):
    scene = open_scene(mat5(tmp_path / "a.mat", x=np.ones((10, 40, 330), np.uint8)))
    assert "axes were read as 10 rows, 40 columns, 330 bands" in scene.notes[0]
    with pytest.raises(ConfigError, match="is a raster and knows its own axes"):
        read_cube(geotiff(tmp_path / "a.tif", cube()), layout="h w b")


@pytest.mark.parametrize("axes", ["b h w", "h b w"])
@pytest.mark.parametrize("form", ["hdf5", "npz", "mat"])
def test_wavelengths_say_which_axis_holds_the_bands(tmp_path, form, axes):
    stored = cube().transpose(["hwb".index(axis) for axis in axes.split()])
    waves = np.linspace(420.0, 2400.0, cube().shape[2])
    path = {"hdf5": tmp_path / "a.h5", "npz": tmp_path / "a.npz", "mat": tmp_path / "a.mat"}[form]
    if form == "hdf5":
        with h5py.File(path, "w") as file:
            file["cube"], file["wavelength"] = stored, waves
            file["wavelength"].make_scale("wavelength")
            file["cube"].dims[axes.split().index("b")].attach_scale(file["wavelength"])
    elif form == "npz":
        np.savez(path, cube=stored, wavelength=waves)
    else:
        mat5(path, cube=stored, wavelength=waves)
    scene = open_scene(path)
    assert (scene.cube.values == cube().transpose(2, 0, 1)).all()
    assert np.allclose(scene.wavelengths, waves)
    assert f"(layout '{axes}'), as there are {len(waves)} wavelengths" in scene.notes[0]
    as_given = open_scene(path, layout="h w b")
    assert (as_given.cube.values == stored.transpose(2, 0, 1)).all()


def test_pages_of_a_geotiff_are_chosen_by_number(tmp_path):
    path = geotiff(tmp_path / "c.tif", cube())
    with rasterio.open(path) as dataset:
        profile, values = {**dataset.profile, "APPEND_SUBDATASET": "YES"}, dataset.read()
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values[::-1])
    with pytest.raises(SceneError, match=r"holds several rasters: expected one of .*:1, .*:2"):
        read_cube(path)
    np.testing.assert_array_equal(read_cube(f"{path}:1").cube.values, values)
    scene = open_scene(f"{path}:2")
    np.testing.assert_array_equal(scene.cube.values, values[::-1])
    assert scene.crs is not None
    with pytest.raises(SceneError, match="has no raster '3'"):
        read_cube(f"{path}:3")


@pytest.mark.parametrize("key", ["2", "red", "0", "01"])
def test_a_file_of_one_raster_has_no_parts(tmp_path, key):
    tif = geotiff(tmp_path / "a.tif", cube())
    img = envi(tmp_path / "b.img", cube())
    marked = envi(tmp_path / "c.img", cube())
    header = marked.with_suffix(".hdr")
    header.write_bytes(b"\xef\xbb\xbf" + header.read_bytes())
    ids = geotiff(tmp_path / "l.tif", cube()[..., 0])
    for path in (tif, img, marked):
        with pytest.raises(
            SceneError, match=rf"is one raster and has no part '{key}'; give .*alone"
        ):
            open_scene(f"{path}:{key}")
        same(open_scene(f"{path}:1"))
    with pytest.raises(LabelsError, match=rf"l.tif is one raster and has no part '{key}'"):
        open_scene(tif, labels=f"{ids}:{key}")
    np.testing.assert_array_equal(open_scene(tif, labels=f"{ids}:1").labels.ids, cube()[..., 0])


def test_the_hash_is_of_all_that_decides_the_values(tmp_path):
    path = envi(tmp_path / "c.bsq", cube())
    before = read_cube(path)
    header = path.with_suffix(".hdr")
    header.write_text(header.read_text().replace("byte order = 0", "byte order = 1"))
    assert read_cube(path).sha256 != before.sha256
    after = read_cube(path)
    (tmp_path / "c.bsq.aux.xml").write_text("<PAMDataset/>")  # statistics, as QGIS leaves them
    assert read_cube(path).sha256 == after.sha256

    source = geotiff(tmp_path / "s.tif", cube())
    inner = tmp_path / "inner.vrt"
    rasterio.shutil.copy(source, inner, driver="VRT")
    (tmp_path / "outer.vrt").write_text(inner.read_text().replace("s.tif", "inner.vrt"))
    before = read_cube(tmp_path / "outer.vrt")
    geotiff(source, cube()[::-1].copy())
    after = read_cube(tmp_path / "outer.vrt")
    assert not np.array_equal(before.cube.values, after.cube.values)
    assert before.sha256 != after.sha256


def test_a_scene_says_which_part_of_a_file_it_is(tmp_path):
    path = mat5(tmp_path / "a.mat", one=cube(), two=cube()[::-1])
    one, two = (read_cube(f"{path}:{name}") for name in ("one", "two"))
    assert one.sha256 == two.sha256
    assert one.part != two.part
    assert read_cube(f"{path}:one", layout="w h b").part != one.part
    assert repr(one) == "<Scene a: 7 x 5 pixels, 6 bands, 35 pixels valid, no CRS>"


NM = np.array([450.0, 550.0, 650.0, 940.0, 1380.0, 2200.0])


@pytest.fixture
def looks(monkeypatch):
    """The paths whose head is read, in order."""
    seen = []
    read = Probe.of.__func__
    monkeypatch.setattr(
        Probe, "of", classmethod(lambda cls, path: seen.append(path) or read(cls, path))
    )
    return seen


def make_zarr(path):
    files.labelled_dataset(files.cube(), NM).to_zarr(path, zarr_format=2)
    return path


def make_netcdf(path):
    files.labelled_dataset(files.cube(), NM).to_netcdf(path, engine="h5netcdf")
    return path


def make_prisma(path):
    half = files.cube(bands=3, dtype="uint16")
    return files.prisma(path, half, half, vnir_nm=NM[2::-1], swir_nm=NM[:2:-1])


def make_emit(path):
    x, y = np.meshgrid(np.arange(1, 6), np.arange(1, 8))
    return files.emit(path, files.cube().astype(np.float32), x, y, centres=NM)


def make_npy(path):
    np.save(path, files.cube())
    return path


MAKERS = {
    "s.mat": ("arrays", lambda path: files.mat5(path, data=files.cube())),
    "s73.mat": ("arrays", lambda path: files.mat73(path, data=files.cube())),
    "s.npy": ("arrays", make_npy),
    "s.tif": ("raster", lambda path: files.geotiff(path, files.cube())),
    "s.bsq": ("raster", lambda path: files.envi(path, files.cube())),
    "s.zarr": ("zarr", make_zarr),
    "s.nc": ("netcdf", make_netcdf),
    "s.he5": ("prisma", make_prisma),
    "emit.nc": ("emit", make_emit),
    "product": ("enmap", lambda path: files.enmap(path, files.cube(), centres=NM).parent),
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_head_of_a_file_is_read_once(tmp_path, looks, name):
    kind, make = MAKERS[name]
    path = make(tmp_path / name)
    scene = open_scene(path)
    assert scene.shape[:2] == (7, 5)
    assert table.identify(Probe.of(path)).kind == kind
    again = looks.pop()  # of the line above
    given = [seen for seen in looks if seen == again and seen.is_file()]
    assert len(given) == (1 if path.is_file() else 0)
    assert len(looks) == len(set(looks))  # nor is another file of the product read twice


def test_labels_are_looked_at_once(tmp_path, looks):
    labels = files.geotiff(tmp_path / "l.tif", np.ones((7, 5), np.uint8))
    scene = open_scene(files.geotiff(tmp_path / "s.tif", files.cube()), labels=labels)
    assert scene.labels.counts() == {1: 35}
    assert [path.name for path in looks] == ["s.tif", "l.tif"]


def test_a_probe_says_what_the_head_holds(tmp_path):
    path = files.mat73(tmp_path / "A.MAT", data=files.cube())
    probe = Probe.of(path)
    assert probe.head == path.read_bytes()[:HEAD]
    assert (probe.is_hdf5, probe.is_folder, probe.suffix, probe.kind) == (True, False, ".mat", "")
    assert {"data", "#refs#", "#refs#/a"} == probe.members
    assert probe.has("data")
    assert not probe.has("data", "wavelengths")
    with pytest.raises(AttributeError):
        probe.kind = "arrays"
    (tmp_path / "damaged.h5").write_bytes(path.read_bytes()[512:700])
    assert Probe.of(tmp_path / "damaged.h5").members == frozenset()
    assert Probe.of(tmp_path).is_folder


@pytest.fixture
def readers(monkeypatch):
    """A copy of the table for one test."""
    monkeypatch.setattr(table, "READERS", list(table.READERS))


def read_toy(probe: Probe, key=None, layout=None) -> Cube:
    """A toy format: TOY, rows, columns, bands, then bytes band by band."""
    height, width, bands = probe.head[3:6]
    values = np.frombuffer(probe.path.read_bytes()[6:], np.uint8)
    return from_array(probe.path, values.reshape(bands, height, width), notes=(f"key {key}",))


def toy(**options) -> Reader:
    return Reader(
        "toy",
        "a toy file",
        lambda probe: probe.head.startswith(b"TOY"),
        f"{__name__}:read_toy",
        **options,
    )


def test_a_reader_is_added_from_outside(tmp_path, readers, looks):
    values = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    path = tmp_path / "scene.tif"  # the content decides
    path.write_bytes(b"TOY" + bytes((3, 2, 4)) + values.tobytes())
    with pytest.raises(SceneError, match="cannot be opened as a raster"):
        open_scene(path)
    register_reader(toy(takes_key=True))
    looks.clear()
    scene = open_scene(f"{path}:blue")
    assert (scene.cube.values == values).all()
    assert scene.notes == ("key blue",)
    assert looks == [path]
    with pytest.raises(ConfigError, match="is a toy file and knows its own axes"):
        open_scene(path, layout="b h w")
    register_reader(toy())
    assert [row.kind for row in table.READERS].count("toy") == 1
    path.write_bytes(b"TOY\x03")
    with pytest.raises(SceneError, match="cannot be read as a toy file"):
        open_scene(path)


def test_every_row_has_a_home(tmp_path):
    kinds = [row.kind for row in table.READERS]
    assert len(set(kinds)) == len(kinds)
    assert kinds[-1] == "raster"
    for row in table.READERS:
        module, _, function = row.home.partition(":")
        assert callable(getattr(__import__(module, fromlist=[function]), function))


def test_web_pages_are_told_from_xml():
    assert is_html(b"\n<!DOCTYPE html><html>")
    assert is_html(b"\xef\xbb\xbf<html lang='de'>")
    assert is_html(b'<?xml version="1.0"?>\n<!-- x --><!DOCTYPE html PUBLIC "-//W3C">')
    assert not is_html(b'<?xml version="1.0"?><kml/>')
    assert not is_html(b"<VRTDataset/>")
    assert not is_html(b"<!DOCTYPE qgis>")


def test_the_error_of_a_server_is_no_data(tmp_path):
    path = tmp_path / "s.tif"
    path.write_bytes(b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>')
    with pytest.raises(SceneError, match="error message of a server"):
        open_scene(path)


def test_zarr_under_any_name(tmp_path):
    shutil.move(make_zarr(tmp_path / "s.zarr"), tmp_path / "plain")
    assert open_scene(tmp_path / "plain").shape == (7, 5, 6)
    assert isinstance(xr.open_zarr(tmp_path / "plain"), xr.Dataset)


PAGE = Path(__file__).parents[2] / "docs" / "reference" / "formats.md"
INTRODUCTION = """# What is read from which file

The first row that recognises a file reads it; its first bytes decide, not its name, where contents
differ. This page is made from the tables in `scenes/readers/table.py` and `scenes/labels/read.py`.
"""


def page() -> str:
    """docs/reference/formats.md."""
    scenes, labels = _table(table.READERS), _table(LABEL_READERS)
    return f"{INTRODUCTION}\n## Scenes\n\n{scenes}\n## Labels\n\n{labels}"


def _table(rows: Iterable[Any]) -> str:
    lines = ["| kind | files | what is used |", "|---|---|---|"]
    lines += [f"| {row.kind} | {row.files} | {row.used} |" for row in rows]
    return "\n".join(lines) + "\n"


def test_the_page_is_that_of_the_tables():
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.scenes.test_readers"


def test_every_row_says_what_is_used():
    for row in (*table.READERS, *LABEL_READERS):
        assert row.files, row.kind
        assert row.used, row.kind


@pytest.fixture(params=["nc", "zarr"])
def store(request, tmp_path):
    """Writes an (H, W, B) array with these attributes."""
    numbers = count()

    def write(array, **attributes):
        dataset = labelled_dataset(array, NM)
        for name, value in attributes.items():
            value = value if request.param == "nc" else np.asarray(value).tolist()
            dataset["reflectance"].attrs[name] = value
        path = tmp_path / f"a{next(numbers)}.{request.param}"
        if request.param == "nc":
            dataset.to_netcdf(path, engine="h5netcdf")
        else:
            dataset.to_zarr(path, zarr_format=3)
        return path

    return write


def masked(scene):
    return np.argwhere(~scene.valid).tolist()


@pytest.mark.parametrize("dtype", ["int16", "int64", "float32", "float64"])
def test_both_kinds_of_fill_and_lists_of_them(store, dtype):
    array = cube(dtype=dtype)
    array[0, 0, 3], array[1, 1, 0], array[2, 2, 5] = -1, -2, -3
    typed = array.dtype.type
    scene = open_scene(
        store(array, _FillValue=typed(-1), missing_value=np.array([-2, -3], array.dtype))
    )
    assert masked(scene) == [[0, 0], [1, 1], [2, 2]]
    assert "3 of 35 pixels are masked (NaN 0, infinite 0, nodata 3)" in scene.notes
    scene = open_scene(store(array, missing_value=typed(-3)))
    assert masked(scene) == [[2, 2]]


def test_the_largest_whole_number_marks_nodata(store):
    array = cube(dtype="int64")
    array[3, 3] = 2**63 - 1
    assert masked(open_scene(store(array, missing_value=np.int64(2**63 - 1)))) == [[3, 3]]


def test_a_fill_of_zero_beside_another(store):
    array = cube()
    array[0, 0, 3], array[1, 1], array[2, 2, 0] = 0, 0, -9
    scene = open_scene(store(array, _FillValue=np.int16(0), missing_value=np.int16(-9)))
    assert masked(scene) == [[1, 1], [2, 2]]  # a single 0 is a dark band


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_valid_limits_as_stored(store, dtype):
    array = cube(dtype="int64") % 50 + 10
    array[0, 0, 0], array[1, 1, 1], array[2, 2, 2], array[3, 3, 3] = 9, 10, 60, 61
    array = array.astype(dtype)
    low, high = array.dtype.type(10), array.dtype.type(60)
    for attributes, expected in (
        ({"valid_range": np.array([low, high])}, [[0, 0], [3, 3]]),
        ({"valid_min": low, "valid_max": high}, [[0, 0], [3, 3]]),
        ({"valid_min": low}, [[0, 0]]),
        ({"valid_max": high}, [[3, 3]]),
    ):
        scene = open_scene(store(array, **attributes))
        assert masked(scene) == expected
        reasons = f"nodata 0, outside the file's valid range {len(expected)})"
        assert reasons in scene.notes[-1]


@pytest.mark.parametrize("scale", [0.1, -0.1])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_physical_limits_of_scaled_whole_numbers(store, scale, kind):
    array = cube() % 50 + 10
    array[0, 0, 0], array[1, 1, 1], array[2, 2, 2], array[3, 3, 3] = 9, 10, 60, 61
    limits = np.array(sorted([10 * scale + 3, 60 * scale + 3]), kind)
    scene = open_scene(store(array, scale_factor=scale, add_offset=3.0, valid_range=limits))
    assert masked(scene) == [[0, 0], [3, 3]]
    scene = open_scene(store(array, scale_factor=scale, add_offset=3.0, valid_max=limits[1]))
    assert masked(scene) == ([[3, 3]] if scale > 0 else [[0, 0]])
    stored = np.array([10, 60], np.int16)
    scene = open_scene(store(array, scale_factor=scale, add_offset=3.0, valid_range=stored))
    assert masked(scene) == [[0, 0], [3, 3]]


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_signed_numbers_that_are_meant_unsigned(store, bits):
    meant = cube(dtype="int64") % 100 + 2 ** (bits - 1) - 50
    meant[0, 0, 0], meant[1, 1, 1] = 2**bits - 1, 2**bits - 2
    array = meant.astype(f"u{bits // 8}").view(f"i{bits // 8}")
    fill, highest = array[0, 0, 0], array[1, 1, 1] - array.dtype.type(1)
    scene = open_scene(store(array, _Unsigned="true", _FillValue=fill, valid_max=highest))
    np.testing.assert_array_equal(scene.cube, meant.transpose(2, 0, 1))
    assert masked(scene) == [[0, 0], [1, 1]]
    assert "nodata 1, outside the file's valid range 1)" in scene.notes[-1]
    scene = open_scene(store(array, _Unsigned="true", scale_factor=0.5))
    np.testing.assert_array_equal(scene.cube, scaled(meant.transpose(2, 0, 1), 0.5))
    scene = open_scene(store(array.view(f"u{bits // 8}"), _Unsigned="false"))
    np.testing.assert_array_equal(scene.cube, array.transpose(2, 0, 1))
    scene = open_scene(store(array, _Unsigned="false"))
    np.testing.assert_array_equal(scene.cube, array.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"_Unsigned": "perhaps"}, "_Unsigned: expected true or false, got 'perhaps'"),
        ({"valid_range": [1, 2, 3]}, "valid_range: expected 2 numbers, got"),
        ({"valid_range": [9, 2]}, "valid_range: expected numbers, the lower one first, got"),
        ({"valid_min": "low"}, "valid_min: expected a number, got 'low'"),
        ({"missing_value": "none"}, "missing_value: expected numbers, got 'none'"),
        ({"missing_value": list(range(17))}, "mark nodata: expected at most 16, got 17"),
        ({"scale_factor": [0.1, 0.2]}, "scale_factor: expected a number, got"),
        ({"valid_max": 2}, r"no pixel is valid .*outside the file's valid range 35\)"),
    ],
)
def test_attributes_that_are_refused(store, attributes, message):
    with pytest.raises(SceneError, match=message):
        open_scene(store(cube() + 2, **attributes))


@pytest.mark.parametrize("axes", ["h w b", "b h w", "b (h w):7x5"])
@pytest.mark.parametrize(
    ("dtype", "attributes"),
    [
        ("int16", {"_FillValue": np.int16(-9999), "scale_factor": 1e-4}),
        ("float32", {"missing_value": np.float32([-9999, -1]), "scale_factor": 2.0}),
        ("uint8", {"valid_range": np.uint8([3, 200]), "add_offset": 5.0}),
        ("int8", {"_Unsigned": "true", "_FillValue": np.int8(-1), "valid_max": np.int8(-6)}),
        ("int32", {}),
    ],
)
def test_attributes_of_hdf5_are_those_of_netcdf(tmp_path, axes, dtype, attributes):
    array = (cube(dtype="int64") % 190 + 5).astype("uint8").astype(dtype)
    marks = np.array([-9999, -1]).astype(dtype)
    array[0, 0, 3], array[1, 1, 0], array[2, 2] = *marks, 2
    dims = ("y", "x", "band")
    xr.Dataset({"cube": (dims, array, attributes)}).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    stored = array if axes == "h w b" else array.transpose(2, 0, 1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = stored.reshape(6, -1) if "(" in axes else stored
        file["cube"].attrs.update(attributes)
    named, plain = open_scene(tmp_path / "a.nc"), open_scene(tmp_path / "a.h5", layout=axes)
    np.testing.assert_array_equal(plain.cube, named.cube)
    assert plain.cube.dtype == named.cube.dtype
    np.testing.assert_array_equal(plain.valid, named.valid)
    assert bool(attributes) == (not plain.valid.all())
    assert plain.notes == tuple(note for note in named.notes if "georeference" not in note)
    part = plain.cube.isel(y=slice(1, 3), x=slice(0, 4), band=[4, 1])
    np.testing.assert_array_equal(part, named.cube[[4, 1], 1:3, :4])


def test_attributes_of_hdf5_that_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["deep/cube"] = cube()
        file["deep/cube"].attrs["valid_range"] = [9, 2]
    with pytest.raises(
        SceneError, match=r"a.h5:deep/cube: attribute valid_range: expected numbers"
    ):
        open_scene(tmp_path / "a.h5")


def test_limits_of_scaled_floating_point_are_refused(store):
    path = store(cube(dtype="float32"), scale_factor=0.5, valid_max=7.0)
    with pytest.raises(SceneError, match="valid_max: expected no such limit"):
        open_scene(path)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
