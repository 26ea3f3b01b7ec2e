"""How a method learns: the adapter family on a backbone, or a baseline on its own.

Both give the same thing, so that scene, split, scores, record and run folder are those of every
method.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from hyperpeft import adapters, spectral
from hyperpeft.baselines import BASELINES, Task
from hyperpeft.errors import ConfigError, TrainingError
from hyperpeft.mapping import ClassMap, classify
from hyperpeft.models import image_size_of, load_backbone, weights_sha256
from hyperpeft.patches import Windows
from hyperpeft.progress import Progress
from hyperpeft.records import UNLABELLED, Scene, Split
from hyperpeft.runs import bundle, sections
from hyperpeft.runs import folder as run_folder
from hyperpeft.runs.config import WINDOWS, RunConfig
from hyperpeft.runs.memory_check import check_memory
from hyperpeft.training.checkpoint import write_history
from hyperpeft.training.classifier import Classifier, check_outputs
from hyperpeft.training.loop import Outcome, Pixels, Recipe, Trainer
from hyperpeft.training.precision import choose_precision
from hyperpeft.training.window_search import choose


@dataclass(frozen=True)
class Learned:
    """What a method has learned and what it says of the scene.

    Attributes
    ----------
    mapped : ClassMap
        Of the pixels asked for.
    window : int
        How far it looked around a pixel, as the side of a window.
    reducer, backbone, adapter, baseline : dict
        Sections of the record.
    outcome : Outcome
    notes : list of str
    fitted_reducer : Reducer or None
        What a run folder needs in order to be used again.
    settled : dict
        Options that were left open, as they were chosen.
    """

    mapped: ClassMap
    window: int
    reducer: dict[str, Any]
    backbone: dict[str, Any]
    adapter: dict[str, Any]
    outcome: Outcome
    notes: list[str]
    baseline: dict[str, Any] | None = None
    fitted_reducer: spectral.Reducer | None = None
    settled: dict[str, Any] = field(default_factory=dict)


def check(config: RunConfig) -> None:
    """Refuse an unknown method, or options that it does not have, before anything is read."""
    if config.method in BASELINES:  # its options were checked when its defaults were filled in
        return
    if config.method not in adapters.METHODS:
        known = ", ".join([*adapters.METHODS, *BASELINES])
        raise ConfigError("method", expected=f"one of {known}", got=repr(config.method))
    adapters.get_method(config.method).check_options(config.options)


def adapt(
    config: RunConfig,
    scene: Scene,
    split: Split,
    ids: np.ndarray,
    where: np.ndarray,
    *,
    overwrite: bool,
    progress: Progress,
) -> Learned:
    """Train a method of the adapter family, write its weights, classify.

    Parameters
    ----------
    config : RunConfig
    scene : Scene
    split : Split
    ids : ndarray of int, shape (K,)
        Classes of the training pixels, ascending.
    where : ndarray of bool, shape (H, W)
        The pixels to classify.
    overwrite : bool
        Clear the run folder once nothing can be wrong with the options any more.
    progress : Progress
    """
    method = adapters.get_method(config.method)
    size = config.image_size or image_size_of(config.backbone, pretrained=config.pretrained)
    encoder = load_backbone(
        config.backbone,
        size,
        config.num_heads,
        stride=config.stride,
        pretrained=config.pretrained,
    )
    check_memory(config, scene, len(split.train), encoder)
    progress.stage("Reducing to 12 bands")
    reducer = spectral.fit(
        scene,
        reduce=config.reduce,
        normalise=config.normalise,
        fit_on=config.fit_on,
        train=split.train,
        reflectance_scale=config.reflectance_scale,
    )
    cube = reducer.reduce(scene)
    encoder.gradient_checkpointing = config.gradient_checkpointing
    backbone: dict[str, Any] = {
        "name": config.backbone,
        "parameters": sections.count(encoder.parameters()),
        "weights_sha256": weights_sha256(encoder.state_dict()),
        "pretrained": encoder.pretrained,
    }
    notes = [*reducer.notes]
    if not encoder.pretrained:
        notes.append(f"backbone {config.backbone} is not pretrained: a seeded initialisation")
    else:
        digest = str(backbone["weights_sha256"])[:12]
        notes.append(f"backbone {config.backbone} starts from pretrained weights ({digest})")
    for note in notes:
        progress.note(note)
    adapters.attach(
        encoder,
        config.method,
        config.targets,
        blocks=config.blocks,
        seed=config.seed,
        **config.options,
    )
    model = Classifier(encoder, len(ids), config.seed, centre=config.centre)
    model.to(PartialState().device)
    train = _pixels(split.train, split.train_ids, ids)
    patch_size, tried = config.patch_size, []
    if patch_size == "auto" or config.head == "ridge":
        sizes = WINDOWS if patch_size == "auto" else (patch_size,)
        progress.stage("Choosing the window" if patch_size == "auto" else "Fitting the head")
        precision = choose_precision(config.precision, PartialState().device)
        choice = choose(model, cube, train, sizes, precision)
        tried = [candidate._asdict() for candidate in choice.tried]
        if patch_size == "auto":
            patch_size = choice.best.patch_size
            progress.note(f"window {patch_size} x {patch_size}, chosen by the training pixels")
        if config.head == "ridge":
            model.start_head(choice.head, train.targets.to(PartialState().device))
    windows = Windows(cube, patch_size, PartialState().device)
    if overwrite:  # only now: a mistake in the options must not cost the earlier run
        run_folder.clear(config.out)

    progress.stage("Training")
    outcome = Trainer(
        model,
        windows,
        train,
        _pixels(split.validation, split.validation_ids, ids),
        _recipe(config, plus=method.plus),
        seed=config.seed,
        folder=config.out,
        identity=_identity(config, scene, split, backbone),
        precision=config.precision,
        watch=progress.trained,
    ).run()

    most = -(-config.batch_size // config.accumulate)
    try:  # the loss of each step was finite, but nothing has looked behind the last one
        check_outputs(model, windows, train.positions[:most], outcome.precision)
    except TrainingError:
        run_folder.clear(config.out)  # of no use to go on from
        with suppress(OSError):
            config.out.rmdir()
        raise
    writes = PartialState().is_main_process
    bytes_ = bundle.save_weights(config.out, model, config.method, config.backbone) if writes else 0
    adapter = sections.adapter_section(model, config.method, ids, bytes_)
    adapter["windows_tried"] = tried
    adapters.merge(encoder)

    progress.stage("Mapping" if config.map else "Testing")
    mapped = classify(
        model, windows, where, ids, precision=outcome.precision, watch=progress.mapped
    )
    return Learned(
        mapped,
        patch_size,
        sections.reducer_section(reducer),
        backbone,
        adapter,
        outcome,
        notes,
        fitted_reducer=reducer,
        settled={"patch_size": patch_size, "image_size": size, "lr": config.rate},
    )


def fit(
    config: RunConfig,
    scene: Scene,
    split: Split,
    ids: np.ndarray,
    where: np.ndarray,
    *,
    overwrite: bool,
    progress: Progress,
) -> Learned:
    """Fit a baseline and classify; the parameters are those of `adapt`."""
    baseline = BASELINES[config.method]
    assert config.patch_size != "auto"  # `resolve_defaults` gave it a number
    progress.stage(f"Fitting {baseline.name}")
    start = time.monotonic()
    task = Task(
        scene,
        split,
        patch_size=config.patch_size,
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
    fitted = baseline.fit(task)
    if overwrite:  # only now: a mistake in the options must not cost the earlier run
        run_folder.clear(config.out)
    seconds = time.monotonic() - start

    progress.stage("Mapping" if config.map else "Testing")
    start = time.monotonic()
    mapped = np.full(where.shape, UNLABELLED, np.int32)
    mapped[where] = fitted.predict(where, progress.mapped)
    pixels = int(where.sum())
    rate = fitted.samples / seconds if fitted.samples and seconds > 0 else None
    if PartialState().is_main_process:
        write_history(config.out / "history.csv", fitted.history)
    return Learned(
        ClassMap(mapped, None, pixels, time.monotonic() - start),
        baseline.window(config.patch_size),
        fitted.reducer,
        dict.fromkeys(("name", "parameters", "weights_sha256", "pretrained")),
        sections.baseline_adapter_section(config.method, fitted.parameters, ids),
        Outcome(fitted.history, seconds, rate, fitted.precision, fitted.device),
        [],
        baseline={"source": baseline.source, **fitted.about},
    )


def _recipe(config: RunConfig, *, plus: bool) -> Recipe:
    return Recipe(
        epochs=config.epochs,
        batch_size=config.batch_size,
        lr=config.rate,
        head_lr=config.head_lr,
        lam=config.lam if plus else 1.0,
        weight_decay=config.weight_decay,
        label_smoothing=config.label_smoothing,
        warmup=config.warmup,
        augment=config.augment,
        patience=config.patience,
        accumulate=config.accumulate,
    )


def _pixels(positions: np.ndarray, true: np.ndarray, ids: np.ndarray) -> Pixels:
    targets = np.searchsorted(ids, true).astype(np.int64)
    return Pixels(torch.from_numpy(positions.astype(np.int64)), torch.from_numpy(targets))


def _identity(config: RunConfig, scene: Scene, split: Split, backbone: Mapping[str, object]) -> str:
    """Hash of everything that decides the trained weights: what a checkpoint belongs to."""
    options = config.model_dump(mode="json", exclude={"out", "map"})
    words = [json.dumps(options, sort_keys=True), scene.sha256, str(backbone["weights_sha256"])]
    digest = hashlib.sha256("\n".join(words).encode())
    for pixels, true in ((split.train, split.train_ids), (split.validation, split.validation_ids)):
        digest.update(np.ascontiguousarray(pixels).tobytes() + true.tobytes())
    return digest.hexdigest()
