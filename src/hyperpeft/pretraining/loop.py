"""The pretraining loop, on accelerate, with exact resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import DataLoader, Subset

from hyperpeft.errors import Interrupted, TrainingError
from hyperpeft.models.spectralgpt import MaskedAutoencoder, SpectralGPT
from hyperpeft.models.windows import resize
from hyperpeft.pretraining.episodes import EpisodeHead, Step, Steps
from hyperpeft.pretraining.scene_episodes import SceneEpisodeHead, SceneEpisodes, SceneSteps
from hyperpeft.runs.file_names import HISTORY
from hyperpeft.system.resources import interruptible
from hyperpeft.training.checkpoint import (
    Checkpoints,
    restore_optimiser,
    write_history,
)
from hyperpeft.training.optim import cosine
from hyperpeft.training.precision import autocast, choose_precision, processes

EVERY = 20  # steps that a row of the history is the mean of
MOST_SKIPPED = 20  # steps in a row without a finite gradient


@dataclass(frozen=True)
class Plan:
    """The numbers of a pretraining run.

    Attributes
    ----------
    steps : int
    lr : float
        Peak rate; rises over `warmup` steps, then falls as half a cosine.
    warmup : int
    weight_decay : float
        Of matrices.
    clip : float
        Largest norm of the gradient.
    episodes, masked : float
        Weights of the two losses; 0 leaves one out.
    scenes : bool
        Whether a step is `SceneEpisodes`.
    centre : float
        See `SceneEpisodeHead`.
    """

    steps: int
    lr: float
    warmup: int
    weight_decay: float
    clip: float
    episodes: float
    masked: float
    scenes: bool = False
    centre: float = 0.0


class Objectives(nn.Module):
    """An encoder with what its losses need.

    Parameters
    ----------
    autoencoder : MaskedAutoencoder
        Holds the encoder.
    image_size : int
        Side that windows are resized to.
    plan : Plan
    """

    def __init__(self, autoencoder: MaskedAutoencoder, image_size: int, plan: Plan) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.head = SceneEpisodeHead(plan.centre) if plan.scenes else EpisodeHead()
        self.image_size, self.plan = image_size, plan
        self.autoencoder.decoder.requires_grad_(plan.masked > 0)
        self.head.requires_grad_(plan.episodes > 0)

    @property
    def encoder(self) -> SpectralGPT:
        """What is pretrained."""
        return self.autoencoder.encoder

    def forward(self, step: Step | SceneEpisodes) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss, and the figures that the history keeps."""
        if isinstance(step, SceneEpisodes):
            return self._scenes(step)
        figures: dict[str, Tensor] = {}
        total = torch.zeros((), device=next(self.parameters()).device)
        if step.episodes:
            batch = torch.cat([resize(e.windows, self.image_size) for e in step.episodes])
            tokens = self.encoder(batch).split([len(e.windows) for e in step.episodes])
            pairs = [self.head(t, e) for t, e in zip(tokens, step.episodes, strict=True)]
            figures["episode_loss"] = torch.stack([loss for loss, _ in pairs]).mean()
            figures["episode_accuracy"] = 100 * torch.stack([a for _, a in pairs]).mean()
            total = total + self.plan.episodes * figures["episode_loss"]
        if step.windows:
            batch = torch.cat([resize(w, self.image_size) for w in step.windows])
            figures["masked_loss"] = self.autoencoder(batch, step.noise).loss
            total = total + self.plan.masked * figures["masked_loss"]
        return total, figures

    def _scenes(self, step: SceneEpisodes) -> tuple[Tensor, dict[str, Tensor]]:
        images = resize(step.windows(), step.image_size)
        loss, accuracy = self.head(self.encoder(images), step)
        figures = {"episode_loss": loss, "episode_accuracy": 100 * accuracy}
        total = self.plan.episodes * loss
        if len(step.noise):
            picked = images[:: max(1, len(images) // len(step.noise))][: len(step.noise)]
            figures["masked_loss"] = self.autoencoder(picked, step.noise[: len(picked)]).loss
            total = total + self.plan.masked * figures["masked_loss"]
        return total, figures


@dataclass
class Progress:
    """Where pretraining stands."""

    step: int = 0
    windows: int = 0
    seconds: float = 0.0
    skipped: int = 0  # steps in a row without a finite gradient
    history: list[dict[str, float | None]] = field(default_factory=list)
    open: dict[str, float] = field(default_factory=dict)  # sums of the row that is being filled
    counted: int = 0  # steps in these sums


Watch = Callable[[int, int, dict[str, float]], None]
"""Told (steps done, steps in all, figures of the step)."""


class Pretrainer:
    """One pretraining run, in place.

    Parameters
    ----------
    objectives : Objectives
    steps : Steps or SceneSteps
        Of this process.
    plan : Plan
    folder : Path
        For `history.csv` and `checkpoint/`.
    identity : str
        Hash of all that decides the result: what a checkpoint must belong to.
    precision : "auto", "fp32" or "bf16"
    workers : int
        Processes that prepare steps; 0 prepares them in between.
    every : float
        Seconds between two checkpoints.
    watch : callable, optional
    """

    def __init__(
        self,
        objectives: Objectives,
        steps: Steps | SceneSteps,
        plan: Plan,
        *,
        folder: Path,
        identity: str,
        precision: str = "auto",
        workers: int = 0,
        every: float = 60.0,
        watch: Watch | None = None,
    ) -> None:
        processes()  # before Accelerate chooses a device by its own rule
        self.accelerator = Accelerator()
        self.device = self.accelerator.device
        self.precision = choose_precision(precision, self.device)
        self.plain = objectives.to(self.device)
        optimizer = AdamW(_groups(objectives, plan), lr=plan.lr, betas=(0.9, 0.98))
        self.model: nn.Module
        self.model, self.optimizer = self.accelerator.prepare(objectives, optimizer)
        self.schedule = cosine(self.optimizer.optimizer, steps=plan.steps, warmup=plan.warmup)
        self.steps, self.plan, self.folder = steps, plan, folder
        self.checkpoints = Checkpoints(folder, identity)
        self.workers, self.every, self.watch = workers, every, watch
        self.state = Progress()

    def run(self, until: int | None = None) -> Progress:
        """Pretrain to the end, or to step `until`, from the folder's checkpoint where there is one.

        Raises
        ------
        TrainingError
            When the loss is not finite.
        Interrupted
            After SIGINT or SIGTERM, once the state has been saved.
        """
        self.checkpoints.restore(
            self._resume,
            other="another configuration or other sources",
            hint="give the same configuration as before, or another --out",
        )  # fmt: skip
        last = self.plan.steps if until is None else min(until, self.plan.steps)
        saved = time.monotonic()
        self.model.train()
        with interruptible() as interrupted:
            start = time.monotonic()
            for step in self._steps_to(last):
                self._take(step)
                self.state.seconds += time.monotonic() - start
                if interrupted.is_set():
                    break
                if time.monotonic() - saved > self.every:
                    self._save()
                    saved = time.monotonic()
                start = time.monotonic()
            self._save()
            if interrupted.is_set() and self.state.step < last:
                raise Interrupted(
                    f"interrupted in step {self.state.step} of {self.plan.steps}",
                    hint=f"the state is saved in {self.folder}; the same command continues",
                )
        self.plain.eval()
        return self.state

    def _steps_to(self, last: int) -> Iterator[Step | SceneEpisodes]:
        """The steps that are left, on the device."""
        if isinstance(self.steps, SceneSteps):  # which draws them there
            yield from (self.steps[number] for number in range(self.state.step, last))
            return
        loader = DataLoader(
            Subset(self.steps, range(self.state.step, last)),
            batch_size=None,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
        )
        yield from (Step(*step).to(self.device) for step in loader)

    def _take(self, step: Step | SceneEpisodes) -> None:
        with autocast(self.device, self.precision):
            loss, figures = self.model(step)
        self.accelerator.backward(loss)
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.plan.clip)
        sound = bool(loss.isfinite() & torch.as_tensor(norm).isfinite())
        self.state.skipped = 0 if sound else self.state.skipped + 1
        if self.state.skipped > MOST_SKIPPED:
            raise TrainingError(
                f"loss or gradient is not finite in step {self.state.step + 1} and the "
                f"{MOST_SKIPPED} before it",
                hint="lower the learning rate, or look for extreme values in the sources",
            )
        if sound:  # one step of thousands whose scenes are degenerate is left out
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        self._note(len(step), {name: value.item() for name, value in figures.items()}, sound)

    def _note(self, windows: int, figures: dict[str, float], sound: bool) -> None:
        """Count a step; its figures only where its gradient was finite."""
        state = self.state
        state.step += 1
        state.windows += windows * self.accelerator.num_processes
        state.counted += sound
        for name, value in figures.items():
            state.open[name] = state.open.get(name, 0.0) + (value if sound else 0.0)
        if state.step % EVERY == 0:
            count = state.counted
            means = {name: value / count if count else None for name, value in state.open.items()}
            state.history.append({"step": state.step, "windows": state.windows, **means})
            state.open, state.counted = {}, 0
        if self.watch is not None:
            self.watch(state.step, self.plan.steps, figures if sound else {})

    def _save(self) -> None:
        self.accelerator.wait_for_everyone()
        if not self.accelerator.is_main_process:
            return
        content = {
            "state": asdict(self.state),
            "weights": self.plain.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        self.checkpoints.save(content)
        write_history(self.folder / HISTORY, self.state.history)

    def _resume(self, content: dict[str, Any]) -> None:
        # Earlier versions did not count, and divided by all steps.
        self.state = Progress(**{"counted": content["state"]["step"] % EVERY, **content["state"]})
        self.plain.load_state_dict(content["weights"])
        restore_optimiser(self.optimizer, content["optimizer"])
        self.schedule.load_state_dict(content["schedule"])


def _groups(model: nn.Module, plan: Plan) -> list[dict[str, Any]]:
    """Matrices decay; vectors, positions and the episode head do not, the last learns faster."""
    decayed, plain, head = [], [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.startswith("head."):
            head.append(parameter)
        elif parameter.ndim > 1 and "pos_embed" not in name and "mask_token" not in name:
            decayed.append(parameter)
        else:
            plain.append(parameter)
    groups = [
        {"params": decayed, "weight_decay": plan.weight_decay},
        {"params": plain, "weight_decay": 0.0},
        {"params": head, "weight_decay": 0.0, "lr": 3 * plan.lr},
    ]
    return [group for group in groups if group["params"]]
