"""What training pixels select: folds, the ridge head, windows, pools, and how far a run adapts."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from scipy.special import log_softmax
from sklearn.linear_model import Ridge

from hyperpeft import load_run, run
from hyperpeft.metrics import score_map
from hyperpeft.models.windows import Windows, centres_of, resize
from hyperpeft.runs.config import WINDOWS, make_config
from hyperpeft.runs.methods import free_adaptation
from hyperpeft.runs.methods.free_adaptation import standard_error, trial_folds
from hyperpeft.runs.methods.refinement import TARGETS
from hyperpeft.scenes import open_scene
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.combination import FLOOR, pool_weights, temperature_factor
from hyperpeft.training.loop import Pixels, Trainer
from hyperpeft.training.model_selection import (
    _most_frequent,
    dead_zone_folds,
    far_share,
    honest_folds,
    random_folds,
    some_of_each,
)
from hyperpeft.training.ridge import leave_out, ridge, smoother
from hyperpeft.training.window_search import select_windows
from tests.helpers.small import encoder, options


@pytest.fixture
def pixels():
    rng = np.random.default_rng(0)
    positions = np.unique(rng.integers(0, 60, (200, 2)), axis=0)
    return positions, rng.integers(0, 4, len(positions)), rng.integers(0, 20, len(positions))


@pytest.mark.parametrize("reach", [3, 5, 10])
def test_nothing_within_the_reach_trains(pixels, reach):
    positions, targets, _ = pixels
    folds = dead_zone_folds(positions, targets, reach, 5, 0)
    assert folds
    for fold in folds:
        apart = np.abs(positions[fold.train][:, None] - positions[fold.held][None]).max(-1)
        assert apart.min() > reach
        assert set(targets[fold.held]) <= set(targets[fold.train])


def test_polygons_are_held_out_whole(pixels):
    positions, targets, regions = pixels
    for fold in dead_zone_folds(positions, targets, 3, 5, 0, regions):
        assert not (set(regions[fold.held]) & set(regions[fold.train])) - {0}


def test_random_folds_hold_each_pixel_out_once(pixels):
    _, targets, _ = pixels
    held = np.concatenate([fold.held for fold in random_folds(targets, 5, 0)])
    assert sorted(held) == list(range(len(targets)))


def test_one_clump_a_class_leaves_random_folds_alone():
    positions = np.array([[0, 0], [0, 1], [50, 50], [50, 51]])
    targets = np.array([0, 0, 1, 1])
    folds = honest_folds(positions, targets, np.ones((60, 60), bool), seed=0)
    assert len(folds.folds) == folds.near > 0
    assert folds.weights.sum() == pytest.approx(1)


def test_weights_of_the_kinds_follow_the_distance_to_labels():
    valid = np.ones((40, 40), bool)
    dense = np.argwhere(np.indices((40, 40)).sum(0) % 3 == 0)
    assert far_share(dense, valid, 5) == 0
    assert far_share(np.array([[0, 0]]), valid, 5) == 0.5
    assert far_share(np.array([[20, 20]]), np.ones((40, 40), bool), 13) < 0.6
    some = np.random.default_rng(0).random((30, 50)) < 0.7
    places = np.array([[0, 0], [3, 40], [17, 22], [29, 49], [28, 1]])
    away = np.abs(np.argwhere(some)[:, None] - places).max(axis=2).min(axis=1)
    for reach in (0, 1, 9, 20):
        assert far_share(places, some, reach) == min(np.mean(away > reach), 0.5)
    tracemalloc.start()
    far_share(places, np.ones((1000, 1000), bool), 5)
    assert tracemalloc.get_traced_memory()[1] < 8e6  # bytes; no list of all pixels
    tracemalloc.stop()


def test_leave_out_is_exact_for_any_set():
    rng = np.random.default_rng(2)
    features, targets = rng.standard_normal((40, 15)), np.arange(40) % 3
    fitted = smoother(features, targets, 3, 0.2)
    centred = features - features.mean(0)
    alpha = 0.2 * (centred**2).sum() / 40
    held, train = np.array([1, 5, 9]), np.arange(12, 40)
    expected = Ridge(alpha=alpha).fit(features[train], np.eye(3)[targets[train]])
    np.testing.assert_allclose(
        leave_out(fitted, held, train), expected.predict(features[held]), rtol=1e-8, atol=1e-10
    )


def test_many_pixels_are_drawn_by_class():
    targets = np.repeat([0, 1, 2], [9000, 900, 3])
    kept = some_of_each(targets, 1000, 0)
    assert np.bincount(targets[kept]).tolist() == [909, 91, 2]


def test_the_temperature_has_the_least_cross_entropy():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 400)
    scores = rng.standard_normal((400, 3)) + 0.5 * np.eye(3)[truth]
    factor = temperature_factor(scores, truth)
    losses = [
        -log_softmax(f * scores, axis=1)[np.arange(400), truth].mean()
        for f in (factor * 0.7, factor, factor * 1.4)
    ]
    assert losses[1] == min(losses)


def parts_that_know(pixels: int = 2000):
    """Scores of two parts that see one half of the evidence each, and of one that guesses."""
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, pixels)
    first, second, noise = rng.standard_normal((3, pixels, 3))
    signal = 1.5 * np.eye(3)[truth]
    return np.stack([first + signal, second + signal, noise]) * 1.5, truth


def test_a_pool_finds_the_parts_that_know():
    """Of independent evidence the logarithms add: the posterior has the weights 1, 1 and 0."""
    scores, truth = parts_that_know()
    found = pool_weights(scores, truth, prior=0.0)
    np.testing.assert_allclose(found, [1, 1, 0], atol=0.1)


def test_pool_weights_are_those_of_a_grid():
    """No other weights have a higher likelihood, without the prior."""
    scores, truth = parts_that_know(300)
    logs = log_softmax(scores, axis=2)

    def likelihood(weights):
        pooled = log_softmax(np.tensordot(weights, logs, 1), axis=1)
        return np.log(np.maximum(np.exp(pooled[np.arange(300), truth]), FLOOR)).mean()

    found = pool_weights(scores, truth, prior=0.0)
    grid = np.stack(np.meshgrid(*[np.linspace(0, 2, 21)] * 3), axis=-1).reshape(-1, 3)
    assert likelihood(found) >= max(likelihood(weights) for weights in grid) - 1e-6


def test_few_pixels_leave_the_weights_alike():
    scores, truth = parts_that_know(8)
    few, many = pool_weights(scores, truth, prior=1e3), pool_weights(scores, truth, prior=0.0)
    np.testing.assert_allclose(few, 1 / 3, atol=0.02)
    assert np.ptp(many) > 0.3
    np.testing.assert_array_equal(pool_weights(scores[:, :0], truth[:0]), [1 / 3] * 3)
    again = pool_weights(np.tile(scores, (1, 5, 1)), np.tile(truth, 5), pixels=8, prior=10.0)
    np.testing.assert_allclose(again, pool_weights(scores, truth, prior=10.0), atol=1e-4)


@pytest.fixture
def ridge_pixels():
    """30 pixels of 4 classes, 50 features whose class means differ."""
    rng = np.random.default_rng(0)
    targets = np.arange(30) % 4
    features = rng.standard_normal((30, 50)) + 2 * rng.standard_normal((4, 50))[targets]
    return torch.from_numpy(features), torch.from_numpy(targets)


def strength_of(features: torch.Tensor, strength: float) -> float:
    centred = features - features.mean(0)
    return strength * float((centred**2).sum(1).mean())


def test_equals_scikit_learn(ridge_pixels):
    features, targets = ridge_pixels
    fitted = ridge(features, targets, 4, 0.3)
    other = Ridge(alpha=strength_of(features, 0.3)).fit(features, F.one_hot(targets, 4).double())
    np.testing.assert_allclose(fitted.weight.numpy(), other.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(fitted.bias.numpy(), other.intercept_, rtol=1e-8, atol=1e-10)


def test_left_out_scores_are_those_of_refits(ridge_pixels):
    """The shortcut is exact: each pixel is scored by a head that was fitted without it."""
    features, targets = ridge_pixels
    fitted = ridge(features, targets, 4, 0.3)
    indicators = F.one_hot(targets, 4).double()
    for i in range(len(targets)):
        rest = np.arange(len(targets)) != i
        head = Ridge(alpha=strength_of(features, 0.3)).fit(features[rest], indicators[rest])
        expected = head.predict(features[i : i + 1])[0]
        np.testing.assert_allclose(fitted.left_out[i].numpy(), expected, rtol=1e-6, atol=1e-8)


def test_gradients_flow_through_the_fit(ridge_pixels):
    features, targets = ridge_pixels
    features = features[:8].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: ridge(f, targets[:8], 4, 0.3).weight, (features,))


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


def test_the_smallest_window_is_taken_where_none_fits():
    cube, train = task(block=2, noise=0.3, seed=0)
    thin = Pixels(train.positions % torch.tensor([3, 1000]), train.targets)
    found = choose(Classifier(encoder(), 2), cube[:, :3], thin, (9, 7))
    assert found.windows == (7,)


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


def left_open(tmp_path, **changes):
    """Options of a small run that leaves the recipe open."""
    values = {**options(tmp_path, tmp_path / "out"), "per_class": 16, "map": False, **changes}
    if "epochs" not in changes:
        del values["epochs"]
    return values


@pytest.mark.parametrize(
    ("gain", "errors", "sure", "tried", "trials", "adapts"),
    [
        (-100.0, -100.0, 100.0, 2, 2, True),
        (-100.0, 100.0, 100.0, 2, 2, False),
        (-100.0, -100.0, 100.0, 6, 5, True),
        (-1e-9, 1.0, -100.0, 2, 1, False),
        (100.0, 1.0, 100.0, 2, 0, False),
    ],
    ids=["in favour", "not surely", "all folds", "clearly against", "nothing to gain"],
)
def test_the_recipe_follows_the_left_out_pixels(
    tmp_path, monkeypatch, gain, errors, sure, tried, trials, adapts
):
    trained = []

    class Counted(Trainer):
        def run(self):
            trained.append(len(self.train))
            return super().run()

    monkeypatch.setattr(free_adaptation, "Trainer", Counted)
    monkeypatch.setattr(free_adaptation, "STEPS", ((math.inf, 8),))
    monkeypatch.setattr(free_adaptation, "GAIN", gain)
    monkeypatch.setattr(free_adaptation, "SURE", sure)
    monkeypatch.setattr(free_adaptation, "ERRORS", errors)
    monkeypatch.setattr(free_adaptation, "TRIED", tried)
    record = run(make_config(left_open(tmp_path)))
    verdict = record.adapter["free_adaptation"]
    assert verdict["adapts"] is adapts
    assert 0 <= verdict["frozen_loss"] < 2
    assert len(trained) == trials
    assert all(25 <= pixels <= 26 for pixels in trained)  # four fifths of 32
    assert (verdict["adapted_loss"] is None) is (trials == 0)
    assert tuple(record.config["targets"]) == (TARGETS if adapts else ("q", "v"))
    assert record.config["head"] == ("random" if adapts else "ridge")
    says = "adapts freely" if adapts else "does not adapt"
    assert any(note.startswith(says) for note in record.notes)
    tensors = load_file(tmp_path / "out" / "adapter" / "adapter_model.safetensors")
    firsts = [name for name in tensors if name.endswith("lokr_w1")]
    changed = [n for n in firsts if tensors[n].any() and tensors[n[:-1] + "2"].any()]
    assert bool(changed) is adapts
    # What was written is the model that was tested.
    scene = open_scene(tmp_path / "scene.tif", labels=tmp_path / "scene_labels.tif")
    bundle = load_run(tmp_path / "out")
    test = np.load(tmp_path / "out" / "split.npz")["test"]
    found = score_map(
        bundle.predict(scene), test, scene.labels.ids[tuple(test.T)], bundle.class_ids
    )
    assert found["confusion"] == record.metrics["confusion"]


@pytest.mark.parametrize(
    ("tried", "gain", "error", "decided"),
    [
        (1, -0.2, 0.1, True),
        (1, -0.05, 0.1, False),
        (1, 0.5, 0.1, False),
        (2, -0.05, 0.1, True),
        (2, 0.05, 0.1, False),
        (2, 0.15, 0.1, True),
        (2, 0.15, None, False),
        (3, 0.01, 0.001, False),
        (4, 0.05, 0.1, False),
    ],
)
def test_a_gain_that_may_be_chance_asks_for_another_fold(tried, gain, error, decided):
    assert free_adaptation.is_decided(tried, gain, error) is decided


@pytest.mark.parametrize(
    "changes",
    [
        {"per_class": 7},
        {"epochs": 2},
        {"lr": 1e-3},
        {"method": "probe"},
        {"head": "random"},
        {"head": "ridge"},
        {"recipe": "paper", "epochs": 2},
    ],
    ids=lambda changes: "-".join(map(str, *changes.items())) if len(changes) == 1 else "paper",
)
def test_it_is_not_tried_with_few_labels_or_where_the_user_has_decided(tmp_path, changes):
    record = run(make_config(left_open(tmp_path, **changes)))
    assert record.adapter.get("free_adaptation") is None


def test_pixels_of_one_clump_are_one_witness():
    """Against the spread of the mean over draws of whole clumps."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), rng.integers(1, 12, 30))
    draws = [rng.normal(0, 1, 30)[groups] + rng.normal(0, 0.2, len(groups)) for _ in range(4000)]
    errors = [standard_error(draw, groups) for draw in draws]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(np.mean(draws, 1)), rel=0.1)
    assert np.mean(errors) > 2 * standard_error(draws[0], np.arange(len(groups)))
    assert standard_error(np.ones(4), np.zeros(4, int)) is None


def test_options_of_the_user_stay():
    config = make_config(
        {"scene": "x", "method": "krona+", "batch_size": 7, "options": {"terms": 2}}
    )
    free = free_adaptation.free_recipe(config, np.repeat([0, 1], 20))
    assert free.batch_size == 7
    assert free.options == {"terms": 2}
    assert free.targets == TARGETS


@pytest.mark.parametrize("reach", [0, 5], ids=["single pixels", "windows"])
@pytest.mark.parametrize("spatial", [False, True])
def test_trials_keep_a_distance_where_the_map_is_judged_away_from_labels(spatial, reach):
    rng = np.random.default_rng(0)
    corners = rng.permutation(np.argwhere(np.ones((8, 8))))[:24] * 30
    positions = (corners[:, None] + rng.integers(0, 3, (24, 4, 2))).reshape(-1, 2)
    targets = np.arange(24).repeat(4) % 3
    folds = trial_folds(positions, targets, reach, 0, spatial=spatial)
    assert len(folds) == (2 if spatial else 5)
    closest = min(
        np.abs(positions[f.held][:, None] - positions[f.train]).max(2).min() for f in folds
    )
    assert bool(closest > max(reach, 1)) is spatial
    assert not set(folds[0].held) & set(folds[0].train)


def test_trials_hold_a_polygon_out_whole():
    rng = np.random.default_rng(0)
    regions = np.arange(24).repeat(4) + 1  # four pixels each, farther apart than the reach
    positions = np.argwhere(np.ones((8, 12)))[rng.permutation(96)] * 30
    targets = np.arange(24).repeat(4) % 3
    for fold in trial_folds(positions, targets, 5, 0, regions, spatial=True):
        assert not set(regions[fold.held]) & set(regions[fold.train])


def test_dealing_names_the_class_of_each_group():
    rng = np.random.default_rng(0)
    groups, targets = rng.integers(0, 50, 300), rng.integers(0, 4, 300)
    groups = np.unique(groups, return_inverse=True)[1]
    expected = [np.bincount(targets[groups == g]).argmax() for g in range(groups.max() + 1)]
    assert _most_frequent(groups, targets).tolist() == expected


def test_random_trials_where_dead_zones_leave_too_little():
    positions = np.argwhere(np.ones((6, 6)))
    folds = trial_folds(positions, np.arange(36) % 2, 5, 0, spatial=True)
    assert [len(fold.held) + len(fold.train) for fold in folds] == [36, 36]
    assert not set(folds[0].held) & set(folds[1].held)
