"""Encoder, pooling and head; the sizes that the paper promises."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hyperpeft import adapters
from hyperpeft.models import load_backbone
from hyperpeft.patches import Windows, resize
from hyperpeft.runs.weight_files import save_weights
from hyperpeft.training.classifier import Classifier, predict
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


def test_bf16_is_chosen_where_the_processor_has_it():
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        pytest.skip("no /proc/cpuinfo to compare with")
    flags = set(info.read_text().split())
    has_it = bool(flags & {"amx_bf16", "avx512_bf16", "bf16"})
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
