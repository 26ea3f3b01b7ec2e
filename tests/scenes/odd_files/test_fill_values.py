"""Values, scales and offsets that no reflectance can have: masked, or refused by band."""

from __future__ import annotations

import re

import numpy as np
import pytest
import rasterio

from hyperpeft import spectral
from hyperpeft.errors import SceneError
from hyperpeft.scenes import open_scene
from hyperpeft.spectral import fit
from tests.helpers.scene_files import (
    BANDS,
    HEIGHT,
    WIDTH,
    cube,
    enmap,
    envi,
    geotiff,
    integers,
    labelled_dataset,
    mat5,
    prisma,
    reflectance,
    scaled,
)

LEAST = float(np.finfo(np.float32).min)


def strip(value, array=None):
    """The scene with one value in every band of the four columns in the east."""
    array = reflectance() if array is None else array
    array[:, -4:] = value
    return array


def masked(scene):
    """Columns in which pixels are masked, and whether all of their pixels are."""
    columns = np.flatnonzero(~scene.valid.all(axis=0))
    return columns.tolist(), not scene.valid[:, columns].any()


EAST = (list(range(WIDTH - 4, WIDTH)), True)


@pytest.mark.parametrize("value", [1e20, -1e20, 9.969209968386869e36, LEAST, 1.5e15, -1.23e34])
@pytest.mark.parametrize("nodata", [None, -3.4e38, -9999.0])
def test_fills_of_floating_point(tmp_path, value, nodata):
    scene = open_scene(geotiff(tmp_path / "s.tif", strip(value), nodata=nodata))
    assert masked(scene) == EAST
    assert any(f"{4 * HEIGHT} pixels hold values that no measurement has" in n for n in scene.notes)
    clean = spectral.fit(open_scene(geotiff(tmp_path / "c.tif", strip(np.nan))))
    np.testing.assert_array_equal(spectral.fit(scene).components, clean.components)


def test_a_fill_in_one_band(tmp_path):
    array = reflectance()
    array[3, 4, 2] = 1e30
    scene = open_scene(mat5(tmp_path / "s.mat", data=array))
    assert np.argwhere(~scene.valid).tolist() == [[3, 4]]
    assert any("1 pixel holds values that no measurement has" in note for note in scene.notes)


def test_a_band_of_fills_is_dropped(tmp_path):
    array = reflectance()
    array[..., 5] = 1e20
    scene = open_scene(geotiff(tmp_path / "s.tif", array))
    assert scene.shape[2] == BANDS - 1
    assert scene.valid.all()


def test_a_scene_whose_every_value_is_large_is_only_scaled_so(tmp_path):
    scene = open_scene(geotiff(tmp_path / "s.tif", reflectance() * np.float32(1e15)))
    assert scene.valid.all()


@pytest.mark.parametrize(
    ("dtype", "value", "shown"),
    [
        ("int16", -32768, "-32768"),
        ("int16", 32767, "32767"),
        ("uint16", 65535, "65535"),
        ("int16", -999, "-999"),
        ("float32", -1.0, "-1"),
        ("float64", -99999.0, "-99999"),
    ],
)
def test_one_value_in_every_band(tmp_path, dtype, value, shown):
    scene = open_scene(geotiff(tmp_path / "s.tif", strip(value, integers(dtype=dtype))))
    assert masked(scene) == EAST
    assert any(f"are {shown} in every band although" in note for note in scene.notes)


@pytest.mark.parametrize("dead", [0, 5])
@pytest.mark.parametrize(("value", "nodata"), [(-9999, None), (0, None), (0, 0)])
def test_one_value_in_every_band_but_an_empty_one(tmp_path, value, nodata, dead):
    array = strip(value)
    array[..., dead] = np.nan
    scene = open_scene(geotiff(tmp_path / "s.tif", array, nodata=nodata))
    assert scene.shape[2] == BANDS - 1
    assert masked(scene) == EAST


@pytest.mark.parametrize("value", [-(2**31), 2**31 - 1])
def test_the_ends_of_32_bits_in_one_band(tmp_path, value):
    array = integers(dtype="int32")
    array[:, -4:, 3] = value
    assert masked(open_scene(geotiff(tmp_path / "s.tif", array))) == EAST


class TestZeros:
    @pytest.mark.parametrize("dtype", ["int16", "uint16", "float32", "uint8"])
    def test_outside_a_strip(self, tmp_path, dtype):
        array = (1 + reflectance() * 200).astype(dtype)
        scene = open_scene(envi(tmp_path / "s.bsq", strip(0, array)))
        assert masked(scene) == EAST
        assert any("pixels are 0 in every band although" in note for note in scene.notes)

    def test_around_a_rotated_flight(self, tmp_path):
        rows, columns = np.mgrid[:HEIGHT, :WIDTH]
        outside = np.abs(rows - 12) + np.abs(columns - 9) > 14
        array = integers()
        array[outside] = 0
        scene = open_scene(geotiff(tmp_path / "s.tif", array))
        np.testing.assert_array_equal(scene.valid, ~outside)

    def test_inside_they_are_dark_ground(self, tmp_path):
        array = integers()
        array[8:13, 6:11] = 0
        scene = open_scene(geotiff(tmp_path / "s.tif", array))
        assert scene.valid.all()
        assert any("25 pixels inside the scene are 0 in every band" in n for n in scene.notes)

    def test_in_some_bands_they_are_values(self, tmp_path):
        array = integers()
        array[:, -4:, 1:] = 0
        assert open_scene(geotiff(tmp_path / "s.tif", array)).valid.all()

    @pytest.mark.parametrize("kind", ["tif", "bsq", "nc"])
    def test_declared_as_nodata_they_mask_where_all_bands_have_them(self, tmp_path, kind):
        array = integers()
        array[2:5, 3:6] = 0  # inside
        array[9, :, 0] = 0  # in one band
        path = tmp_path / f"s.{kind}"
        if kind == "tif":
            geotiff(path, array, nodata=0)
        elif kind == "bsq":
            envi(path, array, data_ignore_value="0")
        else:
            dataset = labelled_dataset(array, np.arange(BANDS) + 500.0, fill=0)
            dataset.to_netcdf(path, engine="h5netcdf")
        valid = np.ones((HEIGHT, WIDTH), bool)
        valid[2:5, 3:6] = False
        np.testing.assert_array_equal(open_scene(path).valid, valid)

    def test_everywhere(self, tmp_path):
        with pytest.raises(SceneError, match="no pixel is valid"):
            open_scene(geotiff(tmp_path / "s.tif", np.zeros((6, 5, 8), np.int16)))


class TestOutliers:
    def planted(self, tmp_path, value, pixels):
        array = reflectance()
        array[(*pixels, 2)] = value
        return open_scene(geotiff(tmp_path / "hot.tif", array)), array

    @pytest.mark.parametrize("value", [1e6, -500.0, 65535.0])
    @pytest.mark.parametrize("pixels", [([4], [5]), ([1, 20], [17, 3])])
    def test_the_reducer_does_without_them_and_says_so(self, tmp_path, value, pixels):
        scene, array = self.planted(tmp_path, value, pixels)
        assert scene.valid.all()
        reducer = spectral.fit(scene)
        count = len(pixels[0])
        assert reducer.outliers == count
        assert reducer.pixels == scene.valid.size - count
        start = f"{count} pixel{'s are' if count > 1 else ' is'} far outside the range"
        assert any(note.startswith(start) for note in reducer.notes)
        array[pixels] = np.nan  # the fit is that of the scene without these pixels
        without = spectral.fit(open_scene(geotiff(tmp_path / "without.tif", array)))
        np.testing.assert_array_equal(reducer.components, without.components)
        np.testing.assert_array_equal(reducer.scale, without.scale)

    def test_a_clean_scene_is_fitted_on_every_pixel(self, tmp_path):
        scene = open_scene(geotiff(tmp_path / "s.tif", reflectance()))
        reducer = spectral.fit(scene)
        assert (reducer.outliers, reducer.pixels, reducer.notes) == (0, HEIGHT * WIDTH, ())
        values = reflectance().reshape(-1, BANDS).astype(np.float64)
        expected = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)[2]
        np.testing.assert_allclose(
            np.abs((reducer.components * expected).sum(axis=1))[:3], 1, atol=1e-6
        )

    def test_a_small_bright_object_is_no_outlier(self, tmp_path):
        array = reflectance() * np.float32(0.02)  # water
        array[5:7, 5:7] = 0.1  # a boat
        assert spectral.fit(open_scene(geotiff(tmp_path / "s.tif", array))).outliers == 0

    def test_few_training_pixels_with_one_outlier(self, tmp_path):
        scene, _ = self.planted(tmp_path, 1e7, ([4], [5]))
        train = np.argwhere(np.ones((HEIGHT, WIDTH), bool))[::5]
        train = np.vstack([train, [[4, 5]]])
        assert spectral.fit(scene, fit_on="train", train=train).outliers == 1


NM = np.array([450.0, 550.0, 650.0, 940.0, 1380.0, 2200.0])
SAYS = "expected finite numbers, no scale of 0, and scaled values within float32, got"


def shown(value):
    return re.escape(f"{value:g}")


def scaled_tif(path, array, scales, offsets=(0.0,) * 6, **options):
    geotiff(path, array, **options)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = scales, offsets
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, 1e38, 1e-50])
@pytest.mark.parametrize("dtype", ["int16", "uint8"])
def test_scale_of_one_band(tmp_path, value, dtype):
    array = (cube(dtype="int64") % 200).astype(dtype)
    path = scaled_tif(tmp_path / "a.tif", array, [1, 1, value, 1, 1, 1])
    with pytest.raises(
        SceneError, match=f"a.tif: scale and offset of band 3: {SAYS} {shown(value)}"
    ):
        open_scene(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 4e38])
def test_offset_of_one_band(tmp_path, value):
    path = scaled_tif(tmp_path / "a.tif", cube(), [1] * 6, [0, 0, 0, 0, 0, value])
    with pytest.raises(
        SceneError, match=f"scale and offset of band 6: {SAYS} 1 and {shown(value)}"
    ):
        open_scene(path)


def test_of_a_bad_band_it_does_not_matter(tmp_path):
    tags = [{"bbl": "0" if band == 2 else "1"} for band in range(6)]
    path = scaled_tif(tmp_path / "a.tif", cube(), [2, 2, np.nan, 2, 2, 2], band_tags=tags)
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube, scaled(cube().transpose(2, 0, 1), 2)[[0, 1, 3, 4, 5]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floating_point_beyond_float32_is_masked_value_by_value(tmp_path, dtype):
    array = cube(dtype=dtype)
    array[2, 3, 1], array[4, 4, 0] = 4e8, -4e8
    array[5, 0, 0] = 3e8
    scene = open_scene(scaled_tif(tmp_path / "a.tif", array, [1e30] * 6))
    assert np.argwhere(~scene.valid).tolist() == [[2, 3], [4, 4]]
    assert "2 of 35 pixels are masked (NaN 0, infinite 2, nodata 0)" in scene.notes
    assert np.isfinite(scene.rows(0, 7)[:, scene.valid]).all()


def test_small_scales_bring_large_values_back(tmp_path):
    array = cube(dtype="float64") * 1e40
    scene = open_scene(scaled_tif(tmp_path / "a.tif", array, [1e-40] * 6))
    np.testing.assert_allclose(scene.rows(0, 7), cube().transpose(2, 0, 1), rtol=1e-6)
    assert scene.valid.all()


def test_values_near_the_end_of_float32_can_be_fitted(tmp_path):
    path = scaled_tif(tmp_path / "a.tif", cube(), [1e34] * 6)
    reducer = fit(open_scene(path))
    assert np.isfinite(reducer.transform(open_scene(path).rows(0, 7))).all()


@pytest.mark.parametrize("factor", ["0", "nan", "inf", "{-inf}", "1e999"])
def test_reflectance_scale_factor_of_envi(tmp_path, factor):
    path = envi(tmp_path / "a.img", cube(), reflectance_scale_factor=factor)
    with pytest.raises(
        SceneError, match="reflectance scale factor of all bands: expected a finite"
    ):
        open_scene(path)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("scale_factor", v) for v in (np.nan, np.inf, 1e38, 0.0)]
    + [("add_offset", v) for v in (np.nan, -np.inf, 4e38)],
)
def test_netcdf(tmp_path, attribute, value):
    pytest.importorskip("h5netcdf")
    dataset = labelled_dataset(cube(), NM)
    dataset["reflectance"].attrs.update({attribute: value, "valid_min": 0.5})
    dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(SceneError, match=f"a.nc: scale and offset of band 1: {SAYS}"):
        open_scene(tmp_path / "a.nc")


def test_products(tmp_path):
    enmap(tmp_path / "product", cube(), centres=NM, gain=0)
    with pytest.raises(SceneError, match=f"scale and offset of band 1: {SAYS} 0 and 0"):
        open_scene(tmp_path / "product")
    nm = {"vnir_nm": NM[:3][::-1], "swir_nm": NM[3:][::-1]}
    halves = cube()[..., :3].astype("u2"), cube()[..., 3:].astype("u2")
    path = prisma(tmp_path / "a.he5", *halves, scale=(0, 1, np.nan, 1), **nm)
    with pytest.raises(SceneError, match=f"scale and offset of band 4: {SAYS} nan"):
        open_scene(path)
