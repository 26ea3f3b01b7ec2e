"""Networks as baselines: their inputs, and the one small loop that trains them.

The loop is plain: Adam, cross-entropy, batches drawn again in every epoch. Every random choice is
seeded. Where there are validation pixels the weights of the best epoch are kept, otherwise the
last; `patience` epochs without a better one end the training. Nothing is written until the end,
so an interrupted fit begins again.
"""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hyperpeft import spectral
from hyperpeft.baselines import features
from hyperpeft.baselines.base import Fitted, Task
from hyperpeft.baselines.network_predictor import NetworkPredictor, make_network
from hyperpeft.errors import TrainingError
from hyperpeft.mapping import PixelFeatures
from hyperpeft.models.windows import Windows, apply_symmetry, draw_symmetries
from hyperpeft.training.batches import Batches
from hyperpeft.training.classifier import check_finite

BATCH = {"cpu": 64, "cuda": 512}  # windows predicted at a time
DECAY, DECAYS = 0.9, 10  # of SpectralFormer's rate: x 0.9 after each tenth of the epochs


def hybridsn(task: Task) -> Fitted:
    """Roy et al. 2020."""
    return _train(task, "hybridsn", task.options["components"], *_components(task))


def ssftt(task: Task) -> Fitted:
    """Sun et al. 2022."""
    return _train(task, "ssftt", task.options["components"], *_components(task))


def spectralformer(task: Task) -> Fitted:
    """Hong et al. 2022."""
    bands = task.scene.shape[2]
    seen = features.ranged(task.scene, fit_on=task.fit_on, train=task.split.train)
    section = features.unreduced_section("minmax", task.fit_on)
    return _train(task, "spectralformer", bands, seen, section, decay=DECAY)


def _components(task: Task) -> tuple[PixelFeatures, dict[str, Any]]:
    """Whitened components; repeated in turn where the scene has fewer than requested."""
    wanted = task.options["components"]
    found = spectral.principal_components(
        task.scene, wanted, fit_on=task.fit_on, train=task.split.train
    )
    seen = features.components(found, 0, task.scene)
    return seen, features.components_section(found, task.fit_on)


def _train(
    task: Task,
    kind: str,
    inputs: int,
    seen: PixelFeatures,
    section: dict[str, Any],
    decay: float = 1.0,
) -> Fitted:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ids = np.unique(task.split.train_ids).astype(np.int32)
    sizes = {"inputs": inputs, "window": task.patch_size, "classes": len(ids)}
    sizes |= {"group": task.options["group"]} if "group" in task.options else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        model = make_network(kind, sizes).to(device)
    predictor = NetworkPredictor(kind, sizes, model, seen, ids)
    cube = predictor.whole(task.scene)
    loop = Loop(task, model, Windows(cube, task.patch_size, device), decay)
    with torch.random.fork_rng():
        history = loop.run()
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    about = {
        "parameters": count,
        "inputs": len(cube),
        "window": task.patch_size,
        "epochs": len(history),
        "batch_size": task.batch_size,
        "optimiser": "Adam",
        "lr": task.lr,
        "weight_decay": task.weight_decay,
        "decay": decay,
    }
    return Fitted(
        predictor,
        about,
        section,
        parameters=count,
        history=history,
        samples=len(task.split.train) * len(history),
        device=str(device),
        precision="fp32",
    )


def _batches(order: Tensor, size: int) -> list[Tensor]:
    """Batches of pixels; a last one of a single pixel, which has no variance, joins the one before.

    >>> [len(batch) for batch in _batches(torch.arange(9), 4)]
    [4, 5]
    """
    batches = list(order.split(size))
    if size > 1 and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


class Loop:
    """Training of one network, in place.

    Parameters
    ----------
    task : Task
    model : nn.Module
        Logits (N, K) of windows (N, C, p, p), K the classes of the training pixels.
    windows : Windows
    decay : float
        Of the rate, after each tenth of the epochs.
    """

    def __init__(self, task: Task, model: nn.Module, windows: Windows, decay: float) -> None:
        self.task, self.model, self.windows = task, model, windows
        self.ids = np.unique(task.split.train_ids)
        split = task.split
        self.positions = torch.from_numpy(split.train.astype(np.int64))
        self.targets = torch.from_numpy(np.searchsorted(self.ids, split.train_ids))
        assert task.lr is not None
        self.optimizer = torch.optim.Adam(
            model.parameters(), lr=task.lr, weight_decay=task.weight_decay
        )
        step = max(1, task.epochs // DECAYS)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, step, decay)
        self.device = next(model.parameters()).device

    def run(self) -> list[dict[str, Any]]:
        """Train to the end; the history, a row per epoch.

        Raises
        ------
        TrainingError
            When the loss is not finite.
        """
        task = self.task
        history: list[dict[str, Any]] = []
        best, best_epoch, kept = -1.0, 0, None
        start = time.monotonic()
        for epoch in range(task.epochs):
            rate = self.schedule.get_last_lr()[0]
            loss = self._epoch(epoch, history)
            accuracy = self._accuracy() if len(task.split.validation) else None
            if accuracy is not None and accuracy > best:
                best, best_epoch = accuracy, epoch
                kept = copy.deepcopy(self.model.state_dict())
            self.schedule.step()
            seconds = round(time.monotonic() - start, 3)
            history.append(
                {
                    "epoch": epoch + 1,
                    "loss": loss,
                    "validation_oa": accuracy,
                    "lr": rate,
                    "seconds": seconds,
                }
            )
            if kept is not None and 0 < task.patience <= epoch - best_epoch:
                break
        if kept is not None:
            self.model.load_state_dict(kept)
        return history

    def _epoch(self, epoch: int, history: list[dict[str, Any]]) -> float:
        """Mean loss of the epoch's steps."""
        task = self.task
        words = np.random.SeedSequence([task.seed, epoch]).generate_state(1, np.uint32)
        draw = torch.Generator().manual_seed(int(words[0]))
        torch.manual_seed(int(words[0]))  # of dropout
        self.model.train()
        batches = _batches(torch.randperm(len(self.targets), generator=draw), task.batch_size)
        total = 0.0
        for number, batch in enumerate(batches, start=1):
            loss = self._step(batch, draw)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} in epoch {epoch + 1}", hint="lower the learning rate"
                )
            total += loss * len(batch)
            if task.trained is not None:
                last = history[-1]["validation_oa"] if history else None
                done = epoch * len(batches) + number
                task.trained(done, task.epochs * len(batches), loss, last)
        return total / len(self.targets)

    def _step(self, batch: Tensor, draw: torch.Generator) -> float:
        x = self.windows.at(self.positions[batch])  # (n, C, p, p)
        if self.task.augment:
            x = apply_symmetry(x, draw_symmetries(len(batch), draw))
        logits = self.model(x)
        targets = self.targets[batch].to(self.device)
        loss = F.cross_entropy(logits, targets, label_smoothing=self.task.label_smoothing)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def _classes(self, positions: Tensor) -> np.ndarray:
        """Class ids (n,) of pixels (n, 2)."""
        self.model.eval()
        found = []
        size = BATCH.get(self.device.type, 256)
        batches = Batches(size)
        for batch in positions.split(size):
            with torch.inference_mode():
                logits = batches(lambda part: self.model(self.windows.at(part)).cpu(), batch)
                check_finite(logits)
                found.append(logits.argmax(1))
        picked = torch.cat(found).numpy() if found else np.empty(0, np.int64)
        classes: np.ndarray = self.ids[picked]
        return classes

    def _accuracy(self) -> float:
        """Overall accuracy on the validation pixels in percent."""
        split = self.task.split
        found = self._classes(torch.from_numpy(split.validation.astype(np.int64)))
        return 100 * float((found == split.validation_ids).mean())
