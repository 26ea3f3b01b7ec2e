"""One run, from configuration to record: the sole composer of all other rooms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import PartialState

import hyperpeft
from hyperpeft import bundle, halving, learning, metrics, recording, runfolder, splits
from hyperpeft.baselines import BASELINES
from hyperpeft.bundle import SPLIT
from hyperpeft.checkpoints import CHECKPOINT
from hyperpeft.config import SPATIAL, RunConfig, read_config, settle
from hyperpeft.errors import BundleError, Interrupted, LabelsError, SplitError
from hyperpeft.inputs import located
from hyperpeft.learning import Progress
from hyperpeft.patches import check_patch_size
from hyperpeft.records import UNLABELLED, RunRecord, Scene, Split
from hyperpeft.scenes import LABEL_OPTIONS, exists, is_card, match_names, open_scene, read_labels

__all__ = ["Evaluation", "Progress", "RunConfig", "evaluate", "read_config", "run"]


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


def run(
    config: RunConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RunRecord:
    """Train on one scene, evaluate, map, and write a run folder.

    Parameters
    ----------
    config : RunConfig
    resume : bool
        Demand that an interrupted run is continued. Without it a checkpoint of the very same run
        is continued too; with it, one must be there.
    overwrite : bool
        Replace another run in `config.out`.
    progress : Progress, optional

    Returns
    -------
    RunRecord
        As in `run.json`.

    Raises
    ------
    InputError
        Whatever is wrong with scene, labels, split, weights or configuration.
    Interrupted
        After Ctrl-C, once the state has been saved.
    """
    try:
        with torch.random.fork_rng():  # the caller's random state stays as it was
            return _run(config, resume, overwrite, progress or Progress())
    except KeyboardInterrupt:
        if not (config.out / CHECKPOINT).is_file():
            raise
        raise Interrupted(
            "interrupted",
            do=f"the state is saved in {config.out}; the same command with --resume continues",
        ) from None


def _run(config: RunConfig, resume: bool, overwrite: bool, progress: Progress) -> RunRecord:
    config = settle(config)
    check_options(config)
    with runfolder.held(config, resume, overwrite):
        return _compose(config, overwrite, progress)


def _compose(config: RunConfig, overwrite: bool, progress: Progress) -> RunRecord:
    progress.stage("Reading the scene")
    scene = labelled_scene(config)
    split = _split(config, scene)
    ids = np.unique(split.train_ids)
    if len(ids) < 2:
        raise SplitError("classes to tell apart", expected="at least 2", got=len(ids))
    where = scene.valid if config.map else _mask(split.test, scene.valid.shape)
    notes = [*scene.notes, *split.notes]
    for note in notes:
        progress.note(note)

    def told(note: str) -> None:
        notes.append(note)
        progress.note(note)

    learn = learning.fit if config.method in BASELINES else learning.adapt
    with halving.told_to(told):
        learned = learn(config, scene, split, ids, where, overwrite=overwrite, progress=progress)
    assert scene.labels is not None
    record = RunRecord(
        hyperpeft=hyperpeft.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config={**config.model_dump(mode="json"), **learned.settled},
        scene=recording.scene_section(scene, scene.labels),
        reducer=learned.reducer,
        split=recording.split_section(split, scene, learned.window),
        backbone=learned.backbone,
        adapter=learned.adapter,
        metrics=_score(learned.mapped.ids, split.test, split.test_ids, ids),
        timing=recording.timing_section(learned.outcome, learned.mapped),
        environment=recording.environment_section(learned.outcome, config.seed),
        notes=[*notes, *learned.notes],
        baseline=learned.baseline,
    )
    if not PartialState().is_main_process:
        return record
    written = runfolder.write(config, record, learned.fitted_reducer, split, scene, learned.mapped)
    for note in written.notes[len(record.notes) :]:
        progress.note(note)
    return written


def evaluate(
    folder: Path,
    scene: Scene | None = None,
    *,
    backbone: str | Path | None = None,
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
    progress : Progress, optional

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        A damaged folder, a scene that does not fit it, or labels without a class of the run.
    """
    progress = progress or Progress()
    loaded = bundle.load_run(folder, backbone=backbone)
    progress.stage("Testing")
    if scene is None:
        scene = reopen(loaded.record, folder)
        split = splits.load(folder / SPLIT, scene.labels, scene.valid)
        positions, true, left_out = split.test, split.test_ids, {"trained": 0, "unknown": 0}
    else:
        if scene.labels is None:
            raise LabelsError(f"scene {scene.name} has no labels to test on", do="give --labels")
        ids = match_names(scene.labels, loaded.classes).ids
        labelled = (ids != UNLABELLED) & scene.valid
        known = labelled & np.isin(ids, loaded.class_ids)
        trained = np.zeros_like(known)
        if scene.sha256 == loaded.record.scene.get("sha256"):
            split = splits.load(folder / SPLIT)
            trained = _mask(np.concatenate([split.train, split.validation]), known.shape) & known
        positions, true = np.argwhere(known & ~trained), ids[known & ~trained]
        left_out = {
            "trained": int(np.count_nonzero(trained)),
            "unknown": int(np.count_nonzero(labelled & ~known)),
        }
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
    with halving.told_to(progress.note):
        result = loaded.classify(scene, watch=progress.mapped)
    scores = _score(result.ids, positions, true, loaded.class_ids)
    return Evaluation(scores, len(true), loaded.classes, left_out)


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
        When it is not there, or its file has changed since.
    """
    config = located(record.config, folder)
    for name in ("scene", "labels"):
        spec = config.get(name)
        if spec is None or Path(spec).is_absolute() or exists(spec):
            continue
        if name == "labels" or not is_card(spec):
            raise BundleError(
                f"{folder} was trained on the {name} {spec!r}, relative to the folder it was "
                "started in, and that is not here",
                do="start from that folder, or name the scene to use",
            )
    if "scene" not in config or "sha256" not in record.scene:
        raise BundleError("run.json does not name its scene", do="name the scene to use")
    scene = _open(config)
    if scene.sha256 != record.scene["sha256"]:
        raise BundleError(
            f"scene {config['scene']} is not the file the run was trained on",
            expected=f"sha256 {record.scene['sha256']}",
            got=scene.sha256,
            do="name the scene to use",
        )
    return scene


def _open(config: Mapping[str, Any]) -> Scene:
    """The scene of a configuration; a run of an older version lacks the later options."""
    labels = config.get("labels")
    of_masks = labels is None and "," in (config.get("split") or "")
    how = {} if of_masks else {name: config[name] for name in LABEL_OPTIONS if name in config}
    return open_scene(config["scene"], labels, config.get("layout"), **how)


def check_options(config: RunConfig) -> None:
    """Find what is wrong with the options of the method and the window before any work."""
    check_patch_size(config.largest_window)
    learning.check(config)


def labelled_scene(config: RunConfig) -> Scene:
    """The scene with labels, and with the masks of two rasters where --split names them."""
    values = config.model_dump()
    scene = _open(values)
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
            f"scene {config.scene} has no labels", do="give them with --labels FILE[:KEY]"
        )
    return scene


def _split(config: RunConfig, scene: Scene) -> Split:
    """Draw or read the split that the configuration asks for."""
    labels = scene.labels
    assert labels is not None
    how: dict[str, Any] = {
        "seed": config.seed,
        "validation": config.validation,
        "valid": scene.valid,
    }
    if config.split in SPATIAL:
        draw = splits.disjoint if config.split == "disjoint" else splits.polygons
        n = None if config.fraction is not None else config.per_class or 10
        # The split comes before the window is chosen: keep apart what any of them would join.
        size = config.largest_window
        # Methods with windows of different sizes share one split when these two are given.
        window = config.split_window or size
        if (config.split_gap or window // 2 + 1) <= size // 2:
            raise SplitError(
                f"split_window, split_gap: a window of {size} reaches training pixels",
                expected=f"a gap of more than {size // 2}",
                got=config.split_gap or window // 2 + 1,
            )
        how["gap"] = config.split_gap
        return draw(labels, window=window, n=n, share=config.fraction, **how)
    if config.fraction is not None:
        return splits.fraction(labels, config.fraction, **how)
    if config.split is None:
        return splits.per_class(labels, config.per_class or 10, **how)
    if config.split == "official" or "," in config.split:
        if scene.masks is None:
            raise SplitError(
                f"scene {scene.name} has no official training and test rasters",
                do="give --split TRAIN,TEST with two label files, or --per-class N",
            )
        kind = "official" if config.split == "official" else "rasters"
        return splits.from_masks(*scene.masks, kind=kind, **how)
    return splits.load(Path(config.split), labels, scene.valid)


def _mask(positions: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(positions.T)] = True
    return mask


def _score(
    predicted: np.ndarray, positions: np.ndarray, true: np.ndarray, ids: np.ndarray
) -> dict[str, Any]:
    """Scores of a class map (H, W) at positions (n, 2) with true ids (n,)."""
    every = np.union1d(ids, true)  # official test rasters may hold classes that never trained
    confusion = metrics.confusion_matrix(true, predicted[tuple(positions.T)], every)
    return {"class_ids": every.tolist(), **metrics.scores(confusion, every)}
