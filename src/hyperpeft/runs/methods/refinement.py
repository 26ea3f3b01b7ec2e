"""The refinement of a run: which kind, and what it is guided by."""

from __future__ import annotations

from hyperpeft import spectral
from hyperpeft.mapping import Refinement
from hyperpeft.records import Scene, Split
from hyperpeft.runs.config import RunConfig
from hyperpeft.runs.methods.dense_labels import lie_densely
from hyperpeft.spatial import RefineOptions, Standardiser
from hyperpeft.spectral import Reducer


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
    return Refinement.fit(RefineOptions(kind), reducer, scene, standardiser)
