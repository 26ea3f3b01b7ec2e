"""The classifier: head, sizes, groups of the optimiser, batches that do not fit, cached tokens."""

from __future__ import annotations

import dataclasses
import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import hyperpeft
from hyperpeft import adapters, spectral
from hyperpeft.adapters import METHODS
from hyperpeft.errors import TrainingError
from hyperpeft.mapping.encoder_predictor import logits_of
from hyperpeft.mapping.tiles import by_cell
from hyperpeft.models import load_backbone
from hyperpeft.models.spectralgpt import SpectralGPT, initialise
from hyperpeft.models.windows import SYMMETRIES, Windows, apply_symmetry, resize
from hyperpeft.progress import told_to
from hyperpeft.runs.experiment import run
from hyperpeft.runs.weight_files import save_weights
from hyperpeft.training.batches import Batches, smaller
from hyperpeft.training.checkpoint import Checkpoints
from hyperpeft.training.classifier import Classifier, predict
from hyperpeft.training.loop import Pixels, Recipe, Trainer
from hyperpeft.training.optim import cosine, optimiser, parameter_groups
from hyperpeft.training.precision import autocast, choose_precision, held_in
from hyperpeft.training.token_cache import TokenCache, first_trained_block, is_worthwhile
from tests.helpers.small import DIM, config, encoder, options, planted

CUBE = torch.randn(12, 9, 9, generator=torch.Generator().manual_seed(0)).numpy()


def test_logits_are_the_head_of_the_mean_token():
    model = Classifier(encoder(), 3).eval()
    windows = torch.randn(2, 12, 5, 5)
    with torch.no_grad():
        mean = model.encoder(resize(windows, 32)).mean(1)  # (2, D)
        scaled = (mean - mean.mean(1, keepdim=True)) / (mean.var(1, unbiased=False) + 1e-5).sqrt()[
            :, None
        ]
        expected = scaled @ model.head.weight.T + model.head.bias
        torch.testing.assert_close(model(windows), expected, rtol=0, atol=1e-5)


def test_image_size_is_the_encoders():
    model = Classifier(encoder(image_size=64), 3)
    assert model(torch.randn(2, 12, 5, 5)).shape == (2, 3)


def test_head_is_seeded():
    heads = [Classifier(encoder(), 5, seed).head.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert set(Classifier(encoder(), 5).head_state()) == {
        "norm.weight", "norm.bias", "head.weight", "head.bias",
    }  # fmt: skip


def test_prediction_in_batches_is_prediction_of_each():
    model, windows = Classifier(encoder(), 3), Windows(CUBE, 5)
    positions = torch.cartesian_prod(torch.arange(9), torch.arange(9))
    batches = list(predict(model, windows, positions, batch_size=32))
    assert [len(batch) for batch in batches] == [32, 32, 17]
    with torch.no_grad():
        expected = model(windows.at(positions))
    torch.testing.assert_close(torch.cat(batches), expected, rtol=0, atol=1e-5)


def test_prediction_restores_the_mode_of_the_model():
    model = Classifier(encoder(), 3).train()
    stream = predict(model, Windows(CUBE, 5), torch.zeros(40, 2, dtype=torch.int64), batch_size=16)
    next(stream)
    assert not model.training
    assert not torch.is_inference_mode_enabled()
    stream.close()  # a caller that stops half-way
    assert model.training


def test_bf16_is_chosen_where_the_processor_is_faster_with_it():
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        pytest.skip("no /proc/cpuinfo to compare with")
    flags = set(info.read_text().split())
    amd = "AuthenticAMD" in flags
    has_it = bool(flags & ({"amx_bf16", "bf16"} | ({"avx512_bf16"} if amd else set())))
    assert choose_precision("auto", torch.device("cpu")) == ("bf16" if has_it else "fp32")
    assert choose_precision("fp32", torch.device("cpu")) == "fp32"
    assert choose_precision("bf16", torch.device("cpu")) == "bf16"


ON_A_MAC = """
import functools, torch
mps = torch.backends.mps
mps.is_available = mps.is_built = functools.cache(lambda: True)
import numpy as np
import hyperpeft
from accelerate import PartialState
cube = np.random.default_rng(0).normal(size=(20, 20, 14)).astype(np.float32)
labels = np.where(np.arange(20) < 10, 1, 2) + np.zeros((20, 1), int)
cube[labels == 2] += 3
found = hyperpeft.SceneClassifier(method="krona+", epochs=1, patch_size=1).fit(cube, labels)
print(PartialState().device, found.score(cube, labels))
"""


def test_a_mac_trains_on_its_processor():
    """Its GPU has no float64: Accelerate would choose it, and the ridge heads would fail."""
    done = subprocess.run([sys.executable, "-c", ON_A_MAC], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-600:]
    device, score = done.stdout.split()[-2:]
    assert device == "cpu"
    assert float(score) > 0.9


def test_bf16_logits_are_close_to_float32():
    model, windows = Classifier(encoder(), 3), Windows(CUBE, 5)
    positions = torch.cartesian_prod(torch.arange(9), torch.arange(9))
    exact, rounded = (
        torch.cat(list(predict(model, windows, positions, precision=p))) for p in ("fp32", "bf16")
    )
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)  # bf16 was really used
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.02)


def test_the_papers_sizes(tmp_path):
    """768 wide, KronA+ on Q and V, 12 classes: the issue's numbers."""
    model = Classifier(adapters.attach(load_backbone("base"), "krona+"), 12)
    base = sum(p.numel() for p in load_backbone("base").parameters())
    found = adapters.adapters_of(model.encoder)
    in_adapters = sum(p.numel() for a in found.values() for _, p in a.role(a.A_NAMES + a.B_NAMES))
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert len(found) == 24
    assert in_adapters == 38_400
    assert trainable == 38_400 + 12 * 768 + 12 + 2 * 768
    assert 0.055 < 100 * trainable / (base + trainable) < 0.058
    size = save_weights(tmp_path, model, "krona+", "base")
    assert size == sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    assert size < 230_000  # leaves 20 kB for run.json; test_bundle checks its size
    assert DIM < 768


@pytest.mark.parametrize("method", ["krona", "full", "probe"])
def test_weights_held_in_bf16_change_no_bit(method):
    model = Classifier(adapters.attach(encoder(), method), 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(4, 12, 9, 9, generator=torch.Generator().manual_seed(0))

    def outputs():
        with autocast(x.device, "bf16"):
            loss = model(x).float().square().sum()
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        gradients = torch.autograd.grad(loss, list(trained.values()))
        return loss, dict(zip(trained, gradients, strict=True))

    loss, gradients = outputs()
    with held_in(model, "bf16"):
        held = [n for n, p in model.named_parameters() if p.dtype == torch.bfloat16]
        loss_held, gradients_held = outputs()
    assert bool(held) == (method != "full")
    assert torch.equal(loss, loss_held)
    for name, gradient in gradients.items():
        assert torch.equal(gradient, gradients_held[name]), name
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize("method", ["krona", "full"])
def test_predictions_in_bf16_leave_the_model_as_it_is(method):
    """Also one that is stopped half-way and kept, and two at a time."""
    model = Classifier(adapters.attach(encoder(), method), 3).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    windows, cells = Windows(CUBE, 5), by_cell(np.argwhere(np.ones((9, 9), bool)), 4)

    def started():
        found = logits_of(model, windows, cells, 16, "bf16")
        return found, [next(found)]

    with autocast(torch.device("cpu"), "bf16"), torch.inference_mode():
        expected = model.eval()(windows.at(torch.from_numpy(cells[0]))).float().numpy()
    model.train()
    (first, a), (second, b) = started(), started()
    np.testing.assert_array_equal(a[0], expected)
    a += first  # the first ends, then the second; both began before
    b += second
    np.testing.assert_array_equal(np.concatenate(a), np.concatenate(b))
    suspended, _ = started()
    assert model.training
    after = model.state_dict()
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    suspended.close()
    assert model.training


LAMBDA = 16.0
LR, HEAD_LR = 1e-3, 5e-4
PLUS = [name for name, method in METHODS.items() if method.plus]
WITH_ADAPTER = [name for name, method in METHODS.items() if method.adapter is not None]


def adapted(method):
    encoder = initialise(SpectralGPT(96, 2, 2), 0)
    return Classifier(adapters.attach(encoder, method), classes=3)


def groups(model, lam):
    return parameter_groups(model, lr=LR, lam=lam, head_lr=HEAD_LR, weight_decay=0.05)


def kinds(model):
    """Role of every trainable parameter by name, from the adapters' declaration."""
    a, b = set(), set()
    for adapter in adapters.adapters_of(model).values():
        a |= {id(parameter) for _, parameter in adapter.role(adapter.A_NAMES)}
        b |= {id(parameter) for _, parameter in adapter.role(adapter.B_NAMES)}
    return {
        name: "A" if id(p) in a else "B" if id(p) in b else "head"
        for name, p in model.named_parameters()
        if p.requires_grad
    }


def moved(method, lam, make_optimiser):
    """How far each trainable parameter goes in one step from the same gradients."""
    model = adapted(method)
    generator = torch.Generator().manual_seed(1)
    before = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            before[name] = parameter.detach().clone()
            parameter.grad = torch.empty_like(parameter).normal_(generator=generator)
    make_optimiser(groups(model, lam)).step()
    after = dict(model.named_parameters())
    return kinds(model), {name: (after[name] - old).detach() for name, old in before.items()}


def sgd(groups):
    return torch.optim.SGD([{"params": g["params"], "lr": g["lr"]} for g in groups])


@pytest.mark.parametrize("method", PLUS)
@pytest.mark.parametrize("make", [optimiser, sgd], ids=["AdamW", "SGD"])
def test_b_moves_lambda_times_as_far_and_nothing_else_does(method, make):
    kind, plain = moved(method, 1.0, make)
    _, plus = moved(method, LAMBDA, make)
    assert set(kind.values()) == {"A", "B", "head"}
    for name, step in plain.items():
        assert step.abs().max() > 0, name
        if kind[name] == "B":
            torch.testing.assert_close(plus[name], LAMBDA * step, rtol=1e-5, atol=0)
        else:
            assert torch.equal(plus[name], step), name


@pytest.mark.parametrize("method", WITH_ADAPTER)
def test_every_trainable_parameter_is_in_one_group(method):
    model = adapted(method)
    found = groups(model, LAMBDA)
    listed = [id(parameter) for group in found for parameter in group["params"]]
    trainable = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(listed) == sorted(trainable)
    assert {group["name"]: group["lr"] for group in found} == pytest.approx(
        {"A": LR, "B": LR * LAMBDA, "head": HEAD_LR, "head_no_decay": HEAD_LR}
    )
    decay = {group["name"]: group["weight_decay"] for group in found}
    assert decay == {"A": 0.05, "B": 0.05, "head": 0.05, "head_no_decay": 0.0}


def test_full_fine_tuning_decays_matrices_only_and_knows_no_lambda():
    found = {group["name"]: group for group in groups(adapted("full"), LAMBDA)}
    assert set(found) == {"weights", "weights_no_decay", "head", "head_no_decay"}
    assert found["weights"]["lr"] == found["weights_no_decay"]["lr"] == LR
    assert all(parameter.ndim == 1 for parameter in found["weights_no_decay"]["params"])


def test_a_probe_trains_the_head_alone():
    assert {g["name"] for g in groups(adapted("probe"), LAMBDA)} == {"head", "head_no_decay"}


def test_the_schedule_rises_falls_and_keeps_the_ratio_of_the_groups():
    optimizer = optimiser(groups(adapted("krona+"), LAMBDA))
    schedule = cosine(optimizer, steps=10, warmup=2)
    rates = []
    for _ in range(10):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    a = [rate[0] for rate in rates]
    assert a[0] < a[1] < a[2] == pytest.approx(LR)
    assert all(later < earlier for earlier, later in itertools.pairwise(a[2:]))
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0, 0, 0, 0])
    assert all(rate[1] == pytest.approx(LAMBDA * rate[0]) for rate in rates)


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


def small_classifier(method="krona", **options):
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
    assert first_trained_block(small_classifier(method, **options).encoder) == block


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("on_disk", [False, True])
def test_cached_tokens_are_those_computed(windows, augment, on_disk, tmp_path, monkeypatch):
    if on_disk:
        monkeypatch.setattr("hyperpeft.training.token_cache.IN_MEMORY", 0)
    model = small_classifier(blocks=1)
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
        model = small_classifier(method, **options)
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
    last, all_blocks = small_classifier(blocks=1).encoder, small_classifier().encoder
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
        small_classifier(blocks=1).encoder,
        len(POSITIONS),
        augment=TOKEN_RECIPE.augment,
        epochs=dataclasses.replace(TOKEN_RECIPE).epochs,
        precision="fp32",
    )
