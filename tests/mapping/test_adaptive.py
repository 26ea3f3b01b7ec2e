"""Adaptive mapping: few questions to the encoder, and a bound that holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from hyperpeft.mapping import Outputs, map_to_files
from hyperpeft.mapping.adaptive import Kriging, describe, fill, margins, upper_bound
from hyperpeft.scenes import planted_scene
from tests.helpers.small import CLASSES, COLOURS, in_memory, mapper_for


def landscape(noise: float, side: int = 90, seed: int = 0):
    """Descriptions, places and logits of four classes in large fields."""
    rng = np.random.default_rng(seed)
    places = np.argwhere(np.ones((side, side), bool))
    centres = rng.uniform(0, side, (14, 2))
    field = ((places[:, None] - centres) ** 2).sum(2).argmin(1) % 4
    described = np.eye(4, dtype=np.float32)[field] + rng.normal(0, 0.2, (side**2, 4))
    logits = 6 * np.eye(4)[field] + rng.normal(0, noise, (side**2, 4))
    return described.astype(np.float32), places, logits.astype(np.float32)


class Encoder:
    """Gives known logits and counts the questions."""

    def __init__(self, logits):
        self.logits, self.asked = logits, []

    def __call__(self, which):
        self.asked.append(which)
        return self.logits[which]


def test_an_easy_scene_is_filled():
    described, places, logits = landscape(0.3)
    encoder = Encoder(logits)
    filled = fill(described, places, encoder, seed=(0,))
    asked = np.concatenate(encoder.asked)
    assert len(np.unique(asked)) == len(asked) == filled.encoded.sum()
    assert filled.encoded.mean() < 0.25
    same = filled.logits.argmax(1) == logits.argmax(1)
    assert same.mean() >= 0.995
    assert filled.audit.bound <= 0.01
    assert 1 - same.mean() <= filled.audit.bound
    np.testing.assert_array_equal(filled.logits[filled.encoded], logits[filled.encoded])


def test_a_scene_that_does_not_allow_it_stays_exact():
    """Logits that nothing explains: everything is encoded, and soon."""
    described, places, logits = landscape(6.0)
    encoder = Encoder(logits)
    filled = fill(described, places, encoder, seed=(0,))
    assert filled.encoded.all()
    assert filled.audit is None
    np.testing.assert_array_equal(filled.logits, logits)
    assert len(encoder.asked) == 3


def test_a_rare_class_that_looks_like_another_is_found_by_the_audit():
    """3 % of the pixels, at random, answer otherwise: no margin shows it, only the audit can."""
    described, places, logits = landscape(0.3)
    odd = np.random.default_rng(1).random(len(logits)) < 0.03
    logits[odd] = logits[odd][:, [1, 0, 3, 2]]
    for seed in range(3):
        filled = fill(described, places, Encoder(logits), seed=(seed,))
        wrong = (filled.logits.argmax(1) != logits.argmax(1)).mean()
        assert wrong <= 0.01


def test_small_tiles_are_exact():
    described, places, logits = landscape(0.3, side=30)
    assert fill(described, places, Encoder(logits), seed=(0,)).encoded.all()


@pytest.mark.parametrize(("wrong", "pixels"), [(0, 600), (3, 600), (40, 500)])
def test_the_bound_is_clopper_and_pearsons(wrong, pixels):
    bound = upper_bound(wrong, pixels)
    assert binom.cdf(wrong, pixels, bound) == pytest.approx(0.05)
    assert upper_bound(pixels, pixels) == 1.0


def test_kriging_returns_what_it_knows_and_doubts_what_it_does_not():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    logits = np.stack([4 * np.sin(x[:, 0]), 4 * x[:, 1], np.zeros(200)], 1).astype(np.float32)
    kriging = Kriging(x, logits)
    assert np.abs(kriging.guess(x) - logits).mean() < 0.2
    far = kriging.guess(np.full((1, 3), 100, np.float32))
    np.testing.assert_allclose(far[0], logits.mean(0), atol=1e-3)
    assert margins(far)[0] < np.median(margins(logits))


def test_descriptions_are_statistics_of_the_window():
    padded = np.random.default_rng(0).normal(size=(2, 12, 13)).astype(np.float32)
    described = describe(padded, 2)
    assert described.shape == (8, 9, 8)
    window = padded[0, 3:8, 4:9]
    expected = [window[2, 2], window[1:4, 1:4].mean(), window.mean(), window.std()]
    np.testing.assert_allclose(described[3, 4, :4], expected, rtol=1e-4, atol=1e-5)


def test_a_map_on_disk_says_what_was_encoded(tmp_path):
    scene = planted_scene(height=104, width=96, block=24, bands=16, informative_band=5)
    scene = replace(scene, valid=np.random.default_rng(0).random((104, 96)) > 0.02)
    mapper = mapper_for(scene, 3)
    expected = in_memory(mapper, scene).ids
    import rasterio

    from hyperpeft.mapping.mapper import Layers

    told = []
    target = Outputs(tmp_path / "m.tif", confidence=tmp_path / "c.tif")
    result = map_to_files(
        replace(mapper, adaptive=True, layers=Layers(confidence=True)), scene, target, CLASSES,
        COLOURS, watch=lambda *step: told.append(step),
    )  # fmt: skip
    with rasterio.open(target.map) as file:
        wrong = (file.read(1) != expected).sum() / result.pixels
    with rasterio.open(target.confidence) as file:
        assert np.nansum(file.read(3)) == result.encoded
    assert wrong <= max(result.bound, 0.0)
    assert told[-1] == (result.pixels, result.pixels)
