"""The cache of tokens changes nothing but the time."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import hyperpeft
from hyperpeft.models.spectralgpt import SpectralGPT, initialise
from hyperpeft.patches import SYMMETRIES, Windows, apply_symmetry
from hyperpeft.training.checkpoint import Checkpoints
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.loop import Pixels, Recipe, Trainer
from hyperpeft.training.token_cache import TokenCache, first_trained_block, is_worthwhile

RECIPE = Recipe(
    epochs=9, batch_size=4, lr=1e-2, head_lr=1e-2, lam=4, weight_decay=0, label_smoothing=0.0,
    warmup=0.1, augment=True, patience=0,
)  # fmt: skip


def classifier(method="krona", **options):
    encoder = initialise(SpectralGPT(48, 3, 3), 0).eval()
    return Classifier(hyperpeft.attach(encoder, method, **options), 2)


@pytest.fixture
def windows():
    cube = np.random.default_rng(0).standard_normal((12, 9, 8), dtype=np.float32)
    return Windows(cube, 5)


POSITIONS = torch.tensor([[0, 0], [8, 7], [4, 3], [2, 6], [5, 1], [7, 2]])


@pytest.mark.parametrize(
    ("method", "options", "block"),
    [
        ("full", {}, 0),
        ("probe", {}, 3),
        ("krona", {}, 0),
        ("krona", {"blocks": 2}, 1),
        ("lora", {"blocks": 1, "targets": ("fc2",)}, 2),
    ],
)
def test_first_trained_block(method, options, block):
    assert first_trained_block(classifier(method, **options).encoder) == block


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("on_disk", [False, True])
def test_cached_tokens_are_those_computed(windows, augment, on_disk, tmp_path, monkeypatch):
    if on_disk:
        monkeypatch.setattr("hyperpeft.training.token_cache.IN_MEMORY", 0)
    model = classifier(blocks=1)
    cache = TokenCache(
        model, windows, POSITIONS, augment=augment, precision="fp32", folder=tmp_path
    )
    assert not list(tmp_path.iterdir())
    pixels = torch.tensor([5, 0, 3])
    symmetries = torch.tensor([7, 0, 2]) if augment else None
    x = windows.at(POSITIONS[pixels])
    x = x if symmetries is None else apply_symmetry(x, symmetries)
    with torch.no_grad():
        torch.testing.assert_close(cache.at(pixels, symmetries), model.forward_to(x, 2))
        torch.testing.assert_close(model(cache.at(pixels, symmetries), cache.block), model(x))


@pytest.mark.parametrize(("method", "options"), [("krona+", {"blocks": 1}), ("probe", {})])
def test_training_with_and_without_cache_agrees(windows, method, options, tmp_path, monkeypatch):
    train = Pixels(POSITIONS, torch.tensor([0, 1, 0, 1, 0, 1]))
    none = Pixels(POSITIONS[:0], torch.tensor([], dtype=torch.int64))
    results = []
    for cached in (True, False):
        monkeypatch.setattr(
            "hyperpeft.training.loop.is_worthwhile", lambda *a, cached=cached, **k: cached
        )
        model = classifier(method, **options)
        trainer = Trainer(
            model, windows, train, none, RECIPE, seed=3, precision="fp32",
            checkpoints=Checkpoints(tmp_path / str(cached), "i"),
        )  # fmt: skip
        trainer.run()
        assert (trainer.cache is not None) == cached
        results.append({n: p for n, p in model.named_parameters() if p.requires_grad})
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_cache_is_kept_only_where_it_pays(monkeypatch):
    last, all_blocks = classifier(blocks=1).encoder, classifier().encoder
    how = {"augment": True, "epochs": SYMMETRIES + 1, "precision": "fp32"}
    assert is_worthwhile(last, 10, **how)
    assert not is_worthwhile(all_blocks, 10, **how)
    assert not is_worthwhile(last, 10, **{**how, "epochs": SYMMETRIES})
    assert is_worthwhile(last, 10, augment=False, epochs=2, precision="fp32")
    monkeypatch.setattr("hyperpeft.training.token_cache.ON_DISK", 10 * SYMMETRIES * 64 * 48 * 4)
    assert is_worthwhile(last, 10, **how)
    assert not is_worthwhile(last, 11, **how)


def test_recipe_has_more_epochs_than_symmetries():
    """Otherwise the training test above would not use a cache by itself."""
    assert is_worthwhile(
        classifier(blocks=1).encoder,
        len(POSITIONS),
        augment=RECIPE.augment,
        epochs=dataclasses.replace(RECIPE).epochs,
        precision="fp32",
    )
