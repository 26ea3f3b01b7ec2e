"""What the explorer has done in processes of its own: train, confidence, suggest, examine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hyperpeft import assessment
from hyperpeft.explorer.jobs import REGION, MappedRegion, PipeProgress, Region
from hyperpeft.progress import Progress
from hyperpeft.records import Scene
from hyperpeft.runs.config import RunConfig
from hyperpeft.runs.evaluate import reopen
from hyperpeft.runs.experiment import run, save_run, split_for
from hyperpeft.runs.experiment import train as train_in_memory
from hyperpeft.runs.load import load_run
from hyperpeft.scenes import open_scene, read_labels

_MOST_OF_THE_SCENE = 0.6  # a region of more than this share is no faster than the whole


class RegionFirst(Progress):
    """Progress that maps a region as soon as training is done, and sends it."""

    def __init__(self, inner: PipeProgress, region: Region | None) -> None:
        self._inner, self._region = inner, region
        self.stage, self.note = inner.stage, inner.note  # type: ignore[method-assign]
        self.trained, self.mapped = inner.trained, inner.mapped  # type: ignore[method-assign]

    def fitted(self, trained: Any, scene: Any) -> None:
        """Map the region."""
        if self._region is None:
            return
        region = self._region.limited()
        height, width = region.shape
        if height * width > _MOST_OF_THE_SCENE * scene.valid.size:
            return
        where = np.zeros(scene.valid.shape, bool)
        where[region.inside] = scene.valid[region.inside]
        if not where.any():
            return
        self._inner.stage("Mapping what is visible")
        found = trained.predict(scene, where, probabilities=True, watch=self._inner.mapped)
        chances = found.probabilities[:, *region.inside]
        best = np.sort(chances, axis=0)
        margin = best[-1] - best[-2] if len(best) > 1 else best[-1]
        ids = found.ids[region.inside].astype(np.uint16)
        self._inner.send(REGION, MappedRegion(region, ids, margin.astype(np.float32)))


def train(
    progress: PipeProgress, config: RunConfig, scene: Scene | None, region: Region | None
) -> dict[str, Any]:
    """Run a configuration as `hyperpeft train` does; the record.

    A scene in memory, where one is given, takes the place of the configuration's file.
    """
    watched = RegionFirst(progress, region)
    if scene is None:
        return asdict(run(config, progress=watched))
    return _train_in_memory(config, scene, watched)


def _train_in_memory(config: RunConfig, scene: Scene, progress: Progress) -> dict[str, Any]:
    assert config.labels is not None
    scene = scene.with_labels(read_labels(config.labels, scene=scene))
    split = split_for(config, scene)
    trained = train_in_memory(config, scene, split, progress)
    progress.fitted(trained, scene)
    progress.stage("Mapping")
    return asdict(save_run(config, scene, split, trained, overwrite=False))


def map_confidence(
    progress: PipeProgress, run: Path, scene: Scene | None, out: Path, confidence: Path
) -> Path:
    """Map the scene of a run with its confidence, tile by tile; the file of the confidence."""
    progress.stage("Loading the run")
    bundle = load_run(run)
    cube = reopen(bundle.record, run) if scene is None else scene
    progress.stage("Mapping the confidence")
    bundle.map(cube, out, confidence=confidence, watch=progress.mapped)
    return confidence


def suggest(
    progress: PipeProgress,
    run: Path,
    scene: Scene | None,
    labelled: np.ndarray,
    out: Path,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Suggest pixels and write them as `hyperpeft suggest` does; places, classes, uncertainty."""
    progress.stage("Loading the run")
    bundle = load_run(run)
    cube = reopen(bundle.record, run) if scene is None else scene
    progress.stage("Mapping the candidates")
    found = assessment.suggest(bundle, cube, labelled=labelled, watch=progress.mapped, **options)
    assessment.write_suggestions(out, bundle, cube, found)
    names = {**bundle.classes, 0: ""}
    return {
        "places": found.places,
        "predicted": [names[int(i)] for i in found.class_ids],
        "alternative": [names[int(i)] for i in found.second_ids],
        "probability": found.probabilities,
        "candidates": found.candidates,
        "file": out,
    }


def examine(progress: PipeProgress, spec: str, layout: str | None) -> tuple[np.ndarray, list[str]]:
    """Open a scene as the command line does: which pixels are valid, packed, and the notes."""
    progress.stage("Examining every pixel")
    scene = open_scene(spec, layout=layout)
    return np.packbits(scene.valid), list(scene.notes)
