"""Statistics of generated scenes beside those of real cubes, and how fast scenes are generated.

    python -m benchmarks.scene_statistics --data DATA

Three figures of each scene: the share of the variance in each principal component, the correlation
of the first three components with themselves at a distance, and how much of the variance of the 12
components lies between classes (labels of the generated scenes; for the real ones the labels of the
benchmark scenes). Writes benchmarks/records/scene-statistics.json and
docs/images/scene-statistics.png. The rate is of data alone: scenes, components, windows at 16 x 16.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from hyperpeft import open_scene
from hyperpeft.models.windows import resize
from hyperpeft.pretraining.config import PretrainConfig
from hyperpeft.pretraining.scene_episodes import scene_steps
from hyperpeft.pretraining.sources import components_of
from hyperpeft.runs.sections import source_state
from tools.accelerator.prepare import LIBRARIES, cubes_of

HERE = Path(__file__).parent
LABELLED = ("salinas-a", "indian-pines", "enmap-potsdam", "jasper-ridge", "samson")
LAGS = (1, 2, 3, 5, 8, 12, 20)
COUNT, SIDE = 64, 64


def spectrum(cube: np.ndarray) -> np.ndarray:
    """Share of the variance of each of the first 12 components of (B, H, W)."""
    flat = cube.reshape(len(cube), -1)
    values = np.linalg.eigvalsh(np.cov(flat))[::-1]
    shares: np.ndarray = np.maximum(values[:12], 0) / values.sum()
    return shares


def autocorrelation(components: np.ndarray) -> np.ndarray:
    """Correlation of the first three components (12, H, W) with themselves at the lags."""
    found = []
    for lag in LAGS:
        pairs = [np.corrcoef(c[lag:].ravel(), c[:-lag].ravel())[0, 1] for c in components[:3]] + [
            np.corrcoef(c[:, lag:].ravel(), c[:, :-lag].ravel())[0, 1] for c in components[:3]
        ]
        found.append(float(np.mean(pairs)))
    return np.array(found)


def separability(components: np.ndarray, classes: np.ndarray) -> float:
    """Share of the components' variance that lies between classes; classes < 0 are left out."""
    known = classes >= 0
    values, labels = components[:, known], classes[known]
    means = np.stack([values[:, labels == k].mean(1) for k in np.unique(labels)], 1)
    counts = np.unique(labels, return_counts=True)[1]
    between = ((means - values.mean(1, keepdims=True)) ** 2 * counts).sum() / counts.sum()
    return float(between / values.var(1).sum())


def quartiles(rows: list[np.ndarray]) -> list[list[float]]:
    """Lower quartile, median and upper quartile over scenes."""
    return np.round(np.quantile(np.stack(rows), [0.25, 0.5, 0.75], axis=0), 4).tolist()


def rate(config: PretrainConfig, seconds: float = 20.0) -> float:
    """Windows a second of data alone, on this machine."""
    assert config.scenes is not None
    steps = scene_steps(config, config.scenes, config.stages[0], torch.device("cpu"))
    steps[0]
    start, windows, number = time.perf_counter(), 0, 1
    while time.perf_counter() - start < seconds:
        step = steps[number]
        windows += len(resize(step.windows(), 16))
        number += 1
    return windows / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    libraries = [str(options.data / "spectral-libraries" / name) for name in LIBRARIES]
    config = PretrainConfig.model_validate(
        {
            "stages": [{"steps": 1, "image_size": 16}],
            "scenes": {"library": libraries, "curves": 0.0, "size": SIDE},
            "episodes": {"scenes": 16, "ways": [8, 8], "shots": [10], "queries": 8},
        }
    )
    assert config.scenes is not None
    steps = scene_steps(config, config.scenes, config.stages[0], torch.device("cpu"))
    batch = steps.generator.draw(0, COUNT)
    reduced = components_of(batch.cubes).numpy()
    generated = {
        "spectrum": [spectrum(cube) for cube in batch.cubes.numpy()],
        "autocorrelation": [autocorrelation(c) for c in reduced],
        "separability": [
            np.array(separability(c, k))
            for c, k in zip(reduced, batch.classes.numpy(), strict=True)
        ],
    }
    real: dict[str, list[np.ndarray]] = {"spectrum": [], "autocorrelation": [], "separability": []}
    cubes = cubes_of(options.data / "pretraining" / "hyperspectral")
    labels: dict[str, np.ndarray] = {}
    for name in LABELLED:
        scene = open_scene(name)
        assert scene.labels is not None
        cubes[name] = scene.cube.values.astype(np.float32) * scene.valid
        labels[name] = np.where(scene.labels.ids > 0, scene.labels.ids, -1)
    for name, cube in cubes.items():
        values = np.asarray(cube, np.float32)
        components = components_of(torch.from_numpy(values)[None])[0].numpy()
        real["spectrum"].append(spectrum(values))
        real["autocorrelation"].append(autocorrelation(components))
        if name in labels:
            real["separability"].append(np.array(separability(components, labels[name])))
    commit, dirty = source_state()
    record = {
        "command": "python -m benchmarks.scene_statistics",
        "commit": commit,
        "dirty": dirty,
        "lags": list(LAGS),
        "scenes": {"generated": COUNT, "real": len(cubes), "labelled": len(labels)},
        "generated": {name: quartiles(rows) for name, rows in generated.items()},
        "real": {name: quartiles(rows) for name, rows in real.items()},
        "threads": torch.get_num_threads(),
        "windows_per_second": round(rate(config)),
    }
    (HERE / "records" / "scene-statistics.json").write_text(json.dumps(record, indent=1) + "\n")
    draw(record, HERE.parent / "docs" / "images" / "scene-statistics.png")
    print(json.dumps(record))


def draw(record: dict, path: Path) -> None:
    """The three figures, medians and quartiles."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for kind, colour in (("real", "#0072b2"), ("generated", "#d55e00")):
        low, middle, high = record[kind]["spectrum"]
        axes[0].fill_between(range(1, 13), low, high, color=colour, alpha=0.2, linewidth=0)
        axes[0].plot(range(1, 13), middle, color=colour, label=kind)
        low, middle, high = record[kind]["autocorrelation"]
        axes[1].fill_between(record["lags"], low, high, color=colour, alpha=0.2, linewidth=0)
        axes[1].plot(record["lags"], middle, color=colour)
        low, middle, high = record[kind]["separability"]
        place = 0 if kind == "real" else 1
        axes[2].bar(place, middle, color=colour, width=0.6)
        axes[2].plot([place, place], [low, high], color="black")
    axes[0].set(yscale="log", xlabel="component", ylabel="share of the variance")
    axes[0].legend(frameon=False)
    axes[1].set(xlabel="distance in pixels", ylabel="autocorrelation", ylim=(0, 1))
    axes[2].set(xticks=[0, 1], xticklabels=["real", "generated"], ylabel="variance between classes")
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
