"""Bands in files of their own, bands that are no spectrum, and tiles that lie over each other."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from hyperpeft.errors import SceneError
from hyperpeft.scenes import open_scene
from tests.helpers.scene_files import (
    BANDS,
    HEIGHT,
    NM,
    ORIGIN,
    UTM,
    WIDTH,
    envi,
    geotiff,
    ground,
    integers,
)

CUBE = integers().transpose(2, 0, 1)


def noted(scene, words):
    return any(words in note for note in scene.notes)


def test_a_folder_by_the_numbers_in_the_names(tmp_path):
    order = np.random.default_rng(0).permutation(BANDS)
    many = integers()[..., [*range(BANDS), *range(4)]]  # twelve: B10 is not behind B1
    for band in [*order.tolist(), 8, 9, 10, 11]:
        geotiff(tmp_path / f"LC_B{band + 1}.TIF", many[..., band])
    scene = open_scene(tmp_path)
    np.testing.assert_array_equal(scene.cube.values, many.transpose(2, 0, 1))
    assert noted(scene, "12 files are stacked as bands, in the order of their names: LC_B1.TIF")
    assert scene.transform == tuple(ORIGIN)[:6]


def test_a_pattern_by_wavelength(tmp_path):
    for name, band in zip("hgfedcba", range(BANDS), strict=True):
        geotiff(tmp_path / f"{name}.tif", integers()[..., band],
                band_tags=[{"wavelength": f"{NM[band]}"}])  # fmt: skip
    scene = open_scene(str(tmp_path / "*.tif"))
    np.testing.assert_array_equal(scene.cube.values, CUBE)
    np.testing.assert_allclose(scene.wavelengths, NM)
    assert noted(scene, "in the order of their wavelengths")


def test_wavelengths_in_the_names(tmp_path):
    for band in range(BANDS):
        geotiff(tmp_path / f"refl_{NM[band]:.0f}nm.tif", integers()[..., band])
    (tmp_path / "refl_430nm.tif").rename(tmp_path / "refl_0430nm.tif")
    np.testing.assert_array_equal(open_scene(tmp_path).cube.values, CUBE)


def test_quality_files_are_named_and_left_out(tmp_path):
    for band in range(BANDS):
        geotiff(tmp_path / f"S_B{band + 1}.tif", integers()[..., band])
    geotiff(tmp_path / "S_QA_PIXEL.tif", ground())
    scene = open_scene(tmp_path)
    assert scene.shape[2] == BANDS
    assert noted(scene, "S_QA_PIXEL.tif: not spectral by name, left out")


@pytest.mark.parametrize("names", [("vnir", "swir"), ("x_SWIR", "x_VNIR")])
def test_two_instruments_by_name(tmp_path, names):
    first, second = (1, 0) if "SWIR" in names[0] else (0, 1)
    halves = integers()[..., : BANDS // 2], integers()[..., BANDS // 2 :]
    a = geotiff(tmp_path / f"{names[0]}.tif", halves[first])
    b = geotiff(tmp_path / f"{names[1]}.tif", halves[second])
    scene = open_scene(f"{a},{b}")
    np.testing.assert_array_equal(scene.cube.values, CUBE)
    assert noted(scene, "spectral ranges by name")


def test_two_instruments_by_wavelength(tmp_path):
    files = []
    for name, half in (("a", slice(5, BANDS)), ("b", slice(0, 5))):
        waves = ", ".join(f"{nm:.2f}" for nm in NM[half])
        files.append(
            envi(tmp_path / f"{name}.bsq", integers()[..., half], wavelength=f"{{{waves}}}",
                 wavelength_units="Nanometers")
        )  # fmt: skip
    scene = open_scene(",".join(map(str, files)))
    np.testing.assert_array_equal(scene.cube.values, CUBE)
    np.testing.assert_allclose(scene.wavelengths, NM, atol=0.01)


def test_files_of_equal_bands_without_a_word_are_refused(tmp_path):
    a = geotiff(tmp_path / "one.tif", integers()[..., :4])
    b = geotiff(tmp_path / "two.tif", integers()[..., 4:])
    with pytest.raises(SceneError, match=r"tile two lies wholly in one and has other values"):
        open_scene(f"{a},{b}")


def test_two_dates_are_no_mosaic(tmp_path):
    tags = [{"wavelength": str(nm)} for nm in NM]
    geotiff(tmp_path / "june.tif", integers(0), band_tags=tags)
    geotiff(tmp_path / "july.tif", integers(1), band_tags=tags)
    with pytest.raises(SceneError, match=r"lies wholly in .* and has other values"):
        open_scene(str(tmp_path / "*.tif"))


def test_a_part_of_a_tile_is_no_tile_beside_it(tmp_path):
    geotiff(tmp_path / "a.tif", integers(0))
    geotiff(tmp_path / "b.tif", integers(1)[2:9, 3:8], transform=ORIGIN @ Affine.translation(3, 2))
    with pytest.raises(SceneError, match="tile b lies wholly in a and has other values"):
        open_scene(tmp_path)
    geotiff(tmp_path / "b.tif", integers(0)[2:9, 3:8], transform=ORIGIN @ Affine.translation(3, 2))
    scene = open_scene(tmp_path)
    np.testing.assert_array_equal(scene.cube.values, CUBE)
    assert noted(scene, "b lies wholly in a and has the same values")


def test_bands_of_two_pixel_sizes_are_refused(tmp_path):
    for band in range(3):
        geotiff(tmp_path / f"B{band}.tif", integers()[..., band])
    geotiff(tmp_path / "B8.tif", integers()[::2, ::2, 0], transform=ORIGIN @ Affine.scale(2))
    with pytest.raises(SceneError, match=r"files of one band on 2 grids.*24 x 18.*12 x 9"):
        open_scene(tmp_path)


def test_tiles_of_one_band_are_still_a_mosaic(tmp_path):
    for i in range(2):
        place = ORIGIN @ Affine.translation(0, 12 * i)
        geotiff(tmp_path / f"t{i}.tif", integers()[12 * i : 12 * i + 12, :, 0], transform=place)
    scene = open_scene(tmp_path)
    assert scene.shape == (HEIGHT, WIDTH, 1)
    np.testing.assert_array_equal(scene.cube.values[0], CUBE[0])


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_a_tiff_of_one_page_a_band(tmp_path, dtype):
    path = tmp_path / "pages.tif"
    for band, values in enumerate(CUBE.astype(dtype)):
        with rasterio.open(
            path, "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=1, dtype=dtype, crs=UTM,
            transform=ORIGIN, APPEND_SUBDATASET="YES" if band else "NO",
        ) as file:  # fmt: skip
            file.write(values, 1)
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube.values, CUBE.astype(dtype))
    assert noted(scene, f"the {BANDS} pages of the file are stacked as bands")
    assert open_scene(f"{path}:3").shape == (HEIGHT, WIDTH, 1)


def test_fill_0_of_one_band_does_not_mask_the_others(tmp_path):
    array = integers()
    array[4, 4, 2] = 0
    array[:3] = 0
    for band in range(BANDS):
        geotiff(tmp_path / f"B{band}.tif", array[..., band], nodata=0)
    scene = open_scene(tmp_path)
    assert not scene.valid[:3].any()
    assert scene.valid[3:].all()


def with_alpha(path, array, alpha, *, mark=True, descriptions=None):
    """Bands and one more, which is marked as alpha or not."""
    stack = np.concatenate([array, alpha[..., None].astype(array.dtype)], axis=2)
    count = stack.shape[2]
    with rasterio.open(
        path, "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=count, crs=UTM,
        dtype=array.dtype, transform=ORIGIN, photometric="MINISBLACK",
        alpha="UNASSOCIATED" if mark else "NO",
    ) as file:  # fmt: skip
        interpretations = [ColorInterp.gray, *[ColorInterp.undefined] * (count - 1)]
        if mark:
            interpretations[-1] = ColorInterp.alpha
        file.colorinterp = interpretations
        file.write(stack.transpose(2, 0, 1))
        for band, text in (descriptions or {}).items():
            file.set_band_description(band, text)
    return path


def outside(alpha_value):
    alpha = np.full((HEIGHT, WIDTH), alpha_value)
    alpha[:, :4] = 0
    return alpha


@pytest.mark.parametrize(
    ("dtype", "value"), [("uint16", 65535), ("uint8", 255), ("uint16", 1), ("float32", 255)]
)
@pytest.mark.parametrize("ground_outside", [0, 100])
def test_alpha_masks_and_is_no_band(tmp_path, dtype, value, ground_outside):
    array = (integers() % 200 + 20).astype(dtype)
    array[:, :4] = ground_outside
    scene = open_scene(with_alpha(tmp_path / "o.tif", array, outside(value)))
    assert scene.shape[2] == BANDS
    assert not scene.valid[:, :4].any()
    assert scene.valid[:, 4:].all()
    assert any(f"band {BANDS + 1} is alpha: it masks" in note for note in scene.notes)
    assert any(f"alpha {4 * HEIGHT})" in note for note in scene.notes)


def test_alpha_that_nothing_marks(tmp_path):
    array = (integers() % 200 + 20).astype("uint16")
    array[:, :4] = 0
    path = with_alpha(tmp_path / "o.tif", array, outside(65535), mark=False)
    scene = open_scene(path)
    assert scene.shape[2] == BANDS
    assert not scene.valid[:, :4].any()
    assert any("as alpha does" in note for note in scene.notes)


def test_alpha_by_its_name(tmp_path):
    array = (integers() % 200 + 20).astype("uint16")
    path = with_alpha(tmp_path / "o.tif", array, outside(1), mark=False,
                      descriptions={BANDS + 1: "Alpha"})  # fmt: skip
    assert open_scene(path).shape[2] == BANDS


def test_near_infrared_that_is_marked_as_alpha_stays(tmp_path):
    array = integers(dtype="uint16")
    scene = open_scene(with_alpha(tmp_path / "rgbn.tif", array[..., :3], array[..., 6]))
    assert scene.shape[2] == 4
    assert scene.valid.all()
    assert any("band 4 is marked as alpha but holds" in note for note in scene.notes)


@pytest.mark.parametrize("name", ["QA", "cloud mask", "Quality", "Solar zenith", "pixel_flags"])
def test_bands_that_are_not_spectral_by_name(tmp_path, name):
    path = with_alpha(
        tmp_path / "s.tif", integers(), ground(), mark=False, descriptions={BANDS + 1: name}
    )
    scene = open_scene(path)
    np.testing.assert_array_equal(scene.cube.values, integers().transpose(2, 0, 1))
    assert any(f"{BANDS + 1} ({name}) are left out: not spectral by name" in n for n in scene.notes)


def test_a_band_without_a_wavelength_among_bands_that_have_one(tmp_path):
    array = np.concatenate([integers(), ground()[..., None].astype("int16")], axis=2)
    tags = [*({"wavelength": f"{nm}", "wavelength_units": "nm"} for nm in NM), {}]
    scene = open_scene(geotiff(tmp_path / "s.tif", array, band_tags=tags))
    assert scene.shape[2] == BANDS
    np.testing.assert_allclose(scene.wavelengths, NM)
    assert any("without a wavelength" in note for note in scene.notes)


def test_a_raster_of_nothing_but_such_bands_is_opened(tmp_path):
    path = geotiff(tmp_path / "dem.tif", integers()[..., :2])
    with rasterio.open(path, "r+") as file:
        file.set_band_description(1, "elevation")
        file.set_band_description(2, "slope")
    assert open_scene(path).shape[2] == 2
