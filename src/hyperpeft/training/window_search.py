"""The windows that suit a scene and a ridge head for each, selected on the training pixels.

Pixels of 30 m and pixels of 3 m need different windows, some scenes are told apart by the pixel's
own spectrum and others by its neighbourhood, and a user cannot know which. For each candidate the
frozen encoder's features of the training windows get ridge heads in closed form, and the squared
error of pixels that are left out decides: pixels of random folds, whose neighbours train, and of
dead-zone folds, where no pixel near them does (see `model_selection`). No test pixel is looked at.

Windows see different things, and the mean of their scores errs less than the best of them. So
windows are added to the best one while each lowers the error enough to be worth its time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from hyperpeft.models.windows import Windows
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.combination import temperature_factor
from hyperpeft.training.loop import Pixels
from hyperpeft.training.model_selection import Folds
from hyperpeft.training.precision import autocast
from hyperpeft.training.ridge import Ridge, left_out_scores, smoother

SHARES = (0.0, 0.25, 0.5, 1.0, 2.0)  # of the centre pixel, see `Classifier.fit_head`
STRENGTHS = (0.03, 0.1, 0.3)
MOST = 3  # windows of a model: each costs a pass of the encoder
GAIN = 0.02  # of the error, for which another window is added


class Candidate(NamedTuple):
    """A window and a ridge head on it, and how well pixels left out were told apart."""

    patch_size: int
    centre_share: float
    strength: float
    error: float  # mean squared, of scores from 0 to 1
    accuracy: float  # percent


class Selection(NamedTuple):
    """What was selected.

    Attributes
    ----------
    windows : tuple of int
        Sizes, the best one first.
    heads : dict of int to Ridge
        Fitted to all training pixels.
    scores : ndarray of float64, shape (m, K)
        Of the pixels that the folds leave out, the mean over the windows.
    factor : float
        That makes the scores logits.
    tried : list of Candidate
        The best head of every window.
    """

    windows: tuple[int, ...]
    heads: dict[int, Ridge]
    scores: np.ndarray
    factor: float
    tried: list[Candidate]


def select_windows(
    model: Classifier,
    cube: np.ndarray,
    train: Pixels,
    sizes: Sequence[int],
    folds: Folds,
    *,
    precision: str = "fp32",
    most: int = MOST,
) -> Selection:
    """Select windows of these sizes that fit the scene, and their heads.

    Parameters
    ----------
    model : Classifier
        Not trained yet.
    cube : ndarray of float32, shape (12, H, W)
    train : Pixels
    sizes : sequence of int
        The smallest where none fits; of a single one only the head is selected.
    folds : Folds
        Of the training pixels.
    precision : "fp32" or "bf16"
    most : int
        Windows at most.

    Returns
    -------
    Selection
    """
    device = next(model.parameters()).device
    # Of windows that reach across the scene one is enough: their mirror images repeat.
    fitting = [s for s in sizes if s // 2 < min(cube.shape[1:])] or [min(sizes)]
    features, found = {}, {}
    for size in fitting:
        with autocast(device, precision):
            features[size] = model.features_of(
                Windows(cube, size, device), train.positions
            ).double()
        found[size] = _best_head(model, features[size], train.targets, size, folds)
    order = _forward(found, train.targets.numpy()[folds.pixels], folds, most)
    scores = np.mean([found[size][1] for size in order], axis=0)
    truth = train.targets.numpy()[folds.pixels][folds.held]
    targets = train.targets.to(device)
    heads = {
        size: model.fit_head(
            features[size], targets, found[size][0].centre_share, found[size][0].strength
        )
        for size in order
    }
    factor = temperature_factor(scores, truth, folds.weights)
    if not len(truth):  # too few pixels to leave any out
        factor = temperature_factor(heads[order[0]].left_out.cpu().numpy(), train.targets.numpy())
    return Selection(tuple(order), heads, scores, factor, [c for c, _ in found.values()])


def _best_head(
    model: Classifier, features: torch.Tensor, targets: torch.Tensor, size: int, folds: Folds
) -> tuple[Candidate, np.ndarray]:
    """The head whose left-out scores have the least error, and these scores (m, K)."""
    classes = model.classes
    truth = targets.numpy()[folds.pixels]
    values = features.cpu().numpy()[folds.pixels]
    best: tuple[Candidate, np.ndarray] | None = None
    for share in SHARES if model.centre else (0.0,):
        scaled = values * model.feature_scale(features, share).cpu().numpy()
        for strength in STRENGTHS:
            scores = np.zeros((0, classes))
            if folds.folds:
                fitted = smoother(scaled, truth, classes, strength)
                scores = np.concatenate(left_out_scores(fitted, folds.folds))
            error, accuracy = _error(scores, truth, folds)
            if best is None or error < best[0].error:
                best = Candidate(size, share, strength, error, accuracy), scores
    assert best is not None
    return best


def _error(scores: np.ndarray, truth: np.ndarray, folds: Folds) -> tuple[float, float]:
    """Weighted mean squared error and accuracy in percent of left-out scores."""
    held = truth[folds.held]
    if not len(held):
        return 1.0, 0.0
    missed = (np.eye(scores.shape[1])[held] - scores) ** 2
    right = scores.argmax(axis=1) == held
    return float(folds.weights @ missed.mean(axis=1)), 100 * float(folds.weights @ right)


def _forward(
    found: dict[int, tuple[Candidate, np.ndarray]], truth: np.ndarray, folds: Folds, most: int
) -> list[int]:
    """Windows by forward selection: the best alone, then what lowers the mean's error most."""
    order = [min(found, key=lambda size: found[size][0].error)]
    error = found[order[0]][0].error
    while len(order) < min(most, len(found)):
        chosen = [found[size][1] for size in order]
        errors = {
            size: _error(np.mean([*chosen, scores], axis=0), truth, folds)[0]
            for size, (_, scores) in found.items()
            if size not in order
        }
        size = min(errors, key=lambda size: errors[size])
        if errors[size] > (1 - GAIN) * error:
            break
        order.append(size)
        error = errors[size]
    return order
