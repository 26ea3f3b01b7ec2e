"""Adapter folders that are broken, of another model, or meant to harm: refused by name."""

import json
import pickle
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from hyperpeft import adapters
from hyperpeft.errors import AdapterError
from tests.helpers.small_models import encoder, images, train_somehow

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
KEY = "base_model.model.blocks.0.attn.q.lora_A.weight"


@pytest.fixture
def folder(tmp_path):
    adapters.save(train_somehow(adapters.attach(encoder(), "lora", rank=2)), tmp_path, "made")
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
    model = encoder()
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
        adapters.load(encoder(dim=64), folder)
    with pytest.raises(AdapterError, match=r"unexpected base_model\.model\.blocks\.1"):
        adapters.load(encoder(depth=1), folder)


def test_half_precision_files_load(folder):
    expected = adapters.load(encoder(), folder)(images())
    change_tensors(folder, lambda tensors: {k: t.bfloat16() for k, t in tensors.items()})
    assert (adapters.load(encoder(), folder)(images()) - expected).abs().max() < 0.05


def test_nothing_is_saved_of_a_model_without_adapters(tmp_path):
    for model in (encoder(), adapters.attach(encoder(), "probe")):
        with pytest.raises(AdapterError, match="no adapters to save"):
            adapters.save(model, tmp_path)


def test_a_merged_adapter_saves_its_own_values(folder, tmp_path):
    model = adapters.load(encoder(), folder)
    with adapters.merged(model):
        adapters.save(model, tmp_path / "again")
    again = load_file(tmp_path / "again" / TENSORS)
    saved = load_file(folder / TENSORS)
    assert again.keys() == saved.keys()
    assert all(torch.equal(tensor, saved[key]) for key, tensor in again.items())
