"""One behaviour matrix over every registered method, option variant and dtype."""

import copy

import pytest
import torch
import torch.nn.functional as F

from hyperpeft import adapters
from hyperpeft.adapters import METHODS
from hyperpeft.adapters.attach import target_names
from hyperpeft.training.classifier import Classifier
from tests.helpers.small_models import encoder, images, relative, train_somehow

WITH_ADAPTER = [name for name, method in METHODS.items() if method.adapter is not None]
VARIANTS = [
    *((name, {}) for name in WITH_ADAPTER),
    ("lora", {"rank": 3, "alpha": 12.0, "dropout": 0.2}),
    ("krona", {"factors": (12, 8), "scale": 0.5, "dropout": 0.2}),
    ("krona", {"factors": (4, 24)}),
    ("krona+", {"terms": 3}),
    ("krona", {"terms": 2, "factors": (6, 32), "scale": 2.0}),
    ("lokr", {"rank": 2, "alpha": 6.0, "decompose_both": True}),
    ("lokr", {"rank": 64}),  # both factors full
    ("lokr", {"factors": (4, 24), "dropout": 0.2}),
]
IDS = [f"{name}{options or ''}" for name, options in VARIANTS]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
DTYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
TARGETS = ("q", "v", "fc1")  # square and rectangular layers


@pytest.fixture(params=VARIANTS, ids=IDS)
def variant(request):
    return request.param


def attached(variant, dtype=torch.float32, targets=TARGETS, **more):
    method, options = variant
    options = dict(options)
    if isinstance(options.get("factors"), tuple):
        targets = ("q", "v")
    return adapters.attach(encoder().to(dtype), method, targets, **more, **options)


def test_every_contract_name_is_registered():
    assert {"full", "probe", "lora", "lora+", "krona", "krona+", "lokr"} <= set(METHODS)


@DTYPES
def test_starts_as_the_identity(variant, dtype):
    x = images().to(dtype)
    for training in (True, False):  # dropout acts, and attention rounds bf16 otherwise, in training
        expected = encoder().to(dtype).train(training)(x)
        assert torch.equal(attached(variant, dtype).train(training)(x), expected)


def test_only_its_own_parameters_and_the_head_get_gradients(variant):
    model = Classifier(attached(variant), classes=3).train()
    own = {id(p) for a in adapters.adapters_of(model).values() for _, p in a.own_parameters()}
    model(images()).square().sum().backward()
    for name, parameter in model.named_parameters():
        if id(parameter) in own or not name.startswith("encoder."):
            assert parameter.requires_grad, name
            assert parameter.grad is not None, name
        else:
            assert not parameter.requires_grad, name
            assert parameter.grad is None, name


def test_a_and_b_are_what_they_are_declared(variant):
    model = attached(variant)
    for adapter in adapters.adapters_of(model).values():
        a, b = dict(adapter.role(adapter.A_NAMES)), dict(adapter.role(adapter.B_NAMES))
        assert a, "something starts random"
        assert b, "something starts at zero"
        assert not set(a) & set(b)
        trainable = {name for name, p in adapter.named_parameters() if p.requires_grad}
        assert set(a) | set(b) == trainable
        assert all(parameter.count_nonzero() == parameter.numel() for parameter in a.values())
        assert all(parameter.count_nonzero() == 0 for parameter in b.values())
        assert trainable <= set(adapter.FILE_NAMES)
    # From the start every B is pulled, and no A is: the product is zero in B only.
    model.train()(images()).square().sum().backward()
    for adapter in adapters.adapters_of(model).values():
        assert all(p.grad.abs().sum() > 0 for _, p in adapter.role(adapter.B_NAMES))
        assert all(p.grad.abs().sum() == 0 for _, p in adapter.role(adapter.A_NAMES))


@DTYPES
def test_merged_equals_unmerged(variant, dtype):
    x = images().to(dtype)
    model = train_somehow(attached(variant, dtype), deviation=0.2)
    before = model(x)
    assert relative(before, encoder().to(dtype)(x)) > 0.03, "the delta must show"
    plain = adapters.merge(model)
    assert not adapters.adapters_of(plain)
    assert list(plain.state_dict()) == list(encoder().state_dict())
    assert not any(parameter.requires_grad for parameter in plain.parameters())
    assert {parameter.dtype for parameter in plain.parameters()} == {dtype}
    assert relative(plain(x), before) < TOLERANCE[dtype]


@DTYPES
def test_unmerge_gives_the_weights_back_bit_by_bit(variant, dtype):
    x = images().to(dtype)
    model = train_somehow(attached(variant, dtype), deviation=0.2)
    before, weights = model(x), copy.deepcopy(model.state_dict())
    with adapters.merged(model):
        assert relative(model(x), before) < TOLERANCE[dtype]
        assert all(adapter.merged for adapter in adapters.adapters_of(model).values())
    assert torch.equal(model(x), before)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_delta_weight_is_the_matrix_of_delta(variant):
    model = train_somehow(attached(variant))
    for adapter in adapters.adapters_of(model).values():
        matrix = adapter.delta_weight()
        assert matrix.dtype == torch.float32
        assert matrix.shape == (adapter.out_features, adapter.in_features)
        rows = adapter.delta(torch.eye(adapter.in_features))
        assert relative(rows.T, matrix) < 1e-5


def test_a_formed_weight_gives_the_outputs_and_gradients_of_an_added_delta(variant):
    """Many rows: one product with W + dW. Few, or no float32: W x + b and delta(x) beside it."""
    model = train_somehow(attached(variant), deviation=0.2)
    draw = torch.Generator().manual_seed(3)
    for adapter in adapters.adapters_of(model).values():
        many = torch.randn(5, adapter.out_features, adapter.in_features, generator=draw)
        learning = [parameter for _, parameter in adapter.own_parameters()]
        upstream = torch.randn(5, adapter.out_features, adapter.out_features, generator=draw)
        x = many.requires_grad_()
        formed = adapter(x)
        added = F.linear(x, adapter.weight, adapter.bias) + adapter.delta(x)
        assert "Product" in formed.grad_fn.name()
        assert "Product" not in adapter(x[0, :4]).grad_fn.name()
        half = copy.deepcopy(adapter).to(torch.bfloat16)
        assert "Product" not in half(x.bfloat16()).grad_fn.name()
        assert relative(formed, added) < 1e-5
        grads = (torch.autograd.grad(y, [x, *learning], upstream) for y in (formed, added))
        for one, other in zip(*grads, strict=True):
            assert relative(one, other) < 1e-5


def test_a_formed_weight_moves_only_what_learns(variant):
    model = train_somehow(attached(variant))
    adapter = next(iter(adapters.adapters_of(model).values()))
    for _, parameter in adapter.role(adapter.A_NAMES):
        parameter.requires_grad_(False)
    x = torch.randn(adapter.out_features, adapter.in_features)
    adapter(x).square().sum().backward()
    assert all(parameter.grad is None for _, parameter in adapter.role(adapter.A_NAMES))
    assert all(p.grad.abs().sum() > 0 for _, p in adapter.role(adapter.B_NAMES))


def test_saved_loaded_switched(variant, tmp_path):
    x = images()
    expected = {}
    for seed in (1, 2):
        model = train_somehow(attached(variant), seed)
        adapters.save(model, tmp_path / str(seed), "made")
        expected[seed] = model(x)
    model = encoder()
    plain = model(x)
    for seed in (1, 2, 1):
        adapters.load(model, tmp_path / str(seed))
        assert torch.equal(model(x), expected[seed])
        assert model.attachment.method == variant[0]
        adapters.detach(model)
        assert torch.equal(model(x), plain)


@pytest.mark.parametrize("blocks", [1, "last 1"])
def test_last_blocks_alone_are_adapted(variant, blocks, tmp_path):
    model = train_somehow(attached(variant, blocks=blocks))
    names = list(adapters.adapters_of(model))
    assert names
    assert all(name.startswith("blocks.1.") for name in names)
    assert model.attachment.blocks == 1
    adapters.save(model, tmp_path)
    assert list(adapters.adapters_of(adapters.load(encoder(), tmp_path))) == names


def test_dropout_acts_in_training_only(variant):
    model = train_somehow(attached(variant))
    x = images()
    torch.manual_seed(0)
    moved = relative(model.train()(x), model.eval()(x)) > 1e-3
    assert moved == bool(variant[1].get("dropout"))


def test_the_same_seed_gives_the_same_start(variant):
    first, second, other = (attached(variant, seed=seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    assert any(not torch.equal(value, other[key]) for key, value in first.items())


@pytest.mark.parametrize(
    ("method", "count"), [("lora", 294_912), ("krona", 38_400), ("lokr", 19_968)]
)
def test_parameter_counts_of_base_on_q_and_v(method, count):
    with torch.device("meta"):
        model = encoder_of_base()
    adapters.attach(model, method)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count


def encoder_of_base():
    from hyperpeft.models.spectralgpt import SpectralGPT

    return SpectralGPT(768, 12, 12)


def test_every_target_of_the_encoder_can_be_adapted():
    every = ("q", "k", "v", "proj", "fc1", "fc2")
    model = adapters.attach(encoder(), "krona", ",".join(every))
    assert len(adapters.adapters_of(model)) == 6 * 2
    assert target_names(encoder(), ("proj",), "all") == ["blocks.0.attn.proj", "blocks.1.attn.proj"]


@pytest.mark.parametrize(("method", "trainable"), [("full", True), ("probe", False)])
def test_methods_without_adapter(method, trainable):
    model = adapters.attach(encoder(), method)
    assert not adapters.adapters_of(model)
    assert {parameter.requires_grad for parameter in model.parameters()} == {trainable}
