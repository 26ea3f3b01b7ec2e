"""Episodes on generated scenes: the user's task in small."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hyperpeft.patches import resize
from hyperpeft.pretraining.episodes import EpisodeHead, EpisodeRules, draw_episode
from hyperpeft.scenes import random_scene
from tests.helpers.small import encoder

RULES = EpisodeRules(1, (2, 6), (3, 5), 4, {1: 0.3, 5: 0.7}, ("sqrt",), (30, 36))


def test_a_seed_gives_the_same_scene_and_another_a_different_one():
    first, again, other = (random_scene(np.random.default_rng(s), 24) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.cube, again.cube)
    np.testing.assert_array_equal(first.labels.ids, again.labels.ids)
    assert first.cube.shape != other.cube.shape or not np.array_equal(first.cube, other.cube)


def test_scenes_span_easy_and_hard():
    """Nearest class means on raw spectra: some scenes are easy, some all but hopeless."""
    rng, accuracies = np.random.default_rng(0), []
    for _ in range(40):
        scene = random_scene(rng, 40)
        spectra, ids = scene.cube.values.reshape(scene.shape[2], -1).T, scene.labels.ids.ravel()
        assert np.isfinite(spectra).all()
        known = np.unique(ids)
        means = np.stack([spectra[ids == i].mean(0) for i in known])
        nearest = known[((spectra[:, None] - means) ** 2).sum(2).argmin(1)]
        accuracies.append((nearest == ids).mean())
    low, high = np.percentile(accuracies, [10, 90])
    assert low < 0.4
    assert high > 0.7


def test_an_episode_holds_what_the_rules_say():
    rng = np.random.default_rng(0)
    for _ in range(10):
        episode = draw_episode(rng, RULES)
        classes = int(episode.labelled.max()) + 1
        assert 2 <= classes <= 6
        shots = torch.bincount(episode.labelled)
        assert len(set(shots.tolist())) == 1
        assert shots[0] in (3, 5)
        assert torch.bincount(episode.queried).tolist() == [4] * classes
        assert len(episode.windows) == len(episode.labelled) + len(episode.queried)
        assert episode.windows.shape[1] == 12
        assert episode.windows.shape[2] in (1, 5)
        flat = episode.windows.flatten(1)
        assert len(torch.unique(flat, dim=0)) == len(flat)  # no pixel is asked that was labelled


def test_the_encoder_learns_from_episodes():
    """Accuracy on episodes never seen rises: a few steps on a small encoder are enough to tell."""
    model, head = encoder(image_size=16).train(), EpisodeHead()
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=2e-3)
    tests = [draw_episode(np.random.default_rng(10_000 + i), RULES) for i in range(30)]

    def loss_on_tests() -> float:
        with torch.no_grad():
            return float(np.mean([head(model(resize(e.windows, 16)), e)[0] for e in tests]))

    before = loss_on_tests()
    for number in range(60):
        episode = draw_episode(np.random.default_rng(number), RULES)
        loss, _ = head(model(resize(episode.windows, 16)), episode)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss_on_tests() < 0.95 * before


@pytest.mark.parametrize("seed", range(3))
def test_the_head_classifies_by_the_labelled_pixels_only(seed):
    """Renaming the classes renames the answers: nothing of a class's number is learned."""
    episode = draw_episode(np.random.default_rng(seed), RULES)
    model, head = encoder(image_size=16), EpisodeHead()
    classes = int(episode.labelled.max()) + 1
    order = torch.randperm(classes)
    renamed = episode._replace(labelled=order[episode.labelled], queried=order[episode.queried])
    with torch.no_grad():
        tokens = model(resize(episode.windows, 16))
        first, second = head(tokens, episode), head(tokens, renamed)
    torch.testing.assert_close(first[0], second[0])
    assert first[1] == second[1]
