"""A run again: its test on its own or another scene, and where it can be applied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hyperpeft import spectral, splits
from hyperpeft.errors import BundleError, LabelsError
from hyperpeft.mapping.applicability import (
    features_at,
    fit_applicability,
    write_applicability,
)
from hyperpeft.mapping.predictor import window_part_of
from hyperpeft.metrics import score_map
from hyperpeft.progress import Progress, default_progress, told_to
from hyperpeft.records import UNLABELLED, Scene, Split, mask_of, without_training
from hyperpeft.runs.bundle import Bundle
from hyperpeft.runs.config import IN_MEMORY
from hyperpeft.runs.file_names import SPLIT
from hyperpeft.runs.inputs import located
from hyperpeft.runs.labelled_scene import open_configured
from hyperpeft.runs.load import load_run
from hyperpeft.runs.record import RunRecord
from hyperpeft.scenes import LABEL_OPTIONS, exists, is_card, match_names
from hyperpeft.spectral import Reducer


class Evaluation(NamedTuple):
    """What testing a run again has given.

    Attributes
    ----------
    scores : dict
        In percent, as in `RunRecord.metrics`.
    pixels : int
        How many they are of.
    classes : dict of int to str
    left_out : dict of str to int
        Labelled pixels that were not tested: "trained", of the run's own training or validation,
        and "unknown", of classes that the run does not know.
    """

    scores: dict[str, Any]
    pixels: int
    classes: dict[int, str]
    left_out: dict[str, int]


def evaluate(
    folder: Path,
    scene: Scene | None = None,
    *,
    backbone: str | Path | None = None,
    runtime: str = "auto",
    progress: Progress | None = None,
) -> Evaluation:
    """Test a run folder again.

    Parameters
    ----------
    folder : Path
    scene : Scene, optional
        Another labelled scene with the same bands: all its labelled pixels of the classes that
        the run knows are tested, but not those that it was trained on, where it is the run's own
        scene. Without it, the run's own scene and test pixels.
    backbone : str or Path, optional
        Where the base model is now, if it was a file that has moved.
    runtime : str
        See `load_run`.
    progress : Progress, optional

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        A damaged folder, a scene that does not fit it, or labels without a class of the run.
    """
    progress = progress or default_progress()
    loaded = load_run(folder, backbone=backbone, runtime=runtime)
    progress.stage("Testing")
    split: Split | None = None
    if scene is None:
        path = _split_file(folder)
        scene = reopen(loaded.record, folder)
        split = splits.load(path, scene.labels, scene.valid)
        positions, true, left_out = split.test, split.test_ids, {"trained": 0, "unknown": 0}
    else:
        if scene.labels is None:
            raise LabelsError(f"scene {scene.name} has no labels to test on", hint="give --labels")
        ids = match_names(scene.labels, loaded.classes).ids
        labelled = (ids != UNLABELLED) & scene.valid
        known = labelled & np.isin(ids, loaded.class_ids)
        trained = np.zeros_like(known)
        if scene.sha256 == loaded.record.scene.get("sha256"):
            split = splits.load(_split_file(folder))
            trained = mask_of(np.concatenate([split.train, split.validation]), known.shape) & known
        positions, true = np.argwhere(known & ~trained), ids[known & ~trained]
        left_out = {
            "trained": int(np.count_nonzero(trained)),
            "unknown": int(np.count_nonzero(labelled & ~known)),
        }
        if not len(true) and left_out["trained"]:
            raise LabelsError(
                f"every labelled pixel of scene {scene.name} was trained on by {folder}",
                hint="give labels of other pixels, or train with --per-class or --fraction",
            )
        if not len(true):
            raise LabelsError(
                f"scene {scene.name} has no labelled pixel of the classes of {folder}",
                expected=", ".join(f"{i} ({name})" for i, name in loaded.classes.items()),
                got=", ".join(f"{i} ({name})" for i, name in scene.labels.classes.items()),
            )
    if left_out["trained"]:
        progress.note(f"{left_out['trained']} pixels that the run was trained on are not tested")
    if left_out["unknown"]:
        progress.note(
            f"{left_out['unknown']} labelled pixels are of classes that the run does not know and "
            "are not tested"
        )
    with told_to(progress.note):
        result = loaded.classify(_shown(loaded.record, scene, split), watch=progress.mapped)
    scores = score_map(result.ids, positions, true, loaded.class_ids)
    return Evaluation(scores, len(true), loaded.classes, left_out)


def _split_file(run: Path) -> Path:
    """The split of a run, without which its training pixels are not known."""
    if run.is_file():
        raise BundleError(
            f"{run} is an exported model, which does not hold the pixels that trained it",
            hint="test the run folder, or another labelled scene",
        )
    return run / SPLIT


def _shown(record: RunRecord, scene: Scene, split: Split | None) -> Scene:
    """The scene as the run's own test pixels were predicted: training pixels hidden, if they were.

    `split` is the run's, or None for another scene.
    """
    hidden = bool((record.split.get("leakage") or {}).get("training_hidden"))
    if split is None or not hidden:
        return scene
    return replace(scene, valid=without_training(scene, split))


def reopen(record: RunRecord, folder: Path) -> Scene:
    """The scene that a run was trained on.

    Paths that the record has relative are looked for from here, and from where the run was started
    if its folder lies there as the record says.

    Parameters
    ----------
    record : RunRecord
    folder : Path
        Of the run.

    Raises
    ------
    BundleError
        When it is not there, was in memory, or its file has changed since.
    """
    config = located(record.config, folder)
    if config.get("scene") == IN_MEMORY:
        raise BundleError(
            f"{folder} was trained on a scene in memory, which no file is known to hold",
            hint="name the scene to use",
        )
    bare = config.get("labels") == IN_MEMORY  # the split holds those that were used
    if bare:
        config = {n: value for n, value in config.items() if n not in ("labels", *LABEL_OPTIONS)}
    for name in ("scene", "labels"):
        spec = config.get(name)
        if spec is None or Path(spec).is_absolute() or exists(spec):
            continue
        if name == "labels" or not is_card(spec):
            raise BundleError(
                f"{folder} was trained on the {name} {spec!r}, relative to the folder it was "
                "started in, and that is not here",
                hint="start from that folder, or name the scene to use",
            )
    if "scene" not in config or "sha256" not in record.scene:
        raise BundleError("run.json does not name its scene", hint="name the scene to use")
    scene = open_configured(config)
    if scene.sha256 != record.scene["sha256"]:
        raise BundleError(
            f"scene {config['scene']} is not the file the run was trained on",
            expected=f"sha256 {record.scene['sha256']}",
            got=scene.sha256,
            hint="name the scene to use",
        )
    return replace(scene, labels=None) if bare else scene


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
