"""Cross-validation inside the training pixels, with classes of any size; what features are."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import MinMaxScaler

from hyperpeft.baselines import features, grid_search
from hyperpeft.baselines.grid_search import choose, deal
from hyperpeft.mapping import features_at
from hyperpeft.mapping.scene_window import SceneWindow
from hyperpeft.mapping.tiles import Tile
from hyperpeft.records import Scene
from hyperpeft.spectral import principal_components


def made(seed=0, bands=9, height=14, width=11, share_invalid=0.2) -> Scene:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(bands, bands)) * 0.7 ** np.arange(bands)
    cube = np.einsum("bc,cyx->byx", mixing, rng.normal(size=(bands, height, width)))
    valid = rng.random((height, width)) >= share_invalid
    cube[:, ~valid] = -9999
    return Scene("made", xr.DataArray(cube.astype(np.float32), dims=("band", "y", "x")), valid)


def test_every_fold_trains_on_every_class():
    ids = np.repeat([1, 2, 3, 4, 5, 9], [1, 2, 3, 4, 5, 40])
    fold = deal(ids, 5, np.random.default_rng(0))
    assert fold[0] == -1  # the one pixel of its class is never held out
    assert (fold[1:] >= 0).all()
    for held in range(5):
        assert set(ids[fold != held]) == set(ids)
    sizes = np.bincount(fold[1:])
    assert sizes.max() - sizes.min() <= 1
    for i in (2, 3, 4, 5):
        assert len(set(fold[ids == i])) == np.count_nonzero(ids == i)


@pytest.mark.parametrize("sizes", [(2, 2), (2, 5, 3), (1, 30), (4, 1, 1, 2)])
def test_small_classes_can_be_tuned(sizes):
    rng = np.random.default_rng(0)
    ids = np.repeat(np.arange(1, len(sizes) + 1), sizes)
    x = np.stack([ids + 0.01 * rng.normal(size=len(ids)), rng.normal(size=len(ids))], axis=1)
    grid = {"n_neighbors": [1]}
    found = choose(KNeighborsClassifier(), grid, x, ids, folds=5, seed=0, otherwise={})
    assert found.folds == min(5, max(sizes))
    assert found.parameters == {"n_neighbors": 1}


def test_one_pixel_a_class_leaves_nothing_to_hold_out():
    x, ids = np.eye(3), np.array([1, 2, 3])
    found = choose(
        KNeighborsClassifier(), {"n_neighbors": [1, 3]}, x, ids, folds=5, seed=0,
        otherwise={"n_neighbors": 7},
    )  # fmt: skip
    assert found == ({"n_neighbors": 7}, None, 0, 3)


def test_the_planted_best_is_found():
    """Labels that a tenth of flips makes noisy: one neighbour copies the noise, many do not."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(300, 1))
    ids = (x[:, 0] > 0).astype(int) + 1
    flipped = rng.random(300) < 0.2
    ids[flipped] = 3 - ids[flipped]
    grid = {"n_neighbors": [1, 25]}
    found = choose(KNeighborsClassifier(), grid, x, ids, folds=5, seed=0, otherwise={}, repeats=2)
    assert found.parameters == {"n_neighbors": 25}
    assert found.accuracy == pytest.approx(80, abs=5)
    again = choose(KNeighborsClassifier(), grid, x, ids, folds=5, seed=0, otherwise={}, repeats=2)
    assert again == found


def test_many_pixels_are_thinned_class_by_class(monkeypatch):
    monkeypatch.setattr(grid_search, "MOST_PIXELS", 100)
    ids = np.repeat([1, 2, 3], [900, 97, 3])
    kept = grid_search._thinned(ids, np.random.default_rng(0))
    assert np.bincount(ids[kept])[1:].tolist() == [90, 10, 3]
    x = ids[:, None] + np.zeros((1000, 2))
    found = choose(
        KNeighborsClassifier(), {"n_neighbors": [1]}, x, ids, folds=5, seed=0, otherwise={}
    )
    assert found.pixels == 103
    assert found.accuracy == 100


def values_of(seen, scene) -> np.ndarray:
    """Features (F, H, W) of a scene."""
    tile = Tile(0, 0, *scene.valid.shape)
    return seen.prepare(SceneWindow.read(scene, tile, seen.reach, scene.valid))


def test_spectra_are_those_of_the_scene_less_the_mean_of_the_training_pixels():
    scene = made()
    train = np.argwhere(scene.valid)[::-3]
    seen = features.centred(scene, train)
    expected = scene.cube.values[:, train[:, 0], train[:, 1]].T
    np.testing.assert_allclose(seen.mean, expected.mean(axis=0), rtol=1e-6)
    found = features_at(scene, seen, train)
    np.testing.assert_allclose(found, expected - expected.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("fit_on", ["scene", "train"])
def test_components_are_those_of_scikit_learn(fit_on):
    scene = made()
    train = np.argwhere(scene.valid)[::3]
    found = principal_components(scene, 5, fit_on=fit_on, train=train)
    cube = values_of(features.components(found, 0, scene), scene)
    pixels = np.argwhere(scene.valid) if fit_on == "scene" else train
    spectra = scene.cube.values[:, *pixels.T].T
    reference = PCA(5, whiten=True, svd_solver="full").fit(spectra.astype(np.float64))
    expected = reference.transform(scene.cube.values[:, scene.valid].T)
    signs = np.sign((reference.components_ * found.directions).sum(axis=1))
    np.testing.assert_allclose(cube[:, scene.valid].T, expected * signs, atol=2e-5)
    assert (cube[:, ~scene.valid] == 0).all()
    section = features.reducer_section(found, fit_on)
    assert section["explained_variance"] == pytest.approx(reference.explained_variance_ratio_.sum())
    assert section["pixels"] == len(pixels)


@pytest.mark.parametrize("fit_on", ["scene", "train"])
def test_ranges_are_those_of_scikit_learn(fit_on):
    scene = made()
    train = np.argwhere(scene.valid)[::3]
    cube = values_of(features.ranged(scene, fit_on=fit_on, train=train), scene)
    pixels = np.argwhere(scene.valid) if fit_on == "scene" else train
    scaler = MinMaxScaler().fit(scene.cube.values[:, *pixels.T].T)
    expected = scaler.transform(scene.cube.values[:, scene.valid].T)
    np.testing.assert_allclose(cube[:, scene.valid].T, expected, atol=1e-5)
    assert (cube[:, ~scene.valid] == 0).all()


def test_means_are_of_the_valid_pixels_of_a_window():
    scene = made(share_invalid=0.4)
    found = principal_components(scene, 3)
    out = values_of(features.components(found, 2, scene), scene)
    assert out.shape == (6, 14, 11)
    np.testing.assert_array_equal(out[:3], values_of(features.components(found, 0, scene), scene))
    for row, column in np.argwhere(scene.valid):
        part = np.s_[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        expected = out[:3, *part][:, scene.valid[part]].mean(axis=1)
        np.testing.assert_allclose(out[3:, row, column], expected, atol=1e-5)
    assert (out[:, ~scene.valid] == 0).all()
