"""Cross-validation inside the training pixels, with classes of any size; what features are."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import MinMaxScaler

from hyperpeft.baselines import features
from hyperpeft.baselines import tuning as tuning_room
from hyperpeft.baselines.tuning import choose, deal
from hyperpeft.records import Scene


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
    monkeypatch.setattr(tuning_room, "MOST_PIXELS", 100)
    ids = np.repeat([1, 2, 3], [900, 97, 3])
    kept = tuning_room._thinned(ids, np.random.default_rng(0))
    assert np.bincount(ids[kept])[1:].tolist() == [90, 10, 3]
    x = ids[:, None] + np.zeros((1000, 2))
    found = choose(
        KNeighborsClassifier(), {"n_neighbors": [1]}, x, ids, folds=5, seed=0, otherwise={}
    )
    assert found.pixels == 103
    assert found.accuracy == 100


def test_spectra_are_in_order():
    scene = made(share_invalid=0.0)
    values = scene.cube.values
    rng = np.random.default_rng(1)
    positions = np.argwhere(np.ones(scene.valid.shape, bool))[rng.permutation(154)[:60]]
    rows, columns = positions.T
    np.testing.assert_array_equal(features.spectra_at(scene, positions), values[:, rows, columns].T)
    where = rng.random(scene.valid.shape) < 0.5
    blocks = np.concatenate(list(features.spectra(scene, where)))
    np.testing.assert_array_equal(blocks, values[:, where].T)


def test_spectra_come_in_blocks(monkeypatch):
    monkeypatch.setattr(features, "BLOCK", 9 * 11 * 4)  # four rows
    scene = made()
    blocks = list(features.spectra(scene, scene.valid))
    assert len(blocks) == 4
    np.testing.assert_array_equal(np.concatenate(blocks), scene.cube.values[:, scene.valid].T)


@pytest.mark.parametrize("fit_on", ["scene", "train"])
def test_components_are_those_of_scikit_learn(fit_on):
    scene = made()
    train = np.argwhere(scene.valid)[::3]
    cube, found = features.reduce(scene, 5, fit_on=fit_on, train=train)
    pixels = features.spectra_at(scene, np.argwhere(scene.valid) if fit_on == "scene" else train)
    reference = PCA(5, whiten=True, svd_solver="full").fit(pixels.astype(np.float64))
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
    cube = features.ranged(scene, fit_on=fit_on, train=train)
    pixels = features.spectra_at(scene, np.argwhere(scene.valid) if fit_on == "scene" else train)
    expected = MinMaxScaler().fit(pixels).transform(scene.cube.values[:, scene.valid].T)
    np.testing.assert_allclose(cube[:, scene.valid].T, expected, atol=1e-5)
    assert (cube[:, ~scene.valid] == 0).all()


def test_means_are_of_the_valid_pixels_of_a_window():
    scene = made(share_invalid=0.4)
    cube, _ = features.reduce(scene, 3, fit_on="scene", train=np.empty((0, 2), int))
    out = features.with_means(cube, scene.valid, 5)
    assert out.shape == (6, 14, 11)
    np.testing.assert_array_equal(out[:3], cube)
    for row, column in np.argwhere(scene.valid):
        part = np.s_[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        expected = cube[:, *part][:, scene.valid[part]].mean(axis=1)
        np.testing.assert_allclose(out[3:, row, column], expected, atol=1e-5)
    assert (out[:, ~scene.valid] == 0).all()
