"""The table of readers, the page made of it, and what CF attributes say of stored values."""

from __future__ import annotations

import shutil
from itertools import count

import numpy as np
import pytest
import xarray as xr

from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.scenes import Reader, open_scene, register_reader
from hyperpeft.scenes.cubes.cube import Cube, from_array
from hyperpeft.scenes.readers import table
from hyperpeft.scenes.readers.detect import HEAD, Probe, is_html
from tests.helpers import scene_files as files
from tests.helpers.formats_page import PAGE, page
from tests.helpers.scene_files import cube, labelled_dataset, scaled

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


def test_the_page_is_that_of_the_tables():
    """`python -m tests.helpers.formats_page` writes it again."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_row_says_what_is_used():
    from hyperpeft.scenes.labels.table import LABEL_READERS
    from hyperpeft.scenes.readers.table import READERS

    for row in (*READERS, *LABEL_READERS):
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


def test_limits_of_scaled_floating_point_are_refused(store):
    path = store(cube(dtype="float32"), scale_factor=0.5, valid_max=7.0)
    with pytest.raises(SceneError, match="valid_max: expected no such limit"):
        open_scene(path)
