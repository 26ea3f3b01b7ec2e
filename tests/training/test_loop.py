"""The training loop: what it learns, what it cannot, and that it can be cut anywhere."""

from __future__ import annotations

import copy
import csv
import itertools
import os
import signal
import socket

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

from hyperpeft import adapters, spectral
from hyperpeft.errors import BundleError, InputError, Interrupted, TrainingError
from hyperpeft.models.windows import Windows
from hyperpeft.training.checkpoint import CHECKPOINT, Checkpoints, restore_optimiser, write_history
from hyperpeft.training.classifier import Classifier, predict
from hyperpeft.training.loop import Pixels, Recipe, Trainer
from tests.helpers.small import encoder, planted

RECIPE = {
    "epochs": 3,
    "batch_size": 8,
    "lr": 2e-3,
    "head_lr": 1e-3,
    "lam": 16.0,
    "weight_decay": 0.05,
    "label_smoothing": 0.1,
    "warmup": 0.1,
    "augment": True,
    "patience": 0,
}


def windows_and_pixels(scene, per_class, seed=0):
    """Windows of the scene, training pixels drawn at random, all other pixels."""
    windows = Windows(spectral.fit(scene).reduce(scene), 5)
    rng = np.random.default_rng(seed)
    train = np.zeros(scene.valid.shape, bool)
    for i in (1, 2):
        positions = np.argwhere(scene.labels.ids == i)
        train[tuple(rng.permutation(positions)[:per_class].T)] = True

    def pixels(where):
        return Pixels(
            torch.from_numpy(np.argwhere(where)),
            torch.from_numpy(scene.labels.ids[where].astype(np.int64) - 1),
        )

    return windows, pixels(train), pixels(~train)


@pytest.fixture(scope="module")
def world():
    return windows_and_pixels(planted(), 10)


def trainer(folder, world, method="krona+", *, validation=None, watch=None, seed=0, **changes):
    identity, precision = changes.pop("identity", "one"), changes.pop("precision", "fp32")
    windows, train, _ = world
    model = Classifier(adapters.attach(encoder(), method, seed=seed), 2, seed)
    nothing = Pixels(train.positions[:0], train.targets[:0])
    return Trainer(
        model,
        windows,
        train,
        validation or nothing,
        Recipe(**{**RECIPE, **changes}),
        seed=seed,
        checkpoints=Checkpoints(folder, identity),
        watch=watch,
        precision=precision,
    )


def weights(work):
    return {n: p.detach().clone() for n, p in work.plain.named_parameters() if p.requires_grad}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def accuracy(model, windows, pixels):
    logits = torch.cat(list(predict(model, windows, pixels.positions)))
    return 100 * (logits.argmax(1) == pixels.targets).double().mean().item()


@pytest.mark.parametrize("method", ["full", "krona+"])
def test_a_planted_difference_is_found(tmp_path, method):
    """Two classes that differ in one of 20 bands, by 0.3 with noise of 0.05.

    A single pixel's spectrum tells them with Phi(3) = 99.9 %. What limits the windows of 5 x 5 is
    the border between blocks: 21 % of the pixels have one within 2 pixels, the outermost 11 % are
    the hard ones. Hence more than 90 %, far above the 50 % of chance.
    """
    windows, train, rest = windows_and_pixels(planted(height=36, width=36, block=18), 20)
    work = trainer(tmp_path, (windows, train, rest), method, epochs=15, lr=1e-3)
    untrained = {n: p.detach().clone() for n, p in work.plain.named_parameters()}
    work.run()
    assert accuracy(work.plain, windows, rest) > 90
    moved = {n for n, p in work.plain.named_parameters() if not torch.equal(p, untrained[n])}
    learning = {n for n, p in work.plain.named_parameters() if p.requires_grad}
    # The keys' bias has no effect on attention (softmax) and so no gradient but rounding.
    assert moved | {n for n in learning if n.endswith("attn.k.bias")} == learning
    assert any(n.startswith("encoder.") for n in moved)


@pytest.mark.parametrize("method", ["full", "krona+"])
def test_nothing_is_found_where_nothing_is(tmp_path, method):
    """The same scene with labels shuffled over the pixels: chance within 3 points.

    Given the predictions, each of the 5,144 test pixels is right with probability 1/2, because
    its label was dealt independently of everything that the model has seen. The accuracy then
    has a deviation of 50 / sqrt(5144) = 0.70 points (however alike neighbouring predictions
    are), and 3 points are 4.3 deviations.
    """
    scene = planted(height=72, width=72, block=12, shuffled=True)
    windows, train, rest = windows_and_pixels(scene, 20)
    assert len(rest) == 5144
    work = trainer(tmp_path, (windows, train, rest), method, epochs=15, lr=1e-3)
    work.run()
    assert abs(accuracy(work.plain, windows, rest) - 50) < 3


@pytest.mark.parametrize("method", ["full", "probe", "krona", "krona+"])
def test_a_method_trains_what_it_says(tmp_path, world, method):
    work = trainer(tmp_path, world, method, epochs=1)
    before = {n: p.detach().clone() for n, p in work.plain.named_parameters()}
    work.run()
    moved = {n for n, p in work.plain.named_parameters() if not torch.equal(p, before[n])}
    head = {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    factors = {f"encoder.blocks.{i}.attn.{x}.{f}" for i in (0, 1) for x in "qv" for f in "AB"}
    expected = {"probe": head, "krona": head | factors, "krona+": head | factors}
    if method == "full":
        assert moved > head
        assert len(moved) >= len(before) - 2  # but the biases of k, which have no effect
    else:
        assert moved == expected[method]


def interrupt_at(step):
    """A watcher that presses Ctrl-C after that many steps."""

    def watch(done, total, loss, validation):
        if done == step:
            os.kill(os.getpid(), signal.SIGINT)

    return watch


@pytest.mark.parametrize(
    ("method", "step"),
    [*(("krona+", step) for step in (1, 3, 4, 8, 9)), ("full", 4), ("full", 9)],
)
def test_a_resumed_run_ends_with_the_same_weights(tmp_path, world, step, method):
    """Three steps an epoch: 3 is the end of the first epoch, 9 the end of all."""
    validation = world[2].__class__(world[2].positions[:40], world[2].targets[:40])
    whole = trainer(tmp_path / "whole", world, method, validation=validation)
    assert whole.steps == 9
    expected = whole.run()

    folder = tmp_path / "cut"
    cut = trainer(folder, world, method, validation=validation, watch=interrupt_at(step))
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=r"interrupted in epoch \d of 3; the state is saved in"):
        cut.run()
    assert signal.getsignal(signal.SIGINT) is handler
    assert (folder / CHECKPOINT).is_file()
    assert not (folder / "history.csv").exists()

    steps = []
    watch = lambda done, *_: steps.append(done)  # noqa: E731
    resumed = trainer(folder, world, method, validation=validation, watch=watch)
    outcome = resumed.run()
    assert steps == list(range(step + 1, 10))  # no step twice, none left out
    assert same(weights(resumed), weights(whole))
    for mine, theirs in zip(outcome.history, expected.history, strict=True):
        assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}


class Watched(Windows):
    """Windows that note which pixels were asked for, and can press Ctrl-C."""

    def __init__(self, windows, press_at=None):
        self.__dict__.update(windows.__dict__)
        self.asked, self.press_at = [], press_at

    def at(self, positions):
        self.asked.append([tuple(p) for p in positions.tolist()])
        if len(self.asked) == self.press_at:
            os.kill(os.getpid(), signal.SIGINT)
        return super().at(positions)


def test_every_epoch_sees_every_pixel_once_in_its_own_order(tmp_path, world):
    watched = Watched(world[0])
    trainer(tmp_path, (watched, *world[1:]), "full").run()
    orders = [list(itertools.chain(*watched.asked[3 * i : 3 * i + 3])) for i in range(3)]
    assert [len(batch) for batch in watched.asked] == [8, 8, 4] * 3
    assert all(sorted(order) == sorted(map(tuple, world[1].positions.tolist())) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_interrupted_in_the_last_validation(tmp_path, world):
    """After the last step no step follows that could notice: Ctrl-C must not be lost."""
    validation = Pixels(world[2].positions[:40], world[2].targets[:40])
    whole = trainer(tmp_path / "whole", world, "full", validation=validation)
    whole.run()
    watched = Watched(world[0], press_at=3 * (3 + 1))  # three steps and a validation an epoch
    cut = trainer(tmp_path / "cut", (watched, *world[1:]), "full", validation=validation)
    with pytest.raises(Interrupted, match="interrupted in epoch 3 of 3"):
        cut.run()
    steps = []
    watch = lambda done, *_: steps.append(done)  # noqa: E731
    resumed = trainer(tmp_path / "cut", world, "full", validation=validation, watch=watch)
    resumed.run()
    assert steps == []
    assert same(weights(resumed), weights(whole))


def test_interrupted_twice(tmp_path, world):
    whole = trainer(tmp_path / "whole", world)
    whole.run()
    for step in (2, 5):
        with pytest.raises(Interrupted):
            trainer(tmp_path / "cut", world, watch=interrupt_at(step)).run()
    last = trainer(tmp_path / "cut", world)
    last.run()
    assert same(weights(last), weights(whole))


def test_a_checkpoint_is_written_now_and_then(tmp_path, world, monkeypatch):
    """A run that is killed outright resumes from the last one."""
    monkeypatch.setattr("hyperpeft.training.loop.CHECKPOINT_SECONDS", 0.0)

    def die(done, *_):
        if done == 5:
            raise RuntimeError("killed")

    whole = trainer(tmp_path / "whole", world)
    whole.run()
    with pytest.raises(RuntimeError):
        trainer(tmp_path / "cut", world, watch=die).run()
    steps = []
    resumed = trainer(tmp_path / "cut", world, watch=lambda done, *_: steps.append(done))
    resumed.run()
    assert steps == [4, 5, 6, 7, 8, 9]
    assert same(weights(resumed), weights(whole))


def test_after_the_last_step_the_state_is_kept_for_what_follows(tmp_path, world):
    first = trainer(tmp_path, world)
    first.run()
    assert (tmp_path / CHECKPOINT).is_file()
    steps = []
    again = trainer(tmp_path, world, watch=lambda done, *_: steps.append(done))
    outcome = again.run()
    assert steps == []
    assert same(weights(again), weights(first))
    assert len(outcome.history) == 3


def test_the_checkpoint_of_another_run_is_refused(tmp_path, world):
    with pytest.raises(Interrupted):
        trainer(tmp_path, world, watch=interrupt_at(2)).run()
    with pytest.raises(BundleError, match="belongs to another configuration, scene or backbone"):
        trainer(tmp_path, world, identity="two").run()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.97])
def test_a_damaged_checkpoint_is_refused(tmp_path, world, share):
    with pytest.raises(Interrupted):
        trainer(tmp_path, world, watch=interrupt_at(2)).run()
    path = tmp_path / CHECKPOINT
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BundleError, match=r"state\.pt is not a checkpoint .*remove it to start"):
        trainer(tmp_path, world).run()


@pytest.mark.parametrize(
    "content", [[1], {"identity": "one"}, {"identity": "one", "state": {"epoch": 1, "new": 2}}, 3]
)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, world, content):
    (tmp_path / CHECKPOINT).parent.mkdir()
    torch.save(content, tmp_path / CHECKPOINT)
    with pytest.raises(BundleError, match="is not a checkpoint"):
        trainer(tmp_path, world).run()


def test_a_loss_that_is_not_finite_is_refused(tmp_path, world):
    cube = spectral.fit(planted()).reduce(planted())
    cube[3, 10, 10] = np.nan
    broken = Windows(cube, 5)
    pixels = Pixels(torch.tensor([[10, 10], [0, 0]]), torch.tensor([0, 1]))
    work = trainer(tmp_path, (broken, pixels, pixels), epochs=1)
    before = weights(work)
    with pytest.raises(TrainingError, match=r"the loss became nan in epoch 1; lower the learning"):
        work.run()
    assert issubclass(TrainingError, InputError)
    assert same(weights(work), before)  # no step was taken with it


def test_rates_that_are_too_high_are_refused(tmp_path, world):
    with pytest.raises(TrainingError, match="the loss became"):
        trainer(tmp_path, world, "full", lr=1e30, epochs=3).run()


def test_early_stopping_keeps_the_best_weights(tmp_path, world):
    """Validation labels dealt at random: the best epoch comes early, by chance."""
    windows, _, rest = world
    deal = torch.randint(2, (6,), generator=torch.Generator().manual_seed(3))
    validation = Pixels(rest.positions[:6], deal)  # few, so that epochs tie: the first is kept
    after_step, works = [], []

    def watch(done, total, loss, last):
        after_step.append(weights(works[0]))

    works.append(
        trainer(tmp_path, world, validation=validation, watch=watch, epochs=40, patience=3)
    )
    outcome = works[0].run()
    measured = [row["validation_oa"] for row in outcome.history]
    best = int(np.argmax(measured))
    assert len(measured) == best + 1 + 3  # the best epoch, and three in vain
    assert len(measured) < 40
    assert measured.count(measured[best]) > 1  # there was a tie
    kept = weights(works[0])
    assert same(kept, after_step[3 * best + 2])
    assert not same(kept, after_step[-1])
    assert accuracy(works[0].plain, windows, validation) == pytest.approx(max(measured))


def test_without_patience_the_best_weights_are_kept_too(tmp_path, world):
    windows, _, rest = world
    validation = Pixels(rest.positions[:60], torch.arange(60) % 2)
    work = trainer(tmp_path, world, validation=validation, epochs=6)
    measured = [row["validation_oa"] for row in work.run().history]
    assert len(measured) == 6
    assert accuracy(work.plain, windows, validation) == pytest.approx(max(measured))


@pytest.mark.parametrize("method", ["krona+", "full"])
def test_a_batch_in_parts_is_the_same_batch(tmp_path, world, method):
    """The mean of the gradients of parts, weighed by their sizes; 20 pixels in batches of 8."""
    one, four = (trainer(tmp_path / str(n), world, method, epochs=1, accumulate=n) for n in (1, 4))
    gradients = []
    for work in (one, four):
        work._step(torch.tensor([5, 0, 9, 13, 2, 7, 11]))  # in four parts: 2, 2, 2 and 1
        gradients.append(
            {n: s["exp_avg"] / 0.1 for (n, _), s in zip(
                [(n, p) for g in work.optimizer.param_groups for p in g["params"]
                 for n, q in work.plain.named_parameters() if q is p],
                work.optimizer.optimizer.state.values(), strict=True)}
        )  # fmt: skip
    assert set(gradients[0]) == {n for n, p in one.plain.named_parameters() if p.requires_grad}
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)
    assert max(g.abs().max() for g in gradients[0].values()) > 1e-3


@pytest.fixture
def process_group(monkeypatch):
    """What accelerate finds in a process that was started as one of several."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for name, value in {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": "0", "WORLD_SIZE": "1",
        "LOCAL_RANK": "0", "ACCELERATE_USE_CPU": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    torch.distributed.destroy_process_group()
    AcceleratorState._reset_state(reset_partial_state=True)


def test_processes_train_on_several_windows(tmp_path, world, process_group):
    """A step draws one of the windows; the heads of the others have no gradient."""
    windows, train, _ = world
    model = Classifier(adapters.attach(encoder(), "krona+"), 2, windows=(3, 5))
    nothing = Pixels(train.positions[:0], train.targets[:0])
    cube = spectral.fit(planted()).reduce(planted())
    several = Windows(cube, 3), windows
    recipe = Recipe(**RECIPE)
    work = Trainer(model, several, train, nothing, recipe, seed=0, precision="fp32")
    assert isinstance(work.model, torch.nn.parallel.DistributedDataParallel)
    assert len(work.run().history) == RECIPE["epochs"]


def test_two_runs_of_one_seed_are_one(tmp_path, world):
    runs = [trainer(tmp_path / str(i), world, seed=s) for i, s in enumerate((0, 0, 1))]
    histories = [[row["loss"] for row in work.run().history] for work in runs]
    assert histories[0] == histories[1] != histories[2]
    assert same(weights(runs[0]), weights(runs[1]))
    assert not same(weights(runs[0]), weights(runs[2]))


def test_the_callers_random_state_is_untouched_and_has_no_say(tmp_path, world):
    works = [trainer(tmp_path / name, world) for name in "ab"]
    torch.manual_seed(123)
    before, legacy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    works[0].run()
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002
    torch.manual_seed(456)
    works[1].run()
    assert same(weights(works[0]), weights(works[1]))


def test_history_has_a_row_per_epoch(tmp_path, world):
    validation = Pixels(world[2].positions[:10], world[2].targets[:10])
    outcome = trainer(tmp_path, world, validation=validation, epochs=4).run()
    write_history(tmp_path / "history.csv", outcome.history)
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert list(rows[0]) == ["epoch", "loss", "validation_oa", "lr", "seconds"]
    assert [float(row["loss"]) for row in rows] == [row["loss"] for row in outcome.history]
    assert all(0 <= float(row["validation_oa"]) <= 100 for row in rows)
    assert float(rows[-1]["lr"]) == 0.0  # the cosine has come down
    assert outcome.samples_per_second == pytest.approx(4 * 20 / outcome.seconds)


def test_no_validation_is_an_empty_field(tmp_path, world):
    write_history(tmp_path / "history.csv", trainer(tmp_path, world, epochs=1).run().history)
    with (tmp_path / "history.csv").open() as file:
        assert next(csv.DictReader(file))["validation_oa"] == ""


def test_bf16_trains_float32_weights(tmp_path, world):
    exact, rounded = (trainer(tmp_path / p, world, precision=p, epochs=2) for p in ("fp32", "bf16"))
    losses = [[row["loss"] for row in work.run().history] for work in (exact, rounded)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)
    assert {p.dtype for p in rounded.plain.parameters()} == {torch.float32}


def test_augmentation_and_smoothing_have_their_effect(tmp_path, world):
    plain, turned, smooth = (
        trainer(tmp_path / str(i), world, epochs=1, augment=a, label_smoothing=s)
        for i, (a, s) in enumerate([(False, 0.0), (True, 0.0), (False, 0.3)])
    )
    losses = [work.run().history[0]["loss"] for work in (plain, turned, smooth)]
    assert len(set(losses)) == 3


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s["param_groups"][0].pop("eps"), "other options"),
        (lambda s: s["param_groups"][0].update(betas=(2.0, 0.9)), "other options"),
        (lambda s: s["state"][0].update(step=torch.tensor(-3.0)), "an invalid step"),
        (lambda s: s["param_groups"][0].update(lr=0.1j), "other options"),
        (lambda s: s["state"][0].update(exp_avg_sq=torch.ones(2)), "invalid exp_avg_sq"),
        (lambda s: s["state"][0].update(exp_avg=torch.full((3,), torch.nan)), "an invalid exp_avg"),
    ],
)
def test_an_optimiser_that_cannot_be_is_refused(spoil, message):
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = torch.optim.AdamW([weight], lr=0.1)
    weight.sum().backward()
    optimiser.step()
    state = copy.deepcopy(optimiser.state_dict())
    restore_optimiser(optimiser, copy.deepcopy(state))
    spoil(state)
    with pytest.raises(ValueError, match=message):
        restore_optimiser(torch.optim.AdamW([weight], lr=0.5), state)
