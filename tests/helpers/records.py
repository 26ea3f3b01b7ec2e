"""Records of a benchmark that was never run, with planted accuracies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

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
