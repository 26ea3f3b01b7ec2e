"""SceneClassifier: the command line's numbers from arrays, by scikit-learn's conventions."""

from __future__ import annotations

import os
from dataclasses import replace

import geopandas
import h5py
import numpy as np
import pandas as pd
import pytest
import rasterio
import rioxarray  # noqa: F401 (gives arrays .rio)
import shapely
import torch
import xarray as xr
from safetensors.numpy import load_file
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks

import hyperpeft
from hyperpeft import SceneClassifier, adapters, load_run
from hyperpeft.baselines import BASELINES
from hyperpeft.errors import ConfigError, InputError, LabelsError
from hyperpeft.records import Scene
from hyperpeft.runs.evaluate import evaluate
from hyperpeft.runs.experiment import RunConfig, run
from hyperpeft.scenes import labels_for, open_scene
from tests.helpers.small import CRS, HEADS, TRANSFORM, checkpoint, config, planted, write_scene

QUICK = {"per_class": 8, "patch_size": 5, "epochs": 2, "num_heads": HEADS}
NETWORKS = ("hybridsn", "ssftt", "spectralformer")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("estimator")
    paths = write_scene(folder, planted())
    weights = checkpoint(folder / "e.safetensors")
    scene = open_scene(*paths)
    cube = np.ascontiguousarray(np.moveaxis(scene.cube.values, 0, 2))
    return folder, scene, cube, scene.labels.ids, str(weights)


def quick(weights, method="krona+", **more):
    return SceneClassifier(method, seed=3, backbone=weights, **{**QUICK, **more})


@pytest.mark.parametrize("method", ["auto", *adapters.METHODS, *BASELINES])
def test_the_numbers_of_the_command_line(world, tmp_path, method):
    folder, _, cube, ids, weights = world
    given = {"method": method, "seed": 3, "epochs": 2, "patch_size": 5}
    if method in NETWORKS:
        given["patch_size"] = 9
    record = run(config(folder, tmp_path / "run", **given))
    clf = quick(weights, method, patch_size=given["patch_size"]).fit(cube, ids)
    with rasterio.open(tmp_path / "run" / "map.tif") as file:
        np.testing.assert_array_equal(clf.predict(cube), file.read(1))
    test = clf.split_.test
    held = np.zeros_like(ids)
    held[tuple(test.T)] = ids[tuple(test.T)]
    assert 100 * clf.score(cube, held) == pytest.approx(record.metrics["oa"], abs=1e-9)
    clf.save(tmp_path / "mine")
    ours = hyperpeft.runs.record.RunRecord.from_file(tmp_path / "mine" / "run.json")
    assert ours.metrics == record.metrics
    assert ours.split == record.split
    for name in ("head.safetensors", "reducer.safetensors", "adapter/adapter_model.safetensors"):
        first = tmp_path / "run" / name
        assert first.is_file() == (tmp_path / "mine" / name).is_file()
        if first.is_file():
            theirs, mine = load_file(first), load_file(tmp_path / "mine" / name)
            assert theirs.keys() == mine.keys()
            for key, values in theirs.items():
                np.testing.assert_array_equal(values, mine[key])


@pytest.fixture(scope="module")
def fitted(world):
    _, _, cube, ids, weights = world
    return quick(weights).fit(cube, ids)


def test_predictions_are_maps(fitted, world):
    _, _, cube, ids, _ = world
    mapped, chances = fitted.predict(cube), fitted.predict_proba(cube)
    assert mapped.shape == ids.shape
    assert chances.shape == (*ids.shape, 2)
    np.testing.assert_allclose(chances.sum(axis=2), 1, atol=1e-5)
    np.testing.assert_array_equal(fitted.classes_[chances.argmax(axis=2)], mapped)
    assert fitted.classes_.tolist() == [1, 2]
    assert fitted.n_features_in_ == cube.shape[2]
    assert fitted.score(cube, ids) == np.mean(mapped == ids)


def test_coordinates_come_back(fitted, world):
    _, scene, *_ = world
    result = fitted.predict(scene.cube.transpose("x", "y", "band"))
    assert isinstance(result, xr.DataArray)
    assert result.dims == ("y", "x")
    np.testing.assert_array_equal(result.x, scene.cube.x)
    assert result.rio.crs == scene.cube.rio.crs
    np.testing.assert_array_equal(result.values, fitted.predict(scene))
    chances = fitted.predict_proba(scene.cube)
    assert chances.dims == ("y", "x", "class")
    assert chances["class"].values.tolist() == [1, 2]


def test_maps_of_arrays_align_with_the_arrays(mapped):
    """By the names of dims and by coordinates to the last bit, as `cube.mean("band")` does."""
    scene, _ = mapped
    height, width, _ = scene.shape
    lat, lon = np.linspace(50.1, 49.7, height), np.linspace(10.3, 10.9, width)
    cube = xr.DataArray(
        scene.cube.values.transpose(2, 0, 1), dims=("lon", "wavelength", "lat"),
        coords={"lat": lat, "lon": lon, "time": 5, "height": (("lat", "lon"), scene.labels.ids)},
    ).rio.write_crs("EPSG:4326", grid_mapping_name="crs")  # fmt: skip
    labels = xr.DataArray(scene.labels.ids.T, {"lon": lon, "lat": lat}, ("lon", "lat"))
    clf = SceneClassifier("lda", per_class=10).fit(cube, labels)
    found, chances = clf.predict(cube), clf.predict_proba(cube)
    assert found.dims == ("lat", "lon")
    assert chances.dims == ("lat", "lon", "class")
    assert (found == labels).sizes == {"lat": height, "lon": width}
    assert cube.where(found == 1).sizes == cube.sizes
    for result in (found, chances):
        assert {"time", "height", "crs"} <= set(result.coords)
        assert result.rio.crs == cube.rio.crs
    # Weights lie where labels do.
    weights = xr.where(found == labels, 1.0, 3.0)
    expected = clf.score(cube, labels, sample_weight=weights.values)
    for other in (weights.transpose("lon", "lat"), weights.isel(lat=slice(None, None, -1))):
        assert clf.score(cube, labels, sample_weight=other) == expected


def test_dims_come_back_under_their_names(fitted, world):
    """Combined with the cube, a result under other names would have four dimensions."""
    cube = world[1].cube.rename(y="lat", x="lon")
    result, chances = fitted.predict(cube), fitted.predict_proba(cube)
    assert (result.dims, chances.dims) == (("lat", "lon"), ("lat", "lon", "class"))
    np.testing.assert_array_equal(result.lat, cube.lat)
    assert set(cube.where(result == 1).dims) == {"band", "lat", "lon"}


def test_invalid_pixels_have_no_class(fitted, world):
    _, _, cube, *_ = world
    holes = cube.copy()
    holes[3:5, 4:9] = np.nan
    mapped = fitted.predict(holes)
    assert (mapped[3:5, 4:9] == 0).all()
    assert np.count_nonzero(mapped == 0) == 10
    assert np.isnan(fitted.predict_proba(holes)[3:5, 4:9]).all()


def test_all_labelled_pixels_train_where_no_size_is_given(world):
    _, _, cube, ids, weights = world
    few = np.zeros_like(ids)
    few[::4, ::4] = ids[::4, ::4]
    clf = quick(weights, per_class=None).fit(cube, few)
    assert len(clf.split_.train) == np.count_nonzero(few)
    assert len(clf.split_.test) == 0


def test_save_and_load(fitted, world, tmp_path):
    _, _, cube, ids, _ = world
    folder = fitted.save(tmp_path / "run")
    assert {"run.json", "map.tif", "split.npz", "head.safetensors"} <= {
        path.name for path in folder.iterdir()
    }
    loaded = SceneClassifier.load(folder)
    np.testing.assert_array_equal(loaded.predict_proba(cube), fitted.predict_proba(cube))
    assert loaded.class_names_ == fitted.class_names_
    scene = hyperpeft.Scene.from_array(cube, ids)
    np.testing.assert_array_equal(load_run(folder).predict(scene), fitted.predict(cube))
    with pytest.raises(InputError, match="holds another run"):
        clone(fitted).set_params(epochs=1).fit(cube, ids).save(folder)


def test_a_run_without_test_pixels_is_saved_too(world, tmp_path):
    _, _, cube, ids, weights = world
    clf = quick(weights, per_class=None, epochs=1).fit(cube[:12, :12], ids[:12, :12])
    folder = clf.save(tmp_path / "run")
    assert SceneClassifier.load(folder).record_.metrics["oa"] is None


def test_a_run_on_files_names_them(tmp_path):
    """So it is tested again, and nothing is written over what it was trained on."""
    paths = write_scene(tmp_path, planted())
    clf = SceneClassifier("lda", per_class=5, refine="none", map=False).fit(*paths)
    out = clf.save(tmp_path / "run")
    assert clf.record_.config["scene"] == str(paths[0])
    assert clf.record_.config["labels"] == str(paths[1])
    assert evaluate(out).scores == clf.record_.metrics
    with pytest.raises(InputError, match="would replace the scene"):
        load_run(out).map(open_scene(paths[0]), paths[0])
    assert SceneClassifier.load(out).fit(*paths).score(*paths) == clf.score(*paths)


def test_a_run_on_arrays_says_that_it_has_no_file(tmp_path):
    paths = write_scene(tmp_path, planted())
    scene = open_scene(*paths)
    clf = SceneClassifier("lda", per_class=5, refine="none", map=False).fit(scene)
    with pytest.raises(InputError, match=r"was trained on a scene in memory.*name the scene"):
        evaluate(clf.save(tmp_path / "run"))
    (tmp_path / "run.json").hardlink_to(paths[0])
    with pytest.raises(InputError, match="would replace the scene"):
        clf.save(tmp_path, overwrite=True)
    given = clf.fit(paths[0], scene.labels.ids).save(tmp_path / "labels")
    assert evaluate(given).scores == clf.record_.metrics


def test_another_scene_or_split_is_another_run(world, tmp_path):
    _, _, cube, ids, _ = world
    clf = SceneClassifier("lda", per_class=5, refine="none", map=False).fit(cube, ids)
    out = clf.save(tmp_path / "run")
    (out / "model.onnx").write_bytes(b"of an earlier training")
    clf.save(out)
    assert load_run(out).predict(clf._scene).shape == ids.shape
    saved = (out / "run.json").read_bytes()
    for other in ((3 * cube, ids), (cube, np.where(ids == 1, 2, 1))):
        with pytest.raises(InputError, match="holds another run"):
            clf.fit(*other).save(out)
        assert not hasattr(clf, "record_")
    assert (out / "run.json").read_bytes() == saved


def test_a_model_exported_before_goes_with_its_run(world, tmp_path):
    _, _, cube, ids, weights = world
    clf = quick(weights, "probe", epochs=1, map=False).fit(cube, ids)
    out = clf.save(tmp_path / "run")
    (out / "model.onnx").write_bytes(b"of an earlier training")
    clf.save(out)
    assert not (out / "model.onnx").exists()


def test_a_save_that_fails_does_not_cost_the_earlier_run(world, tmp_path):
    _, _, cube, ids, _ = world
    clf = SceneClassifier("lda", per_class=5, refine="none", map=False)
    out = clf.fit(cube, ids).save(tmp_path / "run")
    names = sorted(path.name for path in out.iterdir())
    path = tmp_path / "cube.h5"
    with h5py.File(path, "w") as file:
        file["cube"] = np.tile(cube, (4, 4, 1))  # more than HDF5 keeps of it
    clf.fit(path, np.tile(ids, (4, 4)))
    path.write_bytes(b"")
    with pytest.raises(OSError, match="file signature not found"):
        clf.save(out, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == names
    assert load_run(out).predict(hyperpeft.Scene.from_array(cube)).shape == ids.shape


def test_the_papers_recipe_is_the_papers_method(world):
    _, _, cube, ids, weights = world
    given = {"recipe": "paper", "per_class": 4, "patch_size": 5, "epochs": 1}
    clf = SceneClassifier(backbone=weights, num_heads=HEADS, **given).fit(cube, ids)
    assert clf._trained.adapter["method"] == "krona+"
    assert clone(clf).get_params() == clf.get_params()


def test_a_share_of_all_labelled_pixels_validates(world):
    _, _, cube, ids, weights = world
    clf = quick(weights, per_class=None, validation=0.25, refine="none", epochs=1).fit(cube, ids)
    assert len(clf.split_.validation) == np.count_nonzero(ids) // 4
    assert len(clf.split_.train) == np.count_nonzero(ids) - len(clf.split_.validation)
    assert clf._trained.outcome.history[0]["validation_oa"] is not None


def test_a_loaded_classifier_has_the_options_and_the_split_of_its_run(fitted, tmp_path):
    loaded = SceneClassifier.load(fitted.save(tmp_path / "run"))
    given = fitted.get_params()
    assert {name: loaded.get_params()[name] for name in given} == given
    np.testing.assert_array_equal(loaded.split_.train, fitted.split_.train)
    np.testing.assert_array_equal(loaded.split_.test_ids, fitted.split_.test_ids)
    assert clone(loaded).get_params() == loaded.get_params()


def test_a_run_that_left_its_size_open_is_drawn_again(tmp_path):
    out = tmp_path / "run"
    run(config(tmp_path, out, method="lda", per_class=None, refine="none", map=False))
    loaded = SceneClassifier.load(out)
    first = loaded.split_.train
    loaded.fit(tmp_path / "scene.tif", tmp_path / "scene_labels.tif")
    np.testing.assert_array_equal(loaded.split_.train, first)


def test_options_are_attributes(world):
    _, _, cube, ids, _ = world
    clf = SceneClassifier("lda", class_field="class")  # which labels of an array do not have
    clf.per_class = 2
    assert clf.get_params()["per_class"] == 2
    assert len(clf.fit(cube, ids).split_.train) == 4


def test_labels_of_every_kind(world, tmp_path):
    folder, scene, _, ids, weights = world
    boxes, names = [], []
    for i in (1, 2):
        row, column = np.argwhere(ids == i)[0] // 6 * 6
        x, y = TRANSFORM.c + 30 * column, TRANSFORM.f - 30 * row
        boxes.append(shapely.box(x, y - 180, x + 180, y))
        names.append(f"class {i}")
    frame = geopandas.GeoDataFrame({"class": names}, geometry=boxes, crs=CRS)
    frame.to_file(tmp_path / "labels.gpkg")
    geographic = frame.to_crs("EPSG:4326").__geo_interface__
    maps = []
    for labels in (frame, geographic, tmp_path / "labels.gpkg", str(tmp_path / "labels.gpkg")):
        clf = quick(weights, "svm", per_class=None).fit(scene, labels)
        assert clf.class_names_ == {1: "class 1", 2: "class 2"}
        assert len(clf.split_.train) == 72
        maps.append(clf.predict(scene))
    assert all((m == maps[0]).all() for m in maps)
    raster = quick(weights, "svm").fit(scene, folder / "scene_labels.tif")
    np.testing.assert_array_equal(
        raster.predict(scene), quick(weights, "svm").fit(scene).predict(scene)
    )


def test_fields_of_labels_in_memory(world):
    """Missing values of any type are none, and two fields of one name are not one."""
    scene = world[1]
    x, y = TRANSFORM.c, TRANSFORM.f
    boxes = [shapely.box(x + 90 * i, y - 90, x + 90 * (i + 1), y) for i in range(3)]
    expected = {1: 9, 2: 9}
    for given in (
        pd.array(["a", "b", None], dtype="string"),
        pd.array([1, 2, None], dtype="Int64"),
        pd.Categorical(["a", "b", None]),
        np.array([1, 2, np.nan]),
        pd.to_datetime(["2020-01-01", "2021-01-01", None]),
    ):
        frame = geopandas.GeoDataFrame({"class": given}, geometry=boxes, crs=CRS)
        assert labels_for(scene, frame).counts() == expected
    twice = geopandas.GeoDataFrame(
        pd.DataFrame([list("ax"), list("by"), list("az")], columns=["class", "class"]),
        geometry=boxes, crs=CRS,
    )  # fmt: skip
    with pytest.raises(LabelsError, match="expected one field of a name, got class"):
        labels_for(scene, twice)
    collection = {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": CRS}},
        "features": [
            {"type": "Feature", "properties": p, "geometry": g and shapely.geometry.mapping(g)}
            for p, g in zip(
                [{"class": "a"}, {"class": "b"}, None, {"class": "a"}], [*boxes, None], strict=True
            )
        ],
    }
    found = labels_for(scene, collection)
    assert found.counts() == expected
    assert {note.partition(": ")[2] for note in found.notes} >= {
        "1 features have no class and are left out", "1 features have no geometry",
    }  # fmt: skip


def test_labels_of_other_types_are_refused_or_read(world):
    folder, scene, cube, ids, _ = world
    assert (Scene.from_array(cube, torch.tensor(ids)).labels.ids == ids).all()
    places = geopandas.GeoSeries([shapely.Point(0, 0)])
    for labels in (places, pd.DataFrame({"class": ["a"], "geometry": ["POINT (0 0)"]})):
        with pytest.raises(LabelsError, match="expected whole numbers"):
            labels_for(scene, labels)
    for labels in (ids, {"type": "FeatureCollection"}):
        with pytest.raises(LabelsError, match=r"labels: expected a path, got a .*fit"):
            open_scene(folder / "scene.tif", labels)


def test_a_split_of_two_files(tmp_path):
    """As on the command line, also where the scene has no other labels."""
    scene, labels = write_scene(tmp_path, planted())
    with rasterio.open(labels) as file:
        ids, profile = file.read(1), file.profile
    odd = np.arange(ids.shape[1]) % 2 == 1
    for name, where in (("train", odd), ("test", ~odd)):
        with rasterio.open(tmp_path / f"{name}.tif", "w", **profile) as file:
            file.write(np.where(where, ids, 0).astype(ids.dtype), 1)
    split = f"{tmp_path / 'train.tif'},{tmp_path / 'test.tif'}"
    record = run(RunConfig(scene=str(scene), split=split, method="lda", out=tmp_path / "run"))
    for given in ((scene,), (scene, labels), (open_scene(scene), ids.astype(int))):
        clf = SceneClassifier("lda", split=split).fit(*given)
        assert len(clf.split_.train) == np.count_nonzero(ids[:, odd])
        assert len(clf.split_.test) == np.count_nonzero(ids[:, ~odd])
        np.testing.assert_array_equal(
            clf.predict(scene), load_run(tmp_path / "run").predict(open_scene(scene))
        )
    clf.fit(scene).save(tmp_path / "mine")
    assert clf.record_.metrics == record.metrics == evaluate(tmp_path / "mine").scores


def points_of(ids, names, count):
    """GeoDataFrame of `count` points of each class that has a name."""
    rows = [(name, place) for i, name in names.items() for place in np.argwhere(ids == i)[:count]]
    places = [
        shapely.Point(TRANSFORM.c + 30 * column + 15, TRANSFORM.f - 30 * row - 15)
        for _, (row, column) in rows
    ]
    return geopandas.GeoDataFrame({"class": [name for name, _ in rows]}, geometry=places, crs=CRS)


def test_evaluating_a_run_that_trained_on_every_label(tmp_path):
    cube, labels = write_scene(tmp_path, planted())
    SceneClassifier("lda").fit(cube, str(labels)).save(tmp_path / "run")
    with pytest.raises(LabelsError, match=r"every labelled pixel of scene \w+ was trained on"):
        evaluate(tmp_path / "run", open_scene(cube, labels))


def test_scores_match_classes_by_name(tmp_path):
    """A file that lacks a class numbers the others anew."""
    ids = np.repeat([[1, 2, 3]], 8, axis=1).repeat(12, axis=0)  # stripes (12, 24)
    cube = np.random.default_rng(0).normal(0, 0.01, (12, 24, 20))
    cube += np.linspace(ids, 4 - 0.3 * ids, 20, axis=2)
    scene = hyperpeft.Scene.from_array(cube, crs=CRS, transform=TRANSFORM)
    clf = SceneClassifier("lda", refine="none").fit(
        scene, points_of(ids, {1: "corn", 2: "grass", 3: "water"}, 12)
    )
    fewer = points_of(ids, {2: "grass", 3: "water"}, 40)
    assert clf.score(scene, fewer) == 1
    assert SceneClassifier.load(clf.save(tmp_path / "run")).score(scene, fewer) == 1
    with_new = points_of(ids, {1: "sand", 2: "grass", 3: "water"}, 40)
    assert clf.score(scene, with_new) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("cube", "labels", "says"),
    [
        ("x" * 5000, None, "there is no scene"),
        (np.ones((4, 4)), np.ones((4, 4), int), "expected an array"),
        (3, None, "expected an array"),
        (np.ones((6, 6, 9)), None, "has no labels"),
        (np.ones((6, 6, 9)), np.ones((5, 6), int), "do not fit scene array"),
        (np.ones((6, 6, 9)), np.ones((6, 6)) / 2, "whole numbers"),
        (np.ones((6, 6, 9)), "nowhere.gpkg", "nowhere.gpkg"),
        (np.ones((6, 6, 9)), {"type": "Point"}, "GeoJSON FeatureCollection"),
        (np.ones((6, 6, 9)), np.ones((6, 6), int), "at least 2"),
    ],
)
def test_wrong_input_gets_the_sentence_of_the_command_line(cube, labels, says):
    with pytest.raises(InputError, match=says):
        SceneClassifier("svm").fit(cube, labels)


def test_a_dataset_is_no_array():
    dataset = xr.Dataset({"radiance": (("band", "y", "x"), np.ones((3, 4, 5)))})
    with pytest.raises(InputError, match=r"a Dataset of radiance; choose a variable"):
        SceneClassifier("svm").fit(dataset, np.ones((4, 5), int))


def test_what_is_no_path_and_no_configuration():
    with pytest.raises(InputError, match=r"path, got a ndarray; use Scene\.from_array"):
        open_scene(np.ones((4, 5, 6)))
    with pytest.raises(InputError, match=r"run: expected a RunConfig, got a dict; make one"):
        run({"scene": "demo"})


def test_a_crs_without_a_transform_places_nothing(tmp_path):
    """Its maps lay at (0, 0) of the CRS."""
    scene = planted()
    values = np.moveaxis(scene.cube.values, 0, 2)
    bare = hyperpeft.Scene.from_array(values, scene.labels.ids, crs=CRS)
    assert "no transform" in repr(bare)
    note = "the scene has a CRS and no transform: where it lies is unknown, its maps have no CRS"
    assert note in bare.notes
    SceneClassifier("lda", per_class=5).fit(bare).save(tmp_path / "run")
    with rasterio.open(tmp_path / "run" / "map.tif") as file:
        assert file.crs is None
    placed = hyperpeft.Scene.from_array(values, crs=CRS, transform=TRANSFORM)
    assert "georeferenced" in repr(placed)
    assert placed.notes == ()
    load_run(tmp_path / "run").map(placed, tmp_path / "placed.tif")
    with rasterio.open(tmp_path / "placed.tif") as file:
        assert file.crs is not None


def test_wrong_options():
    with pytest.raises(TypeError, match="no option ephocs"):
        SceneClassifier(ephocs=3)
    with pytest.raises(InputError, match="epochs"):
        SceneClassifier(epochs=0).fit(np.ones((6, 6, 9)), np.eye(6, dtype=int))
    with pytest.raises(InputError, match="method"):
        SceneClassifier("lorra").fit(np.ones((6, 6, 9)), np.eye(6, dtype=int) + 1)


def test_another_scene_needs_the_same_bands(world):
    _, _, cube, ids, weights = world
    clf = quick(weights, "svm", refine="none").fit(cube, ids)
    np.testing.assert_array_equal(clf.predict(cube[:7]), clf.predict(cube)[:7])
    with pytest.raises(InputError, match="bands"):
        clf.predict(cube[..., :9])
    with pytest.raises(InputError, match="bands"):
        quick(weights).fit(cube, ids).predict(cube[..., :9])


def test_nothing_is_predicted_before_fit():
    clf = SceneClassifier()
    for call in (clf.predict, clf.predict_proba, clf.save):
        with pytest.raises(NotFittedError):
            call(np.ones((4, 4, 9)))


def test_parameters_and_clones(world):
    *_, weights = world
    clf = quick(weights, "lora", options={"rank": 2})
    assert clf.get_params() == {"method": "lora", "seed": 3, "backbone": weights, **QUICK,
                                "options": {"rank": 2}}  # fmt: skip
    twin = clone(clf)
    assert twin.get_params() == clf.get_params()
    assert twin.set_params(epochs=7, lr=0.1).get_params()["lr"] == 0.1
    assert "epochs=2" in repr(clf)
    with pytest.raises(ValueError, match="ephocs"):
        clf.set_params(ephocs=1)


# What scikit-learn checks without data, or with none that an image could not be. Its other checks
# fit a table of samples (n, B), which has no neighbours: a scene is an image (H, W, B).
APPLICABLE = (
    "check_estimator_cloneable", "check_estimator_tags_renamed", "check_valid_tag_types",
    "check_estimator_repr", "check_no_attributes_set_in_init",
    "check_parameters_default_constructible", "check_get_params_invariance", "check_set_params",
    "check_do_not_raise_errors_in_init_or_set_param",
)  # fmt: skip


@pytest.mark.parametrize("name", APPLICABLE)
def test_checks_of_scikit_learn(name):
    check = getattr(estimator_checks, name, None)
    if check is None:
        pytest.skip(f"this release of scikit-learn has no {name}")
    check("SceneClassifier", SceneClassifier())


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """A scene, and the bundle of a run on it."""
    folder = tmp_path_factory.mktemp("mapped")
    scene = planted()
    SceneClassifier("lda", per_class=10).fit(scene).save(folder / "run")
    return scene, load_run(folder / "run")


def test_map_and_layers_of_one_name_in_two_folders(mapped, tmp_path):
    scene, bundle = mapped
    first, second = tmp_path / "a" / "m.tif", tmp_path / "b" / "m.tif"
    bundle.map(scene, first, probabilities=second)
    with rasterio.open(first) as ids, rasterio.open(second) as chances:
        assert (ids.count, chances.count) == (1, 2)
        np.testing.assert_array_equal(ids.read(1), bundle.predict(scene))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize(("layer", "name"), [("probabilities", "m.tif"), ("confidence", "m.tiff")])
def test_outputs_that_would_replace_each_other(mapped, tmp_path, layer, name):
    scene, bundle = mapped
    with pytest.raises(ConfigError, match="expected files of which none"):
        bundle.map(scene, tmp_path / "m.tif", **{layer: tmp_path / name})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes there")
def test_a_pipe_is_no_map(mapped, tmp_path):
    scene, bundle = mapped
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="is a device or a pipe"):
        bundle.map(scene, tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("tile", [2.5, "8", True, 0])
def test_tiles_are_whole_numbers(mapped, tmp_path, tile):
    scene, bundle = mapped
    with pytest.raises(ConfigError, match="tile: expected 1 to"):
        bundle.map(scene, tmp_path / "m.tif", tile=tile)


def test_suggestions_in_a_scene_of_another_scale_are_refused(mapped):
    scene, bundle = mapped
    with pytest.raises(InputError, match="values of another scale"):
        hyperpeft.suggest(bundle, Scene.from_array(scene.cube * 1e4), count=3)


def test_what_is_given_to_a_run_is_checked(mapped, tmp_path):
    scene, bundle = mapped
    cube = scene.cube.values.transpose(1, 2, 0)
    for call in (bundle.predict, bundle.plot_map, lambda c: bundle.map(c, tmp_path / "m.tif")):
        with pytest.raises(InputError, match=r"expected a Scene, got a ndarray; .*from_array"):
            call(cube)
    with pytest.raises(InputError, match=r"expected a Bundle, got a str; .*load_run"):
        hyperpeft.suggest("run", scene)
    with pytest.raises(InputError, match=r"labelled: expected a mask .*, got \(3, 3\)"):
        hyperpeft.suggest(bundle, scene, labelled=np.ones((3, 3), bool))
    some = np.where(np.arange(scene.shape[1]) < 4, scene.labels.ids, 0)
    expected = hyperpeft.suggest(bundle, scene, count=4, labelled=some > 0).places
    for labelled in (some, xr.DataArray(some, dims=("y", "x"))):
        found = hyperpeft.suggest(bundle, scene, count=4, labelled=labelled)
        np.testing.assert_array_equal(found.places, expected)


def test_scores_without_pixels_or_with_odd_weights(mapped):
    scene, _ = mapped
    clf = SceneClassifier("lda", per_class=10).fit(scene)
    with pytest.raises(LabelsError, match="no labelled pixel of scene"):
        clf.score(replace(scene, valid=np.zeros_like(scene.valid)))
    for weights in (np.ones(scene.valid.size), np.zeros(scene.valid.shape)):
        with pytest.raises(ConfigError, match="sample_weight: expected"):
            clf.score(scene, sample_weight=weights)
    weights = np.where(clf.predict(scene) == scene.labels.ids, 1.0, 3.0)
    right = weights == 1
    expected = right.sum() / weights.sum()
    assert clf.score(scene, sample_weight=weights) == pytest.approx(expected)
