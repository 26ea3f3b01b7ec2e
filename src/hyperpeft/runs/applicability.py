"""The area of applicability of a run, from the pixels that it was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from hyperpeft import spectral, splits
from hyperpeft.errors import BundleError
from hyperpeft.mapping.applicability import (
    features_at,
    fit_applicability,
    write_applicability,
)
from hyperpeft.mapping.pool import window_part_of
from hyperpeft.records import Scene
from hyperpeft.runs.bundle import Bundle
from hyperpeft.runs.evaluate import reopen
from hyperpeft.runs.file_names import SPLIT
from hyperpeft.spectral import Reducer


class Applicable(NamedTuple):
    """What was written.

    Attributes: the file, pixels inside the area and in all, the threshold of the index.
    """

    file: Path
    inside: int
    pixels: int
    threshold: float


def check_split(folder: Path) -> None:
    """BundleError where a run does not say which pixels it was trained on."""
    if not (folder / SPLIT).is_file():
        raise BundleError(
            f"{folder} has no {SPLIT}: where it was trained is not known",
            hint="map with the run's own folder, not with a pulled one",
        )


def map_applicability(folder: Path, bundle: Bundle, scene: Scene, path: Path) -> Applicable:
    """Write dissimilarity index and mask of a scene for a run.

    The scene that the run was trained on is opened again, for the bands of its training pixels.
    They are reduced as the run reduces them; a baseline without a reduction is compared in the
    principal components of its training scene.

    Raises
    ------
    BundleError
        The run has no split, or its scene is not here.
    """
    check_split(folder)
    own = reopen(bundle.record, folder)
    reducer = _reducer(bundle, own)
    split = splits.load(folder / SPLIT)
    features = features_at(reducer, own, split.train)
    known = fit_applicability(features, split.train_ids, split.train)
    inside, pixels = write_applicability(known, reducer, scene, path)
    return Applicable(path, inside, pixels, known.threshold)


def _reducer(bundle: Bundle, own: Scene) -> Reducer:
    """The run's reduction, or one fitted on its scene."""
    part = window_part_of(bundle.predictor)
    if part is not None:
        return part.reducer
    if bundle.refinement is not None:
        return bundle.refinement.reducer
    return spectral.fit(own, normalise="sqrt")
