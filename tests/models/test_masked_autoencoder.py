"""The masked autoencoder: the public implementation, number by number."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from hyperpeft.errors import ConfigError
from hyperpeft.models import load_backbone, read_checkpoint
from hyperpeft.models.masked_autoencoder import (
    MaskedAutoencoder,
    cuboids,
    images,
    multi_target_loss,
)
from tests.helpers.small import encoder


@pytest.fixture(params=[32, 96])
def public(request, reference, tmp_path, monkeypatch):
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


def test_parity_with_the_public_implementation(public):
    """Whole tensors of ../shared/reference to 1e-5: prediction, mask and loss."""
    model, arrays, _ = public
    with torch.no_grad():
        out = model(arrays["input"], arrays["mask_noise"])
    close = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(out.prediction, arrays["mae_pred"], **close)
    torch.testing.assert_close(out.mask, arrays["mae_mask"], **close)
    torch.testing.assert_close(out.loss, arrays["mae_loss"].squeeze(), **close)


def test_parity_depends_on_every_tensor_of_the_decoder(public):
    """The comparison above would notice any one tensor that is not used, or used wrongly."""
    model, arrays, _ = public
    with torch.no_grad():
        for name, parameter in model.decoder.named_parameters():
            if name.endswith("attn.k.bias"):
                continue  # adds the same to every score of a row: softmax takes it away
            kept = parameter.clone()
            parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator())
            off = model(arrays["input"], arrays["mask_noise"]).prediction - arrays["mae_pred"]
            assert off.abs().max() > 1e-5, name
            parameter.copy_(kept)


def test_official_names(public):
    """What is written has the very names and shapes of the published checkpoints."""
    model, _, state = public
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
