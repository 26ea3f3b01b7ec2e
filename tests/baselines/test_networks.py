"""The networks have the sizes of their papers and do what their formulas say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hyperpeft.baselines.hybridsn import HybridSN
from hyperpeft.baselines.layers import Block
from hyperpeft.baselines.spectralformer import Fusion, SpectralFormer
from hyperpeft.baselines.ssftt import SSFTT
from hyperpeft.errors import ConfigError


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("components", "classes", "total"),
    [(30, 16, 5_122_176), (15, 9, 4_844_793), (15, 16, 4_845_696)],
    ids=["indian-pines", "pavia-university", "salinas"],
)
def test_hybridsn_has_the_parameters_of_the_paper(components, classes, total):
    assert count(HybridSN(components, 25, classes)) == total


def test_hybridsn_has_the_layers_of_the_paper():
    """Output sizes and parameters of each layer, as the paper's table for Indian Pines has them."""
    model, seen = HybridSN(30, 25, 16), []
    for module in model.modules():
        if isinstance(module, nn.Conv3d | nn.Conv2d | nn.Linear):
            module.register_forward_hook(
                lambda m, _, out: seen.append((tuple(out.shape[1:]), count(m)))
            )
    assert model(normal(1, 30, 25, 25)).shape == (1, 16)
    assert seen == [
        ((8, 24, 23, 23), 512),
        ((16, 20, 21, 21), 5_776),
        ((32, 18, 19, 19), 13_856),
        ((64, 17, 17), 331_840),
        ((256,), 4_735_232),
        ((128,), 32_896),
        ((16,), 2_064),
    ]


def test_ssftt_has_the_parameters_that_its_layers_add_up_to():
    """No count of the paper's own is known to us: its layers, one by one."""
    convolutions = (8 * 27 + 8) + 2 * 8 + (64 * 8 * 28 * 9 + 64) + 2 * 64
    tokenizer = 64 * 4 + 64 * 64 + 64 + 5 * 64
    attention = 2 * 64 + (64 * 192 + 192) + (64 * 64 + 64)
    perceptron = 2 * 64 + (64 * 8 + 8) + (8 * 64 + 64)
    head = 64 * 16 + 16
    model = SSFTT(30, 13, 16)
    assert count(model) == convolutions + tokenizer + attention + perceptron + head == 153_224
    assert model(normal(2, 30, 13, 13)).shape == (2, 16)


def test_ssftt_tokens_are_means_over_the_pixels():
    """Where all pixels are alike, each token is the value of one of them."""
    model = SSFTT(5, 7, 3).eval()
    seen = []
    model.dropout.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(normal(1, 5, 1, 1).expand(2, 5, 7, 7))
    tokens = seen[0][:, 1:] - model.position[:, 1:]  # (2, 4, 64)
    torch.testing.assert_close(tokens, tokens[:, :1].expand_as(tokens))
    assert tokens.abs().max() > 0


def test_spectralformer_has_the_parameters_of_the_published_code():
    """200 bands, windows of 7, 16 classes, groups of 3."""
    layer = 2 * 128 + 64 * 192 + (64 * 64 + 64) + (64 * 8 + 8) + (8 * 64 + 64)
    fusion = 201 * 201 * 2 + 201
    total = (3 * 49 * 64 + 64) + 64 + 201 * 64 + 5 * layer + 3 * fusion + 128 + 64 * 16 + 16
    model = SpectralFormer(200, 7, 16, 3)
    assert count(model) == total == 355_577
    assert model(normal(2, 200, 7, 7)).shape == (2, 16)


def test_a_group_is_a_band_between_its_neighbours():
    model = SpectralFormer(6, 1, 2, 5)
    bands = torch.arange(6.0).reshape(1, 6, 1)
    groups = model._grouped(bands)[0]  # (6, 5)
    expected = [[(band + shift) % 6 for shift in (-2, -1, 0, 1, 2)] for band in range(6)]
    assert groups.tolist() == expected


def test_fusion_is_a_convolution_over_two_inputs_with_tokens_as_channels():
    fusion, convolution = Fusion(4), nn.Conv2d(4, 4, (1, 2))
    with torch.no_grad():
        convolution.weight.copy_(fusion.join.weight.reshape(4, 2, 4).transpose(1, 2).unsqueeze(2))
        convolution.bias.copy_(fusion.join.bias)
    x, earlier = normal(2, 3, 4, 5)[:, 0], normal(2, 3, 4, 5)[:, 1]
    expected = convolution(torch.stack([x, earlier], dim=3)).squeeze(3)
    torch.testing.assert_close(fusion(x, earlier), expected)


def test_what_entered_two_layers_before_is_fused():
    """With fusions that pass nothing but the earlier input on, layers see it."""
    model = SpectralFormer(7, 3, 2, 3).eval()
    with torch.no_grad():
        for fusion in model.fusions:
            fusion.join.weight.zero_()
            fusion.join.weight[:, 8:] = torch.eye(8)
            fusion.join.bias.zero_()
    entered = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _, given: entered.append(given[0]))
    model(normal(1, 7, 3, 3))
    torch.testing.assert_close(entered[2], entered[0])
    torch.testing.assert_close(entered[3], entered[1])
    seen = list(entered)
    torch.testing.assert_close(seen[4], model.blocks[1](seen[1]))  # what 3 was offered


def test_a_block_is_torchs_pre_norm_layer():
    block = Block(16, 4, 24, 0.0, bias=True).eval()
    reference = nn.TransformerEncoderLayer(
        16, 4, 24, 0.0, "gelu", batch_first=True, norm_first=True
    ).eval()
    attention = reference.self_attn
    pairs = [
        (attention.in_proj_weight, block.qkv.weight),
        (attention.in_proj_bias, block.qkv.bias),
        (attention.out_proj.weight, block.proj.weight),
        (attention.out_proj.bias, block.proj.bias),
        (reference.linear1.weight, block.perceptron[0].weight),
        (reference.linear1.bias, block.perceptron[0].bias),
        (reference.linear2.weight, block.perceptron[3].weight),
        (reference.linear2.bias, block.perceptron[3].bias),
    ]
    with torch.no_grad():
        for theirs, ours in pairs:
            theirs.copy_(ours)
    x = normal(2, 5, 16)
    torch.testing.assert_close(block(x), reference(x))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: HybridSN(30, 7, 2), "patch size of hybridsn: expected at least 9, got 7"),
        (lambda: HybridSN(12, 9, 2), "components of hybridsn: expected at least 13, got 12"),
        (lambda: SSFTT(30, 3, 2), "patch size of ssftt: expected at least 5, got 3"),
        (lambda: SpectralFormer(10, 7, 2, 4), "group .* odd number .* 10 bands, got 4"),
        (lambda: SpectralFormer(10, 7, 2, 11), "group .* 10 bands, got 11"),
    ],
)
def test_sizes_that_cannot_be(make, says):
    with pytest.raises(ConfigError, match=says):
        make()
