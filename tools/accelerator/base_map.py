"""Adaptation and an exact map at SpectralGPT's own size, on a generated scene of PaviaU's size.

    python -m tools.accelerator.base_map --out FILE.json [--size base] [--rows 610] [--columns 340]

KronA+ is trained for a few steps on windows of the scene, merged, and the whole scene is mapped:
seconds, pixels a second, memory. The encoder has its seeded start: the figures are of time.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

import hyperpeft
from hyperpeft import spectral
from hyperpeft.mapping import EncoderPredictor
from hyperpeft.mapping.tiles import SceneWindow, plan
from hyperpeft.models import load_backbone
from hyperpeft.models.windows import Windows
from hyperpeft.records import Scene
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.optim import optimiser, parameter_groups
from hyperpeft.training.precision import autocast, choose_precision

BANDS, CLASSES, PATCH, BATCH = 103, 9, 7, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", default="base")
    parser.add_argument("--rows", type=int, default=610)
    parser.add_argument("--columns", type=int, default=340)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = choose_precision("auto", device)
    rng = np.random.default_rng(0)
    fields = rng.integers(0, CLASSES, (options.rows // 20 + 1, options.columns // 20 + 1))
    classes = np.kron(fields, np.ones((20, 20), int))[: options.rows, : options.columns]
    spectra = rng.random((CLASSES, BANDS), np.float32)
    cube = spectra[classes] + 0.1 * rng.standard_normal((*classes.shape, BANDS), np.float32)
    scene = Scene.from_array(cube)
    reducer = spectral.fit(scene, normalise="sqrt")
    windows = Windows(reducer.reduce(scene), PATCH, device)
    encoder = load_backbone(options.size, 32, pretrained=False)
    hyperpeft.attach(encoder, "krona+")
    model = Classifier(encoder, CLASSES, centre=True).to(device).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = parameter_groups(model, lr=1e-3, lam=16.0, head_lr=1e-3, weight_decay=0.0)
    step = optimiser(groups)
    start = 0.0
    for number in range(options.steps):
        if number == options.steps // 4:
            _wait(device)
            start = time.perf_counter()
        rows, columns = (
            rng.integers(0, options.rows, BATCH),
            rng.integers(0, options.columns, BATCH),
        )
        positions = torch.from_numpy(np.stack([rows, columns], 1))
        targets = torch.from_numpy(classes[rows, columns]).to(device)
        with autocast(device, precision):
            loss = torch.nn.functional.cross_entropy(model(windows.at(positions)).float(), targets)
        loss.backward()
        step.step()
        step.zero_grad()
    _wait(device)
    seconds = time.perf_counter() - start
    timed = options.steps - options.steps // 4
    memory = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    hyperpeft.merge(encoder)
    predictor = EncoderPredictor(
        model.eval(), reducer, np.arange(1, CLASSES + 1), (PATCH,), precision
    )
    shape = scene.valid.shape
    start, right = time.perf_counter(), 0
    for tile in plan(shape, max(shape), predictor.cell):
        prepared = predictor.prepare(SceneWindow.read(scene, tile, predictor.reach, scene.valid))
        positions = np.argwhere(scene.valid)
        found = predictor.logits(prepared, positions).argmax(1)
        right += int((found == classes[tuple(positions.T)]).sum())
    map_seconds, pixels = time.perf_counter() - start, int(scene.valid.sum())
    record = {
        "command": "python -m tools.accelerator.base_map",
        "size": options.size,
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "trained": sum(p.numel() for p in trained),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "processor",
        "torch": torch.__version__,
        "precision": precision,
        "train_windows_per_second": round(BATCH * timed / seconds, 1),
        "train_peak_bytes": memory,
        "map_pixels": pixels,
        "map_seconds": round(map_seconds, 2),
        "map_pixels_per_second": round(pixels / map_seconds, 1),
        "final_loss": round(float(loss), 4),
        "pixels_of_the_planted_class": round(100 * right / pixels, 2),
    }
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
