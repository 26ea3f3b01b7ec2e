"""Metrics, records and patches: the modules that every package may import."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations

import matplotlib as mpl
import numpy as np
import pyproj
import pytest
import rasterio
import rioxarray
import torch
import torch.nn.functional as F
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from hyperpeft.errors import ConfigError, InputError, LabelsError, SceneError
from hyperpeft.metrics import class_scores, confusion_matrix, scores
from hyperpeft.models.patch_geometry import check_patch_size
from hyperpeft.models.windows import Windows, apply_symmetry, draw_symmetries, resize
from hyperpeft.progress import NotebookProgress, Progress, default_progress
from hyperpeft.records import Scene, palette
from hyperpeft.scenes import labels_for, open_scene
from tests.helpers.scene_files import geotiff
from tests.helpers.small import CRS, TRANSFORM, planted, write_scene

mpl.use("Agg")


@pytest.fixture(scope="module")
def from_file(tmp_path_factory):
    path, labels = write_scene(tmp_path_factory.mktemp("scene"), planted())
    return open_scene(path, labels)


def test_an_array_is_the_scene_of_the_file(from_file):
    cube = np.moveaxis(from_file.cube.values, 0, 2)
    scene = Scene.from_array(cube, from_file.labels.ids, crs=CRS, transform=TRANSFORM)
    np.testing.assert_array_equal(scene.cube.values, from_file.cube.values)
    np.testing.assert_array_equal(scene.labels.ids, from_file.labels.ids)
    assert scene.transform == tuple(TRANSFORM)[:6]
    assert scene.cube.rio.crs == from_file.cube.rio.crs


@pytest.mark.parametrize("dims", [("y", "x", "band"), ("x", "band", "y"), ("band", "y", "x")])
def test_a_dataarray_in_any_order(from_file, dims):
    scene = Scene.from_array(from_file.cube.transpose(*dims))
    np.testing.assert_array_equal(scene.cube.values, from_file.cube.values)
    assert scene.transform == from_file.transform
    assert scene.crs == from_file.crs or scene.cube.rio.crs == from_file.cube.rio.crs


def test_other_names_of_dims_and_coordinates():
    waves = np.linspace(0.4, 1.0, 7)  # micrometres
    data = xr.DataArray(
        np.random.default_rng(0).random((4, 7, 5)), dims=("lat", "wavelength", "lon"),
        coords={"wavelength": waves, "lat": 50 - 0.1 * np.arange(4), "lon": 8 + 0.2 * np.arange(5)},
    )  # fmt: skip
    scene = Scene.from_array(data, crs="EPSG:4326")
    assert scene.shape == (4, 5, 7)
    np.testing.assert_allclose(scene.wavelengths, waves * 1000)
    np.testing.assert_allclose(scene.transform, (0.2, 0, 7.9, 0, -0.1, 50.05))
    np.testing.assert_array_equal(scene.cube.values[3], data.values[:, 3, :])


PARTS = {
    "cut": lambda a: a[:, 2:5, 1:4],
    "thinned": lambda a: a[:, ::2, ::3],
    "turned": lambda a: a[:, ::-1],
    "one row": lambda a: a[:, 3:4],
    "one pixel": lambda a: a[:, 3:4, 2:3],
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("source", ["rioxarray", "hyperpeft"])
def test_a_part_of_a_dataarray_lies_where_it_lay(tmp_path, source, part):
    path, _ = write_scene(tmp_path, planted())
    whole = rioxarray.open_rasterio(path) if source == "rioxarray" else open_scene(path).cube
    cut = PARTS[part](whole)
    scene = Scene.from_array(cut)
    np.testing.assert_array_equal(scene.cube.x, cut.x)
    np.testing.assert_array_equal(scene.cube.y, cut.y)
    a, _, c, _, e, f = scene.transform
    assert (c + a / 2, f + e / 2) == (float(cut.x[0]), float(cut.y[0]))
    step = 3 if part == "thinned" else 1
    assert a == step * TRANSFORM.a
    assert scene.crs is not None


def test_coordinates_alone_are_a_georeference_that_others_read(tmp_path):
    given = xr.DataArray(
        np.random.default_rng(0).random((4, 12, 15)), dims=("band", "y", "x"),
        coords={"y": 5e6 - 30 * np.arange(12.0), "x": 5e5 + 30 * np.arange(15.0)},
    ).rio.write_crs("EPSG:32633", grid_mapping_name="crs")  # fmt: skip
    given["crs"].attrs.pop("GeoTransform", None)
    scene = Scene.from_array(given)
    assert scene.transform == (30, 0, 499985, 0, -30, 5000015)
    scene.cube.rio.to_raster(tmp_path / "scene.tif")
    assert rioxarray.open_rasterio(tmp_path / "scene.tif").rio.crs.to_epsg() == 32633
    assert open_scene(tmp_path / "scene.tif").transform == scene.transform
    assert Scene.from_array(scene.cube).transform == scene.transform


def test_a_grid_mapping_of_cf_without_wkt():
    attributes = pyproj.CRS("EPSG:32633").to_cf()
    del attributes["crs_wkt"]
    given = xr.DataArray(np.ones((3, 4, 5)), dims=("band", "y", "x"))
    given = given.assign_coords(utm=((), 0, attributes))
    given.attrs["grid_mapping"] = "utm"
    assert "UTM zone 33N" in Scene.from_array(given, transform=TRANSFORM).crs


@pytest.mark.parametrize("dim", ["wavelength", "band"])
def test_wavelengths_are_in_the_unit_of_their_coordinate(dim):
    waves = np.linspace(400.0, 900.0, 5)

    def scene(factor, units):
        coordinate = (dim, waves * factor, {"units": units})
        values = np.ones((5, 3, 4), np.float32)
        return Scene.from_array(xr.DataArray(values, {dim: coordinate}, (dim, "y", "x")))

    for factor, units in ((1, "nm"), (1e-3, "um"), (1e-3, "micrometers"), (1, "")):
        np.testing.assert_allclose(scene(factor, units).wavelengths, waves)
    for factor, units in ((10, "Angstrom"), (3e4, "cm-1")):
        other = scene(factor, units)
        assert other.wavelengths is None
        assert other.notes == (
            f"wavelengths are not used: their unit '{units}' cannot be understood",
        )
    given = xr.DataArray(waves / 1000, dims="band", attrs={"units": "nm"})
    cube = np.ones((3, 4, 5), np.float32)
    np.testing.assert_allclose(Scene.from_array(cube, wavelengths=given).wavelengths, waves / 1000)


def test_bands_without_values_are_named_where_they_leave_no_pixel():
    """Every pixel would be masked; a file of the same values is read without these bands."""
    cube = np.ones((3, 4, 5), np.float32)
    cube[:, :, 3] = np.nan
    with pytest.raises(SceneError, match=r"1 of 5 bands hold no value.* got bands 3, from 0"):
        Scene.from_array(cube)
    masked = np.ma.masked_array(np.ones((3, 4, 5)), np.isnan(cube))
    with pytest.raises(SceneError, match="bands 3, from 0"):
        Scene.from_array(masked)
    nowhere = np.ones((3, 4, 5))
    nowhere[0], nowhere[1:, :, 2] = np.nan, np.nan
    nowhere[0, 0, 2] = 1  # each band has a value, and no pixel has all
    assert not Scene.from_array(nowhere).valid.any()
    assert not Scene.from_array(np.full((3, 4, 5), np.nan)).valid.any()


def test_whole_wavelengths_of_a_dim():
    waves = np.arange(400, 700, 50)
    given = xr.DataArray(np.ones((3, 4, 6)), dims=("y", "x", "wavelength"))
    scene = Scene.from_array(given.assign_coords(wavelength=waves))
    np.testing.assert_array_equal(scene.wavelengths, waves)


def test_labels_and_valid_pixels_in_the_order_of_their_dims():
    rng = np.random.default_rng(0)
    cube = xr.DataArray(rng.random((5, 5, 4)), dims=("x", "y", "band"))
    ids, valid = rng.integers(0, 3, (5, 5)), rng.random((5, 5)) < 0.5
    labels = xr.DataArray(ids, dims=("col", "row"))
    mask = xr.DataArray(valid[None], dims=("band", "x", "y"))
    scene = Scene.from_array(cube, labels, valid=mask)
    np.testing.assert_array_equal(scene.labels.ids, ids.T)
    np.testing.assert_array_equal(scene.valid, valid.T)
    np.testing.assert_array_equal(labels_for(scene, labels).ids, ids.T)


DIMS = ("band", "y", "x")


def placed(values, dims=("y", "x"), step=30.0):
    """A DataArray with its first row in the north."""
    height, width = values.shape[-2:]
    coords = {"y": 5e6 - step * np.arange(height), "x": 5e5 + step * np.arange(width)}
    return xr.DataArray(values, dims=dims, coords=coords)


def test_labels_lie_where_their_coordinates_say():
    rng = np.random.default_rng(0)
    cube = placed(rng.random((4, 6, 5)), DIMS)
    labels, mask = placed(rng.integers(1, 4, (6, 5))), placed(rng.random((6, 5)) < 0.5)
    for turn in (np.s_[::-1], np.s_[:, ::-1], np.s_[::-1, ::-1]):
        scene = Scene.from_array(cube, labels[turn], valid=mask[turn])
        np.testing.assert_array_equal(scene.labels.ids, labels.values)
        np.testing.assert_array_equal(scene.valid, mask.values)
        np.testing.assert_array_equal(labels_for(scene, labels[turn]).ids, labels.values)
        turned = Scene.from_array(cube[(slice(None), *np.index_exp[turn])], labels)
        np.testing.assert_array_equal(turned.labels.ids, labels.values[turn])
    for elsewhere in (labels.assign_coords(x=labels.x + 30), placed(labels.values, step=15.0)):
        with pytest.raises(LabelsError, match="labels lie elsewhere than the scene"):
            Scene.from_array(cube, elsewhere)
    with pytest.raises(SceneError, match="array: valid lie elsewhere"):
        Scene.from_array(cube, valid=mask.assign_coords(y=mask.y - 30))


def test_labels_without_a_place_are_taken_row_by_row():
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 4, (6, 5))
    cube = placed(rng.random((4, 6, 5)), DIMS)
    counted = xr.DataArray(ids, dims=("y", "x"), coords={"y": np.arange(6), "x": np.arange(5)})
    for labels in (ids, xr.DataArray(ids, dims=("y", "x")), counted, counted + 0):
        np.testing.assert_array_equal(Scene.from_array(cube, labels).labels.ids, ids)
    np.testing.assert_array_equal(
        Scene.from_array(cube.values.transpose(1, 2, 0), placed(ids)[::-1]).labels.ids, ids[::-1]
    )


def test_what_is_no_label_in_memory_is_unlabelled(tmp_path):
    rng = np.random.default_rng(0)
    cube, ids = rng.random((6, 5, 4)), rng.integers(1, 4, (6, 5)).astype(np.uint8)
    expected, stored = np.where(ids == 3, 0, ids), np.where(ids == 3, 255, ids).astype(np.uint8)
    path = geotiff(tmp_path / "l.tif", stored[..., None], nodata=255)
    with rasterio.open(path) as file:
        masked = file.read(1, masked=True)
    fill = xr.DataArray(stored.astype(np.int16) - 256 * (stored == 255), dims=("y", "x"))
    fill.attrs["_FillValue"] = -1
    for labels in (
        masked,
        np.ma.array(ids, mask=ids == 3),
        rioxarray.open_rasterio(path),
        rioxarray.open_rasterio(path, masked=True).drop_vars(["x", "y"]),
        fill,
        np.where(ids == 3, np.nan, ids),
    ):
        np.testing.assert_array_equal(Scene.from_array(cube, labels).labels.ids, expected)


def test_valid_pixels_that_are_not_known_are_not_valid():
    cube = np.random.default_rng(0).random((2, 3, 4))
    for mask in (
        [[1, 0, np.nan], [1, 1, 1]],
        np.ma.array(np.ones((2, 3)), mask=[[0, 1, 1], [0, 0, 0]]),
    ):
        valid = Scene.from_array(cube, valid=mask).valid
        np.testing.assert_array_equal(valid, [[True, False, False], [True, True, True]])


def test_a_transform_in_the_order_of_gdal_is_refused():
    cube = np.random.default_rng(0).random((2, 3, 4))
    order = TRANSFORM.to_gdal()
    with pytest.raises(SceneError, match=r"in GDAL's order; give affine.Affine.from_gdal"):
        Scene.from_array(cube, crs=CRS, transform=order)
    turned = TRANSFORM @ TRANSFORM.rotation(90)
    for kept in (TRANSFORM, TRANSFORM.from_gdal(*order), turned):
        assert Scene.from_array(cube, crs=CRS, transform=kept).transform == tuple(kept)[:6]


def test_wavelengths_and_places_are_coordinates():
    cube = np.random.default_rng(0).random((6, 5, 61)).astype(np.float32)
    waves = np.linspace(400, 1000, 61)
    scene = Scene.from_array(cube, wavelengths=waves, crs=CRS, transform=TRANSFORM)
    nearest = scene.cube.sel(wavelength=853, method="nearest")
    np.testing.assert_array_equal(nearest.values, cube[:, :, 45])
    assert float(nearest.wavelength) == 850
    assert scene.cube.rio.crs.to_epsg() == 32633
    assert tuple(scene.cube.rio.transform())[:6] == tuple(TRANSFORM)[:6]
    assert float(scene.cube.x[0]) == TRANSFORM.c + 15
    part = scene.cube.rio.clip_box(*scene.cube.isel(x=slice(1, 3), y=slice(2, 4)).rio.bounds())
    np.testing.assert_array_equal(part.values, np.moveaxis(cube[2:4, 1:3], 2, 0))
    assert scene.cube.sel(band=3).values.shape == (6, 5)
    assert scene.cube.sel(wavelength=slice(500, 600)).sizes["band"] == 11


def test_invalid_pixels_and_nodata():
    cube = np.ones((4, 4, 3))
    cube[0, 0, 1] = np.nan
    assert np.count_nonzero(~Scene.from_array(cube).valid) == 1
    data = xr.DataArray(np.full((3, 4, 4), 7), dims=("band", "y", "x"), attrs={"_FillValue": -1})
    data[0, 2, 2] = -1
    assert np.argwhere(~Scene.from_array(data).valid).tolist() == [[2, 2]]
    mask = np.zeros((4, 4), bool)
    mask[1] = True
    assert Scene.from_array(np.ones((4, 4, 3)), valid=mask).valid.sum() == 4
    for kind in (np.int16, np.float32):
        masked = np.ma.masked_equal(np.arange(48, dtype=kind).reshape(4, 4, 3), 7)
        scene = Scene.from_array(masked)
        assert np.argwhere(~scene.valid).tolist() == [[0, 2]]
        assert scene.cube.dtype == kind
    cube[1, 1, 0], cube[2, 2, 2] = 1e300, -np.inf
    assert np.argwhere(~Scene.from_array(cube).valid).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_a_fill_value_of_stored_numbers_is_none_of_the_decoded_ones(tmp_path):
    stored = np.arange(90, dtype=np.int16).reshape(3, 5, 6) * 100
    attributes = {"scale_factor": 1e-4, "add_offset": -0.1}
    xr.Dataset({"cube": (("band", "y", "x"), stored, attributes)}).to_netcdf(
        tmp_path / "scene.nc", encoding={"cube": {"_FillValue": 0}}
    )
    with xr.open_dataset(tmp_path / "scene.nc") as opened:
        cube = opened["cube"].load()
    assert (cube == 0).sum() == 1  # a value of one band, of a pixel that is there
    assert np.argwhere(~Scene.from_array(cube).valid).tolist() == [[0, 0]]


def test_other_values_are_another_scene():
    cube = np.ones((4, 4, 3))
    first = Scene.from_array(cube).sha256
    assert first == Scene.from_array(cube.copy()).sha256
    cube[0, 0, 0] = 2
    assert Scene.from_array(cube).sha256 != first


@pytest.mark.parametrize(
    ("cube", "more", "says"),
    [
        (np.ones((4, 4)), {}, "expected an array .H, W, B."),
        ("scene.tif", {}, "expected an array .H, W, B.*a value of type str"),
        (np.array([["a"]]), {}, "expected an array"),
        (np.ones((4, 4, 3), complex), {}, "real numbers"),
        (xr.DataArray(np.ones((2, 3, 4)), dims=("a", "y", "x")), {}, "band, y and x"),
        (np.ones((4, 4, 3)), {"wavelengths": [1, 2]}, "3 positive numbers in nm"),
        (np.ones((4, 4, 3)), {"valid": np.ones((3, 3))}, "valid: expected shape"),
        (np.ones((4, 4, 3)), {"crs": "EPSG:nowhere"}, "cannot be understood"),
        (np.ones((4, 4, 3)), {"transform": (1, 2)}, "6 numbers"),
        (np.ones((4, 4, 3)), {"labels": np.ones((4, 5), int)}, "do not fit scene"),
        (np.ones((4, 4, 3)), {"labels": np.full((4, 4), 0.5)}, "whole numbers"),
        (np.ones((4, 4, 3)), {"labels": -np.ones((4, 4), int)}, "class ids from 1"),
        (np.ones((4, 4, 3)), {"labels": np.zeros((4, 4), int)}, "hold no class"),
        (np.ones((4, 4, 3)), {"labels": np.ones(16, int)}, "2 dimensions"),
    ],
)
def test_what_is_no_scene_is_refused(cube, more, says):
    with pytest.raises(InputError, match=says):
        Scene.from_array(cube, **more)


def test_short_descriptions(from_file):
    for value in (from_file, from_file.labels):
        assert len(repr(value).splitlines()) == 1
        page = value._repr_html_()
        assert page.startswith("<table>")
        assert page.endswith("</table>")
        assert page.count("<tr>") < 30
    wild = Scene.from_array(np.ones((4, 4, 3)), name="<script>alert(1)</script>")
    assert "<script>" not in wild._repr_html_()


def test_plots(from_file):
    axes = from_file.plot()
    assert len(axes) == 2
    legend = [text.get_text() for text in axes[1].get_legend().get_texts()]
    assert legend == list(from_file.labels.classes.values())
    image = axes[0].images[0].get_array()
    assert image.shape == (*from_file.valid.shape, 3)
    lines = from_file.plot_spectra().get_lines()
    assert [line.get_label() for line in lines] == list(from_file.labels.classes.values())
    values = from_file.cube.values[:, from_file.labels.ids == 1].mean(axis=1)
    np.testing.assert_allclose(lines[0].get_ydata(), values, rtol=1e-5)
    mpl.pyplot.close("all")


def test_a_script_spins_as_briefly_as_the_command_line():
    """A program that imports hyperpeft before torch has the setting; its own value stays."""
    code = "import hyperpeft, os; print(os.environ['GOMP_SPINCOUNT'])"
    for own, expected in ((None, "5000"), ("7", "7")):
        env = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
        env |= {} if own is None else {"GOMP_SPINCOUNT": own}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
        )
        assert done.stdout.strip() == expected


# Machado, Oliveira and Fernandes (2009), table 1, severity 1: on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour, vision):
    """CIELAB (D65) of an sRGB colour as it is seen."""
    srgb = np.asarray(colour) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    x, y, z = XYZ @ np.clip(np.asarray(VISION[vision]) @ linear, 0, 1) / [0.9505, 1, 1.089]
    fx, fy, fz = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


def nearest(colours, vision):
    seen = [lab(colour, vision) for colour in colours]
    return min(np.linalg.norm(a - b) for a, b in combinations(seen, 2))


@pytest.mark.parametrize("vision", VISION)
def test_twenty_classes_stay_apart(vision):
    assert nearest(palette(range(1, 21)).values(), vision) > 15


@pytest.mark.parametrize("vision", VISION)
def test_known_names_stay_apart(vision):
    names = dict(enumerate(["water", "tree", "grass", "soil", "roads", "roof", "shadow"], start=1))
    assert nearest(palette(names, names).values(), vision) > 16


def test_names_get_the_colours_that_readers_expect():
    names = {1: "Bare soil", 2: "Tree", 3: "Lake water", 4: "Painted sheets", 5: "Swamp tree"}
    colours = palette(names, names)
    assert colours[3][2] == max(colours[3])  # blue
    assert colours[2][1] == max(colours[2])  # green
    assert colours[1][0] == max(colours[1])  # brown
    assert len(set(colours.values())) == 5
    assert list(colours) == [1, 2, 3, 4, 5]


def test_many_named_classes_have_different_colours():
    names = {i: f"tree {i}" for i in range(1, 120)}
    assert len(set(palette(names, names).values())) == 119


def test_rioxarray_is_there_where_a_crs_is(tmp_path):
    """In a process that has not imported it."""
    code = (
        "import numpy as np, hyperpeft; "
        "s = hyperpeft.Scene.from_array(np.ones((3, 4, 5)), crs='EPSG:32633', "
        "transform=(10, 0, 0, 0, -10, 0)); print(s.cube.rio.crs.to_epsg())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.strip() == "32633", done.stderr


def test_a_bar_in_a_notebook(monkeypatch):
    """It appears when a task takes a while, moves, and keeps the notes."""
    clock, seen = [0.0], []
    monkeypatch.setattr("hyperpeft.progress.time.monotonic", lambda: clock[0])

    class Handle:
        def update(self, data, raw):
            seen.append(data)

    def display(data, raw, display_id):
        seen.append(data)
        return Handle()

    quick = NotebookProgress(display)
    quick.stage("Mapping")
    quick.mapped(576, 576)
    assert seen == []
    bar = NotebookProgress(display)
    bar.stage("Training")
    clock[0] = 0.6
    bar.trained(3, 10, 0.5, 90.0)
    assert "<progress max='10' value='3'>" in seen[-1]["text/html"]
    assert seen[-1]["text/plain"] == "Training loss 0.500, validation OA 90.0 %"
    bar.trained(4, 10, 0.4, None)  # too soon to be drawn
    assert len(seen) == 1
    bar.note("<b>2 pixels</b> are masked")
    bar.note("<b>2 pixels</b> are masked")
    bar.trained(10, 10, 0.4, None)
    assert len(seen) == 3
    assert "&lt;b&gt;2 pixels" in seen[-1]["text/html"]
    assert type(default_progress()) is Progress  # this is no notebook


IDS = st.lists(st.integers(1, 500), min_size=2, max_size=8, unique=True).map(sorted)


@st.composite
def predictions(draw):
    """Ascending non-contiguous ids, and true and predicted ids of some pixels."""
    ids = draw(IDS)
    pairs = draw(st.lists(st.tuples(st.sampled_from(ids), st.sampled_from(ids)), min_size=1))
    true, predicted = np.array(pairs).T
    return np.array(ids), true, predicted


@given(predictions())
def test_equal_to_scikit_learn(case):
    ids, true, predicted = case
    confusion = confusion_matrix(true, predicted, ids)
    assert np.array_equal(confusion, reference.confusion_matrix(true, predicted, labels=ids))
    result = scores(confusion, ids)
    assert result["oa"] == pytest.approx(100 * reference.accuracy_score(true, predicted))
    present = np.unique(true)
    recall = reference.recall_score(true, predicted, labels=present, average=None)
    assert result["aa"] == pytest.approx(100 * recall.mean())
    found = {int(i): value for i, value in result["per_class"].items() if value is not None}
    assert found == pytest.approx(dict(zip(present.tolist(), 100 * recall, strict=True)))
    if len(np.union1d(true, predicted)) == 1:
        assert result["kappa"] is None
    else:
        kappa = reference.cohen_kappa_score(true, predicted, labels=ids)
        assert result["kappa"] == pytest.approx(100 * kappa)


def test_class_without_test_pixels_has_no_accuracy_and_does_not_enter_aa():
    result = scores(np.array([[3, 1, 0], [0, 0, 0], [0, 2, 2]]), np.array([2, 5, 9]))
    assert result["per_class"] == {"2": 75.0, "5": None, "9": 50.0}
    assert result["aa"] == 62.5
    assert result["oa"] == 62.5


def test_nothing_tested_is_missing_not_zero():
    result = scores(np.zeros((2, 2), int), np.array([1, 7]))
    assert [result[name] for name in ("oa", "aa", "kappa")] == [None] * 3
    assert result["per_class"] == {"1": None, "7": None}
    assert result["confusion"] == [[0, 0], [0, 0]]


def test_one_class_only_has_no_kappa():
    result = scores(np.array([[5]]), np.array([4]))
    assert (result["oa"], result["aa"], result["kappa"]) == (100.0, 100.0, None)


def test_always_the_same_answer_has_kappa_zero():
    assert scores(np.array([[5, 0], [3, 0]]), np.array([1, 2]))["kappa"] == pytest.approx(0)


def test_worse_than_chance_is_negative():
    assert scores(np.array([[0, 5], [5, 0]]), np.array([1, 2]))["kappa"] == pytest.approx(-100)


@pytest.mark.parametrize(("true", "predicted"), [([1, 3], [1, 2]), ([1, 2], [1, 9])])
def test_unknown_ids_are_refused(true, predicted):
    with pytest.raises(ValueError, match="class ids outside"):
        confusion_matrix(np.array(true), np.array(predicted), np.array([1, 2]))


def test_counts_do_not_overflow_small_integers():
    true = np.full(300, 200, np.uint8)
    confusion = confusion_matrix(true, true, np.array([100, 200], np.uint8))
    assert confusion.tolist() == [[0, 0], [0, 300]]
    big = np.array([[10**6, 0], [0, 10**6]], np.int32) * 1000
    assert scores(big, np.array([1, 2]))["kappa"] == pytest.approx(100)


@pytest.mark.parametrize("seed", range(5))
def test_class_scores_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(1, 6, 200), rng.integers(1, 5, 200)  # 5 is never predicted
    ids = np.arange(1, 7)  # and 6 does not occur
    found = class_scores(confusion_matrix(true, predicted, ids))
    expected = reference.precision_recall_fscore_support(
        true, predicted, labels=ids, zero_division=np.nan
    )
    for name, values in zip(("precision", "recall", "f1"), expected, strict=False):
        ours = np.array([np.nan if row[name] is None else row[name] for row in found])
        np.testing.assert_allclose(ours, 100 * values, rtol=1e-12)
    assert found[5] == {"recall": None, "precision": None, "f1": None}


def random_cube(height, width, bands=12):
    return np.random.default_rng(0).standard_normal((bands, height, width), dtype=np.float32)


@pytest.mark.parametrize("size", [1, 9, 63])
@pytest.mark.parametrize("shape", [(70, 66), (11, 7), (2, 40), (1, 1)])
def test_windows_are_slices_of_the_mirrored_cube(size, shape):
    cube, half = random_cube(*shape), size // 2
    padded = np.pad(cube, ((0, 0), (half, half), (half, half)), mode="reflect")
    rows, columns = np.indices(shape).reshape(2, -1)
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), 40)).astype(int)  # the corners included
    positions = np.stack([rows[chosen], columns[chosen]], axis=1)
    expected = np.stack([padded[:, r : r + size, c : c + size] for r, c in positions])
    windows = Windows(cube, size).at(torch.from_numpy(positions))
    assert windows.shape == (len(positions), 12, size, size)
    np.testing.assert_array_equal(windows.numpy(), expected)
    np.testing.assert_array_equal(windows[:, :, half, half], cube[:, *positions.T].T)


def test_memory_does_not_grow_with_the_windows():
    """All windows would be 12 x 60 x 50 x 63 x 63 numbers; the view has the padded cube's only."""
    windows = Windows(random_cube(60, 50), 63)
    assert windows._view.shape == (12, 60, 50, 63, 63)
    view, padded = (x.untyped_storage() for x in (windows._view, windows._padded))
    shared, held = view.data_ptr() == padded.data_ptr(), view.nbytes()
    assert shared
    assert held == 4 * 12 * (60 + 62) * (50 + 62)
    batch = windows.at(torch.tensor([[0, 0], [59, 49]]))
    assert batch.untyped_storage().nbytes() == 4 * 2 * 12 * 63 * 63


@pytest.mark.parametrize("size", [0, 2, 8, 64, 65, -1])
def test_sizes_refused(size):
    with pytest.raises(ConfigError, match=f"an odd number from 1 to 63, got {size}"):
        check_patch_size(size)
    with pytest.raises(ConfigError):
        Windows(random_cube(5, 5), size)


def test_sizes_accepted():
    assert [check_patch_size(size) for size in range(1, 64, 2)] == list(range(1, 64, 2))


@pytest.mark.parametrize("size", [1, 9, 32, 63])
def test_resize_is_bicubic(size):
    windows = torch.from_numpy(random_cube(size, size))[None]
    expected = F.interpolate(windows, size=(32, 32), mode="bicubic", align_corners=False)
    torch.testing.assert_close(resize(windows), expected, rtol=0, atol=1e-6)
    assert resize(windows, 64).shape == (1, 12, 64, 64)


def test_resize_after_an_export():
    """What is kept between calls must not be a tensor of the tracer's."""

    class Resized(torch.nn.Module):
        def forward(self, x):
            return resize(x)

    windows = torch.from_numpy(random_cube(11, 11))[None]  # a size of no other test
    exported = torch.export.export(Resized(), (windows,)).module()
    expected = F.interpolate(windows, size=(32, 32), mode="bicubic", align_corners=False)
    for call in (exported, Resized()):
        torch.testing.assert_close(call(windows), expected, rtol=0, atol=1e-6)


def symmetries(window):
    """The eight, by hand: four quarter turns, of the window and of its mirror image."""
    mirrored = window[:, :, ::-1]
    return [np.rot90(w, k, (1, 2)) for w in (window, mirrored) for k in range(4)]


def test_augment_draws_the_eight_symmetries_and_no_other():
    window = random_cube(5, 5)
    batch = torch.from_numpy(window)[None].repeat(400, 1, 1, 1)
    turned = apply_symmetry(
        batch, draw_symmetries(len(batch), torch.Generator().manual_seed(0))
    ).numpy()
    known = [np.ascontiguousarray(s).tobytes() for s in symmetries(window)]
    drawn = [known.index(np.ascontiguousarray(w).tobytes()) for w in turned]  # none is unknown
    counts = np.bincount(drawn, minlength=8)
    assert len(set(known)) == 8
    # 400 draws of eight: 50 each, deviation 6.6; 5 deviations.
    assert counts.min() > 17
    assert counts.max() < 83


def test_augment_is_seeded_and_leaves_its_input_alone():
    batch = torch.from_numpy(np.stack([random_cube(3, 3)] * 32))
    before = batch.clone()
    first, again, other = (
        apply_symmetry(batch, draw_symmetries(len(batch), torch.Generator().manual_seed(s)))
        for s in (1, 1, 2)
    )
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first, other)
    torch.testing.assert_close(batch, before, rtol=0, atol=0)
