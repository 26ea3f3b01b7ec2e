"""One run, from configuration to record: the sole composer of all other rooms."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import torch
from accelerate import PartialState

from hyperpeft import splits
from hyperpeft._version import __version__
from hyperpeft.baselines import BASELINES
from hyperpeft.errors import Interrupted, SplitError
from hyperpeft.patches import check_patch_size
from hyperpeft.progress import Progress
from hyperpeft.records import Scene, Split
from hyperpeft.runs import folder as run_folder
from hyperpeft.runs import methods, sections
from hyperpeft.runs.config import RunConfig, resolve_defaults
from hyperpeft.runs.config_files import read_config
from hyperpeft.runs.evaluate import Evaluation, evaluate
from hyperpeft.runs.labelled_scene import labelled_scene
from hyperpeft.runs.record import RunRecord
from hyperpeft.runs.scoring import mask_of, score_map
from hyperpeft.training import batching
from hyperpeft.training.checkpoint import CHECKPOINT

__all__ = ["Evaluation", "Progress", "RunConfig", "evaluate", "read_config", "run"]


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
            hint=f"the state is saved in {config.out}; the same command with --resume resumes",
        ) from None


def _run(config: RunConfig, resume: bool, overwrite: bool, progress: Progress) -> RunRecord:
    config = resolve_defaults(config)
    check_options(config)
    with run_folder.held(config, resume, overwrite):
        return _compose(config, overwrite, progress)


def _compose(config: RunConfig, overwrite: bool, progress: Progress) -> RunRecord:
    progress.stage("Reading the scene")
    scene = labelled_scene(config)
    split = select_split(config, scene)
    ids = np.unique(split.train_ids)
    if len(ids) < 2:
        raise SplitError("classes to tell apart", expected="at least 2", got=len(ids))
    where = scene.valid if config.map else mask_of(split.test, scene.valid.shape)
    notes = [*scene.notes, *split.notes]
    for note in notes:
        progress.note(note)

    def told(note: str) -> None:
        notes.append(note)
        progress.note(note)

    learn = methods.fit if config.method in BASELINES else methods.adapt
    with batching.told_to(told):
        learned = learn(config, scene, split, ids, where, overwrite=overwrite, progress=progress)
    assert scene.labels is not None
    record = RunRecord(
        hyperpeft=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config={**config.model_dump(mode="json"), **learned.settled},
        scene=sections.scene_section(scene, scene.labels),
        reducer=learned.reducer,
        split=sections.split_section(split, scene, learned.window),
        backbone=learned.backbone,
        adapter=learned.adapter,
        metrics=score_map(learned.mapped.ids, split.test, split.test_ids, ids),
        timing=sections.timing_section(learned.outcome, learned.mapped),
        environment=sections.environment_section(learned.outcome, config.seed),
        notes=[*notes, *learned.notes],
        baseline=learned.baseline,
    )
    if not PartialState().is_main_process:
        return record
    written = run_folder.write(config, record, learned.fitted_reducer, split, scene, learned.mapped)
    for note in written.notes[len(record.notes) :]:
        progress.note(note)
    return written


def check_options(config: RunConfig) -> None:
    """Find what is wrong with the options of the method and the window before any work."""
    check_patch_size(config.largest_window)
    methods.check(config)


def select_split(config: RunConfig, scene: Scene) -> Split:
    """Draw or read the split that the configuration asks for."""
    assert scene.labels is not None
    return splits.select(
        splits.SplitRequest(
            scene.labels,
            scene.valid,
            config.split,
            scene.masks,
            config.per_class,
            config.fraction,
            config.seed,
            config.validation,
            # The split comes before the window is chosen: keep apart what any of them would join.
            reach=config.largest_window,
            # Methods with windows of different sizes share one split when these two are given.
            window=config.split_window,
            gap=config.split_gap,
            scene=scene.name,
        )
    )
