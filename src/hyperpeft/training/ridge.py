"""Ridge regression onto class indicators, in closed form: a linear head from a few pixels.

With far fewer pixels n than features D the dual form is the cheap one: for centred features X
(n, D) and centred indicators Y (n, K), with G = X X^T and mu = strength * trace(G) / n,

    W = X^T (G + mu I)^-1 Y        b = mean(Y) - mean(features) W

and the error of each pixel when it is left out costs nothing more (Golub, Heath and Wahba 1979).
Everything is differentiable: episodes of pretraining learn through it (Bertinetto et al. 2019,
arXiv 1805.08136).
"""

from __future__ import annotations

from typing import NamedTuple

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
