"""Draw the maps of several runs of one scene beside its false colour and its labels.

    hyperpeft train indian-pines --method rf --per-class 10 --out runs/rf
    hyperpeft train indian-pines --per-class 10 --out runs/auto
    python -m tools.draw_maps docs/images/maps.png runs/rf runs/auto

Each map has its method and its overall accuracy, of the test pixels, above it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import rasterio

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from hyperpeft.records import Labels, Scene, draw_classes
from hyperpeft.runs.evaluate import reopen
from hyperpeft.runs.file_names import MAP
from hyperpeft.runs.load import load_run

NAMES = {"rf": "random forest of spectra", "auto": "hyperpeft's default"}


def draw(scene: Scene, runs: list[Path]) -> Figure:
    """Panels of the same size: scene, labels, one map a run."""
    assert scene.labels is not None
    labels = scene.labels
    figure, axes = plt.subplots(
        1, 2 + len(runs), figsize=(2.4 * (2 + len(runs)), 2.9), layout="constrained"
    )
    scene.plot(axes[0], labels=False)
    axes[0].set_title("false colour", fontsize=10)
    draw_classes(axes[1], labels.ids, labels)
    axes[1].set_title(f"labels, {len(labels.classes)} classes", fontsize=10)
    for ax, folder in zip(axes[2:], runs, strict=True):
        record = load_run(folder).record
        with rasterio.open(folder / MAP) as file:
            ids = file.read(1)
        draw_classes(ax, ids, Labels(ids, labels.classes, labels.colours, "map"))
        method = record.config["method"]
        ax.set_title(f"{NAMES.get(method, method)}\nOA {record.metrics['oa']:.1f} %", fontsize=10)
    for ax in axes:
        if ax.get_legend() is not None:
            ax.get_legend().remove()
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlabel("")
        ax.set_ylabel("")
    return figure


def main() -> None:
    """Command line: PICTURE RUN [RUN ...]."""
    picture, *folders = map(Path, sys.argv[1:])
    scene = reopen(load_run(folders[0]).record, folders[0])
    draw(scene, folders).savefig(picture, dpi=90)


if __name__ == "__main__":
    main()
