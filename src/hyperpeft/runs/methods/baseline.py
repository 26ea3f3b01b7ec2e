"""A baseline in the place of an adapted backbone: same scene, split, scores and record."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hyperpeft.baselines import BASELINES, Baseline, Task
from hyperpeft.progress import Progress
from hyperpeft.records import Scene, Split
from hyperpeft.runs import sections
from hyperpeft.runs.config import RunConfig
from hyperpeft.runs.methods.baseline_files import save_baseline
from hyperpeft.runs.methods.contract import Prepared, Trained, identity_of
from hyperpeft.training.checkpoint import Checkpoints
from hyperpeft.training.loop import Outcome

# Options that no baseline reads, beside those of the backbone, and those of training by epochs.
UNREAD = (
    "recipe", "reduce", "normalise", "reflectance_scale", "centre", "head", "accumulate", "head_lr",
    "lam", "warmup", "gradient_checkpointing", "precision",
)  # fmt: skip
BY_EPOCHS = (
    "epochs", "batch_size", "lr", "weight_decay", "label_smoothing", "augment", "patience",
)  # fmt: skip


@dataclass(frozen=True)
class TrainedBaseline(Trained):
    """A fitted baseline."""

    def save(self, folder: Path) -> int | None:
        return save_baseline(folder, self.predictor)


def _unread(config: RunConfig, baseline: Baseline) -> list[str]:
    """Options that were given and change nothing."""
    names = UNREAD if baseline.by_epochs else (*UNREAD, *BY_EPOCHS)
    return [
        name
        for name in names
        if name in config.model_fields_set
        and getattr(config, name) != RunConfig.model_fields[name].default
    ]


class PreparedBaseline(Prepared):
    """A baseline and its task."""

    def __init__(self, config: RunConfig, scene: Scene, split: Split, progress: Progress) -> None:
        self.config, self.scene, self.split = config, scene, split
        self.class_ids = np.unique(split.train_ids)
        self.baseline, self.notes = BASELINES[config.method], []
        self.task = Task(
            scene,
            split,
            patch_size=config.largest_window,
            fit_on=config.fit_on,
            seed=config.seed,
            options=config.options,
            trained=progress.trained,
            epochs=config.epochs,
            batch_size=config.batch_size,
            lr=config.lr,
            weight_decay=config.weight_decay,
            label_smoothing=config.label_smoothing,
            augment=config.augment,
            patience=config.patience,
        )
        unread = _unread(config, self.baseline)
        if unread:
            self.notes.append(f"{config.method} does not use {', '.join(unread)}")
            progress.note(self.notes[-1])
        self.identity = identity_of(config, scene, split)

    def _fit(self, progress: Progress, checkpoints: Checkpoints | None) -> TrainedBaseline:
        baseline, config = self.baseline, self.config
        progress.stage(f"Fitting {baseline.name}")
        start = time.monotonic()
        fitted = baseline.fit(self.task)
        seconds = time.monotonic() - start
        rate = fitted.samples / seconds if fitted.samples and seconds > 0 else None
        return TrainedBaseline(
            self.class_ids.astype(np.int32),
            2 * fitted.predictor.reach + 1,
            fitted.reducer,
            dict.fromkeys(("name", "parameters", "weights_sha256", "pretrained")),
            sections.baseline_adapter_section(config.method, fitted.parameters, self.class_ids),
            Outcome(fitted.history, seconds, rate, fitted.precision, fitted.device),
            self.notes,
            baseline={"source": baseline.source, **fitted.about},
            predictor=fitted.predictor,
        )
