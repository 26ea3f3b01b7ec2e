"""Adapter folders: written, read back, refused, and read by stock PEFT."""

from __future__ import annotations

import copy
import json
import pickle
import struct
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from hyperpeft import adapters
from hyperpeft.adapters import save_load
from hyperpeft.errors import AdapterError
from tests.helpers.small import adapter_encoder, images, relative, train_somehow

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
KEY = "base_model.model.blocks.0.attn.q.lora_A.weight"


@pytest.fixture
def folder(tmp_path):
    adapters.save(
        train_somehow(adapters.attach(adapter_encoder(), "lora", rank=2)), tmp_path, "made"
    )
    return tmp_path


def change_config(folder, **values):
    path = folder / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_tensors(folder, change, metadata="kept"):
    path = folder / TENSORS
    tensors = load_file(path)
    if metadata == "kept":
        header = path.read_bytes()
        size = struct.unpack("<Q", header[:8])[0]
        metadata = json.loads(header[8 : 8 + size])["__metadata__"]
    save_file(change(tensors), path, metadata)


def own(**changes):
    values = {"method": "lora", "targets": ["q", "v"], "blocks": "all", "options": {"rank": 2}}
    return {"format": "pt", "hyperpeft": json.dumps({**values, **changes})}


def as_peft(folder):
    change_tensors(folder, dict, metadata={"format": "pt"})


def refused(folder, message):
    model = adapter_encoder()
    with pytest.raises(AdapterError, match=message) as caught:
        adapters.load(model, folder)
    assert not adapters.adapters_of(model)
    assert all(parameter.requires_grad for parameter in model.parameters())
    return str(caught.value)


@pytest.mark.parametrize("name", [CONFIG, TENSORS])
def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    refused(folder, f"holds no adapter: expected {name}")


def test_a_folder_that_is_none(tmp_path):
    refused(tmp_path / "nowhere", "holds no adapter")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "cannot be read|holds no adapter")


def test_pickles_are_not_opened(folder):
    class Harm:
        def __reduce__(self):
            return (open, (str(folder / "harmed"), "w"))

    (folder / TENSORS).unlink()
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Harm()))
    refused(folder, "a pickle, which can run code")
    assert not (folder / "harmed").exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000, b"{}", b'{"peft_type": 3}']
)
def test_broken_configurations(folder, content):
    (folder / CONFIG).write_bytes(content)
    refused(folder, "adapter_config.json")


@pytest.mark.parametrize(
    "content", [b"", b"x" * 50, struct.pack("<Q", 2**60) + b"{}", pickle.dumps({"a": 1})]
)
def test_broken_tensor_files(folder, content):
    (folder / TENSORS).write_bytes(content)
    refused(folder, "cannot be read")


@pytest.mark.parametrize(
    "metadata",
    [
        {"hyperpeft": "{"},
        {"hyperpeft": "[1]"},
        {"hyperpeft": "{}"},
        own(method="lorra"),
        own(method="probe"),
        own(method=3),
        own(targets="q"),
        own(targets=[]),
        own(targets=[3]),
        own(targets=["../../etc"]),
        own(blocks=None),
        own(blocks="last 9"),
        own(blocks=[1]),
        own(options=[]),
        own(options={"rank": "2"}),
        own(options={"rank": 10**12}),
        own(options={"rank": None}),
        own(options={"linear": 2}),
        own(options={"rank": 2, "alpha": "x"}),
        own(options={"rank": 2, "dropout": [0.1]}),
        own(more=1),
        own(method="krona", options={"factors": [10**9, 2]}),
        own(method="krona", options={"terms": 10**9}),
        own(method="lokr", options={"rank": 10**9}),
    ],
    ids=lambda metadata: metadata["hyperpeft"][:70],
)
def test_tampered_metadata(folder, metadata):
    change_tensors(folder, dict, metadata=metadata)
    refused(folder, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_alpha": 5.0}, "lora_alpha in .*against what"),
        ({"peft_type": "LOKR"}, "peft_type in"),
        ({"r": "2"}, "r in"),
    ],
)
def test_files_that_contradict_each_other(folder, changes, message):
    change_config(folder, **changes)
    refused(folder, message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r": 3}, r"lora_A.weight has shape \(2, 96\) instead of \(3, 96\)"),
        ({"r": "2"}, "rank"),
        ({"r": 10**12}, "rank"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"lora_alpha": "x"}, "alpha"),
        ({"lora_dropout": 3}, "dropout"),
        ({"init_lora_weights": ["pissa"]}, "init_lora_weights"),
        ({"some_later_variant": {"a": 1}}, "some_later_variant = "),
        ({"peft_type": "PREFIX_TUNING"}, "LORA or LOKR, got PREFIX_TUNING"),
        ({"peft_type": "HYPERPEFT_KRONA"}, "lost the metadata"),
        ({"peft_type": "LOKR"}, "lora_alpha = 2.0"),
    ],
)
def test_tampered_folders_of_peft(folder, changes, message):
    as_peft(folder)
    change_config(folder, **changes)
    refused(folder, message)


@pytest.mark.parametrize("peft", [False, True])
def test_every_key_and_shape_is_accounted_for(folder, peft):
    def change(tensors):
        tensors["extra"] = torch.ones(1)
        tensors["base_model.model.blocks.7.attn.q.lora_A.weight"] = torch.ones(2, 96)
        return tensors

    if peft:
        as_peft(folder)
    change_tensors(folder, change)
    message = refused(folder, "extra")
    assert peft or "blocks.7" in message


@pytest.mark.parametrize("peft", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[:, :5].contiguous(), r"lora_A.weight has shape \(2, 5\) instead of"),
        (lambda t: t[None].contiguous(), r"has shape \(1, 2, 96\)"),
        (lambda t: t.int(), "other than finite real numbers"),
        (lambda t: torch.full_like(t, torch.nan), "other than finite real numbers"),
        (None, f"missing {KEY}"),
    ],
)
def test_wrong_tensors_by_name(folder, change, message, peft):
    if peft:
        as_peft(folder)

    def changed(tensors):
        tensor = tensors.pop(KEY)
        return {**tensors, **({KEY: change(tensor)} if change else {})}

    change_tensors(folder, changed)
    refused(folder, message)


def test_an_adapter_of_another_model(folder):
    with pytest.raises(AdapterError, match=r"instead of \(2, 64\)"):
        adapters.load(adapter_encoder(dim=64), folder)
    with pytest.raises(AdapterError, match=r"unexpected base_model\.model\.blocks\.1"):
        adapters.load(adapter_encoder(depth=1), folder)


def test_half_precision_files_load(folder):
    expected = adapters.load(adapter_encoder(), folder)(images())
    change_tensors(folder, lambda tensors: {k: t.bfloat16() for k, t in tensors.items()})
    assert (adapters.load(adapter_encoder(), folder)(images()) - expected).abs().max() < 0.05


def test_nothing_is_saved_of_a_model_without_adapters(tmp_path):
    for model in (adapter_encoder(), adapters.attach(adapter_encoder(), "probe")):
        with pytest.raises(AdapterError, match="no adapters to save"):
            adapters.save(model, tmp_path)


def test_a_merged_adapter_saves_its_own_values(folder, tmp_path):
    model = adapters.load(adapter_encoder(), folder)
    with adapters.merged(model):
        adapters.save(model, tmp_path / "again")
    again = load_file(tmp_path / "again" / TENSORS)
    saved = load_file(folder / TENSORS)
    assert again.keys() == saved.keys()
    assert all(torch.equal(tensor, saved[key]) for key, tensor in again.items())


SAME, EXACT = 1e-5, 1e-12  # of whole tensors: largest difference over largest value


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
    "lora eva": ("LoraConfig", {"r": 4, "init_lora_weights": "eva"}),
    "lora by pattern": ("LoraConfig", {"target_modules": r".*1\.(attn\.q|mlp\.fc1)"}),
    "lora one block": ("LoraConfig", {"layers_to_transform": [1], "layers_pattern": "blocks"}),
    "lora uneven": ("LoraConfig", {"target_modules": ["blocks.0.attn.q", "blocks.1.mlp.fc2"]}),
    "lokr": ("LoKrConfig", {"r": 4, "alpha": 4}),
    "lokr lycoris": ("LoKrConfig", {"r": 4, "alpha": 8, "init_weights": "lycoris"}),
    "lokr full": ("LoKrConfig", {"r": 32, "alpha": 16}),
    "lokr both": ("LoKrConfig", {"r": 2, "alpha": 2, "decompose_both": True}),
    "lokr factor": ("LoKrConfig", {"r": 3, "alpha": 8, "decompose_factor": 4}),
    "lokr factor that divides no side": ("LoKrConfig", {"r": 3, "decompose_factor": 5}),
    "lokr factor that divides some": (
        "LoKrConfig",
        {"r": 3, "decompose_factor": 36, "target_modules": ["q", "fc2"]},
    ),
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
    model = peft.get_peft_model(adapter_encoder(), config).eval()
    if noise:
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def with_gradients(model, x, dtype=torch.float64):
    """A copy of a model with the gradients of one loss; float64 is exact on every processor."""
    model = copy.deepcopy(model).to(dtype)
    y = model(x.to(dtype))
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return model


def our_gradients(model):
    found = adapters.adapters_of(model)
    return {key: parameter.grad for key, parameter in save_load._named(found).items()}


def their_gradients(model):
    return {
        name.replace(".default", ""): parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def same_gradients(model, other, x):
    """In float64 ours are PEFT's; in float32, where deltas are merged, as near to them as its own.

    How far float32 is off depends on the processor: 1.4e-5 was seen of both.
    """
    exact = their_gradients(with_gradients(other, x))
    # Relative to the largest gradient of all, because some are zero at the start.
    largest = max(gradient.abs().max() for gradient in exact.values())
    assert largest > 0

    def error(gradients):
        assert gradients.keys() == exact.keys()
        return max((gradients[k] - exact[k]).abs().max() / largest for k in exact).item()

    assert error(our_gradients(with_gradients(model, x))) < EXACT
    rounding = error(their_gradients(with_gradients(other, x, torch.float32)))
    assert error(our_gradients(with_gradients(model, x, torch.float32))) < max(SAME, 2 * rounding)


@pytest.mark.parametrize("case", OURS)
def test_what_hyperpeft_saves_loads_in_stock_peft(peft, case, tmp_path):
    method, options, more = OURS[case]
    model = train_somehow(adapters.attach(adapter_encoder(), method, **more, **options))
    adapters.save(model, tmp_path, "made")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PEFT only warns of keys that are missing
        loaded = peft.PeftModel.from_pretrained(
            adapter_encoder(), tmp_path, is_trainable=True
        ).eval()
    x = images()
    ours, other = model(x), loaded(x)
    assert relative(ours, other) < SAME
    assert relative(ours, adapter_encoder()(x)) > 1e-2
    same_gradients(model, loaded, x)


@pytest.mark.parametrize("trained", [True, False], ids=["trained", "at the start"])
@pytest.mark.parametrize("case", THEIRS)
def test_what_stock_peft_saved_loads_here(peft, case, trained, tmp_path):
    other = theirs(peft, case, noise=trained)
    other.save_pretrained(tmp_path / "theirs")
    model = adapters.load(adapter_encoder(), tmp_path / "theirs")
    x = images()
    y = model(x)
    assert relative(y, other(x)) < SAME
    same_gradients(model, other, x)
    # And on: saved here it is a folder of both.
    adapters.save(model, tmp_path / "ours")
    again = peft.PeftModel.from_pretrained(adapter_encoder(), tmp_path / "ours").eval()
    assert relative(again(x), y) < SAME
    assert torch.equal(adapters.load(adapter_encoder(), tmp_path / "ours")(x), y)


@pytest.mark.parametrize(
    "options", [{"factors": (12, 8)}, {"factors": (4, 24)}, {"terms": 2}], ids=str
)
def test_krona_without_peft_form_says_so(peft, options, tmp_path):
    model = train_somehow(adapters.attach(adapter_encoder(), "krona", **options))
    adapters.save(model, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["peft_type"] == "HYPERPEFT_KRONA"
    assert "PEFT" in config["no_peft_form"]
    assert not save_load.read(tmp_path).has_peft_form
    with pytest.raises((KeyError, ValueError, TypeError)):
        peft.PeftModel.from_pretrained(adapter_encoder(), tmp_path)
    x = images()
    assert torch.equal(adapters.load(adapter_encoder(), tmp_path)(x), model(x))


def test_square_krona_is_a_lokr_with_full_factors_and_alpha_equal_to_r(tmp_path):
    adapters.save(adapters.attach(adapter_encoder(), "krona+"), tmp_path)
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
        ("LoKrConfig", {"decompose_factor": 0}, "factors"),
        ("LoHaConfig", {}, "LORA or LOKR, got LOHA"),
    ],
)
def test_what_would_change_the_outputs_is_refused_by_name(peft, kind, options, named, tmp_path):
    config = getattr(peft, kind)(target_modules=["q", "v"], **options)
    peft.get_peft_model(adapter_encoder(), config).save_pretrained(tmp_path)
    model = adapter_encoder()
    with pytest.raises(AdapterError, match=named):
        adapters.load(model, tmp_path)
    assert not adapters.adapters_of(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_dropout_that_acts_in_training_only_is_dropped_with_a_warning(peft, tmp_path):
    config = peft.LoKrConfig(r=4, module_dropout=0.5, target_modules=["q"])
    peft.get_peft_model(adapter_encoder(), config).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="module_dropout"):
        adapters.load(adapter_encoder(), tmp_path)
