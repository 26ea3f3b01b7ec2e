"""What frozen features are worth: ridge heads of three windows on prepared scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hyperpeft.models.spectralgpt import SpectralGPT
from hyperpeft.patches import Windows
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.precision import autocast, choose_precision

WINDOWS = (1, 5, 11)


def judge(encoder: SpectralGPT, prepared: Path, device: torch.device) -> dict[str, float]:
    """Overall accuracy in percent by "scene/kind", the mean over seeds, and by kind.

    The scores of the windows' heads are averaged, as a run of several windows does.
    """
    precision = choose_precision("auto", device)
    found: dict[str, list[float]] = {}
    with np.load(prepared, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    cubes = {name.split("/")[0]: a for name, a in arrays.items() if name.endswith("/cube")}
    for key in sorted(name[: -len("/train")] for name in arrays if name.endswith("/train")):
        scene, kind, _ = key.split("/")
        targets = torch.from_numpy(arrays[f"{key}/train_classes"]).to(device)
        classes = int(targets.max()) + 1
        model = Classifier(encoder, classes, centre=True).to(device).eval()
        scores = torch.zeros(len(arrays[f"{key}/test"]), classes, device=device)
        for size in WINDOWS:
            windows = Windows(cubes[scene], size, device)
            with autocast(device, precision):
                train, test = (
                    model.features_of(windows, torch.from_numpy(arrays[f"{key}/{part}"]), 2048)
                    for part in ("train", "test")
                )
            head = model.fit_head(train.float(), targets)
            scores += test.float() @ head.weight.T + head.bias
        right = scores.argmax(1).cpu().numpy() == arrays[f"{key}/test_classes"]
        found.setdefault(f"{scene}/{kind}", []).append(100 * float(right.mean()))
    means = {name: round(float(np.mean(values)), 2) for name, values in found.items()}
    for kind in ("random", "disjoint"):
        of_kind = [value for name, value in means.items() if name.endswith(kind)]
        means[kind] = round(float(np.mean(of_kind)), 2)
    return means
