"""One run, from configuration to record: the composition of all other packages."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

import torch

from hyperpeft import splits
from hyperpeft._version import __version__
from hyperpeft.errors import ConfigError, Interrupted, NotFiniteError
from hyperpeft.mapping import ClassMap
from hyperpeft.metrics import score_map
from hyperpeft.models.patch_geometry import check_patch_size
from hyperpeft.progress import Progress, default_progress, told_to
from hyperpeft.records import Scene, Split, mask_of, without_training
from hyperpeft.runs import folder as run_folder
from hyperpeft.runs import methods, sections
from hyperpeft.runs.config import RunConfig, resolve_defaults
from hyperpeft.runs.config_files import read_config
from hyperpeft.runs.evaluate import Evaluation, evaluate
from hyperpeft.runs.labelled_scene import labelled_scene
from hyperpeft.runs.methods.contract import Trained
from hyperpeft.runs.record import RunRecord
from hyperpeft.splits import split_kind
from hyperpeft.training.checkpoint import CHECKPOINT, Checkpoints
from hyperpeft.training.precision import processes

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
        By default a bar in a notebook, and nothing elsewhere.

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
    if not isinstance(config, RunConfig):
        raise ConfigError(
            "run", expected="a RunConfig", got=f"a {type(config).__name__}",
            hint="make one: hyperpeft.RunConfig(scene=..., out=...)",
        )  # fmt: skip
    try:
        with torch.random.fork_rng():  # the caller's random state stays as it was
            return _run(config, resume, overwrite, progress or default_progress())
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
    with run_folder.run_folder(config, resume, overwrite):
        return _compose(config, overwrite, progress)


def _compose(config: RunConfig, overwrite: bool, progress: Progress) -> RunRecord:
    progress.stage("Reading the scene")
    scene = labelled_scene(config)
    split = select_split(config, scene)
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        progress.note(text)

    for text in (*scene.notes, *split.notes):
        note(text)
    with told_to(note):
        trained = _train(config, scene, split, overwrite, progress)
        progress.fitted(trained, scene)
        progress.stage("Mapping" if config.map else "Testing")
        predicted = _predict(config, scene, split, trained, progress)
    record = _record(config, scene, split, trained, predicted, notes)
    if not processes().is_main_process:
        return record
    written = run_folder.write(config, record, trained, split, scene, predicted.mapped)
    for text in written.notes[len(record.notes) :]:
        progress.note(text)
    return written


def _record(
    config: RunConfig,
    scene: Scene,
    split: Split,
    trained: Trained,
    predicted: Predicted,
    notes: list[str],
) -> RunRecord:
    """The record of a finished run."""
    assert scene.labels is not None
    return RunRecord(
        hyperpeft=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        config={**config.model_dump(mode="json"), **trained.resolved},
        scene=sections.scene_section(scene, scene.labels),
        reducer=trained.reducer,
        split=sections.split_section(split, scene, 2 * trained.reach + 1, hidden=predicted.hidden),
        backbone=trained.backbone,
        adapter=trained.adapter,
        metrics=score_map(predicted.tested.ids, split.test, split.test_ids, trained.class_ids),
        timing=sections.timing_section(trained.outcome, predicted.tested),
        environment=sections.environment_section(trained.outcome, config.seed),
        notes=[*notes, *trained.notes],
        baseline=trained.baseline,
    )


def _train(
    config: RunConfig, scene: Scene, split: Split, overwrite: bool, progress: Progress
) -> Trained:
    """Train in the run folder: checkpoints go there, and an earlier run is cleared."""
    prepared = methods.prepare(config, scene, split, progress)
    if not prepared.resumable:
        trained = prepared.fit(progress)
        if overwrite:  # only now: a mistake in the options must not cost the earlier run
            run_folder.clear(config.out)
        return trained
    if overwrite:
        run_folder.clear(config.out)
    try:
        return prepared.fit(progress, Checkpoints(config.out, prepared.identity))
    except NotFiniteError:
        run_folder.clear(config.out)  # of no use to resume from
        with suppress(OSError):
            config.out.rmdir()
        raise


def train(config: RunConfig, scene: Scene, split: Split, progress: Progress) -> Trained:
    """Train on a scene and a split in memory; nothing is written.

    The same configuration, scene and split train as `run` does, to the last bit.
    """
    config = resolve_defaults(config)
    check_options(config)
    with torch.random.fork_rng(), told_to(progress.note):
        return methods.prepare(config, scene, split, progress).fit(progress)


def save_run(
    config: RunConfig, scene: Scene, split: Split, trained: Trained, overwrite: bool
) -> RunRecord:
    """Write the run folder of what `train` has learned."""
    config = resolve_defaults(config)
    with run_folder.run_folder(config, False, overwrite, (scene, split)):
        predicted = _predict(config, scene, split, trained, Progress())
        notes = [*scene.notes, *split.notes]
        record = _record(config, scene, split, trained, predicted, notes)
        if overwrite:  # only now: a failure must not cost the earlier run
            run_folder.clear(config.out)
        return run_folder.write(config, record, trained, split, scene, predicted.mapped)


def split_for(config: RunConfig, scene: Scene) -> Split:
    """The split that `run` draws with this configuration."""
    return select_split(resolve_defaults(config), scene)


class Predicted(NamedTuple):
    """What a method says of its scene.

    Attributes
    ----------
    mapped : ClassMap
        Of the whole scene, or of the test pixels alone.
    tested : ClassMap
        That the test pixels are scored by.
    hidden : bool
        Whether the training pixels were taken for not valid in `tested`.
    """

    mapped: ClassMap
    tested: ClassMap
    hidden: bool


def _predict(
    config: RunConfig, scene: Scene, split: Split, trained: Trained, progress: Progress
) -> Predicted:
    """Map the scene, or its test pixels, as the configuration says."""
    hidden = _must_hide(config, scene, split, trained)
    test = mask_of(split.test, scene.valid.shape)
    shown = replace(scene, valid=without_training(scene, split)) if hidden else scene
    where = shown.valid if config.map and not hidden else test
    tested = trained.predict(shown, where, watch=progress.mapped)
    mapped = tested
    if config.map and hidden:
        mapped = trained.predict(scene, watch=progress.mapped)
    return Predicted(mapped, tested, hidden)


def _must_hide(config: RunConfig, scene: Scene, split: Split, trained: Trained) -> bool:
    """Whether a spatial split promises more than its distances keep.

    The windows of the encoder never hold a training pixel there. Context features and refinement
    look further: where that reaches a training pixel, the training pixels are taken for not valid
    while the test pixels are predicted, so that nothing of them is seen.
    """
    if not split_kind(config.split).spatial:
        return False
    return bool(splits.leakage(split, scene.valid.shape, 2 * trained.reach + 1))


def check_options(config: RunConfig) -> None:
    """Find what is wrong with the options of the method and the window before any work."""
    for size in config.windows:
        check_patch_size(size)
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
