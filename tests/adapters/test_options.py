"""Wrong options: a clear refusal, and a model left as it was."""

from typing import ClassVar

import pytest
import torch
from torch import nn

from hyperpeft import adapters
from hyperpeft.adapters.base import Adapter, Method
from hyperpeft.errors import AdapterError, ConfigError
from hyperpeft.runs.config import make_config
from tests.helpers.small_models import encoder, images

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
    model = encoder()
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
        adapters.attach(encoder(), "krona", targets)


@pytest.mark.parametrize("blocks", [0, 3, -1, True, "first 2", "last 3", "last", 1.0, None])
def test_unknown_blocks_are_refused(blocks):
    with pytest.raises(AdapterError, match="blocks"):
        adapters.attach(encoder(), "krona", blocks=blocks)


def test_a_refusal_in_a_later_layer_leaves_the_earlier_ones():
    model = encoder()  # 96 is a divisor of fc1's rows alone
    with pytest.raises(AdapterError, match="divisors of the layer's 96 x 96"):
        adapters.attach(model, "krona", ("fc1", "q"), factors=(128, 8))
    assert not adapters.adapters_of(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_type_error_inside_a_method_is_not_mistaken_for_a_wrong_option(monkeypatch):
    def broken(linear, rank=1, *, generator=None):
        raise TypeError("a defect")

    monkeypatch.setitem(adapters.METHODS, "broken", Method("broken", broken))
    with pytest.raises(TypeError, match="a defect"):
        adapters.attach(encoder(), "broken", rank=2)


def test_adapters_are_not_attached_twice():
    model = adapters.attach(encoder(), "lora")
    with pytest.raises(AdapterError, match="adapters already"):
        adapters.attach(model, "krona")


def test_lists_of_yaml_are_tuples_here():
    model = adapters.attach(encoder(), "krona", ["q"], factors=[12, 12])
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
        model = adapters.attach(encoder(), "shift+", size=2)
        adapters.save(model, tmp_path)
        assert '"HYPERPEFT_SHIFT"' in (tmp_path / "adapter_config.json").read_text()
        assert torch.equal(adapters.load(encoder(), tmp_path)(images()), model(images()))
    finally:
        for name in ("shift", "shift+"):
            adapters.METHODS.pop(name, None)
