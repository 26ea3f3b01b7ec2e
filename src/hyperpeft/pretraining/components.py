"""Principal components of many small cubes at once, as `spectral.fit` has them, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from hyperpeft.models.spectralgpt import BANDS

_SPARE = 4  # directions beyond those wanted, with which the iteration converges
_ROUNDS = 12
_FAR = 20.0  # of a component: a hot pixel is not to decide a step


def components_of(cubes: Tensor) -> Tensor:
    """The 12 leading components under "sqrt" (S, 12, n, n) of cubes (S, B, n, n).

    Subspace iteration on the covariance: no device has a fast solver for many matrices of this
    size. Components of nearly equal variance may be turned within their plane.
    """
    flat = cubes.flatten(2).nan_to_num(0.0, 0.0, 0.0)
    flat = flat - flat.mean(2, keepdim=True)  # (S, B, P)
    scale = flat.pow(2).mean((1, 2), keepdim=True).sqrt().clamp_min(1e-12)
    flat = flat / scale
    with torch.autocast(cubes.device.type, enabled=False):
        covariance = flat @ flat.transpose(1, 2) / flat.shape[2]  # (S, B, B)
        bands = covariance.shape[-1]
        kept = min(BANDS + _SPARE, bands)
        place = torch.arange(bands, device=cubes.device, dtype=torch.float32)
        start = torch.cos(torch.pi * place[:, None] * (torch.arange(kept).to(place) + 0.5) / bands)
        basis = _orthonormal(covariance @ start)
        for _ in range(_ROUNDS):
            basis = _orthonormal(covariance @ basis)
        small = basis.transpose(1, 2) @ covariance @ basis
        values, turn = torch.linalg.eigh(small)  # ascending
        first = min(BANDS, kept)
        directions = (basis @ turn).flip(-1)[..., :first]  # (S, B, k)
        deviation = values.flip(-1)[:, :first].clamp_min(1e-12).sqrt()
        weight = (deviation * deviation.mean(1, keepdim=True)).rsqrt()
        reduced = (directions * weight[:, None]).transpose(1, 2) @ flat  # (S, k, P)
    sound = reduced.isfinite().all(2, keepdim=True).all(1, keepdim=True)
    reduced = torch.where(sound, reduced, 0.0).clamp(-_FAR, _FAR)
    return reduced.unflatten(2, cubes.shape[2:])


def _orthonormal(vectors: Tensor) -> Tensor:
    """The same spans (S, B, k) with orthonormal columns, by Cholesky, twice for precision."""
    for _ in range(2):
        vectors = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-20)
        gram = vectors.transpose(1, 2) @ vectors
        eye = torch.eye(gram.shape[-1], device=gram.device)
        # Nearly parallel columns are left to the next round: a failure would cost the step.
        factor = torch.linalg.cholesky_ex(gram + 1e-5 * eye).L
        vectors = torch.linalg.solve_triangular(factor, vectors.transpose(1, 2), upper=False)
        vectors = vectors.transpose(1, 2)
    return vectors
