"""How much memory a run takes, before it is taken."""

from __future__ import annotations

import torch

from hyperpeft import adapters
from hyperpeft.models.spectralgpt import SpectralGPT
from hyperpeft.records import Scene
from hyperpeft.runs.config import RunConfig
from hyperpeft.spectral import N_BANDS
from hyperpeft.system import resources

_FLOAT = 4  # bytes
_CUBES = 3  # the reduced scene, its padded copy, and what reducing it takes
_KEPT = 10  # values per token and width that a block keeps for the backward pass
_MOMENTS = 3  # gradient and two moments of each weight that learns


def check_memory(config: RunConfig, scene: Scene, pixels: int, encoder: SpectralGPT) -> None:
    """Refuse a run that does not fit into memory, with the estimate.

    The reduced scene is held whole. A batch counts where the processor computes it: on a GPU it
    is halved until it fits.

    Parameters
    ----------
    config : RunConfig
    scene : Scene
    pixels : int
        Those that train.
    encoder : SpectralGPT

    Raises
    ------
    ConfigError
    """
    height, width, _ = scene.shape
    resources.require_memory(
        f"training on {scene.name}, of {height} x {width} pixels in {N_BANDS} components,",
        _CUBES * _FLOAT * N_BANDS * height * width,
        hint="train on a part of the scene, and map the whole with `hyperpeft map`",
    )
    if torch.cuda.is_available():
        return
    weights = sum(p.numel() for p in encoder.parameters())
    if adapters.get_method(config.method).trains_encoder:
        resources.require_memory(
            f"--method full on {config.backbone}, of {weights:,} weights,",
            _MOMENTS * _FLOAT * weights,
            hint="use an adapter, such as --method krona+, or a smaller --backbone",
        )
    windows = -(-min(config.batch_size, pixels) // config.accumulate)
    resources.require_memory(
        f"a batch of {windows} windows on {config.backbone}",
        windows * bytes_of_window(encoder, checkpointing=config.gradient_checkpointing),
        hint="use a smaller --batch-size, --image-size or --backbone, or --accumulate",
    )


def bytes_of_window(encoder: SpectralGPT, *, checkpointing: bool = False) -> int:
    """What a window leaves in memory for the backward pass, in float32."""
    kept = 1 if checkpointing else _KEPT
    return kept * _FLOAT * encoder.tokens * encoder.dim * encoder.depth
