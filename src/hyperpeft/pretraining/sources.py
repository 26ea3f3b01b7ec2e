"""Unlabelled windows for masked autoencoding, from any mix of sources.

A source is a cube of 12 bands in memory: a scene of any reader reduced as at fine-tuning time, or
Sentinel-2 chips. Chips hold reflectance x 10,000: `.npz` files with `x` (N, C, H, W) and `bands`,
the C names, or GeoTIFFs whose band descriptions are all Sentinel-2 names, one chip a file. The 12
bands of level 2A are standardised by the statistics of BigEarthNet; a band that a file lacks is
taken from its neighbour in the list below, and B10, which sees cirrus alone, is left out.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hyperpeft import scenes, spectral
from hyperpeft.errors import ConfigError, SceneError
from hyperpeft.patches import SYMMETRIES, apply_symmetry
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
