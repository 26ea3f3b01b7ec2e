"""The scene of a run, with the labels and masks that its configuration names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hyperpeft.errors import LabelsError
from hyperpeft.records import Scene
from hyperpeft.runs.config import RunConfig
from hyperpeft.scenes import LABEL_OPTIONS, match_names, open_scene, read_labels


def open_configured(config: Mapping[str, Any]) -> Scene:
    """The scene of a configuration; a run of an older version lacks the later options."""
    labels = config.get("labels")
    of_masks = labels is None and "," in (config.get("split") or "")
    how = {} if of_masks else {name: config[name] for name in LABEL_OPTIONS if name in config}
    return open_scene(config["scene"], labels, config.get("layout"), **how)


def labelled_scene(config: RunConfig) -> Scene:
    """The scene with labels, and with the masks of two rasters where --split names them."""
    values = config.model_dump()
    scene = open_configured(values)
    scene = with_masks(scene, config.split, {name: values[name] for name in LABEL_OPTIONS})
    if scene.labels is None:
        raise LabelsError(
            f"scene {config.scene} has no labels", hint="give them with --labels FILE[:KEY]"
        )
    return scene


def with_masks(scene: Scene, split: str | None, how: Mapping[str, Any]) -> Scene:
    """The scene with the training and test labels of a split "TRAIN,TEST"; else as it is.

    A scene without labels gets those of TRAIN.

    Parameters
    ----------
    scene : Scene
    split : str or None
        As in a configuration.
    how : mapping
        Options of `read_labels`.
    """
    if split is None or "," not in split:
        return scene
    train, _, test = split.partition(",")
    first, second = (read_labels(file, scene=scene, **how) for file in (train, test))
    if scene.labels is not None:
        first = match_names(first, scene.labels.classes)
    masks = (first, match_names(second, first.classes))
    new = [note for note in first.notes + second.notes if note not in scene.notes]
    scene = replace(scene, masks=masks, notes=(*scene.notes, *new))
    return scene if scene.labels is not None else scene.with_labels(masks[0])
