"""The window that training pixels choose: small where pixels differ, large where they are noisy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hyperpeft.patches import Windows, centres_of, resize
from hyperpeft.runs.config import WINDOWS
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.loop import Pixels
from hyperpeft.training.window_search import choose
from tests.helpers.small import encoder


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
    found = choose(Classifier(encoder(), 2), cube, train, WINDOWS)
    assert found.best.patch_size <= 3
    assert found.tried[0].error < 0.5 * found.tried[-1].error  # the pixel alone against 11 x 11


@pytest.mark.parametrize("seed", range(3))
def test_large_windows_where_pixels_are_noisy(seed):
    cube, train = task(block=20, noise=3.0, seed=seed)
    found = choose(Classifier(encoder(), 2), cube, train, WINDOWS)
    assert found.best.patch_size >= 5


def test_a_window_larger_than_the_scene_is_not_tried():
    cube, train = task(block=2, noise=0.3, seed=0)
    small = Pixels(train.positions % 4, train.targets)
    found = choose(Classifier(encoder(), 2), cube[:, :4, :4], small, WINDOWS)
    assert [candidate.patch_size for candidate in found.tried] == [1, 3, 5, 7]


def test_the_centre_counts_where_neighbours_say_nothing():
    """A window of 7 is given; the head that sees the centre pixel as well makes up for it."""
    cube, train = task(block=1, noise=0.7, seed=0)
    alone = choose(Classifier(encoder(), 2), cube, train, (7,))
    beside = choose(Classifier(encoder(), 2, centre=True), cube, train, (7,))
    assert beside.best.centre_share > 0
    assert beside.best.error < alone.best.error


def test_the_head_that_was_chosen_is_the_one_that_starts():
    """Its decisions are those of the ridge solution on the very features of the model."""
    cube, train = task(block=5, noise=1.0, seed=0)
    model = Classifier(encoder(), 2, centre=True).eval()
    choice = choose(model, cube, train, WINDOWS)
    model.start_head(choice.head, train.targets)
    windows = Windows(cube, choice.best.patch_size).at(train.positions)
    with torch.no_grad():
        logits = model(windows)
        features = model.features(model.encoder(resize(windows)), centres_of(windows))
    scores = features.double() @ choice.head.weight.T + choice.head.bias
    ratio = (logits.double() / scores).flatten()
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio), rtol=1e-3, atol=1e-3)
    assert ratio[0] > 0
