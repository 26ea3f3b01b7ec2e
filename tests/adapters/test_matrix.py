"""Every adapter method alike: formulas, options, gradients, merging, reloading."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hyperpeft import adapters
from hyperpeft.adapters import METHODS
from hyperpeft.adapters.attach import target_names
from hyperpeft.adapters.base import Adapter, Method
from hyperpeft.adapters.kronecker import (
    KronA,
    LoKr,
    decompose_factor,
    factor_sizes,
    kronecker_product,
    kronecker_sum,
)
from hyperpeft.adapters.lora import LoRA
from hyperpeft.errors import AdapterError, ConfigError
from hyperpeft.runs.config import make_config
from hyperpeft.training.classifier import Classifier
from tests.helpers.small import adapter_encoder, images, relative, train_somehow

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
    return adapters.attach(adapter_encoder().to(dtype), method, targets, **more, **options)


def test_every_contract_name_is_registered():
    assert {"full", "probe", "lora", "lora+", "krona", "krona+", "lokr"} <= set(METHODS)


@DTYPES
def test_starts_as_the_identity(variant, dtype):
    x = images().to(dtype)
    for training in (True, False):  # dropout acts, and attention rounds bf16 otherwise, in training
        expected = adapter_encoder().to(dtype).train(training)(x)
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
    assert relative(before, adapter_encoder().to(dtype)(x)) > 0.03, "the delta must show"
    plain = adapters.merge(model)
    assert not adapters.adapters_of(plain)
    assert list(plain.state_dict()) == list(adapter_encoder().state_dict())
    assert not any(parameter.requires_grad for parameter in plain.parameters())
    assert {parameter.dtype for parameter in plain.parameters()} == {dtype}
    assert relative(plain(x), before) < TOLERANCE[dtype]


def test_detached_after_a_cast_while_merged():
    model = train_somehow(adapters.attach(adapter_encoder(), "lora"))
    for adapter in adapters.adapters_of(model).values():
        adapter.merge_()
    plain = adapters.detach(model.double())
    assert {parameter.dtype for parameter in plain.parameters()} == {torch.float64}
    x = images().double()
    assert torch.equal(plain(x), adapter_encoder().double()(x))


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


def adds_delta(adapter, x):
    """Whether a forward pass computes delta(x)."""
    called = []
    with pytest.MonkeyPatch.context() as patch:
        plain = adapter.delta
        patch.setattr(adapter, "delta", lambda given: called.append(1) or plain(given))
        adapter(x)
    return bool(called)


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
        assert adds_delta(adapter, x) is False
        assert adds_delta(adapter, x[0, :4])
        assert adds_delta(copy.deepcopy(adapter).to(torch.bfloat16), x.bfloat16())
        with torch.autocast("cpu", torch.bfloat16):  # a sum of terms costs more than its product
            assert adds_delta(adapter, x) == (not adapter.is_dense)
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
    model = adapter_encoder()
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
    assert list(adapters.adapters_of(adapters.load(adapter_encoder(), tmp_path))) == names


def test_blocks_of_other_models_are_found_where_they_are():
    """Inside of a Sequential, and under names that are not numbers, as torchvision has them."""

    def block():
        return nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8))

    wrapped = nn.Sequential(adapter_encoder(), nn.Linear(32, 4))
    adapters.attach(wrapped, "lora", ("q", "v"), blocks="last 1")
    assert set(adapters.adapters_of(wrapped)) == {"0.blocks.1.attn.q", "0.blocks.1.attn.v"}
    full = adapters.attach(nn.Sequential(adapter_encoder(), nn.Linear(32, 4)), "full", blocks=1)
    learning = {name for name, p in full.named_parameters() if p.requires_grad}
    assert {"0.blocks.1.attn.q.weight", "1.weight"} <= learning
    assert "0.blocks.0.attn.q.weight" not in learning
    named = nn.Sequential(OrderedDict((f"encoder_layer_{i}", block()) for i in range(4)))
    adapters.attach(named, "lora", ("1", "3"), blocks="last 2")
    expected = [f"encoder_layer_{i}.{layer}" for i in (2, 3) for layer in (1, 3)]
    assert list(adapters.adapters_of(named)) == expected
    alone = nn.ModuleDict({"blocks": nn.ModuleList([block()])})  # an MLP is no list of blocks
    adapters.attach(alone, "lora", ("1", "3"), blocks="last 1")
    assert list(adapters.adapters_of(alone)) == ["blocks.0.1", "blocks.0.3"]


def test_full_fine_tuning_of_the_last_blocks_freezes_what_stands_before_them():
    model = adapters.attach(adapter_encoder(), "full", blocks="last 1")
    names = dict(model.named_parameters())
    learning = {name for name, parameter in names.items() if parameter.requires_grad}
    assert learning == {name for name in names if name.startswith(("blocks.1.", "norm."))}
    for blocks in (2, "all"):
        model = adapters.attach(adapter_encoder(), "full", blocks=blocks)
        learning = {name for name, p in model.named_parameters() if p.requires_grad}
        assert ("blocks.0.attn.q.weight" in learning, "patch_embed.proj.weight" in learning) == (
            True,
            blocks == "all",
        )
    with pytest.raises(AdapterError, match='expected "all" or 1 to 2'):
        adapters.attach(adapter_encoder(), "full", blocks=3)


@pytest.mark.parametrize("target", ["linear1", "linear2", "out_proj"])
def test_layers_that_torch_reads_without_calling_them_are_refused(target):
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    with pytest.raises(AdapterError, match="an adapter would have no effect"):
        adapters.attach(layer, "lora", target)
    assert not adapters.adapters_of(layer)


def test_torch_transformers_take_adapters_with_their_fast_path_off():
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        model = adapters.attach(layer, "lora", ("linear1", "linear2"), rank=2).eval()
        for adapter in adapters.adapters_of(model).values():
            nn.init.normal_(adapter.B)
        x = torch.randn(2, 5, 32)
        with torch.no_grad():
            changed = model(x)
            torch.testing.assert_close(adapters.merge(model)(x), changed, rtol=1e-4, atol=1e-5)
        with pytest.raises(AdapterError, match="MultiheadAttention computes with its weight"):
            adapters.attach(layer, "lora", "out_proj")
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


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
    model = adapters.attach(adapter_encoder(), "krona", ",".join(every))
    assert len(adapters.adapters_of(model)) == 6 * 2
    assert target_names(adapter_encoder(), ("proj",), "all") == [
        "blocks.0.attn.proj",
        "blocks.1.attn.proj",
    ]


@pytest.mark.parametrize(("method", "trainable"), [("full", True), ("probe", False)])
def test_methods_without_adapter(method, trainable):
    model = adapters.attach(adapter_encoder(), method)
    assert not adapters.adapters_of(model)
    assert {parameter.requires_grad for parameter in model.parameters()} == {trainable}


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


def test_a_forward_pass_of_few_rows_forms_no_kronecker_matrix(monkeypatch):
    monkeypatch.setattr(torch, "kron", None)
    monkeypatch.setattr(torch, "einsum", None)
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


WRONG = [
    ("lorra", {}, "one of full, probe, lora"),
    ("lora", {"rank": 0}, "rank: expected a whole number from 1"),
    ("lora", {"rank": 97}, "from 1 to 96"),
    ("lora", {"rank": 4.0}, "rank"),
    ("lora", {"rank": True}, "rank"),
    ("lora", {"rank": "8"}, "rank"),
    ("lora", {"alpha": 0}, "alpha: expected a number above 0"),
    ("lora", {"alpha": float("nan")}, "alpha"),
    ("lora", {"alpha": 10**400}, "alpha"),
    ("lora", {"dropout": 1.0}, "dropout: expected a number from 0 to below 1"),
    ("lora", {"dropout": -0.1}, "dropout"),
    ("lora", {"rang": 8}, "any of rank, alpha, dropout, got rang"),
    ("lora", {"linear": 8}, "got linear"),
    ("krona", {"factors": (5, 8)}, "divisors of the layer's 96 x 96, got 5 x 8"),
    ("krona", {"factors": (0, 8)}, "divisors"),
    ("krona", {"factors": "square"}, '"balanced" or'),
    ("krona", {"factors": (8, 12.0)}, "factors"),
    ("krona", {"factors": 8}, "factors"),
    ("krona", {"terms": 0}, "terms"),
    ("krona", {"terms": 65}, "from 1 to 64"),
    ("krona", {"scale": -1}, "scale"),
    ("krona", {"rank": 4}, "any of factors, terms, scale, dropout, got rank"),
    ("lokr", {"decompose_both": 1}, "true or false"),
    ("lokr", {"rank": -1}, "rank"),
    ("probe", {"rank": 4}, "expected none, got rank"),
    ("full", {"rank": 4}, "expected none, got rank"),
]


@pytest.mark.parametrize(("method", "options", "message"), WRONG)
def test_wrong_options_are_refused_and_change_nothing(method, options, message):
    model = adapter_encoder()
    model.blocks[0].attn.q.weight.requires_grad_(False)  # a state that freezing would lose
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    with pytest.raises(AdapterError, match=message.replace("(", r"\(")):
        adapters.attach(model, method, **options)
    assert not adapters.adapters_of(model)
    assert not hasattr(model, "attachment")
    assert {n: p.requires_grad for n, p in model.named_parameters()} == before


@pytest.mark.parametrize("targets", [(), ("q", "w"), "", "q;v", ("attn",)])
def test_unknown_targets_are_named(targets):
    with pytest.raises(AdapterError, match="any of q, k, v, proj, fc1, fc2"):
        adapters.attach(adapter_encoder(), "krona", targets)


@pytest.mark.parametrize("blocks", [0, 3, -1, True, "first 2", "last 3", "last", 1.0, None])
def test_unknown_blocks_are_refused(blocks):
    with pytest.raises(AdapterError, match="blocks"):
        adapters.attach(adapter_encoder(), "krona", blocks=blocks)


def test_a_refusal_in_a_later_layer_leaves_the_earlier_ones():
    model = adapter_encoder()  # 96 is a divisor of fc1's rows alone
    with pytest.raises(AdapterError, match="divisors of the layer's 96 x 96"):
        adapters.attach(model, "krona", ("fc1", "q"), factors=(128, 8))
    assert not adapters.adapters_of(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_type_error_inside_a_method_is_not_mistaken_for_a_wrong_option(monkeypatch):
    def broken(linear, rank=1, *, generator=None):
        raise TypeError("a defect")

    monkeypatch.setitem(adapters.METHODS, "broken", Method("broken", broken))
    with pytest.raises(TypeError, match="a defect"):
        adapters.attach(adapter_encoder(), "broken", rank=2)


def test_adapters_are_not_attached_twice():
    model = adapters.attach(adapter_encoder(), "lora")
    with pytest.raises(AdapterError, match="adapters already"):
        adapters.attach(model, "krona")


def test_lists_of_yaml_are_tuples_here():
    model = adapters.attach(adapter_encoder(), "krona", ["q"], factors=[12, 12])
    assert model.attachment.options == {"factors": (12, 12)}
    assert model.attachment.targets == ("q",)


@pytest.mark.parametrize(("given", "kept"), [("last 4", 4), (4, 4), ("4", 4), ("all", "all")])
def test_blocks_of_a_run_configuration(given, kept):
    assert make_config({"scene": "demo", "blocks": given}).blocks == kept


@pytest.mark.parametrize("given", ["last", 0, "last 0", "first 2"])
def test_wrong_blocks_of_a_run_configuration(given):
    with pytest.raises(ConfigError, match="blocks"):
        make_config({"scene": "demo", "blocks": given})


def test_a_new_method_is_one_class(tmp_path):
    class Shift(Adapter):
        FILE_NAMES: ClassVar = {"A": "shift_A", "B": "shift_B"}
        A_NAMES, B_NAMES = ("A",), ("B",)

        def __init__(self, linear, size=1, *, generator=None):
            super().__init__(linear)
            self.A = nn.Parameter(torch.rand(size, self.in_features, generator=generator))
            self.B = nn.Parameter(torch.zeros(self.out_features, size))

        def delta(self, x):
            return x @ self.delta_weight().T

        def delta_weight(self):
            return self.B @ self.A

    try:
        adapters.register("shift", plus=True)(Shift)
        model = adapters.attach(adapter_encoder(), "shift+", size=2)
        adapters.save(model, tmp_path)
        assert '"HYPERPEFT_SHIFT"' in (tmp_path / "adapter_config.json").read_text()
        assert torch.equal(adapters.load(adapter_encoder(), tmp_path)(images()), model(images()))
    finally:
        for name in ("shift", "shift+"):
            adapters.METHODS.pop(name, None)
