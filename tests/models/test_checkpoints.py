"""Checkpoints and the shipped weights: safe, every key accounted for, found or fetched."""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import socket
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from safetensors.torch import load_file, save_file

from hyperpeft import models
from hyperpeft.errors import ConfigError, DownloadError, WeightsError
from hyperpeft.models import (
    SHIPPED,
    SIZES,
    checkpoint,
    convert,
    encoder_from,
    image_size_of,
    load_backbone,
    read_checkpoint,
    registry,
    save_backbone,
    weights_sha256,
)
from hyperpeft.models.spectralgpt import SpectralGPT, initialise
from hyperpeft.pretraining.config import PretrainConfig
from hyperpeft.scenes import CARDS
from hyperpeft.system import downloads
from hyperpeft.system.files import sha256_of
from tests.helpers.small import DIM, HEADS, encoder

BLOCK_KEYS = [
    "norm1.weight", "norm1.bias", "attn.q.weight", "attn.q.bias", "attn.k.weight", "attn.k.bias",
    "attn.v.weight", "attn.v.bias", "attn.proj.weight", "attn.proj.bias", "norm2.weight",
    "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias",
]  # fmt: skip
ENCODER_KEYS = [
    *(f"blocks.{i}.{key}" for i in range(2) for key in BLOCK_KEYS),
    "norm.weight", "norm.bias", "patch_embed.proj.weight", "patch_embed.proj.bias",
    "pos_embed_spatial", "pos_embed_temporal",
]  # fmt: skip
DECODER_KEYS = [
    "mask_token", "decoder_embed.weight", "decoder_embed.bias", "decoder_pos_embed_spatial",
    "decoder_pos_embed_temporal", "decoder_norm.weight", "decoder_norm.bias",
    "decoder_pred.weight", "decoder_pred.bias", *(f"decoder_blocks.0.{key}" for key in BLOCK_KEYS),
]  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERPEFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HYPERPEFT_DATA", raising=False)
    return tmp_path / "cache"


@pytest.mark.parametrize("size", [32, 96])
def test_every_key_of_a_published_layout_is_accounted_for(reference, size):
    state = read_checkpoint(reference / f"ref_small_{size}.pth")
    model, account = encoder_from(state, num_heads=4)
    assert len(ENCODER_KEYS) == 38
    assert account.used == tuple(sorted(ENCODER_KEYS))
    assert account.set_aside == tuple(sorted(DECODER_KEYS))
    assert set(model.state_dict()) == set(account.used)
    assert set(account.used) | set(account.set_aside) == set(state)
    for key in set(account.used) - {"pos_embed_spatial"}:
        assert torch.equal(model.state_dict()[key], state[key]), key


def test_positions_of_another_grid(reference):
    """12 x 12 positions of 96-pixel pretraining become 4 x 4."""
    path = reference / "ref_small_96.pth"
    kept = torch.load(path, weights_only=False)["model"]["pos_embed_spatial"]
    grid = kept.reshape(1, 12, 12, DIM).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, (4, 4), mode="bicubic", align_corners=False)
    got = load_backbone(path, image_size=32, num_heads=4).pos_embed_spatial
    torch.testing.assert_close(got[0].T.reshape(1, DIM, 4, 4), expected, rtol=0, atol=1e-6)
    seven = load_backbone(path, image_size=32, num_heads=4, stride=4)
    expected = F.interpolate(grid, (7, 7), mode="bicubic", align_corners=False)
    got = seven.pos_embed_spatial[0].T.reshape(1, DIM, 7, 7)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    assert seven(torch.zeros(1, 12, 32, 32)).shape == (1, 4 * 49, DIM)


def test_what_a_checkpoint_says_of_itself(reference):
    model = load_backbone(reference / "ref_small_32.pth", num_heads=4)
    assert model.pretrained
    assert not model.training
    assert (model.dim, model.depth, model.blocks[0].mlp.fc1.out_features) == (48, 2, 192)
    assert load_backbone("tiny").pretrained
    assert not load_backbone("tiny", pretrained=False).pretrained


@pytest.mark.parametrize(("dim", "hidden"), [(49, 16), (48, 100), (147, 48)])
def test_any_mlp_width_is_read_back(dim, hidden):
    """Also where hidden / dim x dim is not quite hidden in floating point (16 / 49 x 49)."""
    state = SpectralGPT(dim, 1, 1, mlp_ratio=4).state_dict()
    state["blocks.0.mlp.fc1.weight"] = torch.zeros(hidden, dim)
    state["blocks.0.mlp.fc1.bias"] = torch.zeros(hidden)
    state["blocks.0.mlp.fc2.weight"] = torch.zeros(dim, hidden)
    assert encoder_from(state, num_heads=1)[0].blocks[0].mlp.fc1.out_features == hidden


WRONG = {
    "missing": (lambda s: s.pop("blocks.1.attn.q.bias"), "missing blocks.1.attn.q.bias"),
    "missing position": (lambda s: s.pop("pos_embed_temporal"), "missing pos_embed_temporal"),
    "extra": (lambda s: s.update(cls_token=torch.zeros(1)), "unexpected cls_token"),
    "extra in a block": (
        lambda s: s.update({"blocks.0.attn.qkv.weight": torch.zeros(1)}),
        "unexpected blocks.0.attn.qkv.weight",
    ),
    "shape": (
        lambda s: s.update({"blocks.0.attn.v.weight": torch.zeros(48, 47)}),
        r"blocks.0.attn.v.weight has shape \(48, 47\) instead of \(48, 48\)",
    ),
    "positions of no square grid": (
        lambda s: s.update(pos_embed_spatial=torch.zeros(1, 17, 48)),
        r"pos_embed_spatial has shape \(1, 17, 48\) instead of \(1, 16, 48\)",
    ),
    "no patches": (
        lambda s: s.pop("patch_embed.proj.weight"),
        "patch_embed.proj.weight is missing",
    ),
    "2-d patches": (
        lambda s: s.update({"patch_embed.proj.weight": torch.zeros(48, 192)}),
        r"patch_embed.proj.weight is of shape \(48, 192\)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_does_not_fit_is_refused_by_name(tmp_path, case, suffix):
    change, message = WRONG[case]
    state = encoder().state_dict()
    change(state)
    path = tmp_path / f"wrong{suffix}"
    torch.save({"model": state}, path) if suffix == ".pth" else save_file(state, path)
    with pytest.raises(WeightsError, match=message) as refused:
        load_backbone(path, num_heads=HEADS)
    assert str(path) in str(refused.value)


def test_all_problems_at_once(tmp_path):
    state = encoder().state_dict()
    del state["norm.bias"]
    state["head.weight"] = torch.zeros(1)
    with pytest.raises(WeightsError, match=r"missing norm\.bias; unexpected head\.weight"):
        encoder_from(state, num_heads=HEADS)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_did_not_run(tmp_path, cache, archive):
    mark, path = tmp_path / "ran", tmp_path / "bomb.pth"
    content = {"model": encoder().state_dict(), "args": Bomb(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=archive)
    with pytest.raises(WeightsError, match="it was not loaded, because files with other objects"):
        load_backbone(path, num_heads=HEADS)
    assert not mark.exists()
    assert not list(cache.rglob("*.safetensors"))
    torch.load(path, weights_only=False)  # it is a bomb indeed
    assert mark.exists()


def test_a_namespace_is_allowed_and_not_for_good(tmp_path):
    path = tmp_path / "a.pth"
    state = encoder().state_dict()
    torch.save({"model": state, "args": argparse.Namespace(lr=1e-3, name="x"), "epoch": 1}, path)
    model = load_backbone(path, num_heads=HEADS)
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a PyTorch file"),
        (b"<html>not found</html>", "not a PyTorch file"),
        (b"PK\x03\x04" + b"\0" * 100, "not a PyTorch file"),
    ],
)
def test_files_that_are_no_checkpoint(tmp_path, content, message):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_backbone(path)
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        load_backbone(path)


def test_a_truncated_checkpoint(tmp_path, reference):
    content = (reference / "ref_small_32.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="not a PyTorch file"):
        load_backbone(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {}}, {"model": {"a": 1}}])
def test_contents_that_are_no_state(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"expected (a state dictionary|tensors only)"):
        load_backbone(tmp_path / "a.pth")


def test_converted_once_and_loaded_the_same(reference, cache, monkeypatch):
    path, calls, real = reference / "ref_small_32.pth", [], models.convert

    def counted(*arguments):
        calls.append(arguments)
        real(*arguments)

    monkeypatch.setattr(checkpoint, "convert", counted)
    first = load_backbone(path, num_heads=4)
    (converted,) = cache.rglob("*.safetensors")
    second = load_backbone(path, num_heads=4)
    assert len(calls) == 1
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert converted.name == f"ref_small_32-{digest[:16]}.safetensors"
    third = load_backbone(converted, num_heads=4)
    original = torch.load(path, weights_only=False)["model"]
    assert set(load_file(converted)) == set(original)
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])
        assert torch.equal(value, third.state_dict()[key])
        assert torch.equal(value, original[key])


@pytest.mark.parametrize("damage", ["cut", "no cache"])
def test_a_conversion_that_cannot_be_used(tmp_path, cache, damage):
    """The checkpoint itself is sound: it is read all the same."""
    torch.save({"model": encoder(1).state_dict()}, tmp_path / "w.pth")
    if damage == "cut":
        load_backbone(tmp_path / "w.pth", num_heads=HEADS)
        (converted,) = cache.rglob("*.safetensors")
        converted.write_bytes(converted.read_bytes()[:1000])
    else:
        cache.write_text("a file")
    model = load_backbone(tmp_path / "w.pth", num_heads=HEADS)
    assert torch.equal(model.pos_embed_spatial, encoder(1).pos_embed_spatial)
    if damage == "cut":
        assert set(load_file(converted)) == set(encoder().state_dict())


def test_weights_of_a_built_in_size_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HYPERPEFT_DATA", str(tmp_path))
    monkeypatch.setitem(registry.SIZES, "small", registry.Size(DIM, 2, HEADS))
    path = tmp_path / "hyperpeft-small.safetensors"
    save_backbone(initialise(SpectralGPT(DIM, 2, 6), 0), path, {})
    model = load_backbone("small")
    assert (model.pretrained, model.num_heads) == (True, 6)  # as the file says
    save_backbone(initialise(SpectralGPT(DIM, 1, HEADS), 0), path, {})
    with pytest.raises(WeightsError, match=r"another encoder than small: expected width 48, depth"):
        load_backbone("small")
    path.unlink()
    path.symlink_to("nowhere")
    assert load_backbone("small").pretrained is False


def test_another_file_of_the_same_name_is_converted_anew(tmp_path):
    paths = [tmp_path / "a" / "w.pth", tmp_path / "b" / "w.pth"]
    for seed, path in enumerate(paths):
        path.parent.mkdir()
        torch.save({"model": encoder(seed).state_dict()}, path)
    one, two = (load_backbone(path, num_heads=HEADS) for path in paths)
    assert not torch.equal(one.pos_embed_spatial, two.pos_embed_spatial)


@pytest.mark.parametrize("heads", [None, 5])
def test_heads_are_not_stored(tmp_path, heads):
    path = tmp_path / "w.safetensors"
    save_file(encoder().state_dict(), path)
    with pytest.raises(WeightsError, match="expected num_heads, a divisor of 48") as refused:
        load_backbone(path, num_heads=heads)
    assert "the number of attention heads of a width of 48 is not stored" in str(refused.value)


def test_heads_default_to_64_numbers_each(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file(SpectralGPT(128, 1, 4).state_dict(), path)
    assert load_backbone(path).blocks[0].attn.num_heads == 2


def test_heads_are_those_of_the_built_in_size_of_that_shape(tmp_path):
    """A width of 1280 has 16 heads in SpectralGPT's huge, where width // 64 would be 20."""
    with torch.device("meta"):
        huge = SpectralGPT(1280, 32, 16, mlp_ratio=1 / 1280)
    state = {name: torch.zeros_like(p, device="meta") for name, p in huge.state_dict().items()}
    assert checkpoint._empty_like(state, 32, None, 8, "w.pth").num_heads == 16


def test_a_file_that_names_its_heads(tmp_path):
    model, images = SpectralGPT(128, 1, 8, image_size=16), torch.randn(2, 12, 16, 16)
    initialise(model, 0)
    save_backbone(model, tmp_path / "w.safetensors", {"image_size": "16"})
    again = load_backbone(tmp_path / "w.safetensors", 16)
    assert again.num_heads == 8
    torch.testing.assert_close(again(images), model.eval()(images))
    assert load_backbone(tmp_path / "w.safetensors", 16, num_heads=4).num_heads == 4
    torch.save(model.state_dict(), tmp_path / "w.pth")
    convert(tmp_path / "w.pth", tmp_path / "c.safetensors", 8)
    assert load_backbone(tmp_path / "c.safetensors", 16).num_heads == 8


def test_heads_and_stride_of_built_in_sizes():
    model = load_backbone("tiny", num_heads=6, stride=4, image_size=64)
    assert model.blocks[0].attn.num_heads == 6
    assert model.pos_embed_spatial.shape == (1, 15 * 15, 192)
    with pytest.raises(ConfigError, match="num_heads: expected a divisor of the width 192, got 5"):
        load_backbone("tiny", num_heads=5, pretrained=False)
    with pytest.raises(WeightsError, match="num_heads, a divisor of 192, got 5"):
        load_backbone("tiny", num_heads=5)


def test_unknown_names():
    with pytest.raises(WeightsError, match=r"backbone 'tyni': expected one of tiny, small, base"):
        load_backbone("tyni")


@pytest.fixture
def dead(monkeypatch):
    """A URL where nobody listens."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
    monkeypatch.setattr(registry, "ZENODO", f"http://127.0.0.1:{port}/records/1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.mark.parametrize("name", ["spectralgpt", "spectralgpt+"])
def test_published_names_offline(name, dead, cache, tmp_path, monkeypatch):
    with pytest.raises(DownloadError, match="no connection") as refused:
        load_backbone(name)
    file = models.PUBLISHED[name]
    assert f"{file} could not be fetched from http://127.0.0.1" in str(refused.value)
    assert f"put it into {cache / 'weights'}, or name a file" in str(refused.value)
    assert not [path for path in cache.rglob("*") if path.is_file()]
    monkeypatch.setenv("HYPERPEFT_DATA", str(tmp_path / "data"))
    with pytest.raises(DownloadError, match="put it into") as refused:
        load_backbone(name)
    assert f"put it into {tmp_path / 'data' / 'weights'}," in str(refused.value)


def test_published_names_found_in_the_data_folder(dead, tmp_path, monkeypatch, reference):
    monkeypatch.setenv("HYPERPEFT_DATA", str(tmp_path / "data"))
    place = tmp_path / "data" / "weights" / "SpectralGPT+.pth"  # where the message says
    place.parent.mkdir(parents=True)
    place.write_bytes((reference / "ref_small_96.pth").read_bytes())
    model = load_backbone("spectralgpt+", num_heads=4)
    assert model.pretrained
    assert model.pos_embed_spatial.shape == (1, 16, 48)
    rows = {row["name"]: row for row in models.describe()}
    assert rows["spectralgpt+"]["weights"] == str(place)
    assert str(rows["spectralgpt"]["weights"]).startswith("not here: http://127.0.0.1")
    assert list(rows) == [*models.SIZES, *models.PUBLISHED]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html>", "a web page instead of the file"),
        (b"abc", "is no .pth file"),
        (b"", "is no"),
        (b"PK\x03\x04 and half of it", "ended early"),  # of a server that names no length
    ],
)
def test_a_wrong_download_is_not_kept(cache, monkeypatch, content, message):
    monkeypatch.setattr(downloads, "get", lambda url, to, progress=None: to.write_bytes(content))
    with pytest.raises(DownloadError, match=message):
        load_backbone("spectralgpt")
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_download_is_kept_with_its_hash(cache, monkeypatch, reference):
    asked, content = [], (reference / "ref_small_32.pth").read_bytes()

    def get(url, to, progress=None):
        asked.append(url)
        to.write_bytes(content)

    monkeypatch.setattr(downloads, "get", get)
    load_backbone("spectralgpt", num_heads=4)
    load_backbone("spectralgpt", num_heads=4)
    assert asked == ["https://zenodo.org/records/8412455/files/SpectralGPT.pth?download=1"]
    kept = cache / "weights" / "SpectralGPT.pth"
    assert kept.read_bytes() == content
    assert hashlib.sha256(content).hexdigest() in (kept.parent / "sha256.json").read_text()
    downloads.compare(kept)
    kept.write_bytes(content + b"x")
    with pytest.raises(DownloadError, match="has changed since it was downloaded"):
        downloads.compare(kept)


def test_the_hash_is_of_names_and_values():
    state = encoder().state_dict()
    digest = weights_sha256(state)
    assert digest == weights_sha256(dict(reversed(state.items())))
    assert digest == weights_sha256({k: v.double() for k, v in state.items()})
    assert digest != weights_sha256(encoder(1).state_dict())
    renamed = {("other" if k == "norm.bias" else k): v for k, v in state.items()}
    assert digest != weights_sha256(renamed)
    state["norm.bias"] = state["norm.bias"] + 1e-7
    assert digest != weights_sha256(state)


ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def record_of(name: str) -> dict:
    return json.loads((SHIPPED / f"{name}.json").read_text())


def test_tiny_is_shipped():
    assert "tiny" in NAMES
    assert set(NAMES) <= set(SIZES)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_the_one_of_its_record(name):
    path, record = SHIPPED / f"{name}.safetensors", record_of(name)
    assert path.stat().st_size < 8e6
    assert sha256_of(path) == record["backbone"]["file_sha256"]
    model = load_backbone(name, record["backbone"]["image_size"])
    assert model.pretrained
    assert weights_sha256(model.state_dict()) == record["backbone"]["weights_sha256"]
    assert image_size_of(name) == record["backbone"]["image_size"]
    card = (SHIPPED / f"{name}.md").read_text()
    assert record["backbone"]["file_sha256"] in card
    assert f"{record['windows']:,}" in card


@pytest.mark.parametrize("name", NAMES)
def test_the_record_is_of_the_configuration_in_the_repository(name):
    values = yaml.safe_load((ROOT / "configs" / f"pretrain-{name}.yaml").read_text())
    assert PretrainConfig(**values) == PretrainConfig(**record_of(name)["config"])
    assert record_of(name)["environment"]["dirty"] is False


@pytest.mark.parametrize("name", NAMES)
def test_no_scene_that_is_evaluated_was_pretrained_on(name):
    """Neither a benchmark's card nor a scene of a shipped benchmark is among the sources."""
    sources = {source["name"].lower() for source in record_of(name)["sources"]}
    evaluated = {f.lower() for card in CARDS.values() for file in card.files for f in file.names}
    studies = sorted((ROOT / "src" / "hyperpeft" / "benchmark" / "configs").glob("*.yaml"))
    assert studies
    for path in studies:
        for label, own in (yaml.safe_load(path.read_text())["scenes"] or {}).items():
            evaluated |= {label, Path((own or {}).get("scene", label)).name.lower()}
    assert len(evaluated) > 15
    assert not sources & evaluated


def test_from_scratch_is_still_to_be_had():
    trained, scratch = load_backbone("tiny"), load_backbone("tiny", pretrained=False)
    assert trained.pretrained
    assert not scratch.pretrained
    assert weights_sha256(trained.state_dict()) != weights_sha256(scratch.state_dict())
    assert trained.image_size == scratch.image_size == 32
