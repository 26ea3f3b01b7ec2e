"""The refinement of a run, and whether its labels lie densely.

With ten labels a class the default recipe moves little from ridge heads on frozen features. Where
hardly a pixel of the scene is far from a label, such as 10 % of all labels at random, adapters on
all projections with four Kronecker terms, a higher rate and a head that starts at random gain ten
points and more.
"""

from __future__ import annotations

import math
from typing import Any

from hyperpeft import spectral
from hyperpeft.mapping import Refinement
from hyperpeft.records import Scene, Split
from hyperpeft.runs.config import RunConfig, dense_options
from hyperpeft.spatial import RefineOptions, Standardiser
from hyperpeft.spectral import Reducer
from hyperpeft.splits import split_kind
from hyperpeft.training.model_selection import DEAD_ZONE, far_share

DENSE = 0.25  # share of a scene far from all labels, below which the labels lie densely
LEAST_PIXELS = 500
STEPS, BATCH, SMOOTHING = 1300, 48, 0.05
WINDOWS = (7, 15)
TARGETS = ("q", "k", "v", "proj", "fc1", "fc2")
LR, FULL_LR, HEAD_LR = 1e-3, 3e-4, 1e-3


def lie_densely(split: Split, scene: Scene) -> bool:
    """Whether hardly a valid pixel is farther from every training pixel than the dead zone."""
    return far_share(split.train, scene.valid, DEAD_ZONE) < DENSE


def recipe_applies(config: RunConfig, split: Split, scene: Scene) -> bool:
    """Whether the dense recipe is for this run: labels in plenty, and no recipe named."""
    if config.recipe != "default" or config.method == "probe":
        return False
    if len(split.train) < LEAST_PIXELS or split_kind(config.split).spatial:
        return False
    return lie_densely(split, scene)


def dense_recipe(config: RunConfig, count: int) -> RunConfig:
    """The configuration with the dense recipe in the place of all that the user left open.

    Parameters
    ----------
    config : RunConfig
        With `resolve_defaults` applied.
    count : int
        Training pixels.
    """
    recipe = many_labels_recipe(config, count, STEPS, SMOOTHING)
    if config.patch_size == "auto":
        return recipe.model_copy(update={"patch_size": WINDOWS})
    return recipe


def many_labels_recipe(config: RunConfig, count: int, steps: int, smoothing: float) -> RunConfig:
    """The configuration with a free recipe of so many steps in the place of all left open.

    Parameters
    ----------
    config : RunConfig
        With `resolve_defaults` applied.
    count : int
        Training pixels.
    steps : int
        At least; whole epochs are taken.
    smoothing : float
        Share of a label that is spread over all classes.
    """
    own: dict[str, Any] = {
        "targets": TARGETS,
        "head": "random",
        "lr": FULL_LR if config.method == "full" else LR,
        "head_lr": HEAD_LR,
        "batch_size": BATCH,
        "epochs": math.ceil(steps / math.ceil(count / BATCH)),
        "label_smoothing": smoothing,
    }
    own = {name: value for name, value in own.items() if name not in config.model_fields_set}
    if config.method in ("krona", "krona+"):
        own["options"] = dense_options(config.options)
    return config.model_copy(update=own)


def fit_refinement(
    config: RunConfig,
    scene: Scene,
    split: Split,
    reducer: Reducer | None,
    standardiser: Standardiser | None = None,
) -> Refinement | None:
    """The refinement that a configuration asks for; None for none.

    "auto" is the guided filter, but where hardly a pixel is far from a label: there each pixel's
    own label or its neighbour's is known, and the weaker graph smoothing loses less.

    Parameters
    ----------
    config : RunConfig
    scene : Scene
    split : Split
    reducer : Reducer or None
        That of the method, which guides the refinement; one of the default kind is fitted where the
        method has none.
    standardiser : Standardiser, optional
        Of the scene reduced by `reducer`, where the method has it.
    """
    kind = config.refine
    if kind == "none":
        return None
    if kind == "auto":
        kind = "graph" if lie_densely(split, scene) else "guided"
    if reducer is None:
        reducer = spectral.fit(
            scene,
            reduce="pca",
            normalise="sqrt",
            fit_on=config.fit_on,
            train=split.train,
        )
    where = spectral.fitted_pixels(scene, config.fit_on, split.train)
    return Refinement.fit(RefineOptions(kind), reducer, scene, standardiser, where)
