"""Batches that do not fit are halved and tokens are cached, without any change of the result."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch

import hyperpeft
from hyperpeft import spectral
from hyperpeft.errors import TrainingError
from hyperpeft.mapping.encoder_predictor import logits_of
from hyperpeft.mapping.tiles import by_cell
from hyperpeft.models.spectralgpt import SpectralGPT, initialise
from hyperpeft.patches import SYMMETRIES, Windows, apply_symmetry
from hyperpeft.progress import told_to
from hyperpeft.runs.experiment import run
from hyperpeft.training.batches import Batches, smaller
from hyperpeft.training.checkpoint import Checkpoints
from hyperpeft.training.classifier import Classifier, predict
from hyperpeft.training.loop import Pixels, Recipe, Trainer
from hyperpeft.training.token_cache import TokenCache, first_trained_block, is_worthwhile
from tests.helpers.small import DIM, config, encoder, options, planted

FITS = 6  # windows
RECIPE = Recipe(
    epochs=2, batch_size=16, lr=1e-3, head_lr=1e-2, lam=1.0, weight_decay=0.0,
    label_smoothing=0.1, warmup=0.1, augment=True, patience=0,
)  # fmt: skip


@pytest.fixture
def small_gpu(monkeypatch):
    """A device whose memory holds `FITS` windows: more in one forward pass raise torch's error.

    The sizes of the passes that were tried are returned.
    """
    tried = []
    real = Classifier.forward

    def forward(self, x, *rest):
        tried.append(len(x))
        if len(x) > FITS:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, x, *rest)

    monkeypatch.setattr(Classifier, "forward", forward)
    return tried


@pytest.fixture(scope="module")
def world():
    scene = planted()
    return spectral.fit(scene).reduce(scene), scene.labels.ids


def model() -> Classifier:
    return Classifier(encoder(), 2)


def positions(n: int) -> torch.Tensor:
    return torch.from_numpy(np.argwhere(np.ones((24, 24), bool))[:n])


def test_predictions_are_those_of_the_smaller_batch_from_the_start(world, small_gpu):
    notes: list[str] = []
    windows = Windows(world[0], 5)
    with told_to(notes.append):
        halved = torch.cat(list(predict(model(), windows, positions(50), batch_size=16)))
    assert small_gpu[:3] == [16, 8, 4]
    assert small_gpu.count(16) == small_gpu.count(8) == 1  # what did not fit is not tried again
    assert notes == [
        "16 windows at a time do not fit into the GPU's memory: 8 are predicted at a time",
        "8 windows at a time do not fit into the GPU's memory: 4 are predicted at a time",
    ]
    from_the_start = torch.cat(list(predict(model(), windows, positions(50), batch_size=4)))
    assert torch.equal(halved, from_the_start)


def test_a_map_is_that_of_smaller_batches(world, small_gpu):
    where = np.ones((24, 24), bool)
    windows, cells = Windows(world[0], 5), by_cell(np.argwhere(where), 8)
    with told_to(lambda note: None):
        batches = list(logits_of(model(), windows, cells, 64, "fp32"))
    halved = np.zeros((24, 24), int)
    for at, found in zip(cells, batches, strict=True):
        halved[tuple(at.T)] = 1 + found.argmax(1)
    assert small_gpu[:6] == [64, 32, 16, 8, 4, 4]  # a cell of 8 x 8 pixels
    logits = {}
    whole = np.argwhere(where)
    fours = np.split(whole, len(whole) // 4)  # four pixels at a time by hand
    for at, found in zip(fours, logits_of(model(), windows, fours, 4, "fp32"), strict=True):
        logits |= {tuple(p): row for p, row in zip(at.tolist(), found, strict=True)}
    by_hand = [1 + int(logits[tuple(p)].argmax()) for p in whole.tolist()]
    assert halved.ravel().tolist() == by_hand


def train(world, folder, **changes):
    torch.manual_seed(0)
    cube, ids = world
    pixels = Pixels(positions(40), torch.from_numpy(ids.ravel()[:40].astype(np.int64) - 1))
    learner = model()
    trainer = Trainer(
        learner,
        Windows(cube, 5),
        pixels,
        Pixels(positions(0), torch.empty(0, dtype=torch.int64)),
        Recipe(**{**vars(RECIPE), **changes}),
        seed=0,
        checkpoints=Checkpoints(folder, "x"),
        precision="fp32",
    )
    return trainer.run(), learner.state_dict()


def test_a_step_stays_the_same_step(world, tmp_path, small_gpu, monkeypatch):
    notes: list[str] = []
    with told_to(notes.append):
        halved, weights = train(world, tmp_path / "halved")
    assert notes[:2] == [
        "16 windows at a time do not fit into the GPU's memory: 8 are learned from at a time",
        "8 windows at a time do not fit into the GPU's memory: 4 are learned from at a time",
    ]
    assert max(small_gpu[3:]) <= 16
    accumulated, same = train(world, tmp_path / "accumulated", accumulate=4)
    assert [row["loss"] for row in halved.history] == [row["loss"] for row in accumulated.history]
    for name, value in same.items():
        assert torch.equal(weights[name], value), name
    monkeypatch.undo()  # a GPU that holds them all
    whole, large = train(world, tmp_path / "whole")
    assert halved.history[0]["loss"] == pytest.approx(whole.history[0]["loss"], rel=1e-5)
    assert halved.history[1]["loss"] == pytest.approx(whole.history[1]["loss"], rel=1e-4)
    moved = (large["encoder.norm.bias"] - encoder().state_dict()["norm.bias"]).abs().max()
    difference = (large["encoder.norm.bias"] - weights["encoder.norm.bias"]).abs().max()
    assert moved > 1e-4
    assert difference < 1e-2 * moved
    assert len(large["encoder.norm.bias"]) == DIM


def test_a_run_says_so_in_its_record(tmp_path, small_gpu):
    options(tmp_path, tmp_path)
    record = run(config(tmp_path, tmp_path / "run", epochs=1, map=False))
    said = [note for note in record.notes if "GPU's memory" in note]
    assert re.match(r"\d+ windows at a time do not fit .* learned from at a time", said[0])


def test_a_single_window_that_does_not_fit_is_refused():
    def full(rows):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with told_to(lambda note: None), pytest.raises(TrainingError, match="a single window"):
        Batches(4)(full, torch.arange(9))


def test_other_errors_are_not_hidden():
    def broken(rows):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Batches(4)(broken, torch.arange(9))


def test_without_a_listener_it_is_a_warning():
    with pytest.warns(UserWarning, match="8 windows at a time do not fit"):
        assert smaller(8, "predicted") == 4


TOKEN_RECIPE = Recipe(
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
            model, windows, train, none, TOKEN_RECIPE, seed=3, precision="fp32",
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
        augment=TOKEN_RECIPE.augment,
        epochs=dataclasses.replace(TOKEN_RECIPE).epochs,
        precision="fp32",
    )
