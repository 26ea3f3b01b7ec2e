"""A tile with a halo has the values of the whole scene, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from hyperpeft.spatial import (
    CONTEXT,
    PROFILE,
    ContextOptions,
    RefineOptions,
    Standardiser,
    box_sum,
    context_features,
    guided_filter,
    refine,
    valid_means,
)


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
