"""The steps of a pretraining run whose scenes are drawn on the device, from its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from hyperpeft import scenes as scene_files
from hyperpeft.pretraining.config import PretrainConfig, SceneOptions, Stage
from hyperpeft.pretraining.cubes import RealCubes
from hyperpeft.pretraining.scene_episodes import SceneEpisodeRules, SceneSteps
from hyperpeft.pretraining.sources import source_paths
from hyperpeft.scenes import SceneGenerator, SceneRules, SpectralLibrary, read_library


def scene_steps(
    config: PretrainConfig,
    scenes: SceneOptions,
    stage: Stage,
    device: torch.device,
    process: int = 0,
) -> SceneSteps:
    """Read the library and the cubes that the configuration names, and draw steps from them."""
    episodes, masked = config.episodes, config.masked
    rules = SceneEpisodeRules(
        scenes=episodes.scenes,
        real=scenes.real if scenes.cubes else 0.0,
        ways=episodes.ways,
        shots=episodes.shots,
        queries=episodes.queries,
        patch_sizes=config.patch_sizes,
        image_sizes=scenes.image_sizes or {stage.image_size: 1.0},
        masked=masked.windows if masked.weight else 0,
    )
    drawn = SceneRules(scenes.size, scenes.bands, scenes.classes, scenes.curves)
    generator = SceneGenerator(open_library(scenes.library), drawn, device)
    cubes = None
    if rules.real:
        cubes = RealCubes(
            open_cubes(scenes.cubes),
            device,
            size=scenes.size,
            bands=scenes.bands,
            classes=scenes.classes,
        )
    return SceneSteps(config.seed, process, rules, generator, cubes)


def open_library(names: Sequence[str]) -> SpectralLibrary | None:
    """The spectra of an .npz that was prepared, or of ENVI headers; None where none is named."""
    if not names:
        return None
    if names[0].endswith(".npz"):
        return SpectralLibrary.load(Path(names[0]))
    return read_library(Path(name) for name in names)


def open_cubes(patterns: Sequence[str]) -> dict[str, np.ndarray]:
    """Cubes (B, H, W) by name: of an .npz with one array a cube, or of scenes of any reader."""
    cubes: dict[str, np.ndarray] = {}
    for pattern in patterns:
        for path in source_paths(pattern):
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as file:
                    cubes.update({name: file[name] for name in file.files})
            else:
                cubes[path.stem] = scene_files.open_scene(path).cube.values
    return cubes
