"""Ridge regression onto class indicators, in closed form, and what it says of left-out pixels.

With far fewer pixels n than features D the dual form is the cheap one: for centred features X
(n, D) and centred indicators Y (n, K), with G = X X^T and mu = strength * trace(G) / n,

    W = X^T (G + mu I)^-1 Y        b = mean(Y) - mean(features) W

and the error of each pixel when it is left out costs nothing more (Golub, Heath and Wahba 1979).
Everything is differentiable: episodes of pretraining learn through it (Bertinetto et al. 2019,
arXiv 1805.08136).

Left-out pixels: the smoother of the training pixels, its free intercept included, is

    H = 1 1^T / n + G (G + mu I)^-1 = I + 1 1^T / n - mu (G + mu I)^-1

and for any set S of pixels the fit to the others misses those of S by

    Y_S - F_S = (I - H_SS)^-1 (Y - H Y)_S

exactly, with mu kept (Cook and Weisberg 1982, section 3.5; one pixel: Golub, Heath and Wahba 1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

STRENGTH = 0.1  # of the shrinkage, relative to the features' mean square


class Ridge(NamedTuple):
    """A linear head, and what it says of each pixel that it was fitted without."""

    weight: Tensor  # (K, D)
    bias: Tensor  # (K,)
    left_out: Tensor  # (n, K), scores near 1 for the class and near 0 for the others


def ridge(
    features: Tensor, targets: Tensor, classes: int, strength: float | Tensor = STRENGTH
) -> Ridge:
    """Fit the head.

    Parameters
    ----------
    features : Tensor, shape (n, D)
    targets : Tensor of int64, shape (n,)
        0 to `classes` - 1.
    classes : int
        K.
    strength : float
        Of the shrinkage; 0.1 suits features that were trained with it.
    """
    n = len(features)
    indicators = F.one_hot(targets, classes).to(features.dtype)  # (n, K)
    centre, share = features.mean(0), indicators.mean(0)
    x, y = features - centre, indicators - share
    if n > 2 * x.shape[1]:
        return _primal(x, y, indicators, centre, share, strength)
    gram = x @ x.T  # (n, n)
    mu = strength * gram.diagonal().mean() + 1e-12
    inverse = torch.linalg.inv(gram + mu * torch.eye(n, dtype=gram.dtype, device=gram.device))
    dual = inverse @ y  # (n, K)
    weight = dual.T @ x  # (K, D)
    # I - G (G + mu I)^-1 = mu (G + mu I)^-1; the mean that is subtracted takes 1 / n more.
    free = (mu * inverse.diagonal() - 1 / n).clamp_min(1e-6)
    left_out = indicators - (mu * dual) / free.unsqueeze(1)
    return Ridge(weight, share - weight @ centre, left_out)


def _primal(
    x: Tensor,
    y: Tensor,
    indicators: Tensor,
    centre: Tensor,
    share: Tensor,
    strength: float | Tensor,
) -> Ridge:
    """The same head where pixels are many: one inverse of (D, D), none of (n, n)."""
    n = len(x)
    mu = strength * x.pow(2).sum(1).mean() + 1e-12
    system = x.T @ x + mu * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    projected = torch.linalg.solve(system, x.T).T  # (n, D)
    weight = y.T @ projected  # (K, D)
    # The diagonal of the smoother, with the mean that is subtracted.
    own = (x * projected).sum(1) + 1 / n
    left_out = indicators - (y - x @ weight.T) / (1 - own).clamp_min(1e-6).unsqueeze(1)
    return Ridge(weight, share - weight @ centre, left_out)


class Smoother(NamedTuple):
    """What a ridge head says of its own training pixels.

    Attributes
    ----------
    free : ndarray of float64, shape (n, n)
        I - H.
    residuals : ndarray of float64, shape (n, K)
        Indicators less the fit to all pixels.
    indicators : ndarray of float64, shape (n, K)
    """

    free: np.ndarray
    residuals: np.ndarray
    indicators: np.ndarray


def smoother(features: np.ndarray, targets: np.ndarray, classes: int, strength: float) -> Smoother:
    """The smoother of a ridge head on class indicators.

    Parameters
    ----------
    features : ndarray, shape (n, D)
    targets : ndarray of int, shape (n,)
        0 to `classes` - 1.
    classes : int
        K.
    strength : float
        Of the shrinkage, relative to the features' mean square.
    """
    n = len(features)
    indicators = np.eye(classes)[targets]  # (n, K)
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    gram = centred @ centred.T  # (n, n)
    mu = strength * np.trace(gram) / n + 1e-12
    free = mu * np.linalg.inv(gram + mu * np.eye(n)) - 1 / n
    return Smoother(free, free @ indicators, indicators)


def leave_out(fitted: Smoother, held: np.ndarray, train: np.ndarray | None = None) -> np.ndarray:
    """Scores of held-out pixels by the head fitted to the pixels that train.

    Parameters
    ----------
    fitted : Smoother
    held : ndarray of int, shape (h,)
        Pixels to score; not among those that train.
    train : ndarray of int, optional
        What trains; every other pixel is left out, scored or not. By default all but `held`.

    Returns
    -------
    ndarray of float64, shape (h, K)
        Near 1 for the class and near 0 for the others.

    Examples
    --------
    Equal to the head that is fitted without them:

    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(20, 5)), np.arange(20) % 2
    >>> out = leave_out(smoother(x, y, 2, 0.1), np.array([3, 7, 11]))
    >>> rest = np.setdiff1d(np.arange(20), [3, 7, 11])
    >>> mu = 0.1 * np.square(x - x.mean(0)).sum() / 20
    >>> a, b, mean = x[rest] - x[rest].mean(0), np.eye(2)[y[rest]], np.eye(2)[y[rest]].mean(0)
    >>> weight = np.linalg.solve(a.T @ a + mu * np.eye(5), a.T @ (b - mean))
    >>> np.allclose(out, (x[[3, 7, 11]] - x[rest].mean(0)) @ weight + mean)
    True
    """
    n = len(fitted.indicators)
    gone = held
    if train is not None:
        gone = np.concatenate([held, np.setdiff1d(np.arange(n), np.union1d(held, train))])
    system = fitted.free[np.ix_(gone, gone)]
    missed = np.linalg.solve(system, fitted.residuals[gone])[: len(held)]
    return fitted.indicators[held] - missed


def left_out_scores(
    fitted: Smoother, folds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[np.ndarray]:
    """`leave_out` of each fold (train, held): one array (h, K) a fold."""
    return [leave_out(fitted, held, train) for train, held in folds]
