"""Folds that follow how labels lie, exact leave-out of ridge heads, calibrated mixtures."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from hyperpeft.training.combination import combine, mixture_weights, temperature_factor
from hyperpeft.training.model_selection import (
    dead_zone_folds,
    far_share,
    honest_folds,
    random_folds,
    some_of_each,
    spacing,
)
from hyperpeft.training.ridge_folds import leave_out, smoother


@pytest.fixture
def pixels():
    rng = np.random.default_rng(0)
    positions = np.unique(rng.integers(0, 60, (200, 2)), axis=0)
    return positions, rng.integers(0, 4, len(positions)), rng.integers(0, 20, len(positions))


@pytest.mark.parametrize("reach", [3, 5, 10])
def test_nothing_within_the_reach_trains(pixels, reach):
    positions, targets, _ = pixels
    folds = dead_zone_folds(positions, targets, reach, 5, 0)
    assert folds
    for fold in folds:
        apart = np.abs(positions[fold.train][:, None] - positions[fold.held][None]).max(-1)
        assert apart.min() > reach
        assert set(targets[fold.held]) <= set(targets[fold.train])


def test_polygons_are_held_out_whole(pixels):
    positions, targets, regions = pixels
    for fold in dead_zone_folds(positions, targets, 3, 5, 0, regions):
        assert not (set(regions[fold.held]) & set(regions[fold.train])) - {0}


def test_random_folds_hold_each_pixel_out_once(pixels):
    _, targets, _ = pixels
    held = np.concatenate([fold.held for fold in random_folds(targets, 5, 0)])
    assert sorted(held) == list(range(len(targets)))


def test_one_clump_a_class_leaves_random_folds_alone():
    positions = np.array([[0, 0], [0, 1], [50, 50], [50, 51]])
    targets = np.array([0, 0, 1, 1])
    folds = honest_folds(positions, targets, np.ones((60, 60), bool), seed=0)
    assert len(folds.folds) == folds.near > 0
    assert folds.weights.sum() == pytest.approx(1)


def test_weights_of_the_kinds_follow_the_distance_to_labels():
    valid = np.ones((40, 40), bool)
    dense = np.argwhere(np.indices((40, 40)).sum(0) % 3 == 0)
    assert far_share(dense, valid, 5) == 0
    assert far_share(np.array([[0, 0]]), valid, 5) == 0.5
    assert far_share(np.array([[20, 20]]), np.ones((40, 40), bool), 13) < 0.6


def test_spacing_tells_clumps_from_scattered_labels():
    rng = np.random.default_rng(1)
    valid, targets = np.ones((100, 100), bool), np.arange(40) % 4
    scattered = rng.integers(0, 100, (40, 2))
    clumped = (10 + 25 * targets)[:, None] + rng.integers(0, 5, (40, 2))
    assert spacing(scattered, targets, valid) > 0.6
    assert spacing(clumped, targets, valid) < 0.3


def test_leave_out_is_exact_for_any_set():
    rng = np.random.default_rng(2)
    features, targets = rng.standard_normal((40, 15)), np.arange(40) % 3
    fitted = smoother(features, targets, 3, 0.2)
    centred = features - features.mean(0)
    alpha = 0.2 * (centred**2).sum() / 40
    held, train = np.array([1, 5, 9]), np.arange(12, 40)
    expected = Ridge(alpha=alpha).fit(features[train], np.eye(3)[targets[train]])
    np.testing.assert_allclose(
        leave_out(fitted, held, train), expected.predict(features[held]), rtol=1e-8, atol=1e-10
    )


def test_many_pixels_are_drawn_by_class():
    targets = np.repeat([0, 1, 2], [9000, 900, 3])
    kept = some_of_each(targets, 1000, 0)
    assert np.bincount(targets[kept]).tolist() == [909, 91, 2]


def test_the_temperature_has_the_least_cross_entropy():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 400)
    scores = rng.standard_normal((400, 3)) + 0.5 * np.eye(3)[truth]
    factor = temperature_factor(scores, truth)
    losses = [
        -np.log(combine([scores], [f], [1.0])[np.arange(400), truth]).mean()
        for f in (factor * 0.7, factor, factor * 1.4)
    ]
    assert losses[1] == min(losses)


def test_a_mixture_finds_the_parts_that_know():
    """Two parts that know half of the pixels each, and one that guesses."""
    rng = np.random.default_rng(4)
    know = rng.random(2000) < 0.5
    first, second = np.where(know, 0.9, 0.2), np.where(know, 0.2, 0.9)
    weights = mixture_weights(np.stack([first, second, np.full(2000, 0.25)]))
    np.testing.assert_allclose(weights[:2], 0.5, atol=0.06)
    assert weights[2] < 0.06
