"""Which values of a label map are classes."""

from __future__ import annotations

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely

from hyperpeft.errors import LabelsError
from hyperpeft.scenes import open_scene
from tests.helpers.odd_scene import HEIGHT, WIDTH, ground, integers
from tests.helpers.scene_files import ORIGIN, UTM, envi, geotiff, mat5

NAMES = {"CLASS_0": "soil", "CLASS_1": "grass", "CLASS_2": "tree"}


@pytest.fixture
def scene(tmp_path):
    return geotiff(tmp_path / "s.tif", integers())


def from_zero(nodata, dtype):
    """Classes 0, 1, 2, and nodata in a corner."""
    ids = ground().astype(dtype) - 1
    ids[:3, :3] = nodata
    return ids


@pytest.mark.parametrize(("nodata", "dtype"), [(255, "uint8"), (-1, "int16"), (-9999.0, "float32")])
def test_a_named_class_0_is_a_class(tmp_path, scene, nodata, dtype):
    path = geotiff(tmp_path / "l.tif", from_zero(nodata, dtype), nodata=nodata, tags=NAMES)
    labels = open_scene(scene, path).labels
    assert labels.classes == {1: "grass", 2: "tree", 3: "soil"}
    expected = np.where(ground() == 1, 3, ground() - 1)
    expected[:3, :3] = 0
    np.testing.assert_array_equal(labels.ids, expected)
    assert any("class 0 (soil) has the id 3 here" in note for note in labels.notes)


def test_a_named_class_0_without_nodata_is_a_class(tmp_path, scene):
    path = geotiff(tmp_path / "l.tif", ground() - 1, tags=NAMES)
    assert open_scene(scene, path).labels.classes == {1: "grass", 2: "tree", 3: "soil"}


def test_names_of_envi_from_0(tmp_path, scene):
    array = (ground() - 1)[..., None]
    path = envi(tmp_path / "l.img", array, class_names="{soil, grass, tree}", classes="3")
    assert open_scene(scene, path).labels.classes == {1: "grass", 2: "tree", 3: "soil"}


@pytest.mark.parametrize("name", ["Unclassified", "none", "No_Data", "BACKGROUND"])
def test_a_0_that_is_called_no_class_is_none(tmp_path, scene, name):
    array = (ground() % 3)[..., None]
    path = envi(tmp_path / "l.img", array, class_names=f"{{{name}, grass, tree}}")
    labels = open_scene(scene, path).labels
    assert labels.classes == {1: "grass", 2: "tree"}
    np.testing.assert_array_equal(labels.ids, ground() % 3)


@pytest.mark.parametrize(("nodata", "dtype"), [(255, "uint8"), (-1, "int16")])
def test_an_unnamed_0_beside_another_nodata_is_noted(tmp_path, scene, nodata, dtype):
    path = geotiff(tmp_path / "l.tif", from_zero(nodata, dtype), nodata=nodata)
    notes = open_scene(scene, path).notes
    zeros = np.count_nonzero(from_zero(nodata, dtype) == 0)
    assert any(
        f"{zeros} pixels of 0 are taken as unlabelled" in n and "CLASS_0" in n for n in notes
    )


@pytest.mark.parametrize(("dtype", "value"), [("uint8", 255), ("uint16", 65535), ("int32", 9999)])
def test_a_value_for_ignore_is_asked_about(tmp_path, scene, dtype, value):
    ids = ground().astype(dtype)
    ids[9:12] = value
    with pytest.raises(LabelsError, match=f"hold the value {value} beside ids up to 3"):
        open_scene(scene, geotiff(tmp_path / "a.tif", ids))
    with pytest.raises(LabelsError, match=f"hold the value {value} beside ids up to 3"):
        open_scene(scene, mat5(tmp_path / "a.mat", map=ids))
    declared = open_scene(scene, geotiff(tmp_path / "b.tif", ids, nodata=value)).labels
    assert set(declared.classes) == {1, 2, 3}
    named = geotiff(tmp_path / "c.tif", ids, tags={f"CLASS_{value}": "rock"})
    assert open_scene(scene, named).labels.classes[value] == "rock"


def test_large_ids_of_their_own_are_classes(tmp_path, scene):
    ids = np.where(ground() == 1, 255, np.where(ground() == 2, 200, 240)).astype(np.uint8)
    labels = open_scene(scene, geotiff(tmp_path / "l.tif", ids)).labels
    assert set(labels.classes) == {200, 240, 255}


def test_vectors_are_asked_about_too(tmp_path, scene):
    boxes = [shapely.box(ORIGIN.c + 90 * i, ORIGIN.f - 300, ORIGIN.c + 90 * i + 60, ORIGIN.f)
             for i in range(3)]  # fmt: skip
    for name, values in (("a", [1, 2, 255]), ("b", [0, 1, 2])):
        pyogrio.raw.write(
            str(tmp_path / f"{name}.gpkg"), np.array([shapely.to_wkb(b) for b in boxes], object),
            [np.array(values)], ["class"], geometry_type="Polygon", crs=UTM, driver="GPKG",
        )  # fmt: skip
    with pytest.raises(LabelsError, match="hold the value 255 beside ids up to 2"):
        open_scene(scene, tmp_path / "a.gpkg")
    with pytest.raises(LabelsError, match="class numbers from 1"):
        open_scene(scene, tmp_path / "b.gpkg")


@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_a_picture_in_colours_is_refused_with_what_to_do(tmp_path, scene, count, suffix):
    colours = np.array([[0, 0, 0, 255], [255, 0, 0, 255], [0, 128, 0, 255], [9, 9, 200, 255]])
    picture = colours[ground()][..., :count].astype(np.uint8)
    path = tmp_path / f"l.{suffix}"
    driver = {"tif": "GTiff", "png": "PNG"}[suffix]
    with rasterio.open(
        path, "w", driver=driver, height=HEIGHT, width=WIDTH, count=count, dtype="uint8"
    ) as file:
        file.write(picture.transpose(2, 0, 1))
    with pytest.raises(LabelsError, match=r"a picture in colours.*give each colour an id"):
        open_scene(scene, path)


def test_the_alpha_band_of_a_label_map_masks(tmp_path, scene):
    stack = np.stack([ground(), np.full_like(ground(), 255)])
    stack[1, :4] = 0
    with rasterio.open(
        tmp_path / "l.tif", "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=2,
        dtype="uint8", crs=UTM, transform=ORIGIN, photometric="MINISBLACK", alpha="YES",
    ) as file:  # fmt: skip
        file.write(stack)
    labels = open_scene(scene, tmp_path / "l.tif").labels
    assert not labels.ids[:4].any()
    np.testing.assert_array_equal(labels.ids[4:], ground()[4:])
