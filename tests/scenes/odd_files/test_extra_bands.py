"""Alpha, quality and other bands that are no spectrum."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from hyperpeft.scenes import open_scene
from tests.helpers.odd_scene import BANDS, HEIGHT, NM, WIDTH, ground, integers
from tests.helpers.scene_files import ORIGIN, UTM, geotiff


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
