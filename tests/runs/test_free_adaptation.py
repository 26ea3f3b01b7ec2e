"""How far a run adapts is decided by training pixels that were left out, and recorded."""

from __future__ import annotations

import numpy as np
import pytest

from hyperpeft import load_run, run
from hyperpeft.metrics import score_map
from hyperpeft.runs.config import make_config
from hyperpeft.runs.methods import free_adaptation
from hyperpeft.runs.methods.dense_labels import TARGETS
from hyperpeft.runs.methods.free_adaptation import halves
from hyperpeft.scenes import open_scene
from tests.helpers.small import options


def left_open(tmp_path, **changes):
    """Options of a small run that leaves the recipe open."""
    values = {**options(tmp_path, tmp_path / "out"), "per_class": 16, "map": False, **changes}
    if "epochs" not in changes:
        del values["epochs"]
    return values


@pytest.mark.parametrize(("gain", "adapts"), [(-100.0, True), (100.0, False)])
def test_the_recipe_follows_the_left_out_pixels(tmp_path, monkeypatch, gain, adapts):
    monkeypatch.setattr(free_adaptation, "STEPS", 8)
    monkeypatch.setattr(free_adaptation, "GAIN", gain)
    record = run(make_config(left_open(tmp_path)))
    verdict = record.adapter["free_adaptation"]
    assert verdict["adapts"] is adapts
    assert 0 <= verdict["frozen_loss"] < 2
    assert 0 <= verdict["adapted_loss"] < 2
    assert tuple(record.config["targets"]) == (TARGETS if adapts else ("q", "v"))
    assert any("adapts" in note for note in record.notes)
    # What was written is the model that was tested.
    scene = open_scene(tmp_path / "scene.tif", labels=tmp_path / "scene_labels.tif")
    bundle = load_run(tmp_path / "out")
    test = np.load(tmp_path / "out" / "split.npz")["test"]
    found = score_map(
        bundle.predict(scene), test, scene.labels.ids[tuple(test.T)], bundle.class_ids
    )
    assert found["confusion"] == record.metrics["confusion"]


@pytest.mark.parametrize(
    "changes",
    [
        {"per_class": 8},
        {"epochs": 2},
        {"lr": 1e-3},
        {"method": "probe"},
        {"head": "random"},
        {"recipe": "paper", "epochs": 2},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_it_is_not_tried_with_few_labels_or_where_the_user_has_decided(tmp_path, changes):
    record = run(make_config(left_open(tmp_path, **changes)))
    assert record.adapter.get("free_adaptation") is None


def test_options_of_the_user_stay():
    config = make_config(
        {"scene": "x", "method": "krona+", "batch_size": 7, "options": {"terms": 2}}
    )
    free = free_adaptation.free_recipe(config, np.repeat([0, 1], 20))
    assert free.batch_size == 7
    assert free.options == {"terms": 2}
    assert free.targets == TARGETS


@pytest.mark.parametrize("spatial", [False, True])
def test_halves_keep_a_distance_where_the_map_is_judged_away_from_labels(spatial):
    rng = np.random.default_rng(0)
    corners = rng.permutation(np.argwhere(np.ones((8, 8))))[:24] * 30
    positions = (corners[:, None] + rng.integers(0, 3, (24, 4, 2))).reshape(-1, 2)
    targets = np.arange(24).repeat(4) % 3
    folds = halves(positions, targets, 5, 0, spatial=spatial)
    assert len(folds) == 2
    closest = min(
        np.abs(positions[f.held][:, None] - positions[f.train]).max(2).min() for f in folds
    )
    assert bool(closest > 5) is spatial
    assert not set(folds[0].held) & set(folds[0].train)


def test_random_halves_where_dead_zones_leave_too_little():
    positions = np.argwhere(np.ones((6, 6)))
    folds = halves(positions, np.arange(36) % 2, 5, 0, spatial=True)
    assert sum(len(fold.held) for fold in folds) == 36
