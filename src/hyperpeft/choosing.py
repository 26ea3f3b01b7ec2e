"""Which window suits a scene, asked of its training pixels before anything is trained.

Pixels of 30 m and pixels of 3 m need different windows, and a user cannot know which. For each
candidate the frozen encoder's features of the training windows get a ridge head in closed form,
and the squared error of every pixel when it is left out (see `hyperpeft.ridge`) decides: a second
of work, and no test pixel is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from hyperpeft.classifier import Classifier, autocast
from hyperpeft.patches import Windows
from hyperpeft.ridge import ridge
from hyperpeft.train import Pixels


class Candidate(NamedTuple):
    """A window and how well the pixels left out were told apart."""

    patch_size: int
    error: float  # mean squared, of scores from 0 to 1
    accuracy: float  # percent


def compare_windows(
    model: Classifier,
    cube: np.ndarray,
    train: Pixels,
    sizes: Sequence[int],
    precision: str = "fp32",
) -> list[Candidate]:
    """Try every window of these sizes that fits the scene.

    Parameters
    ----------
    model : Classifier
        Not trained yet.
    cube : ndarray of float32, shape (12, H, W)
    train : Pixels
    sizes : sequence of int
    precision : "fp32" or "bf16"

    Returns
    -------
    list of Candidate
    """
    device = next(model.parameters()).device
    targets = train.targets.to(device)
    found = []
    for size in sizes:
        if size > 1 and size // 2 >= min(cube.shape[1:]):
            continue  # mirrored borders need more pixels than the window has beside its centre
        windows = Windows(cube, size, device)
        with autocast(device, precision):
            features = model.features_of(windows, train.positions)
        fitted = ridge(features.double(), targets, model.head.out_features)
        indicators = torch.nn.functional.one_hot(targets, model.head.out_features)
        error = (indicators - fitted.left_out).pow(2).mean().item()
        right = (fitted.left_out.argmax(1) == targets).double().mean().item()
        found.append(Candidate(size, error, 100 * right))
    return found


def best(candidates: list[Candidate]) -> int:
    """The window with the least error; of equals the smallest."""
    return min(candidates, key=lambda c: (c.error, c.patch_size)).patch_size
