"""The adapter family on a backbone: linear probe, adapters, full fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hyperpeft import adapters, spectral
from hyperpeft.mapping import EncoderPredictor
from hyperpeft.models import image_size_of, load_backbone, weights_sha256
from hyperpeft.models.spectralgpt import SpectralGPT
from hyperpeft.models.windows import Windows
from hyperpeft.progress import Progress
from hyperpeft.records import Scene, Split
from hyperpeft.runs import sections
from hyperpeft.runs.config import FOLLOW_LABELS, RunConfig
from hyperpeft.runs.file_names import REDUCER
from hyperpeft.runs.methods.contract import Prepared, Trained, identity_of
from hyperpeft.runs.methods.free_adaptation import (
    Verdict,
    compare,
    free_recipe,
    is_worth_trying,
    trial_folds,
)
from hyperpeft.runs.methods.memory_check import check_memory
from hyperpeft.runs.methods.refinement import dense_recipe, recipe_applies
from hyperpeft.runs.weight_files import save_weights
from hyperpeft.spectral import Reducer
from hyperpeft.splits import split_kind
from hyperpeft.training.checkpoint import Checkpoints
from hyperpeft.training.classifier import Classifier, check_outputs
from hyperpeft.training.loop import Pixels, Recipe, Trainer
from hyperpeft.training.model_selection import Folds, clumps, honest_folds
from hyperpeft.training.precision import choose_precision, processes
from hyperpeft.training.window_search import MOST, Selection, select_windows


@dataclass(frozen=True)
class TrainedAdapter(Trained):
    """A trained classifier; its adapters are merged in place.

    Attributes
    ----------
    method, base : str
        Names of the method and of the base model.
    """

    method: str = field(kw_only=True)
    base: str = field(kw_only=True)

    @property
    def own_reducer(self) -> Reducer:
        assert isinstance(self.predictor, EncoderPredictor)
        return self.predictor.reducer

    def save(self, folder: Path) -> int:
        assert isinstance(self.predictor, EncoderPredictor)
        size = save_weights(folder, self.predictor.model, self.method, self.base)
        self.predictor.reducer.to_file(folder / REDUCER)
        return size


class PreparedAdapter(Prepared):
    """A classifier with attached adapters, its window selected and its head fitted."""

    resumable = True

    def __init__(
        self,
        config: RunConfig,
        scene: Scene,
        split: Split,
        progress: Progress,
        *,
        follows_labels: bool = True,
    ) -> None:
        self.dense = follows_labels and recipe_applies(config, split, scene)
        if self.dense:
            config = dense_recipe(config, len(split.train))
        self.config, self.scene, self.split = config, scene, split
        self.method = adapters.get_method(config.method)
        self.class_ids = np.unique(split.train_ids)
        device = processes().device
        self.precision = choose_precision(config.precision, device)
        encoder = self._load_encoder(scene)
        progress.stage("Reducing to 12 bands")
        self.reducer = spectral.fit(
            scene,
            reduce=config.reduce,
            normalise=config.normalise,
            fit_on=config.fit_on,
            train=split.train,
            reflectance_scale=config.reflectance_scale,
        )
        cube = self.reducer.reduce(scene)
        self.backbone: dict[str, Any] = {
            "name": config.backbone,
            "parameters": sections.count(encoder.parameters()),
            "weights_sha256": weights_sha256(encoder.state_dict()),
            "pretrained": encoder.pretrained,
        }
        self.notes = [*self.reducer.notes, self._about_weights()]
        for note in self.notes:
            progress.note(note)
        _attach(encoder, config)
        self.follows_labels = follows_labels
        self.train = self._pixels(split.train, split.train_ids)
        self.validation = self._validation(progress)
        self._select_windows(encoder, cube, progress)
        self.identity = identity_of(config, scene, split, self.backbone["weights_sha256"])

    def _load_encoder(self, scene: Scene) -> Any:
        config = self.config
        self.image_size = config.image_size or image_size_of(
            config.backbone, pretrained=config.pretrained
        )
        encoder = load_backbone(
            config.backbone,
            self.image_size,
            config.num_heads,
            stride=config.stride,
            pretrained=config.pretrained,
        )
        check_memory(config, scene, len(self.split.train), encoder)
        encoder.gradient_checkpointing = config.gradient_checkpointing
        return encoder

    def _about_weights(self) -> str:
        name = self.backbone["name"]
        if not self.backbone["pretrained"]:
            return f"backbone {name} is not pretrained: a seeded initialisation"
        digest = str(self.backbone["weights_sha256"])[:12]
        return f"backbone {name} starts from pretrained weights ({digest})"

    def _select_windows(self, encoder: SpectralGPT, cube: np.ndarray, progress: Progress) -> None:
        """Select the windows, make the classifier and fit its heads."""
        config, device = self.config, processes().device
        count, auto = len(self.class_ids), config.patch_size == "auto"
        sizes = config.windows
        self.windows_tried: list[dict[str, Any]] = []
        self.selection: Selection | None = None
        if auto or config.head == "ridge":
            progress.stage("Selecting the windows" if auto else "Fitting the head")
            frozen = Classifier(encoder, count, centre=config.centre).to(device)
            self.selection = select_windows(
                frozen,
                cube,
                self.train,
                sizes,
                self.folds,
                precision=self.precision,
                most=MOST if auto else len(sizes),
            )
            self.windows_tried = [candidate._asdict() for candidate in self.selection.tried]
            sizes = self.selection.windows
        if auto:
            names = ", ".join(f"{size} x {size}" for size in sizes)
            progress.note(f"windows of {names}, selected on the training pixels")
        self.patch_sizes = sizes
        self.model = Classifier(
            encoder, count, config.seed, centre=config.centre, windows=sizes
        ).to(device)
        if self.selection is not None and config.head == "ridge":
            self.model.start_heads(self.selection.heads, self.selection.factor)
        self.windows = [Windows(cube, size, device) for size in sizes]

    @cached_property
    def folds(self) -> Folds:
        """Folds of the training pixels, by which everything is selected."""
        return honest_folds(
            self.split.train,
            self.train.targets.numpy(),
            self.scene.valid,
            self.config.seed,
            self._regions,
        )

    @property
    def _regions(self) -> np.ndarray | None:
        """The polygon (n,) that each training pixel was drawn in; None where none were drawn."""
        labels = self.scene.labels
        if labels is None or labels.regions is None:
            return None
        return labels.regions[tuple(self.split.train.T)]

    def _pixels(self, positions: np.ndarray, true: np.ndarray) -> Pixels:
        targets = np.searchsorted(self.class_ids, true).astype(np.int64)
        return Pixels(torch.from_numpy(positions.astype(np.int64)), torch.from_numpy(targets))

    def _validation(self, progress: Progress) -> Pixels:
        """The validation pixels of classes that train: no other can be right."""
        split = self.split
        known = np.isin(split.validation_ids, self.class_ids)
        if not known.all():
            self.notes.append(
                f"{np.count_nonzero(~known)} validation pixels are of classes that do not train "
                "and were left out"
            )
            progress.note(self.notes[-1])
        return self._pixels(split.validation[known], split.validation_ids[known])

    def _fit(self, progress: Progress, checkpoints: Checkpoints | None) -> TrainedAdapter:
        verdict = self._adapt_freely_if_it_pays(progress)
        config, model, sizes = self.config, self.model, self.patch_sizes
        progress.stage("Training")
        outcome = Trainer(
            model,
            self.windows,
            self.train,
            self.validation,
            self._recipe(),
            seed=config.seed,
            checkpoints=checkpoints,
            precision=config.precision,
            watch=progress.trained,
        ).run()
        # The loss of each step was finite, but nothing has looked behind the last one.
        most = -(-config.batch_size // config.accumulate)
        check_outputs(model, self.windows, self.train.positions[:most], outcome.precision)
        adapter = sections.adapter_section(model, config.method, self.class_ids)
        adapter["windows_tried"] = self.windows_tried
        if verdict is not None:
            adapter["free_adaptation"] = verdict._asdict()
        _merge(model)
        return TrainedAdapter(
            self.class_ids.astype(np.int32),
            max(sizes),
            sections.reducer_section(self.reducer),
            self.backbone,
            adapter,
            outcome,
            self.notes,
            resolved={
                **{name: getattr(config, name) for name in FOLLOW_LABELS},
                "patch_size": sizes[0] if len(sizes) == 1 else list(sizes),
                "image_size": self.image_size,
                "lr": config.rate,
            },
            predictor=EncoderPredictor(
                model, self.reducer, self.class_ids, sizes, outcome.precision
            ),
            method=config.method,
            base=config.backbone,
        )

    def _adapt_freely_if_it_pays(self, progress: Progress) -> Verdict | None:
        """Adapt freely or not at all, as the training pixels say; None where it is not tried."""
        device, targets = processes().device, self.train.targets.numpy()
        width = self.model.encoder.dim
        if self.dense or not self.follows_labels or self.selection is None:
            return None
        if not is_worth_trying(self.config, targets, width, device.type):
            return None
        plain, selection = self.config, self.selection
        progress.stage("Selecting how far to adapt")
        self.config = free_recipe(plain, targets)
        reach, spatial = max(self.patch_sizes) // 2, split_kind(plain.split).spatial
        where, regions = self.split.train, self._regions if spatial else None
        folds = trial_folds(where, targets, reach, plain.seed, regions, spatial=spatial)
        groups = np.arange(len(where))
        if spatial:
            groups = clumps(where, targets, max(reach, 1), regions)
        verdict = compare(
            self._untrained,
            self.windows,
            self.train,
            selection,
            self._recipe(),
            folds,
            groups,
            seed=plain.seed,
            precision=plain.precision,
            watch=progress.trained,
        )
        progress.note(verdict.note)
        self.notes.append(verdict.note)
        if verdict.adapts:
            self.model = self._untrained()
        else:
            self.config = plain
            self.model.encoder.requires_grad_(False)
        return verdict

    def _untrained(self) -> Classifier:
        """A classifier of the selected windows with the configuration's adapters."""
        config = self.config
        encoder = self._load_encoder(self.scene)
        _attach(encoder, config)
        model = Classifier(
            encoder,
            len(self.class_ids),
            config.seed,
            centre=config.centre,
            windows=self.patch_sizes,
        )
        return model.to(processes().device)

    def _recipe(self) -> Recipe:
        config = self.config
        return Recipe(
            epochs=config.epochs,
            batch_size=config.batch_size,
            lr=config.rate,
            head_lr=config.head_lr,
            lam=config.lam if self.method.plus else 1.0,
            weight_decay=config.weight_decay,
            label_smoothing=config.label_smoothing,
            warmup=config.warmup,
            augment=config.augment,
            patience=config.patience,
            accumulate=config.accumulate,
        )


def _attach(encoder: nn.Module, config: RunConfig) -> None:
    adapters.attach(
        encoder,
        config.method,
        config.targets,
        blocks=config.blocks,
        seed=config.seed,
        **config.options,
    )


def _merge(model: Classifier) -> None:
    """Add the deltas to the weights, so that predicting costs what the plain encoder costs."""
    encoder: nn.Module = model.encoder
    for adapter in adapters.adapters_of(encoder).values():
        adapter.merge_()
