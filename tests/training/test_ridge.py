"""The closed-form head: against scikit-learn, and against leaving each pixel out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge

from hyperpeft.training.ridge import logit_scale, ridge


@pytest.fixture
def pixels():
    """30 pixels of 4 classes, 50 features whose class means differ."""
    rng = np.random.default_rng(0)
    targets = np.arange(30) % 4
    features = rng.standard_normal((30, 50)) + 2 * rng.standard_normal((4, 50))[targets]
    return torch.from_numpy(features), torch.from_numpy(targets)


def strength_of(features: torch.Tensor, strength: float) -> float:
    centred = features - features.mean(0)
    return strength * float((centred**2).sum(1).mean())


def test_equals_scikit_learn(pixels):
    features, targets = pixels
    fitted = ridge(features, targets, 4, 0.3)
    other = Ridge(alpha=strength_of(features, 0.3)).fit(features, F.one_hot(targets, 4).double())
    np.testing.assert_allclose(fitted.weight.numpy(), other.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(fitted.bias.numpy(), other.intercept_, rtol=1e-8, atol=1e-10)


def test_left_out_scores_are_those_of_refits(pixels):
    """The shortcut is exact: each pixel is scored by a head that was fitted without it."""
    features, targets = pixels
    fitted = ridge(features, targets, 4, 0.3)
    indicators = F.one_hot(targets, 4).double()
    for i in range(len(targets)):
        rest = np.arange(len(targets)) != i
        head = Ridge(alpha=strength_of(features, 0.3)).fit(features[rest], indicators[rest])
        expected = head.predict(features[i : i + 1])[0]
        np.testing.assert_allclose(fitted.left_out[i].numpy(), expected, rtol=1e-6, atol=1e-8)


def test_gradients_flow_through_the_fit(pixels):
    features, targets = pixels
    features = features[:8].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: ridge(f, targets[:8], 4, 0.3).weight, (features,))


def test_scale_has_the_least_cross_entropy(pixels):
    features, targets = pixels
    scores = ridge(features, targets, 4, 0.3).left_out
    scale = logit_scale(scores, targets)
    best = F.cross_entropy(scores * scale, targets)
    for other in (0.8, 1.25):
        assert F.cross_entropy(scores * scale * other, targets) >= best
    assert logit_scale(10 * scores, targets) == pytest.approx(scale / 10, rel=0.15)


def test_many_pixels_take_the_other_form():
    """With more pixels than twice the features: the same head, the same left-out scores."""
    rng = np.random.default_rng(1)
    targets = np.arange(60) % 3
    features = torch.from_numpy(rng.standard_normal((60, 12)) + 2 * np.eye(12)[targets])
    fitted = ridge(features, torch.from_numpy(targets), 3, 0.2)
    indicators = F.one_hot(torch.from_numpy(targets), 3).double()
    alpha = strength_of(features, 0.2)
    other = Ridge(alpha=alpha).fit(features, indicators)
    np.testing.assert_allclose(fitted.weight.numpy(), other.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(fitted.bias.numpy(), other.intercept_, rtol=1e-8, atol=1e-10)
    for i in range(0, 60, 7):
        rest = np.arange(60) != i
        expected = Ridge(alpha=alpha).fit(features[rest], indicators[rest]).predict(features[[i]])
        np.testing.assert_allclose(fitted.left_out[i].numpy(), expected[0], rtol=1e-6, atol=1e-8)
