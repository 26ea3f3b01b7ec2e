"""A part of a scene with a halo has the values of the whole: context, refinement, patches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, signal

from hyperpeft import spectral
from hyperpeft.mapping import PixelFeatures, RandomPatchFeatures, features_at
from hyperpeft.mapping.tiles import SceneWindow, Tile, plan
from hyperpeft.spatial import (
    CONTEXT,
    PROFILE,
    ContextOptions,
    RandomPatches,
    RefineOptions,
    Standardiser,
    box_sum,
    context_features,
    guided_filter,
    refine,
    valid_means,
)
from tests.helpers.small import holed


@pytest.fixture(scope="module")
def scene():
    rng = np.random.default_rng(1)
    cube = ndimage.gaussian_filter(rng.normal(size=(12, 71, 67)), (0, 2, 2)).astype(np.float32)
    valid = rng.random((71, 67)) > 0.02
    valid[:7, :9] = False
    valid[35] = False
    standardiser = Standardiser.fit(5 * cube, valid)
    standard = standardiser.apply(5 * cube, valid)
    return standard, standardiser.guide(standard), valid


def by_tiles(function, reach, arrays, valid, size):
    height, width = valid.shape
    out = None
    for top in range(0, height, size):
        for left in range(0, width, size):
            rows = slice(max(top - reach, 0), top + size + reach)
            columns = slice(max(left - reach, 0), left + size + reach)
            part = function(*(a[:, rows, columns] for a in arrays), valid[rows, columns])
            out = np.zeros((len(part), height, width), np.float32) if out is None else out
            inner = part[:, top - rows.start :, left - columns.start :][:, :size, :size]
            out[:, top : top + size, left : left + size] = inner
    return out


@pytest.mark.parametrize("size", [16, 37])
@pytest.mark.parametrize(
    "options", [CONTEXT, PROFILE, ContextOptions(profile_radii=(2, 4), profile_steps=5)]
)
def test_context_of_tiles(scene, options, size):
    cube, guide, valid = scene

    def features(cube, guide, valid):
        return context_features(cube, guide, valid, options)

    whole = features(cube, guide, valid)
    tiled = by_tiles(features, options.reach, (cube, guide), valid, size)
    np.testing.assert_array_equal(tiled, whole)
    assert not whole[:, ~valid].any()


@pytest.mark.parametrize("size", [16, 37])
@pytest.mark.parametrize("kind", ["guided", "graph"])
def test_refinement_of_tiles(scene, kind, size):
    cube, _, valid = scene
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.ones(5), valid.shape).transpose(2, 0, 1).astype(np.float32)
    options = RefineOptions(kind)

    def refined(chances, cube, valid):
        return refine(chances, cube, valid, options)

    whole = refined(chances, cube, valid)
    tiled = by_tiles(refined, options.reach, (chances, cube), valid, size)
    np.testing.assert_array_equal(tiled, whole)
    np.testing.assert_allclose(whole.sum(0)[valid], 1, atol=1e-5)
    assert not whole[:, ~valid].any()


def test_a_pixel_beyond_the_reach_changes_nothing(scene):
    """And one within it does: the reach is neither too small nor for show."""
    cube, guide, valid = scene
    row, column = 50, 33
    for options in (CONTEXT, PROFILE):
        whole = context_features(cube, guide, valid, options)
        far, near = cube.copy(), cube.copy()
        far[:, row - options.reach - 1, column] += 50
        near[:, row - 1, column] -= 50
        same = context_features(far, far[:3], valid, options)[:, row, column]
        other = context_features(near, near[:3], valid, options)[:, row, column]
        np.testing.assert_array_equal(same, context_features(cube, cube[:3], valid, options)[
            :, row, column
        ])  # fmt: skip
        assert not np.array_equal(other, whole[:, row, column])


def test_sums_and_means_against_scipy(scene):
    cube, _, valid = scene
    naive = np.stack(
        [ndimage.uniform_filter(band.astype(float), 9, mode="constant") * 81 for band in cube]
    )
    np.testing.assert_allclose(box_sum(cube.astype(float), 4), naive, atol=1e-10)
    means = valid_means(cube, valid, 2)
    row, column = 20, 30
    window = (slice(18, 23), slice(28, 33))
    expected = cube[:, *window][:, valid[window]].mean(axis=1)
    np.testing.assert_allclose(means[:, row, column], expected, rtol=1e-4, atol=1e-6)


def test_the_guided_filter_solves_its_equations():
    """In each window: the ridge regression of the band on the guide, by scikit-learn."""
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(2)
    guide, band = rng.normal(size=(3, 12, 13)), rng.normal(size=(12, 13))
    valid, radius, eps = np.ones((12, 13), bool), 2, 0.05
    found = guided_filter(band[None], guide, valid, radius, eps)[0]
    total, count = np.zeros((12, 13)), np.zeros((12, 13))
    for row in range(12):
        for column in range(13):
            inside = np.s_[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
            x, y = guide[:, *inside].reshape(3, -1).T, band[inside].ravel()
            fitted = Ridge(alpha=eps * len(y)).fit(x, y)
            total[inside] += fitted.predict(x).reshape(band[inside].shape)
            count[inside] += 1
    np.testing.assert_allclose(found, total / count, atol=1e-5)


def test_the_graph_converges_to_the_solution_of_its_system():
    """Minimise sum |u - p|^2 + strength / 2 sum w |u_i - u_j|^2: (I + strength L) u = p."""
    from hyperpeft.spatial.refine import _edges, graph

    rng = np.random.default_rng(3)
    guide = rng.normal(size=(3, 7, 6)).astype(np.float32)
    valid = np.ones((7, 6), bool)
    chances = rng.random((2, 7, 6)).astype(np.float32)
    index = np.arange(42).reshape(7, 6)
    laplacian = np.zeros((42, 42))
    for a, b, weights in _edges(guide, valid):
        for i, j, w in zip(index[a].ravel(), index[b].ravel(), weights.ravel(), strict=True):
            laplacian[[i, j], [j, i]] -= w
            laplacian[[i, j], [i, j]] += w
    exact = np.linalg.solve(np.eye(42) + 1.5 * laplacian, chances.reshape(2, -1).T).T
    found = graph(chances, guide, valid, 1.5, 400)
    np.testing.assert_allclose(found.reshape(2, -1), exact, atol=1e-4)


def test_refinement_recovers_a_planted_map():
    """Two halves that the guide tells apart, and noisy probabilities: fewer errors after."""
    rng = np.random.default_rng(4)
    truth = np.repeat([0, 1], 20)[None].repeat(40, 0)
    guide = np.stack([truth, truth, truth]).astype(np.float32) * 4 - 2
    first = np.clip(0.5 + 0.15 * (1 - 2 * truth) + rng.normal(0, 0.25, truth.shape), 0, 1)
    chances = np.stack([first, 1 - first]).astype(np.float32)
    before = np.mean(chances.argmax(0) != truth)
    for kind in ("guided", "graph"):
        refined = refine(chances, guide, np.ones(truth.shape, bool), RefineOptions(kind))
        assert np.mean(refined.argmax(0) != truth) < before / 10, kind


@pytest.fixture(scope="module")
def patch_scene():
    rng = np.random.default_rng(1)
    cube = ndimage.gaussian_filter(rng.normal(size=(4, 60, 52)), (0, 1, 1)).astype(np.float32)
    valid = rng.random((60, 52)) > 0.03
    cube = np.where(valid, 5 * cube, 0).astype(np.float32)
    return cube, valid, RandomPatches.fit(cube, valid, 3, layers=3, patches=6, size=5)


def test_kernels_are_patches_of_each_layers_input(patch_scene):
    cube, _, network = patch_scene
    padded = np.pad(cube[:3], ((0, 0), (2, 2), (2, 2)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 5, 5))[0].reshape(-1, 3, 5, 5)
    for kernel in network.kernels[0]:
        assert (np.abs(windows - kernel).max(axis=(1, 2, 3)) == 0).any()


def test_maps_are_correlations_of_whitened_maps(patch_scene):
    cube, valid, network = patch_scene
    image, expected = cube[:3].astype(float), []
    for layer in range(3):
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="symmetric")
        maps = np.stack([signal.correlate(padded, k, "valid")[0] for k in network.kernels[layer]])
        expected.append(maps)
        values = maps[:, valid]
        left, singular, right = np.linalg.svd(
            values - values.mean(axis=1, keepdims=True), full_matrices=False
        )
        image = np.zeros((3, 60, 52))
        image[:, valid] = right[:3] * np.sqrt(valid.sum())  # principal components of variance 1
        if layer < 2:
            signs = np.sign((left[:, :3] * (network.axes[layer].T * singular[:3])).sum(axis=0))
            image *= signs[:, None, None]
    values = np.concatenate(expected)[:, valid]
    values = (values - values.mean(axis=1, keepdims=True)) / values.std(axis=1, keepdims=True)
    found = network.maps(cube, valid)
    np.testing.assert_allclose(found[:, valid], values, rtol=0, atol=2e-3)
    assert not found[:, ~valid].any()


def test_a_part_of_the_scene_has_its_maps(patch_scene):
    cube, valid, network = patch_scene
    whole, far = network.maps(cube, valid), network.reach
    assert far == 6
    inner = network.maps(cube[:, 10:50, 8:40], valid[10:50, 8:40], ((False,) * 2,) * 2)
    np.testing.assert_allclose(inner, whole[:, 16:44, 14:34], rtol=0, atol=1e-5)
    corner = network.maps(cube[:, :40, 8:], valid[:40, 8:], ((True, False), (False, True)))
    np.testing.assert_allclose(corner, whole[:, :34, 14:], rtol=0, atol=1e-5)


def test_a_pixel_beyond_the_reach_changes_no_map(patch_scene):
    cube, valid, network = patch_scene
    before = network.maps(cube, valid)[:, 30, 25]
    for distance, same in ((7, True), (6, False)):
        other = cube.copy()
        other[:, 30 - distance, 25 - distance] += 50
        after = network.maps(other, valid)[:, 30, 25]
        assert np.allclose(after, before, rtol=0, atol=1e-4) == same, distance


@pytest.fixture(scope="module")
def features():
    made = holed(300, 170)
    reducer = spectral.fit(made)
    network = RandomPatches.fit(reducer.reduce(made), made.valid, 0, layers=2, patches=5, size=9)
    return made, RandomPatchFeatures(reducer, network)


def prepared(features: PixelFeatures, scene, tile: Tile) -> np.ndarray:
    return features.prepare(SceneWindow.read(scene, tile, features.reach, scene.valid))


def test_tiles_of_whole_cells_have_the_values_of_the_scene(features):
    """To the bit; they are those of the network on the whole scene, to rounding."""
    scene, seen = features
    whole = prepared(seen, scene, Tile(0, 0, 300, 170))
    for size in (seen.cell, 2 * seen.cell):
        for tile in plan((300, 170), size, seen.cell):
            np.testing.assert_array_equal(prepared(seen, scene, tile), whole[:, *tile.inside])
    cube = seen.reducer.reduce(scene)
    np.testing.assert_array_equal(whole[:12], cube)
    np.testing.assert_allclose(whole[12:], seen.network.maps(cube, scene.valid), atol=1e-4)
    positions = np.argwhere(scene.valid)[::997]
    np.testing.assert_array_equal(features_at(scene, seen, positions), whole[:, *positions.T].T)


def test_a_file_keeps_every_number(features, tmp_path):
    scene, seen = features
    seen.to_file(tmp_path / "f.safetensors")
    again = PixelFeatures.from_file(tmp_path / "f.safetensors")
    tile = Tile(128, 128, 256, 170)
    np.testing.assert_array_equal(prepared(again, scene, tile), prepared(seen, scene, tile))
    smaller = replace(seen, network=replace(seen.network, spread=seen.network.spread * 0))
    smaller.to_file(tmp_path / "g.safetensors")
    with pytest.raises(Exception, match="cannot be applied"):
        PixelFeatures.from_file(tmp_path / "g.safetensors")
