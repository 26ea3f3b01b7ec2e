"""Scales and offsets that lose the values: one message, which names the band."""

from __future__ import annotations

import re

import numpy as np
import pytest
import rasterio

from hyperpeft.errors import SceneError
from hyperpeft.scenes import open_scene
from hyperpeft.spectral import fit
from tests.helpers.scene_files import cube, enmap, envi, geotiff, labelled_dataset, prisma, scaled

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
