"""Encoder, pooling and head, the sizes that the paper promises, and the groups of the optimiser."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from hyperpeft import adapters
from hyperpeft.adapters import METHODS
from hyperpeft.models import load_backbone
from hyperpeft.models.spectralgpt import SpectralGPT, initialise
from hyperpeft.patches import Windows, resize
from hyperpeft.runs.weight_files import save_weights
from hyperpeft.training.classifier import Classifier, predict
from hyperpeft.training.optim import cosine, optimiser, parameter_groups
from hyperpeft.training.precision import autocast, choose_precision, held_in
from tests.helpers.small import DIM, encoder

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


LAMBDA = 16.0
LR, HEAD_LR = 1e-3, 5e-4
PLUS = [name for name, method in METHODS.items() if method.plus]
WITH_ADAPTER = [name for name, method in METHODS.items() if method.adapter is not None]


def classifier(method):
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
    model = classifier(method)
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
    model = classifier(method)
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
    found = {group["name"]: group for group in groups(classifier("full"), LAMBDA)}
    assert set(found) == {"weights", "weights_no_decay", "head", "head_no_decay"}
    assert found["weights"]["lr"] == found["weights_no_decay"]["lr"] == LR
    assert all(parameter.ndim == 1 for parameter in found["weights_no_decay"]["params"])


def test_a_probe_trains_the_head_alone():
    assert {g["name"] for g in groups(classifier("probe"), LAMBDA)} == {"head", "head_no_decay"}


def test_the_schedule_rises_falls_and_keeps_the_ratio_of_the_groups():
    optimizer = optimiser(groups(classifier("krona+"), LAMBDA))
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
