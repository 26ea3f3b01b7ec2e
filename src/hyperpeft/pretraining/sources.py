"""What pretraining reads: scenes and chips as sources of windows, real cubes for episodes.

A source is a cube of 12 bands in memory: a scene of any reader reduced as at fine-tuning time, or
Sentinel-2 chips. Chips hold reflectance x 10,000: `.npz` files with `x` (N, C, H, W) and `bands`,
the C names, or GeoTIFFs whose band descriptions are all Sentinel-2 names, one chip a file. The 12
bands of level 2A are standardised by the statistics of BigEarthNet; a band that a file lacks is
taken from its neighbour in the list below, and B10, which sees cirrus alone, is left out.

In episodes on real cubes without labels, a piece of a cube is seen by a sensor of random response
over a random range of its bands, reduced to 12 components and smoothed; k-means on the smoothed
components gives the classes.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hyperpeft import scenes, spectral
from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.models.spectralgpt import BANDS
from hyperpeft.models.windows import SYMMETRIES, apply_symmetry
from hyperpeft.scenes import Draws
from hyperpeft.system.files import check_archive

SENTINEL2 = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
_NAME = re.compile(r"B0*(\d+)(A?)", re.IGNORECASE)  # B4, B04, b8a
GROUP = 64  # windows of one size and source


@dataclass(frozen=True)
class Source:
    """Images (N, 12, H, W) float32 of one origin; `signs`: whether a band's sign means nothing."""

    name: str
    images: np.ndarray
    signs: bool


def open_source(path: Path, normalise: str) -> Source:
    """Read a scene or a file of chips.

    Raises
    ------
    SceneError
        The file is neither.
    """
    if path.suffix == ".npz":
        return _chips(path, *_npz(path))
    if path.suffix.lower() in (".tif", ".tiff") and (chip := _tif(path)):
        return _chips(path, *chip)
    scene = scenes.open_scene(path)
    cube = spectral.fit(scene, normalise=normalise).reduce(scene)
    return Source(path.name, cube[None], signs=True)


def find_sources(pattern: str, normalise: str) -> list[Source]:
    """All sources that a path, or a pattern with `*`, names, in the order of their names."""
    return [open_source(path, normalise) for path in source_paths(pattern)]


def source_paths(pattern: str) -> list[Path]:
    """The files of `find_sources`."""
    given = Path(pattern)
    if given.is_dir():
        paths = sorted(p for p in given.iterdir() if p.is_file() and not p.name.startswith("."))
    elif given.exists():
        paths = [given]
    else:
        root = Path(given.anchor) if given.is_absolute() else Path()
        paths = sorted(root.glob(str(given.relative_to(given.anchor))))
    if not paths:
        raise ConfigError(f"source {pattern!r}", expected="a file, a folder or a pattern of files")
    return paths


def _npz(path: Path) -> tuple[np.ndarray, list[str]]:
    """Chips (N, C, H, W) and the names of their bands."""
    check_archive(path, SceneError)
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["x"], [str(name) for name in file["bands"]]
    except (OSError, KeyError, ValueError, MemoryError, zipfile.BadZipFile) as error:
        raise SceneError(
            f"{path} cannot be read as chips ({error})",
            expected="an .npz with x (N, C, H, W) and bands, the names of the C bands",
        ) from None


def _tif(path: Path) -> tuple[np.ndarray, list[str]] | None:
    """One chip (1, C, H, W) and its bands' names; None for a raster of other or unnamed bands."""
    with scenes.open_raster(path) as file:
        names = [_standard(text or "") for text in file.descriptions]
        if not all(name in (*SENTINEL2, "B10") for name in names):
            return None
        values = file.read(masked=True)
    return values.astype(np.float32).filled(np.nan)[None], names


def _standard(name: str) -> str:
    """B4 and b04 are B04."""
    match = _NAME.fullmatch(name.strip())
    if match is None:
        return name
    number, letter = int(match[1]), match[2].upper()
    return f"B{number}A" if letter else f"B{number:02}"


def _chips(path: Path, values: np.ndarray, names: list[str]) -> Source:
    """Chips (N, C, H, W) as the 12 bands, standardised; what is not finite becomes the mean."""
    bands = [_standard(name) for name in names]
    known = [i for i, name in enumerate(SENTINEL2) if name in bands]
    if values.ndim != 4 or values.shape[1] != len(bands) or not known:
        raise SceneError(
            f"{path}: chips", expected="x (N, C, H, W) with C names such as B04", got=values.shape
        )
    largest = np.nanmax(values, initial=0)
    if largest <= 2:
        raise SceneError(
            f"{path}: chips",
            expected="reflectance x 10,000",
            got=f"no value above {largest:g}",
            hint="multiply reflectances from 0 to 1 by 10,000",
        )
    nearest = [min(known, key=lambda k: abs(k - i)) for i in range(len(SENTINEL2))]
    picked = values[:, [bands.index(SENTINEL2[k]) for k in nearest]].astype(np.float32)
    mean, std = spectral.BIGEARTHNET_MEAN[nearest], spectral.BIGEARTHNET_STD[nearest]
    images = (picked - mean[:, None, None]) / std[:, None, None]
    return Source(path.name, np.nan_to_num(images.astype(np.float32)), signs=False)


def generated_source(rng: np.random.Generator, normalise: str) -> Source:
    """A random scene as a source."""
    scene = scenes.random_scene(rng, 56)
    return Source("generated", spectral.fit(scene, normalise=normalise).reduce(scene)[None], True)


def draw_windows(
    rng: np.random.Generator, source: Source, patch_size: int, count: int = GROUP
) -> Tensor:
    """Windows (count, 12, p, p) anywhere in a source, turned, with spectral jitter.

    Jitter: each band is scaled by 1 +- 0.1 and, where signs mean nothing, flipped at random.
    """
    number, _, height, width = source.images.shape
    p = min(patch_size, height, width)
    view = np.lib.stride_tricks.sliding_window_view(source.images, (p, p), axis=(2, 3))
    picked = view[
        rng.integers(0, number, count),
        :,
        rng.integers(0, height - p + 1, count),
        rng.integers(0, width - p + 1, count),
    ]  # (count, 12, p, p)
    jitter = 1 + 0.1 * rng.standard_normal((count, picked.shape[1], 1, 1), np.float32)
    if source.signs:
        jitter *= rng.choice(np.array([-1.0, 1.0], np.float32), (1, picked.shape[1], 1, 1))
    windows = torch.from_numpy(picked * jitter.astype(np.float32))
    return apply_symmetry(windows, torch.from_numpy(rng.integers(0, SYMMETRIES, count)))


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
