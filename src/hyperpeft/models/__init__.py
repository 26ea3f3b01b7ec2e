"""The encoder, what it sees, and its weights: built-in sizes, published checkpoints, safetensors.

`windows` and `patch_geometry` cut what the encoder sees out of a scene, with torch and without;
`graphs` holds the same network as ONNX.

A checkpoint is data: PyTorch files are read with `weights_only=True`, where `argparse.Namespace`
is the one class allowed besides tensors, because the published files carry one. Every key is
accounted for: it is the encoder's, or it belongs to the pretraining decoder and is set aside;
anything missing, left over or of another shape is refused by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from hyperpeft.models.checkpoint import (
        Account,
        convert,
        encoder_from,
        load_backbone,
        read_checkpoint,
        save_backbone,
        weights_sha256,
    )
    from hyperpeft.models.registry import (
        PUBLISHED,
        SHIPPED,
        SIZES,
        describe,
        file_of,
        image_size_of,
        num_heads_of,
    )

_MODULES = {
    "PUBLISHED": "registry",
    "SHIPPED": "registry",
    "SIZES": "registry",
    "Account": "checkpoint",
    "convert": "checkpoint",
    "describe": "registry",
    "encoder_from": "checkpoint",
    "file_of": "registry",
    "image_size_of": "registry",
    "num_heads_of": "registry",
    "load_backbone": "checkpoint",
    "read_checkpoint": "checkpoint",
    "save_backbone": "checkpoint",
    "weights_sha256": "checkpoint",
}

__all__ = [
    "PUBLISHED",
    "SHIPPED",
    "SIZES",
    "Account",
    "convert",
    "describe",
    "encoder_from",
    "file_of",
    "image_size_of",
    "load_backbone",
    "num_heads_of",
    "read_checkpoint",
    "save_backbone",
    "weights_sha256",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
