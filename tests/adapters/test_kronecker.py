"""KronA against torch.kron, and planted deltas that training must find."""

import pytest
import torch
from torch import nn

from hyperpeft.adapters.kronecker import (
    KronA,
    LoKr,
    decompose_factor,
    factor_sizes,
    kronecker_product,
    kronecker_sum,
)
from hyperpeft.adapters.lora import LoRA
from tests.helpers.small_models import relative


def randomised(adapter, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in adapter.own_parameters():
            parameter.copy_(torch.empty(parameter.shape).normal_(generator=generator))
    return adapter


@pytest.mark.parametrize("shapes", [((2, 3), (5, 4)), ((4, 4), (4, 4)), ((1, 6), (3, 1))])
def test_the_product_is_that_of_torch_kron(shapes):
    torch.manual_seed(0)
    A, B = (torch.randn(shape) for shape in shapes)
    x = torch.randn(7, 3, A.shape[1] * B.shape[1])
    assert relative(kronecker_product(x, A, B), x @ torch.kron(A, B).T) < 1e-6


def test_the_sum_is_that_of_its_terms():
    torch.manual_seed(0)
    A, B, x = torch.randn(3, 2, 3), torch.randn(3, 5, 4), torch.randn(7, 2, 12)
    expected = sum(kronecker_product(x, a, b) for a, b in zip(A, B, strict=True))
    assert relative(kronecker_sum(x, A, B), expected) < 1e-6


def test_delta_weights_are_the_formulas():
    linear = nn.Linear(12, 18)
    krona = randomised(KronA(linear, (3, 2), scale=0.5))
    assert krona.A.shape == (3, 2)
    assert krona.B.shape == (6, 6)
    assert relative(krona.delta_weight(), 0.5 * torch.kron(krona.A, krona.B)) < 1e-6
    lokr = randomised(LoKr(linear, rank=2, alpha=6, factors=(3, 2)))
    assert relative(lokr.delta_weight(), 3 * torch.kron(lokr.A, lokr.B1 @ lokr.B2)) < 1e-6
    lora = randomised(LoRA(linear, rank=2, alpha=6))
    assert relative(lora.delta_weight(), 3 * lora.B @ lora.A) < 1e-6


def test_no_forward_forms_the_kronecker_matrix(monkeypatch):
    monkeypatch.setattr(torch, "kron", None)
    KronA(nn.Linear(12, 18), terms=2)(torch.randn(2, 12))
    LoKr(nn.Linear(12, 18))(torch.randn(2, 12))


def fit(adapter, delta, steps=400):
    """Train an adapter towards a layer whose weight differs by `delta`; the relative error left."""
    generator = torch.Generator().manual_seed(3)
    optimiser = torch.optim.Adam([p for _, p in adapter.own_parameters()], 0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        x = torch.empty(64, adapter.in_features).normal_(generator=generator)
        wanted = nn.functional.linear(x, adapter.weight + delta, adapter.bias)
        optimiser.zero_grad()
        (adapter(x) - wanted).square().mean().backward()
        optimiser.step()
        schedule.step()
    return ((adapter.delta_weight() - delta).norm() / delta.norm()).item()


def start(**options):
    return KronA(nn.Linear(12, 12), (3, 3), **options, generator=torch.Generator().manual_seed(0))


def test_a_planted_kronecker_delta_is_recovered():
    torch.manual_seed(1)
    delta = torch.kron(torch.randn(3, 3), torch.randn(4, 4))
    assert fit(start(), delta) < 1e-3
    # LoRA with more numbers (r = 2: 48 against 25) cannot: this delta is of full rank.
    assert fit(LoRA(nn.Linear(12, 12), rank=2), delta) > 0.3


def test_a_planted_sum_needs_its_number_of_terms():
    torch.manual_seed(2)
    A, B = torch.randn(2, 3, 3), torch.randn(2, 4, 4)
    delta = torch.kron(A[0], B[0]) + torch.kron(A[1], B[1])
    assert fit(start(terms=2), delta) < 1e-3
    assert fit(start(), delta) > 0.2


def test_the_number_that_peft_derives_sizes_from():
    def number(factors, *layers):
        return decompose_factor(
            [(out, in_, factor_sizes(factors, out, in_)) for out, in_ in layers]
        )

    assert number("balanced", (768, 768)) == -1
    assert number("balanced", (768, 768), (3072, 768)) == -1
    assert number((24, 24), (768, 768)) == -1
    assert number((32, 32), (768, 768)) == 32
    assert number((16, 16), (768, 768), (3072, 768)) == 16
    assert number((24, 32), (768, 768)) is None
    assert number((8, 48), (768, 768)) is None
    assert number((48, 24), (3072, 768)) == -1
