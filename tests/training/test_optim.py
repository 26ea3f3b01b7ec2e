"""Parameter groups: who gets lambda, and how far a first step goes."""

import itertools

import pytest
import torch

from hyperpeft import adapters
from hyperpeft.adapters import METHODS
from hyperpeft.models.spectralgpt import SpectralGPT, initialise
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.optim import cosine, optimiser, parameter_groups

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
