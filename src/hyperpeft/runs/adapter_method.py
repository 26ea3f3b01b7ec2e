"""The adapter family on a backbone: linear probe, adapters, full fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import nn

from hyperpeft import adapters, spectral
from hyperpeft.mapping import ClassMap, EncoderPredictor, classify
from hyperpeft.models import image_size_of, load_backbone, weights_sha256
from hyperpeft.patches import Windows
from hyperpeft.progress import Progress
from hyperpeft.records import Scene, Split
from hyperpeft.runs import bundle, sections
from hyperpeft.runs.config import WINDOWS, RunConfig
from hyperpeft.runs.contract import Prepared, Trained, identity_of
from hyperpeft.runs.file_names import REDUCER
from hyperpeft.runs.memory_check import check_memory
from hyperpeft.training.checkpoint import Checkpoints
from hyperpeft.training.classifier import Classifier, check_outputs
from hyperpeft.training.loop import Pixels, Recipe, Trainer
from hyperpeft.training.precision import choose_precision
from hyperpeft.training.window_search import choose


@dataclass(frozen=True)
class TrainedAdapter(Trained):
    """A trained classifier; its adapters are merged in place.

    Attributes
    ----------
    predictor : EncoderPredictor
    method, base : str
        Names of the method and of the base model.
    """

    predictor: EncoderPredictor = field(kw_only=True)
    method: str = field(kw_only=True)
    base: str = field(kw_only=True)

    def predict(
        self,
        scene: Scene,
        where: np.ndarray | None = None,
        *,
        probabilities: bool = False,
        watch: Callable[[int, int], None] | None = None,
    ) -> ClassMap:
        return classify(self.predictor, scene, where, probabilities=probabilities, watch=watch)

    def save(self, folder: Path) -> int:
        size = bundle.save_weights(folder, self.predictor.model, self.method, self.base)
        self.predictor.reducer.to_file(folder / REDUCER)
        return size


class PreparedAdapter(Prepared):
    """A classifier with attached adapters, its window selected and its head fitted."""

    resumable = True

    def __init__(self, config: RunConfig, scene: Scene, split: Split, progress: Progress) -> None:
        self.config, self.split = config, split
        self.method = adapters.get_method(config.method)
        self.class_ids = np.unique(split.train_ids)
        device = PartialState().device
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
        adapters.attach(
            encoder,
            config.method,
            config.targets,
            blocks=config.blocks,
            seed=config.seed,
            **config.options,
        )
        count = len(self.class_ids)
        self.model = Classifier(encoder, count, config.seed, centre=config.centre).to(device)
        self.train = self._pixels(split.train, split.train_ids)
        self.patch_size, self.windows_tried = self._select_window(cube, progress)
        self.windows = Windows(cube, self.patch_size, device)
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

    def _select_window(
        self, cube: np.ndarray, progress: Progress
    ) -> tuple[int, list[dict[str, Any]]]:
        """The window's size, and how the candidates did; the head is fitted on the way."""
        config, auto = self.config, self.config.patch_size == "auto"
        if not auto and config.head != "ridge":
            assert config.patch_size != "auto"
            return config.patch_size, []
        sizes = WINDOWS if config.patch_size == "auto" else (config.patch_size,)
        progress.stage("Selecting the window" if auto else "Fitting the head")
        choice = choose(self.model, cube, self.train, sizes, self.precision)
        if auto:
            size = choice.best.patch_size
            progress.note(f"window {size} x {size}, selected on the training pixels")
        if config.head == "ridge":
            self.model.start_head(choice.head, self.train.targets.to(PartialState().device))
        return choice.best.patch_size, [candidate._asdict() for candidate in choice.tried]

    def _pixels(self, positions: np.ndarray, true: np.ndarray) -> Pixels:
        targets = np.searchsorted(self.class_ids, true).astype(np.int64)
        return Pixels(torch.from_numpy(positions.astype(np.int64)), torch.from_numpy(targets))

    def fit(self, progress: Progress, checkpoints: Checkpoints | None = None) -> TrainedAdapter:
        config, model = self.config, self.model
        progress.stage("Training")
        outcome = Trainer(
            model,
            self.windows,
            self.train,
            self._pixels(self.split.validation, self.split.validation_ids),
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
        _merge(model)
        return TrainedAdapter(
            self.class_ids.astype(np.int32),
            self.patch_size,
            sections.reducer_section(self.reducer),
            self.backbone,
            adapter,
            outcome,
            self.notes,
            resolved={
                "patch_size": self.patch_size,
                "image_size": self.image_size,
                "lr": config.rate,
            },
            predictor=EncoderPredictor(
                model, self.reducer, self.class_ids, self.patch_size, outcome.precision
            ),
            method=config.method,
            base=config.backbone,
        )

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


def _merge(model: Classifier) -> None:
    """Add the deltas to the weights, so that predicting costs what the plain encoder costs."""
    encoder: nn.Module = model.encoder
    for adapter in adapters.adapters_of(encoder).values():
        adapter.merge_()
