"""Windows around pixels: their sizes and geometry without torch, and windows as tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hyperpeft.system.lazy_names import lazy_names

if TYPE_CHECKING:
    from hyperpeft.patches.geometry import MAX_PATCH, check_patch_size, mirrored, resize_matrix
    from hyperpeft.patches.windows import (
        SYMMETRIES,
        Windows,
        apply_symmetry,
        centres_of,
        draw_symmetries,
        resize,
    )

_MODULES = {
    "MAX_PATCH": "geometry",
    "SYMMETRIES": "windows",
    "Windows": "windows",
    "apply_symmetry": "windows",
    "centres_of": "windows",
    "check_patch_size": "geometry",
    "draw_symmetries": "windows",
    "mirrored": "geometry",
    "resize": "windows",
    "resize_matrix": "geometry",
}

__all__ = [
    "MAX_PATCH",
    "SYMMETRIES",
    "Windows",
    "apply_symmetry",
    "centres_of",
    "check_patch_size",
    "draw_symmetries",
    "mirrored",
    "resize",
    "resize_matrix",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
