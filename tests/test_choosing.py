"""The window that training pixels choose: small where pixels differ, large where they are noisy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small import encoder

from hyperpeft.choosing import best, compare_windows
from hyperpeft.classifier import Classifier
from hyperpeft.config import WINDOWS
from hyperpeft.train import Pixels


def task(block: int, noise: float, seed: int) -> tuple[np.ndarray, Pixels]:
    """Two classes in square blocks drawn at random, ten training pixels of each; 12 bands."""
    rng = np.random.default_rng(seed)
    side = 40 // block
    ids = rng.permutation(np.arange(side * side) % 2).reshape(side, side)
    ids = ids.repeat(block, axis=0).repeat(block, axis=1)
    means = np.outer(np.ones(12), [-0.5, 0.5])  # (12, 2)
    cube = means[:, ids] + noise * rng.standard_normal((12, 40, 40))
    inner = np.argwhere(ids >= 0)
    drawn = [rng.permutation(inner[ids[tuple(inner.T)] == k])[:10] for k in (0, 1)]
    positions = torch.from_numpy(np.concatenate(drawn))
    targets = torch.tensor([0] * 10 + [1] * 10)
    return cube.astype(np.float32), Pixels(positions, targets)


@pytest.mark.parametrize("seed", range(3))
def test_single_pixels_where_every_pixel_is_another(seed):
    """Where neighbours say nothing of each other, more of them is more noise."""
    cube, train = task(block=1, noise=0.7, seed=seed)
    found = compare_windows(Classifier(encoder(), 2), cube, train, WINDOWS)
    assert best(found) <= 3
    assert found[0].error < 0.5 * found[-1].error  # the pixel alone against 11 x 11


@pytest.mark.parametrize("seed", range(3))
def test_large_windows_where_pixels_are_noisy(seed):
    cube, train = task(block=20, noise=3.0, seed=seed)
    found = compare_windows(Classifier(encoder(), 2), cube, train, WINDOWS)
    assert best(found) >= 5


def test_a_window_larger_than_the_scene_is_not_tried():
    cube, train = task(block=2, noise=0.3, seed=0)
    small = Pixels(train.positions % 4, train.targets)
    found = compare_windows(Classifier(encoder(), 2), cube[:, :4, :4], small, WINDOWS)
    assert [candidate.patch_size for candidate in found] == [1, 3, 5, 7]
