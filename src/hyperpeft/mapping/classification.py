"""The class of every pixel of a scene, in memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from hyperpeft.mapping.mapper import ClassMap, Layers, Mapper
from hyperpeft.mapping.predictor import Predictor
from hyperpeft.mapping.refinement import Refinement
from hyperpeft.mapping.tiled import tiles_here
from hyperpeft.mapping.tiles import SIZE, plan
from hyperpeft.records import UNLABELLED, Scene


def classify(
    predictor: Predictor,
    scene: Scene,
    where: np.ndarray | None = None,
    *,
    probabilities: bool = False,
    refinement: Refinement | None = None,
    watch: Callable[[int, int], None] | None = None,
) -> ClassMap:
    """Classify pixels of a scene, tile by tile as `map_to_files` does, without a file.

    Parameters
    ----------
    predictor : Predictor
    scene : Scene
    where : ndarray of bool, shape (H, W), optional
        The pixels to classify, all of them valid; every valid pixel by default.
    probabilities : bool
        Keep the probability of every class: float32 (K, H, W), NaN where nothing is predicted.
    refinement : Refinement, optional
    watch : callable, optional
        Told (pixels done, pixels in all).

    Raises
    ------
    SceneError
        When the scene has other bands than the predictor reads.
    """
    predictor.check(scene)
    start, shape = time.monotonic(), scene.valid.shape
    where = scene.valid if where is None else where
    total, done = int(where.sum()), 0
    ids = np.full(shape, UNLABELLED, np.int32)
    chances = None
    if probabilities:
        chances = np.full((len(predictor.class_ids), *shape), np.nan, np.float32)

    def advance(pixels: int) -> None:
        nonlocal done
        done += pixels
        if watch is not None:
            watch(done, total)

    mapper = Mapper(predictor, Layers(probabilities=probabilities), refinement=refinement)
    tiles = [tile for tile in plan(shape, SIZE, predictor.cell) if where[tile.inside].any()]
    for tile, result in tiles_here(mapper, scene, tiles, advance, where):
        ids[tile.inside] = result.ids
        if chances is not None:
            chances[:, *tile.inside] = result.probabilities
    return ClassMap(ids, chances, total, time.monotonic() - start)
