"""From logits to a class map."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hyperpeft import spectral
from hyperpeft.mapping import EncoderPredictor, classify
from hyperpeft.patches import Windows
from hyperpeft.training.classifier import Classifier
from tests.helpers.small import encoder, planted

IDS = np.array([3, 7, 200], np.int32)


@pytest.fixture(scope="module")
def pieces():
    scene = planted(height=11, width=9)
    model = Classifier(encoder(), 3).eval()
    return scene, EncoderPredictor(model, spectral.fit(scene), IDS, (5,))


def test_only_the_chosen_pixels_get_a_class(pieces):
    scene, predictor = pieces
    where = np.random.default_rng(0).random((11, 9)) < 0.7
    told = []
    result = classify(predictor, scene, where, watch=lambda *step: told.append(step))
    assert result.ids.dtype == np.int32
    assert (result.ids[~where] == 0).all()
    assert np.isin(result.ids[where], IDS).all()
    assert result.pixels == where.sum() == told[-1][0] == told[-1][1]
    assert result.probabilities is None


def test_every_pixel_has_its_own_answer(pieces):
    """The map is what the model says of each window by itself."""
    scene, predictor = pieces
    model, windows = predictor.model, Windows(predictor.reducer.reduce(scene), 5)
    result = classify(predictor, scene, probabilities=True)
    for row, column in [(0, 0), (0, 8), (10, 0), (10, 8), (5, 4), (7, 1)]:
        with torch.no_grad():
            logits = model(windows.at(torch.tensor([[row, column]])))[0]
        assert result.ids[row, column] == IDS[logits.argmax()]
        np.testing.assert_allclose(
            result.probabilities[:, row, column], logits.softmax(0), rtol=0, atol=1e-5
        )


def test_probabilities(pieces):
    scene, predictor = pieces
    where = np.ones((11, 9), bool)
    where[2:4, 3] = False
    result = classify(predictor, scene, where, probabilities=True)
    assert result.probabilities.shape == (3, 11, 9)
    assert np.isnan(result.probabilities[:, ~where]).all()
    np.testing.assert_allclose(result.probabilities[:, where].sum(0), 1, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(IDS[result.probabilities[:, where].argmax(0)], result.ids[where])


def test_a_scene_without_valid_pixels(pieces):
    scene, predictor = pieces
    result = classify(predictor, scene, np.zeros((11, 9), bool), probabilities=True)
    assert result.pixels == 0
    assert not result.ids.any()
