"""The one training loop, on accelerate: any device, precision and number of processes.

Every random choice of a step is drawn from a generator seeded by (seed, epoch, step), so that a
run continued from a checkpoint takes the very steps that the uninterrupted run would have taken.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn

from hyperpeft.errors import Interrupted, TrainingError
from hyperpeft.models.windows import Windows, apply_symmetry, draw_symmetries
from hyperpeft.system.resources import Event, interruptible, keep_freed_memory
from hyperpeft.training.batches import smaller
from hyperpeft.training.checkpoint import (
    Checkpoints,
    restore_optimiser,
)
from hyperpeft.training.classifier import Classifier, WindowSet, predict
from hyperpeft.training.optim import cosine, optimiser, parameter_groups
from hyperpeft.training.precision import autocast, choose_precision, held_in, processes
from hyperpeft.training.token_cache import TokenCache, is_worthwhile

CHECKPOINT_SECONDS = 20.0  # between two checkpoints of a long run


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training run.

    Attributes
    ----------
    epochs, batch_size : int
        `batch_size` windows make one step of the optimiser, over all processes.
    lr, head_lr : float
        Peak rates of adapters or encoder weights, and of the head.
    lam : float
        Rate of B over that of A (1 without the "+" rule).
    weight_decay, label_smoothing : float
    warmup : float
        Share of all steps for which the rate rises.
    augment : bool
        Flips and quarter turns.
    patience : int
        Epochs without a better validation accuracy before stopping; 0 never stops early. Used
        only where there are validation pixels.
    accumulate : int
        Parts that a batch is computed in, to save memory.
    """

    epochs: int
    batch_size: int
    lr: float
    head_lr: float
    lam: float
    weight_decay: float
    label_smoothing: float
    warmup: float
    augment: bool
    patience: int
    accumulate: int = 1


@dataclass(frozen=True)
class Pixels:
    """Positions (n, 2) row, column and class indices (n,), both int64."""

    positions: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)


@dataclass
class State:
    """Where training stands; all of it goes into a checkpoint beside the weights."""

    epoch: int = 0  # epochs completed
    step: int = 0  # steps completed in the current epoch
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_accuracy: float = -1.0
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a training run was like."""

    history: list[dict[str, Any]]
    seconds: float
    samples_per_second: float | None
    precision: str
    device: str


Watch = Callable[[int, int, float, float | None], None]
"""Told (steps done, steps in all, loss, last validation accuracy in percent) after each step."""


class Trainer:
    """One training run of a classifier, in place.

    Parameters
    ----------
    model : Classifier
        Learns what requires gradients.
    windows : Windows or sequence of Windows
        Of several sizes: a step trains on one of them, drawn for each step, and predictions are
        the mean over all.
    train, validation : Pixels
        Without validation pixels the last weights are kept, otherwise those of the best epoch.
    recipe : Recipe
    seed : int
    checkpoints : Checkpoints, optional
        Where the state is kept while training; without them nothing is written.
    precision : "auto", "fp32" or "bf16"
    watch : callable, optional
    """

    def __init__(
        self,
        model: Classifier,
        windows: WindowSet,
        train: Pixels,
        validation: Pixels,
        recipe: Recipe,
        *,
        seed: int,
        checkpoints: Checkpoints | None = None,
        precision: str = "auto",
        watch: Watch | None = None,
    ) -> None:
        # Accelerate keeps one precision per process, a session may train at several: ours is set
        # around each forward pass instead (bf16 needs no loss scaling).
        self.windows = (windows,) if isinstance(windows, Windows) else tuple(windows)
        # A step draws one of several windows, and the heads of the others get no gradient.
        several = DistributedDataParallelKwargs(find_unused_parameters=len(self.windows) > 1)
        processes()  # before Accelerate chooses a device by its own rule
        self.accelerator = Accelerator(kwargs_handlers=[several])
        self.precision = choose_precision(precision, self.accelerator.device)
        groups = parameter_groups(
            model,
            lr=recipe.lr,
            lam=recipe.lam,
            head_lr=recipe.head_lr,
            weight_decay=recipe.weight_decay,
        )
        self.steps_per_epoch = -(-len(train) // recipe.batch_size)
        self.steps = self.steps_per_epoch * recipe.epochs
        self.plain = model.to(self.accelerator.device)
        self.model: nn.Module
        self.model, self.optimizer = self.accelerator.prepare(model, optimiser(groups))
        warmup = round(recipe.warmup * self.steps)
        self.schedule = cosine(self.optimizer.optimizer, steps=self.steps, warmup=warmup)
        self.train, self.validation = train, validation
        self.recipe, self.seed, self.watch = recipe, seed, watch
        self.parts = recipe.accumulate  # that a batch is computed in; more where memory is short
        self.checkpoints = checkpoints
        self.state = State()
        self.cache: TokenCache | None = None

    def run(self) -> Outcome:
        """Train to the end, from the checkpoint where there is one.

        Raises
        ------
        Interrupted
            After SIGINT or SIGTERM, once the checkpoint has been written.
        TrainingError
            When the loss is not finite.
        """
        if self.checkpoints is not None:
            self.checkpoints.restore(
                self._resume,
                other="another configuration, scene or backbone",
                hint="give the same options as before, or --overwrite to start again",
            )
        if self.accelerator.device.type == "cpu":
            keep_freed_memory()
        saved = time.monotonic()
        frozen = held_in(self.plain, self.precision)
        with torch.random.fork_rng(), frozen, interruptible() as interrupted:
            if not self._finished():
                self._fill_cache()
            while not self._finished():
                self._epoch(interrupted)
                self._close_epoch()
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self._save()
                    saved = time.monotonic()
            self._save()  # what follows, such as mapping, may be interrupted too
            self._heed(interrupted)
        if self.state.best:
            self._load_trainable(self.state.best)
        seen = len(self.train) * len(self.state.history)
        rate = seen / self.state.seconds if self.state.seconds > 0 else None
        device = str(self.accelerator.device)
        return Outcome(self.state.history, self.state.seconds, rate, self.precision, device)

    def _epoch(self, interrupted: Event) -> None:
        """Take the steps of the current epoch that are still to be taken."""
        self.model.train()
        order = torch.randperm(len(self.train), generator=self._generator(0))
        while self.state.step < self.steps_per_epoch:
            start = time.monotonic()
            first = self.state.step * self.recipe.batch_size
            loss = self._step(order[first : first + self.recipe.batch_size])
            self.state.step += 1
            self.state.loss_sum += loss
            self.state.seconds += time.monotonic() - start
            self._tell(loss)
            if interrupted.is_set():
                self._save()
            self._heed(interrupted)

    def _heed(self, interrupted: Event) -> None:
        """Stop where the user has asked for it; the checkpoint has been written."""
        if interrupted.is_set():
            epoch, hint = min(self.state.epoch + 1, self.recipe.epochs), ""
            if self.checkpoints is not None:
                place = self.checkpoints.folder
                hint = f"the state is saved in {place}; the same command with --resume resumes"
            raise Interrupted(f"interrupted in epoch {epoch} of {self.recipe.epochs}", hint=hint)

    def _tell(self, loss: float) -> None:
        if self.watch is not None:
            done = self.state.epoch * self.steps_per_epoch + self.state.step
            last = self.state.history[-1]["validation_oa"] if self.state.history else None
            self.watch(done, self.steps, loss, last)

    def _step(self, batch: Tensor) -> float:
        """One step of the optimiser on the pixels of these indices (n,); returns the loss."""
        # Each process takes its share; one that would have none repeats the first pixel.
        mine = batch[self.accelerator.process_index :: self.accelerator.num_processes]
        mine = mine if len(mine) else batch[:1]
        total = self._gradient(mine)
        while total is None:  # the GPU's memory was full: the same step, in more parts
            largest = -(-len(mine) // min(self.parts, len(mine)))
            self.parts = -(-len(mine) // smaller(largest, "learned from"))
            total = self._gradient(mine)
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss became {total} in epoch {self.state.epoch + 1}",
                hint="lower the learning rate (lr, lam) or look for extreme values in the scene",
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        return total

    def _gradient(self, mine: Tensor) -> float | None:
        """The loss of a step, its gradient accumulated; None where a part does not fit."""
        draw = self._generator(1 + self.state.step)
        several = len(self.windows)
        window = int(torch.randint(several, (), generator=draw)) if several > 1 else 0
        torch.manual_seed(draw.initial_seed())  # of dropout
        parts = mine.tensor_split(min(self.parts, len(mine)))
        total = 0.0
        try:
            for number, part in enumerate(parts, start=1):
                last = number == len(parts)
                with nullcontext() if last else self.accelerator.no_sync(self.model):
                    loss = self._loss(part, self.windows[window], draw) * (len(part) / len(mine))
                    self.accelerator.backward(loss)
                total += loss.item()
        except torch.OutOfMemoryError:
            if self.accelerator.num_processes > 1:  # the others wait for this one's gradient
                raise
            self.optimizer.zero_grad()
            return None
        return total

    def _loss(self, part: Tensor, windows: Windows, draw: torch.Generator) -> Tensor:
        device = self.accelerator.device
        symmetries = draw_symmetries(len(part), draw) if self.recipe.augment else None
        centres = None
        if self.cache is not None:
            x, entering = self.cache.at(part, symmetries), self.cache.block
            centres = self.cache.centres[part].to(device)
        else:
            x, entering = windows.at(self.train.positions[part]), None
            if symmetries is not None:
                x = apply_symmetry(x, symmetries)
        with autocast(device, self.precision):
            logits = self.model(x.to(device), entering, centres, windows.patch_size)
        targets = self.train.targets[part].to(device)
        return F.cross_entropy(logits.float(), targets, label_smoothing=self.recipe.label_smoothing)

    def _fill_cache(self) -> None:
        """Compute the tokens below the first block that learns, where that pays."""
        recipe, precision = self.recipe, self.precision
        folder = None if self.checkpoints is None else self.checkpoints.folder
        if len(self.windows) == 1 and is_worthwhile(
            self.plain.encoder,
            len(self.train),
            augment=recipe.augment,
            epochs=recipe.epochs,
            precision=precision,
            on_disk=folder is not None,
        ):
            start = time.monotonic()
            self.cache = TokenCache(
                self.plain,
                self.windows[0],
                self.train.positions,
                augment=recipe.augment,
                precision=precision,
                folder=folder,
            )
            self.state.seconds += time.monotonic() - start

    def _close_epoch(self) -> None:
        """Write the epoch's row, measure validation accuracy and keep the best weights."""
        state = self.state
        accuracy = self._accuracy(self.validation) if len(self.validation) else None
        state.epoch += 1
        state.history.append(
            {
                "epoch": state.epoch,
                "loss": state.loss_sum / self.steps_per_epoch,
                "validation_oa": accuracy,
                "lr": self.schedule.get_last_lr()[0],
                "seconds": round(state.seconds, 3),
            }
        )
        state.step, state.loss_sum = 0, 0.0
        if accuracy is not None and accuracy > state.best_accuracy:
            state.best_accuracy, state.best_epoch = accuracy, state.epoch
            state.best = {k: v.detach().clone() for k, v in self._trainable().items()}

    def _accuracy(self, pixels: Pixels) -> float:
        """Overall accuracy in percent."""
        batches = predict(self.plain, self.windows, pixels.positions, precision=self.precision)
        predicted = torch.cat([logits.argmax(1) for logits in batches])
        return 100.0 * (predicted == pixels.targets).float().mean().item()

    def _finished(self) -> bool:
        """Whether all epochs are done, or validation has not improved for `patience` epochs."""
        waited = self.state.epoch - self.state.best_epoch
        stalled = bool(len(self.validation)) and 0 < self.recipe.patience <= waited
        return stalled or self.state.epoch >= self.recipe.epochs

    def _generator(self, step: int) -> torch.Generator:
        """Seeded by (seed, epoch, step): step 0 orders the epoch, step i + 1 is its step i."""
        words = np.random.SeedSequence([self.seed, self.state.epoch, step])
        return torch.Generator().manual_seed(int(words.generate_state(1, np.uint32)[0]))

    def _trainable(self) -> dict[str, Tensor]:
        return {n: p for n, p in self.plain.named_parameters() if p.requires_grad}

    def _load_trainable(self, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._trainable().items():
                parameter.copy_(values[name])

    def _save(self) -> None:
        if self.checkpoints is None or not self.accelerator.is_main_process:
            return
        content = {
            "state": asdict(self.state),
            "weights": {k: v.detach() for k, v in self._trainable().items()},
            # Twice the size of the weights, and not needed when no step follows.
            "optimizer": None if self._finished() else self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        self.checkpoints.save(content)

    def _resume(self, content: dict[str, Any]) -> None:
        self.state = State(**content["state"])
        self._load_trainable(content["weights"])
        if content["optimizer"] is not None:
            restore_optimiser(self.optimizer, content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])
