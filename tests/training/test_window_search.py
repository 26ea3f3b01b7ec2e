"""The window that training pixels choose: small where pixels differ, large where they are noisy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hyperpeft.patches import Windows, centres_of, resize
from hyperpeft.runs.config import WINDOWS
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.loop import Pixels
from hyperpeft.training.model_selection import honest_folds
from hyperpeft.training.window_search import select_windows
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


def choose(model: Classifier, cube: np.ndarray, train: Pixels, sizes, **how):
    valid = np.ones(cube.shape[1:], bool)
    folds = honest_folds(train.positions.numpy(), train.targets.numpy(), valid, seed=0)
    return select_windows(model, cube, train, sizes, folds, **how)


@pytest.mark.parametrize("seed", range(3))
def test_single_pixels_where_every_pixel_is_another(seed):
    """Where neighbours say nothing of each other, more of them is more noise."""
    cube, train = task(block=1, noise=0.7, seed=seed)
    found = choose(Classifier(encoder(), 2), cube, train, WINDOWS)
    assert found.windows[0] <= 3
    assert found.tried[0].error < 0.5 * found.tried[-1].error  # the pixel alone against 11 x 11


@pytest.mark.parametrize("seed", range(3))
def test_large_windows_where_pixels_are_noisy(seed):
    cube, train = task(block=20, noise=3.0, seed=seed)
    found = choose(Classifier(encoder(), 2), cube, train, WINDOWS)
    assert found.windows[0] >= 5


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
    assert beside.tried[0].centre_share > 0
    assert beside.tried[0].error < alone.tried[0].error


def test_the_heads_that_were_selected_are_those_that_start():
    """Their decisions are those of the ridge solutions on the very features of the model."""
    cube, train = task(block=5, noise=1.0, seed=0)
    encoder_ = encoder()
    choice = choose(Classifier(encoder_, 2, centre=True).eval(), cube, train, (1, 5), most=2)
    model = Classifier(encoder_, 2, centre=True, windows=choice.windows).eval()
    model.start_heads(choice.heads, choice.factor)
    for size in choice.windows:
        windows = Windows(cube, size).at(train.positions)
        with torch.no_grad():
            logits = model(windows)
            features = model.features(model.encoder(resize(windows)), centres_of(windows))
        head = choice.heads[size]
        scores = features.double() @ head.weight.T + head.bias
        torch.testing.assert_close(logits.double(), scores * choice.factor, rtol=1e-3, atol=1e-3)
