"""Encoder and masked autoencoder: the public implementations, number by number."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from hyperpeft.errors import ConfigError, InputError
from hyperpeft.models import SIZES, load_backbone, read_checkpoint
from hyperpeft.models.spectralgpt import (
    MaskedAutoencoder,
    SpectralGPT,
    attend,
    cuboids,
    images,
    initialise,
    interpolate_positions,
    multi_target_loss,
    token_grid,
)
from tests.helpers.small import DIM, encoder


@pytest.fixture(params=[32, 96])
def public(request, reference, tmp_path, monkeypatch):
    """(encoder from the checkpoint, arrays of the public implementation, its numbers)."""
    monkeypatch.setenv("HYPERPEFT_CACHE", str(tmp_path))
    name = f"ref_small_{request.param}"
    numbers = json.loads((reference / f"{name}.json").read_text())
    model = load_backbone(
        reference / f"{name}.pth", image_size=request.param, num_heads=numbers["num_heads"]
    )
    return model, load_file(reference / f"{name}_io.safetensors"), numbers


def test_parity_with_the_public_implementation(public):
    """Whole tensors, float32, processor: arrays of ../shared/reference (see its README)."""
    model, arrays, numbers = public
    close = {"rtol": 0, "atol": 1e-5}
    with torch.no_grad():
        torch.testing.assert_close(
            model.patch_embed(arrays["input"]), arrays["patch_embed"], **close
        )
        tokens = model.embed(arrays["input"])
        for block in model.blocks:
            tokens = block(tokens)
        torch.testing.assert_close(tokens, arrays["tokens"], **close)
        torch.testing.assert_close(model(arrays["input"]), arrays["tokens_norm"], **close)
    side = numbers["img_size"] // 8
    assert arrays["tokens_norm"].shape == (numbers["n"], 4 * side * side, numbers["embed_dim"])
    assert model.norm.eps == numbers["norm_eps"]


def test_parity_depends_on_every_parameter(public):
    """The comparison above would notice any one tensor that is not used, or used wrongly."""
    model, arrays, _ = public
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("attn.k.bias"):
                continue  # adds the same to every score of a row: softmax takes it away
            kept = parameter.clone()
            parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator())
            off = (model(arrays["input"][:1]) - arrays["tokens_norm"][:1]).abs().max()
            assert off > 1e-5, name
            parameter.copy_(kept)


def parameters(dim: int, depth: int, side: int = 4) -> int:
    """By formula: 12 D^2 + 13 D a block, 193 D of the patches, positions and the last norm."""
    return depth * (12 * dim**2 + 13 * dim) + 193 * dim + (side**2 + 4) * dim + 2 * dim


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tiny", 2_710_464),
        ("small", 21_376_128),
        ("base", 85_219_584),
        ("large", 302_529_536),
        ("huge", 629_953_280),
    ],
)
def test_sizes(name, expected):
    size = SIZES[name]
    with torch.device("meta"):
        model = SpectralGPT(size.dim, size.depth, size.num_heads)
    count = sum(p.numel() for p in model.parameters())
    assert count == parameters(size.dim, size.depth) == expected
    assert size.dim % size.num_heads == 0


@pytest.mark.parametrize(
    ("image_size", "stride", "side"), [(32, 8, 4), (32, 4, 7), (64, 8, 8), (128, 8, 16), (8, 8, 1)]
)
def test_tokens(image_size, stride, side):
    model = encoder(image_size=image_size, stride=stride)
    with torch.no_grad():
        tokens = model(torch.randn(2, 12, image_size, image_size))
    assert tokens.shape == (2, 4 * side * side, DIM)
    assert token_grid(image_size, stride) == side


def test_order_of_tokens_is_band_group_row_column():
    """A change in one cuboid changes one token of the embedding: number t 16 + h 4 + w."""
    model, x = encoder(), torch.zeros(1, 12, 32, 32)
    with torch.no_grad():
        before = model.embed(x)
        t, h, w = 2, 1, 3
        x[0, 3 * t : 3 * t + 3, 8 * h : 8 * h + 8, 8 * w : 8 * w + 8] = 1.0
        changed = (model.embed(x) - before).abs().amax(2)[0].nonzero().flatten()
    assert changed.tolist() == [t * 16 + h * 4 + w]


def test_patch_embedding_is_the_convolution_of_its_parameters():
    for stride in (8, 4):
        model, x = encoder(stride=stride), torch.randn(2, 12, 32, 32)
        with torch.no_grad():
            expected = model.patch_embed.proj(x[:, None]).flatten(2).transpose(1, 2)
            torch.testing.assert_close(model.patch_embed(x), expected, rtol=0, atol=1e-5)


def test_positions_are_interpolated_bicubically():
    """12 to 4 falls on stored positions, whatever the interpolation; 12 to 7 and 16 do not."""
    positions = torch.randn(1, 144, 5)
    grid = positions.reshape(1, 12, 12, 5).permute(0, 3, 1, 2)
    for side in (4, 7, 16):
        other = F.interpolate(grid, (side, side), mode="bicubic", align_corners=False)
        expected = other.permute(0, 2, 3, 1).reshape(1, side * side, 5)
        got = interpolate_positions(positions, side)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)
    assert interpolate_positions(positions, 12) is positions


def test_other_image_sizes_are_taken_on_the_fly():
    model = encoder(image_size=32)
    with torch.no_grad():
        assert model(torch.zeros(1, 12, 64, 64)).shape == (1, 4 * 64, DIM)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 12, 32, 40), (12, 32, 32)])
def test_wrong_input(shape):
    with pytest.raises(InputError, match=r"expected \(N, 12, S, S\), got"):
        encoder()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 30}, "image size and token stride"),
        ({"image_size": 4}, "image size and token stride"),
        ({"stride": 9}, "image size and token stride"),
        ({"stride": 5}, "image size and token stride"),
        ({"stride": 0}, "image size and token stride"),
    ],
)
def test_wrong_numbers(arguments, message):
    with pytest.raises(ConfigError, match=message):
        SpectralGPT(48, 1, 3, **arguments)


@pytest.mark.parametrize("heads", [0, 5])
def test_wrong_heads(heads):
    with pytest.raises(ConfigError, match="a divisor of the width 48"):
        SpectralGPT(48, 1, heads)


def test_initialisation_is_seeded():
    states = [initialise(SpectralGPT(48, 2, 3), seed).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["pos_embed_spatial"], states[2]["pos_embed_spatial"])
    assert states[0]["pos_embed_spatial"].std() == pytest.approx(0.02, rel=0.15)
    bound = (6 / (48 + 48)) ** 0.5
    assert states[0]["blocks.0.attn.q.weight"].abs().max() <= bound
    assert states[0]["blocks.1.norm1.weight"].eq(1).all()


def test_built_in_sizes_are_the_same_every_time():
    torch.manual_seed(1)
    one = load_backbone("tiny").state_dict()
    torch.manual_seed(2)
    two = load_backbone("tiny").state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("training", [False, True])
def test_attention_in_bf16_is_that_of_the_formula(training):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 64, 32, generator=generator) for _ in range(3))
    expected = ((q @ k.mT) * 32**-0.5).softmax(-1) @ v
    found = attend(q.bfloat16(), k.bfloat16(), v.bfloat16(), training=training).float()
    assert ((found - expected).norm() / expected.norm()).item() < 1e-2  # bf16 has 8 bits


def test_gradient_checkpointing_keeps_less_and_changes_no_gradient():
    model = initialise(SpectralGPT(48, 3, 3), 0).train()
    x = torch.randn(2, 12, 32, 32, generator=torch.Generator().manual_seed(0))
    kept, gradients = [], []
    for model.gradient_checkpointing in (False, True):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()) or tensor,
            lambda tensor: tensor,
        ):
            loss = model(x).square().sum()
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 3
    assert all(map(torch.equal, *gradients))


@pytest.fixture(params=[32, 96])
def public_autoencoder(request, reference, tmp_path, monkeypatch):
    """(autoencoder from the checkpoint, arrays of the public implementation, its checkpoint)."""
    monkeypatch.setenv("HYPERPEFT_CACHE", str(tmp_path))
    name = f"ref_small_{request.param}"
    numbers = json.loads((reference / f"{name}.json").read_text())
    file = reference / f"{name}.pth"
    model = MaskedAutoencoder(
        load_backbone(file, image_size=request.param, num_heads=numbers["num_heads"]),
        decoder_dim=numbers["decoder_embed_dim"],
        decoder_depth=numbers["decoder_depth"],
        decoder_heads=numbers["decoder_num_heads"],
        mask_ratio=numbers["mask_ratio"],
    ).eval()
    state = read_checkpoint(file)
    decoder = ("mask_token", "decoder_")  # how the published names begin
    model.decoder.load_state_dict({k: v for k, v in state.items() if k.startswith(decoder)})
    return model, load_file(reference / f"{name}_io.safetensors"), state


def test_parity_of_the_public_autoencoder(public_autoencoder):
    """Whole tensors of ../shared/reference to 1e-5: prediction, mask and loss."""
    model, arrays, _ = public_autoencoder
    with torch.no_grad():
        out = model(arrays["input"], arrays["mask_noise"])
    close = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(out.prediction, arrays["mae_pred"], **close)
    torch.testing.assert_close(out.mask, arrays["mae_mask"], **close)
    torch.testing.assert_close(out.loss, arrays["mae_loss"].squeeze(), **close)


def test_parity_depends_on_every_tensor_of_the_decoder(public_autoencoder):
    """The comparison above would notice any one tensor that is not used, or used wrongly."""
    model, arrays, _ = public_autoencoder
    with torch.no_grad():
        for name, parameter in model.decoder.named_parameters():
            if name.endswith("attn.k.bias"):
                continue  # adds the same to every score of a row: softmax takes it away
            kept = parameter.clone()
            parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator())
            off = model(arrays["input"], arrays["mask_noise"]).prediction - arrays["mae_pred"]
            assert off.abs().max() > 1e-5, name
            parameter.copy_(kept)


def test_official_names(public_autoencoder):
    """What is written has the very names and shapes of the published checkpoints."""
    model, _, state = public_autoencoder
    written = model.official_state()
    assert {k: v.shape for k, v in written.items()} == {k: v.shape for k, v in state.items()}


def test_images_invert_cuboids():
    x = torch.randn(2, 12, 32, 32)
    torch.testing.assert_close(images(cuboids(x)), x, rtol=0, atol=0)


def test_second_target_binds_the_band_groups():
    """An error that cancels over the band groups of a place costs nothing in the second term."""
    targets = torch.randn(1, 64, 192)
    error = torch.zeros(1, 4, 16, 192)
    error[:, 0], error[:, 1] = 1.0, -1.0
    everything = torch.ones(1, 64)
    cancels = multi_target_loss(targets + error.flatten(1, 2), targets, everything)
    same = multi_target_loss(targets + error.abs().flatten(1, 2), targets, everything)
    assert cancels.item() == pytest.approx(0.5, abs=1e-5)
    assert same.item() == pytest.approx(0.5 + 4.0, abs=1e-4)


def test_removed_tokens_cannot_be_seen():
    """Values of removed tokens change nothing but their own targets."""
    model = MaskedAutoencoder(encoder()).eval()
    x, noise = torch.randn(2, 12, 32, 32), torch.rand(2, 64)
    values = cuboids(x)
    with torch.no_grad():
        first = model(x, noise)
        values = torch.where(first.mask[..., None] > 0, torch.randn_like(values), values)
        second = model(images(values), noise)
    assert first.mask.sum(1).tolist() == [48.0, 48.0]
    torch.testing.assert_close(first.prediction, second.prediction)


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5])
def test_mask_ratio_out_of_range(ratio):
    with pytest.raises(ConfigError, match="mask ratio"):
        MaskedAutoencoder(encoder(), mask_ratio=ratio)
