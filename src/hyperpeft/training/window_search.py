"""Window size selected by cross-validation on the training pixels, before anything is trained.

Pixels of 30 m and pixels of 3 m need different windows, some scenes are told apart by the pixel's
own spectrum and others by its neighbourhood, and a user cannot know which. For each candidate the
frozen encoder's features of the training windows get a ridge head in closed form, and the squared
error of every pixel when it is left out (see `training.ridge`) decides: a second of work, and no
test pixel is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F

from hyperpeft.patches import Windows
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.loop import Pixels
from hyperpeft.training.precision import autocast
from hyperpeft.training.ridge import Ridge

SHARES = (0.0, 0.25, 0.5, 1.0, 2.0)  # of the centre pixel, see `Classifier.fit_head`
STRENGTHS = (0.03, 0.1, 0.3)


class Candidate(NamedTuple):
    """A window and a ridge head on it, and how well the pixels left out were told apart."""

    patch_size: int
    centre_share: float
    strength: float
    error: float  # mean squared, of scores from 0 to 1
    accuracy: float  # percent


class Choice(NamedTuple):
    """The best candidate and its head, and the best of every window."""

    best: Candidate
    head: Ridge
    tried: list[Candidate]


def choose(
    model: Classifier,
    cube: np.ndarray,
    train: Pixels,
    sizes: Sequence[int],
    precision: str = "fp32",
) -> Choice:
    """Try every window of these sizes that fits the scene, with every head.

    Parameters
    ----------
    model : Classifier
        Not trained yet.
    cube : ndarray of float32, shape (12, H, W)
    train : Pixels
    sizes : sequence of int
        A single one is taken whatever it is; only its head is chosen then.
    precision : "fp32" or "bf16"

    Returns
    -------
    Choice
    """
    device = next(model.parameters()).device
    targets = train.targets.to(device)
    indicators = F.one_hot(targets, model.head.out_features)
    found: list[tuple[Candidate, Ridge]] = []
    for size in sizes:
        if len(sizes) > 1 and size // 2 >= min(cube.shape[1:]):
            continue  # mirrored borders need more pixels than the window has beside its centre
        windows = Windows(cube, size, device)
        with autocast(device, precision):
            features = model.features_of(windows, train.positions)
        heads = []
        for share in SHARES if model.centre else (0.0,):
            for strength in STRENGTHS:
                head = model.fit_head(features.double(), targets, share, strength)
                error = (indicators - head.left_out).pow(2).mean().item()
                right = (head.left_out.argmax(1) == targets).double().mean().item()
                heads.append((Candidate(size, share, strength, error, 100 * right), head))
        found.append(min(heads, key=lambda pair: pair[0].error))
    best, head = min(found, key=lambda pair: pair[0].error)
    return Choice(best, head, [candidate for candidate, _ in found])
