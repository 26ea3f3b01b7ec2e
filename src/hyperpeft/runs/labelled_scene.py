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
    if config.split is not None and "," in config.split:
        train, _, test = config.split.partition(",")
        how = {name: values[name] for name in LABEL_OPTIONS}
        first, second = (read_labels(file, scene=scene, **how) for file in (train, test))
        if scene.labels is not None:
            first = match_names(first, scene.labels.classes)
        masks = (first, match_names(second, first.classes))
        new = [note for note in first.notes + second.notes if note not in scene.notes]
        scene = replace(scene, masks=masks, notes=(*scene.notes, *new))
        if scene.labels is None:
            scene = scene.with_labels(masks[0])
    if scene.labels is None:
        raise LabelsError(
            f"scene {config.scene} has no labels", hint="give them with --labels FILE[:KEY]"
        )
    return scene
