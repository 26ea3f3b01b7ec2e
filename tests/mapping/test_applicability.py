"""The area of applicability: planted truths, and a run's map through the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio

from hyperpeft import cli
from hyperpeft.errors import InputError
from hyperpeft.mapping.applicability import features_at, fit_applicability
from hyperpeft.runs.experiment import run
from hyperpeft.scenes import open_scene
from hyperpeft.spectral import fit
from tests.helpers.small import config, planted, write_scene


def training(seed=0, n=200):
    random = np.random.default_rng(seed)
    classes = random.integers(1, 3, n)
    features = random.normal(size=(n, 4))
    features[:, 0] += 3 * classes  # the one feature that tells the classes apart
    return features, classes, random.integers(0, 100, (n, 2))


def test_the_index_is_the_formula():
    features, classes, positions = training()
    known = fit_applicability(features, classes, positions)
    spread, centre = features.std(0), features.mean(0)
    share = sum(
        (classes == i).mean() * (features[classes == i].mean(0) - centre) ** 2 for i in (1, 2)
    )
    points = (features - centre) / spread * (share / spread**2)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    mean = distances[np.triu_indices(len(points), 1)].mean()
    new = np.random.default_rng(1).normal(size=(30, 4))
    moved = (new - centre) / spread * (share / spread**2)
    expected = np.linalg.norm(moved[:, None] - points[None], axis=2).min(1) / mean
    np.testing.assert_allclose(known.index(new), expected, rtol=1e-9)
    np.testing.assert_allclose(known.index(features), 0, atol=1e-12)


def test_like_pixels_are_inside_and_others_are_not():
    known = fit_applicability(*training())
    like, _, _ = training(seed=1)
    assert (known.index(like) <= known.threshold).mean() > 0.8
    far = like + np.array([20, 0, 0, 0])
    assert (known.index(far) > known.threshold).all()
    noise = like + np.array([0, 3, 0, 0])  # in a feature that no class depends on
    assert (known.index(noise) <= known.threshold).mean() > 0.7


def test_spatial_folds_widen_the_threshold():
    """Neighbours that are alike say nothing of the distance to a new place."""
    features, classes, _ = training(n=100)
    near = np.repeat(features, 2, axis=0) + 1e-6  # every pixel has a twin beside it
    places = np.repeat(np.argwhere(np.ones((10, 10))) * 20, 2, axis=0) + [[0, 0], [0, 1]] * 100
    together = fit_applicability(near, np.repeat(classes, 2), places)
    apart = np.random.default_rng(0).permutation(places)
    assert together.threshold > 3 * fit_applicability(near, np.repeat(classes, 2), apart).threshold


def test_too_few_or_equal_pixels_are_refused():
    with pytest.raises(InputError, match="at least 4"):
        fit_applicability(np.ones((3, 2)), np.ones(3), np.ones((3, 2)))
    with pytest.raises(InputError, match="all alike"):
        fit_applicability(np.ones((9, 2)), np.arange(9) % 2, np.ones((9, 2)))


def test_features_are_those_of_the_reduced_scene():
    scene = planted()
    reducer = fit(scene)
    whole = reducer.reduce(scene)
    positions = np.array([[20, 3], [0, 0], [7, 19], [7, 2]])
    np.testing.assert_array_equal(
        features_at(reducer, scene, positions), whole[:, positions[:, 0], positions[:, 1]].T
    )


def test_a_map_through_the_command_line(tmp_path, monkeypatch, capsys):
    run(config(tmp_path, tmp_path / "run", epochs=1))
    scene = planted(seed=2)
    cube = np.array(scene.cube.values)
    cube[:, :6, :6] = cube[::-1, :6, :6] * 3  # a material that was never seen
    other = scene.__class__("other", scene.cube.copy(data=cube), scene.valid, labels=scene.labels)
    path, _ = write_scene(tmp_path / "other", other)
    words = ["map", tmp_path / "run", path, "--out", tmp_path / "m.tif"]
    words += ["--applicability", "--json"]
    monkeypatch.setattr("sys.argv", ["hyperpeft", *map(str, words)])
    cli.main()
    said = json.loads(capsys.readouterr().out)["applicability"]
    with rasterio.open(tmp_path / "m_applicability.tif") as file:
        index, mask = file.read()
        assert file.descriptions == ("dissimilarity", "applicable")
        assert float(file.tags()["THRESHOLD"]) == pytest.approx(said["threshold"], rel=1e-5)
    assert said["pixels"] == open_scene(path).valid.sum()
    assert said["inside"] == np.nansum(mask)
    np.testing.assert_array_equal(mask == 1, index <= said["threshold"])
    assert mask[:6, :6].mean() < 0.2
    assert mask[6:, 6:].mean() > 0.7
    assert (tmp_path / "m_applicability.qml").is_file()
