"""Context of pixels that respects edges, and refinement of class probabilities on the image.

Everything here looks a fixed number of pixels far and adds in a fixed order, so that a tile with a
halo of that many pixels has, to the bit, the values of the whole scene.
"""

from hyperpeft.spatial import random_patches
from hyperpeft.spatial.context import (
    CONTEXT,
    PROFILE,
    ContextOptions,
    Standardiser,
    context_features,
)
from hyperpeft.spatial.filters import box_sum, guided_filter, valid_means
from hyperpeft.spatial.random_patches import RandomPatches
from hyperpeft.spatial.refine import RefineOptions, refine

__all__ = [
    "CONTEXT",
    "PROFILE",
    "ContextOptions",
    "RandomPatches",
    "RefineOptions",
    "Standardiser",
    "box_sum",
    "context_features",
    "guided_filter",
    "random_patches",
    "refine",
    "valid_means",
]
