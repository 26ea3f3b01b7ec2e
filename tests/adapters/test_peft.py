"""Parity with stock PEFT: equal weights give equal outputs and gradients, files go both ways."""

import json
import warnings

import pytest
import torch

from hyperpeft import adapters
from hyperpeft.adapters import save_load
from hyperpeft.errors import AdapterError
from tests.helpers.small_models import encoder, images, relative, train_somehow

SAME = 1e-5  # whole tensors, largest difference over largest value


@pytest.fixture(scope="module")
def peft():
    return pytest.importorskip("peft")


# Adapters of hyperpeft that stock PEFT loads.
OURS = {
    "lora": ("lora", {"rank": 3, "alpha": 12.0}, {}),
    "lora+ on all targets": ("lora+", {}, {"targets": ("q", "k", "v", "proj", "fc1", "fc2")}),
    "krona": ("krona", {}, {}),
    "krona+ on rectangular layers": ("krona+", {}, {"targets": ("q", "fc1", "fc2")}),
    "krona of another square": ("krona", {"factors": (12, 12)}, {}),
    "krona with a large A": ("krona", {"factors": (24, 24)}, {}),
    "krona with a scale": ("krona", {"scale": 2.5}, {}),
    "krona on the last block": ("krona", {}, {"blocks": 1}),
    "krona on proj": ("krona", {}, {"targets": ("proj",)}),
    "lokr": ("lokr", {"rank": 2, "alpha": 6.0}, {}),
    "lokr with full factors": ("lokr", {"rank": 6}, {}),
    "lokr both": ("lokr", {"rank": 2, "decompose_both": True}, {"targets": ("q", "fc1")}),
}

# Configurations of stock PEFT that hyperpeft loads.
THEIRS = {
    "lora": ("LoraConfig", {"r": 3, "lora_alpha": 12, "lora_dropout": 0.1}),
    "lora gaussian": ("LoraConfig", {"r": 4, "init_lora_weights": "gaussian"}),
    "lora by pattern": ("LoraConfig", {"target_modules": r".*1\.(attn\.q|mlp\.fc1)"}),
    "lora one block": ("LoraConfig", {"layers_to_transform": [1], "layers_pattern": "blocks"}),
    "lora uneven": ("LoraConfig", {"target_modules": ["blocks.0.attn.q", "blocks.1.mlp.fc2"]}),
    "lokr": ("LoKrConfig", {"r": 4, "alpha": 4}),
    "lokr lycoris": ("LoKrConfig", {"r": 4, "alpha": 8, "init_weights": "lycoris"}),
    "lokr full": ("LoKrConfig", {"r": 32, "alpha": 16}),
    "lokr both": ("LoKrConfig", {"r": 2, "alpha": 2, "decompose_both": True}),
    "lokr factor": ("LoKrConfig", {"r": 3, "alpha": 8, "decompose_factor": 4}),
    "lokr mixed": ("LoKrConfig", {"r": 6, "target_modules": ["q", "fc1"]}),
    "lokr factor both": (
        "LoKrConfig",
        {"r": 3, "decompose_factor": 24, "decompose_both": True},
    ),
}


def theirs(peft, case, noise=True):
    """A model of stock PEFT, with its parameters moved away from the start where asked."""
    kind, options = THEIRS[case]
    torch.manual_seed(0)
    config = getattr(peft, kind)(**{"target_modules": ["q", "v"], **options})
    model = peft.get_peft_model(encoder(), config).eval()
    if noise:
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def gradients(model, x):
    """Output; the gradients of one same loss are then in the parameters."""
    y = model(x)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    return y


def our_gradients(model):
    found = adapters.adapters_of(model)
    return {key: parameter.grad for key, parameter in save_load._named(found).items()}


def their_gradients(model):
    return {
        name.replace(".default", ""): parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def same_gradients(ours, other):
    assert ours.keys() == other.keys()
    # Relative to the largest gradient of all, because some are zero at the start.
    largest = max(gradient.abs().max() for gradient in other.values())
    assert largest > 0
    for key, gradient in ours.items():
        assert ((gradient - other[key]).abs().max() / largest).item() < SAME, key


@pytest.mark.parametrize("case", OURS)
def test_what_hyperpeft_saves_loads_in_stock_peft(peft, case, tmp_path):
    method, options, more = OURS[case]
    model = train_somehow(adapters.attach(encoder(), method, **more, **options))
    adapters.save(model, tmp_path, "made")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PEFT only warns of keys that are missing
        loaded = peft.PeftModel.from_pretrained(encoder(), tmp_path, is_trainable=True).eval()
    x = images()
    ours, other = gradients(model, x), gradients(loaded, x)
    assert relative(ours, other) < SAME
    assert relative(ours, encoder()(x)) > 1e-2
    same_gradients(our_gradients(model), their_gradients(loaded))


@pytest.mark.parametrize("trained", [True, False], ids=["trained", "at the start"])
@pytest.mark.parametrize("case", THEIRS)
def test_what_stock_peft_saved_loads_here(peft, case, trained, tmp_path):
    other = theirs(peft, case, noise=trained)
    other.save_pretrained(tmp_path / "theirs")
    model = adapters.load(encoder(), tmp_path / "theirs")
    x = images()
    y = gradients(model, x)
    assert relative(y, gradients(other, x)) < SAME
    same_gradients(our_gradients(model), their_gradients(other))
    # And on: saved here it is a folder of both.
    adapters.save(model, tmp_path / "ours")
    again = peft.PeftModel.from_pretrained(encoder(), tmp_path / "ours").eval()
    assert relative(again(x), y) < SAME
    assert torch.equal(adapters.load(encoder(), tmp_path / "ours")(x), y)


@pytest.mark.parametrize(
    "options", [{"factors": (12, 8)}, {"factors": (4, 24)}, {"terms": 2}], ids=str
)
def test_krona_without_peft_form_says_so(peft, options, tmp_path):
    model = train_somehow(adapters.attach(encoder(), "krona", **options))
    adapters.save(model, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "HYPERPEFT_KRONA"
    assert "PEFT" in config["no_peft_form"]
    assert not save_load.read(tmp_path).has_peft_form
    with pytest.raises((KeyError, ValueError, TypeError)):
        peft.PeftModel.from_pretrained(encoder(), tmp_path)
    x = images()
    assert torch.equal(adapters.load(encoder(), tmp_path)(x), model(x))


def test_square_krona_is_a_lokr_with_full_factors_and_alpha_equal_to_r(tmp_path):
    adapters.save(adapters.attach(encoder(), "krona+"), tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "LOKR"
    assert config["alpha"] == config["r"] == 12
    shapes = {k.split(".")[-1]: tuple(t.shape) for k, t in save_load.read(tmp_path).tensors.items()}
    assert shapes == {"lokr_w1": (8, 8), "lokr_w2": (12, 12)}


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        ("LoraConfig", {"use_rslora": True}, "use_rslora"),
        ("LoraConfig", {"use_dora": True}, "use_dora"),
        ("LoraConfig", {"rank_pattern": {"blocks.0.attn.q": 2}}, "rank_pattern"),
        ("LoraConfig", {"alpha_pattern": {"blocks.0.attn.q": 2}}, "alpha_pattern"),
        ("LoraConfig", {"bias": "lora_only"}, "bias"),
        ("LoraConfig", {"modules_to_save": ["norm"]}, "modules_to_save"),
        ("LoraConfig", {"init_lora_weights": "olora"}, "init_lora_weights"),
        ("LoKrConfig", {"rank_pattern": {"blocks.0.attn.q": 2}}, "rank_pattern"),
        ("LoKrConfig", {"decompose_factor": 5}, "factors"),
        ("LoHaConfig", {}, "LORA or LOKR, got LOHA"),
    ],
)
def test_what_would_change_the_outputs_is_refused_by_name(peft, kind, options, named, tmp_path):
    config = getattr(peft, kind)(target_modules=["q", "v"], **options)
    peft.get_peft_model(encoder(), config).save_pretrained(tmp_path)
    model = encoder()
    with pytest.raises(AdapterError, match=named):
        adapters.load(model, tmp_path)
    assert not adapters.adapters_of(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_dropout_that_acts_in_training_only_is_dropped_with_a_warning(peft, tmp_path):
    config = peft.LoKrConfig(r=4, module_dropout=0.5, target_modules=["q"])
    peft.get_peft_model(encoder(), config).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="module_dropout"):
        adapters.load(encoder(), tmp_path)
