"""Every format, written by another library, read by ours."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.scenes import open_scene, read_cube
from hyperpeft.scenes.cubes.layouts import CUBES
from tests.helpers.scene_files import cube, envi, geotiff, mat5, mat73

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
