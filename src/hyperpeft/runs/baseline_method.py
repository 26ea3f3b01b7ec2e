"""A baseline in the place of an adapted backbone: same scene, split, scores and record."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hyperpeft.baselines import BASELINES, Fitted, Task
from hyperpeft.mapping import ClassMap
from hyperpeft.progress import Progress
from hyperpeft.records import UNLABELLED, Scene, Split
from hyperpeft.runs import sections
from hyperpeft.runs.config import RunConfig
from hyperpeft.runs.contract import Prepared, Trained, identity_of
from hyperpeft.training.checkpoint import Checkpoints
from hyperpeft.training.loop import Outcome


@dataclass(frozen=True)
class TrainedBaseline(Trained):
    """A fitted baseline, which predicts on the scene that it was fitted to."""

    fitted: Fitted = field(kw_only=True)

    def predict(
        self,
        scene: Scene,
        where: np.ndarray | None = None,
        *,
        probabilities: bool = False,
        watch: Callable[[int, int], None] | None = None,
    ) -> ClassMap:
        where = scene.valid if where is None else where
        start = time.monotonic()
        mapped = np.full(where.shape, UNLABELLED, np.int32)
        mapped[where] = self.fitted.predict(where, watch)
        return ClassMap(mapped, None, int(where.sum()), time.monotonic() - start)

    def save(self, folder: Path) -> None:
        return None


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
        )
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
            baseline.window(self.task.patch_size),
            fitted.reducer,
            dict.fromkeys(("name", "parameters", "weights_sha256", "pretrained")),
            sections.baseline_adapter_section(config.method, fitted.parameters, self.class_ids),
            Outcome(fitted.history, seconds, rate, fitted.precision, fitted.device),
            baseline={"source": baseline.source, **fitted.about},
            fitted=fitted,
        )
