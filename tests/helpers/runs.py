"""Run folders and records of runs that were never trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from PIL import Image

from hyperpeft import adapters, spectral
from hyperpeft.models import load_backbone, weights_sha256
from hyperpeft.records import Scene
from hyperpeft.runs.file_names import REDUCER, RUN
from hyperpeft.runs.record import RunRecord
from hyperpeft.runs.weight_files import save_weights
from hyperpeft.training.classifier import Classifier

BANDS = 20


def make_scene(seed=0, height=6, width=5):
    cube = np.random.default_rng(seed).normal(size=(BANDS, height, width)).astype(np.float32)
    return Scene(
        "made", xr.DataArray(cube, dims=("band", "y", "x")), np.ones((height, width), bool)
    )


def make_run(
    folder,
    method="krona+",
    *,
    classes=4,
    seed=0,
    backbone="tiny",
    encoder=None,
    sha256=None,
    **more,
):
    """Write a run folder.

    `encoder` and the hash of its weights spare building the backbone; it is left as it was.
    """
    encoder = load_backbone(backbone) if encoder is None else encoder
    sha256 = sha256 or weights_sha256(encoder.state_dict())
    adapters.attach(encoder, method, seed=seed, **more)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for adapter in adapters.adapters_of(encoder).values():
            for _, parameter in adapter.own_parameters():
                parameter.copy_(torch.empty(parameter.shape).normal_(0, 0.1, generator=generator))
    model = Classifier(encoder, classes, seed)
    folder.mkdir(parents=True)
    size = save_weights(folder, model, method, backbone)
    spectral.fit(make_scene(seed)).to_file(folder / REDUCER)
    count = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
    record = RunRecord(
        hyperpeft="0.1.0",
        created="2026-01-01T00:00:00+00:00",
        config={
            "image_size": 32, "num_heads": None, "stride": 8, "patch_size": 5,
            "precision": "fp32", "targets": ["q", "v"], "blocks": "all", "seed": seed,
        },
        scene={
            "name": f"scene {seed}",
            "class_ids": list(range(1, classes + 1)),
            "classes": [f"class {i}" for i in range(1, classes + 1)],
            "colours": [[i, i, i] for i in range(classes)],
        },
        reducer={},
        split={"train": 40},
        backbone={
            "name": backbone, "parameters": 1, "weights_sha256": sha256,
            "pretrained": encoder.pretrained,
        },
        adapter={
            "method": method,
            "adapter_parameters": count,
            "trainable_parameters": count + 1000,
            "trainable_percent": 0.1,
            "bytes": size,
            "class_ids": list(range(1, classes + 1)),
        },
        metrics={"oa": 91.25},
        timing={},
        environment={},
    )  # fmt: skip
    (folder / RUN).write_text(record.to_json())
    adapters.detach(encoder)
    return folder


COLOURS = [[31, 119, 180], [255, 127, 14], [44, 160, 44], [214, 39, 40], [148, 103, 189]]
PARAMETERS = {
    "full": 2_700_000,
    "lora": 55_296,
    "lora+": 55_296,
    "krona": 9_984,
    "krona+": 9_984,
    "lokr": 7_000,
    "probe": 1_152,
    "hybridsn": 5_122_176,
}


def make_record(
    scene: str = "meadow",
    method: str = "krona+",
    *,
    oa: float = 90.0,
    seed: int = 0,
    split: str = "random",
    n: int = 10,
    classes: int = 4,
    split_hash: str | None = None,
) -> dict[str, Any]:
    """What run.json holds: a confusion matrix with this share on its diagonal, to one pixel."""
    per_class = 1000
    right = round(oa * per_class / 100)
    confusion = np.full((classes, classes), 0)
    for c in range(classes):
        confusion[c, c] = right
        confusion[c, (c + 1) % classes] = per_class - right
    ids = list(range(1, classes + 1))
    exact = 100 * right / per_class
    return {
        "hyperpeft": "0.1.0",
        "created": "2026-01-01T00:00:00+00:00",
        "config": {
            "scene": scene, "method": method, "seed": seed, "per_class": n, "patch_size": 9,
            "split": None if split == "random" else split, "map": False, "out": "x",
        },
        "scene": {
            "name": scene, "shape": [40, 50, 30], "sha256": "0" * 64, "class_ids": ids,
            "classes": [f"{scene} class {i}" for i in ids], "colours": COLOURS[:classes],
        },
        "reducer": {},
        "split": {
            "kind": split, "sha256": split_hash or f"{scene}{split}{n}{seed}".ljust(64, "0"),
            "train": n * classes, "validation": 0, "test": per_class * classes,
            "per_class": {str(i): {"train": n, "validation": 0, "test": per_class} for i in ids},
            "leakage": {
                "patch_size": 9,
                "test_windows_touching_train": 0.0 if split == "disjoint" else 0.48,
            },
        },
        "backbone": {"name": "tiny", "parameters": 2_700_000, "pretrained": True},
        "adapter": {
            "method": method, "trainable_parameters": PARAMETERS.get(method),
            "trainable_percent": 0.4, "bytes": 40_000, "class_ids": ids,
        },
        "metrics": {
            "class_ids": ids, "oa": exact, "aa": exact, "kappa": exact - 1,
            "per_class": {str(i): exact for i in ids}, "confusion": confusion.tolist(),
        },
        "timing": {
            "train_seconds": 12.5, "train_samples_per_second": 80.0, "predict_seconds": 2.0,
            "predict_samples_per_second": 500.0, "peak_rss_mb": 900.0,
        },
        "environment": {
            "device": "cpu", "precision": "fp32", "threads": 1, "commit": "abcdef0123456789",
            "dirty": False, "seed": seed,
        },
        "notes": ["18 pixels are masked"],
    }  # fmt: skip


def write_bench(
    folder: Path,
    means: dict[str, dict[str, float]],
    *,
    seeds: int = 3,
    splits: tuple[str, ...] = ("random", "disjoint"),
    budgets: tuple[int, ...] = (10,),
    spread: float = 0.5,
    maps: bool = True,
) -> Path:
    """Records of all these scenes and methods: `means` is method to scene to OA in percent.

    Seeds lie symmetrically about the mean; a disjoint split costs 8 points, more
    labels bring 3.
    """
    scenes = list(next(iter(means.values())))
    labels = {f"{n}-per-class": {"per_class": n} for n in budgets}
    for method, of_scene in means.items():
        for scene, mean in of_scene.items():
            for split in splits:
                for i, n in enumerate(budgets):
                    for seed in range(seeds):
                        oa = mean + spread * (seed - (seeds - 1) / 2) + 3 * i
                        oa -= 8 * (split == "disjoint")
                        place = folder / "cells" / scene / split / f"{n}-per-class" / method
                        place = place / f"seed-{seed}"
                        place.mkdir(parents=True)
                        record = make_record(
                            scene, method, oa=min(oa, 100), seed=seed, split=split, n=n
                        )
                        (place / "run.json").write_text(json.dumps(record))
                        if maps and seed == 0:
                            write_map(place / "classes.png", seed=len(method))
    config = {
        "name": "planted", "about": "Records that were made up for a test.",
        "scenes": {s: {} for s in scenes}, "methods": {m: {} for m in means},
        "splits": {s: s for s in splits}, "budgets": labels, "seeds": list(range(seeds)),
        "reference": next(iter(means)),
    }  # fmt: skip
    (folder / "bench.json").write_text(json.dumps({"config": config, "cells": []}))
    return folder


def write_map(path: Path, seed: int = 0) -> None:
    """A class map of 40 x 50 pixels."""
    codes = np.random.default_rng(seed).integers(1, 5, (8, 10)).repeat(5, 0).repeat(5, 1)
    image = Image.fromarray(codes.astype(np.uint8))
    image.putpalette([255, 255, 255, *(v for colour in COLOURS for v in colour)])
    image.save(path)
