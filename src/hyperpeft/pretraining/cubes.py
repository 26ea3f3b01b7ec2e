"""Scenes of episodes from real cubes without labels: components, and clusters as classes.

A piece of a cube is seen by a sensor of random response over a random range of its bands, reduced
to 12 components and smoothed; k-means on the smoothed components gives the classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperpeft.errors import SceneError
from hyperpeft.models.spectralgpt import BANDS
from hyperpeft.scenes import Draws

_SPARE = 4  # directions beyond those wanted, with which the iteration converges
_ITERATIONS = 12
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
        for _ in range(_ITERATIONS):
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


_ROUNDS = 8  # of k-means


class RealCubes:
    """Pieces of real cubes.

    Parameters
    ----------
    cubes : mapping of str to ndarray (B, H, W)
        Any units; at least `size` pixels a side.
    size, bands, classes : int
        Of the pieces: pixels a side, bands, clusters at most.
    device : torch.device
    """

    def __init__(
        self,
        cubes: Mapping[str, np.ndarray],
        device: torch.device,
        *,
        size: int = 64,
        bands: int = 64,
        classes: int = 16,
    ) -> None:
        self.names = tuple(name for name, cube in cubes.items() if min(cube.shape[1:]) >= size)
        if not self.names:
            raise SceneError("real cubes", expected=f"one of {size} pixels a side or more", got=0)
        self.cubes = [torch.as_tensor(cubes[n], dtype=torch.float32).to(device) for n in self.names]
        self.size, self.bands, self.classes, self.device = size, bands, classes, device

    def draw(self, seed: int, scenes: int) -> tuple[Tensor, Tensor]:
        """Components (S, 12, n, n) and the cluster of each pixel (S, n, n)."""
        draws = Draws(seed, self.device)
        which = draws.integers(scenes, high=len(self.cubes)).tolist()
        places = draws.uniform(scenes, 4).tolist()
        responses = draws.uniform(scenes, 3).tolist()
        centres = draws.uniform(scenes, self.bands).sort(1).values
        pieces = []
        for i, number in enumerate(which):
            cube, (down, right, turn, flip) = self.cubes[number], places[i]
            top = int(down * (cube.shape[1] - self.size + 1))
            left = int(right * (cube.shape[2] - self.size + 1))
            piece = cube[:, top : top + self.size, left : left + self.size]
            piece = torch.rot90(piece, int(4 * turn), (1, 2))
            piece = piece.flip(2) if flip < 0.5 else piece
            pieces.append(_resampled(piece, centres[i], responses[i]))
        components = components_of(torch.stack(pieces))
        return components, _clusters(draws, components, self.classes)


def _resampled(piece: Tensor, centres: Tensor, drawn: list[float]) -> Tensor:
    """The piece (B, n, n) in the bands of another sensor, with centres from 0 to 1."""
    bands = len(piece)
    length = max(0.35, drawn[0] ** 0.5)  # of the range that the sensor sees
    start = drawn[1] * (1 - length)
    place = torch.arange(bands, device=piece.device) / max(bands - 1, 1)
    width = (0.3 + drawn[2]) * length / len(centres) + 0.5 / bands
    away = (place - (start + length * centres)[:, None]) / width
    response = torch.exp(-(away**2) / 2)
    response = response / response.sum(1, keepdim=True).clamp_min(1e-6)
    return (response @ piece.flatten(1)).unflatten(1, piece.shape[1:])


def _clusters(draws: Draws, components: Tensor, most: int) -> Tensor:
    """Numbers of clusters (S, n, n) of the smoothed components."""
    scenes, channels, n, _ = components.shape
    radius = 2 * int(draws.integers(1, high=4).item()) + 1  # the same for all: 1, 3, 5 or 7
    smooth = F.avg_pool2d(
        F.pad(components, (radius // 2,) * 4, mode="reflect"), radius, stride=1
    ).flatten(2)  # (S, 12, P)
    count = 4 + int(draws.integers(1, high=most - 3).item())
    seeds = draws.integers(scenes, 1, count, high=n * n).expand(-1, channels, -1)
    centres = smooth.gather(2, seeds)  # (S, 12, K)
    nearest = torch.zeros(scenes, n * n, dtype=torch.long, device=components.device)
    for _ in range(_ROUNDS):
        distance = torch.cdist(smooth.transpose(1, 2), centres.transpose(1, 2))  # (S, P, K)
        nearest = distance.argmin(2)
        member = F.one_hot(nearest, count).to(smooth.dtype)  # (S, P, K)
        size = member.sum(1, keepdim=True)
        moved = (smooth @ member) / size.clamp_min(1)
        centres = torch.where(size > 0, moved, centres)
    return nearest.view(scenes, n, n)
