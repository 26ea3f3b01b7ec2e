"""What CF attributes say of stored values, in NetCDF and Zarr: nodata, limits, sign."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from hyperpeft.errors import SceneError
from hyperpeft.scenes import open_scene
from tests.helpers.scene_files import cube, labelled_dataset, scaled

NM = np.array([450.0, 550.0, 650.0, 940.0, 1380.0, 2200.0])

pytest.importorskip("zarr")
pytest.importorskip("h5netcdf")


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
