"""Draw figures of the documentation.

    python -m tools.draw_figures explanations [FOLDER]

Those of docs/explanation, from the generated scene and committed records:

splits.png     random, disjoint and polygon splits of the demo scene
leakage.png    a test window in two of them, and accuracies of random and disjoint splits
adapters.png   the weight of a layer and what LoRA and KronA+ add to it

    hyperpeft train indian-pines --method rf --per-class 10 --out runs/rf
    hyperpeft train indian-pines --per-class 10 --out runs/auto
    python -m tools.draw_figures maps docs/images/maps.png runs/rf runs/auto

The maps of runs of one scene beside its false colour and its labels; each has its method and its
overall accuracy, of the test pixels, above it.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import matplotlib
import numpy as np
import rasterio

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image
from scipy import ndimage

from hyperpeft.records import Labels, Scene, Split, draw_classes
from hyperpeft.runs.evaluate import reopen
from hyperpeft.runs.figures import false_colour
from hyperpeft.runs.file_names import MAP
from hyperpeft.runs.load import load_run
from hyperpeft.scenes import demo_scene
from hyperpeft.splits import SplitRequest, leakage, select

DOCS = Path(__file__).parents[1] / "docs"
RECORDS = DOCS / "results" / "offline.jsonl"
WINDOW, PER_CLASS, SEED = 7, 20, 0
TRAIN, SEES, CLEAN, LEFT_OUT = "#d62728", "#ff9896", "#1f77b4", "#d9d9d9"
METHODS = {  # of the records, from far-sighted networks to single spectra
    "hybridsn": "HybridSN, 25 x 25",
    "ssftt": "SSFTT, 13 x 13",
    "rf-pca": "random forest, windows",
    "svm-pca": "SVM, windows",
    "full": "full fine-tuning",
    "krona+": "KronA+",
    "rf": "random forest, spectra",
    "svm": "SVM, spectra",
}
MAPPED = {"rf": "random forest of spectra", "auto": "hyperpeft's default"}


def draw_splits(scene: Scene) -> Figure:
    """One panel a kind of split: what trains, what is tested, what is left out."""
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 4.1))
    for ax, kind in zip(axes, ("random", "disjoint", "polygons"), strict=True):
        split = split_of(scene, kind)
        share = 100 * leakage(split, scene.shape[:2], WINDOW)
        ax.imshow(parts(scene, split))
        ax.set_title(
            f"--split {kind}\n{len(split.test):,} test pixels, leakage {share:.0f} %", fontsize=10
        )
        ax.set_xticks([])
        ax.set_yticks([])
    figure.legend(
        handles=[
            Patch(color=TRAIN, label="trains"),
            Patch(color=SEES, label="tested, a training pixel in its window"),
            Patch(color=CLEAN, label="tested, no training pixel near"),
            Patch(color=LEFT_OUT, label="labelled, not used"),
        ],
        loc="lower center",
        ncols=4,
        frameon=False,
        fontsize=9,
    )
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    return figure


def split_of(scene: Scene, kind: str) -> Split:
    """The split that `train --split KIND --per-class 20 --patch-size 7` draws."""
    request = SplitRequest(
        labels=scene.labels,
        valid=np.asarray(scene.valid),
        split=kind,
        per_class=PER_CLASS,
        seed=SEED,
        reach=WINDOW,
        scene=scene.name,
    )
    return select(request)


def parts(scene: Scene, split: Split) -> np.ndarray:
    """Colours (H, W, 3): the part that each pixel has in a split."""
    picture = np.ones((*scene.shape[:2], 3))
    picture[scene.labels.ids > 0] = matplotlib.colors.to_rgb(LEFT_OUT)
    trained = np.zeros(scene.shape[:2], bool)
    trained[tuple(split.train.T)] = True
    near = ndimage.maximum_filter(trained, WINDOW)
    tested = np.zeros_like(trained)
    tested[tuple(split.test.T)] = True
    picture[tested & near] = matplotlib.colors.to_rgb(SEES)
    picture[tested & ~near] = matplotlib.colors.to_rgb(CLEAN)
    picture[trained] = matplotlib.colors.to_rgb(TRAIN)
    return picture


def draw_leakage(scene: Scene) -> Figure:
    """Left: the window of a test pixel in a random split. Right: what it does to accuracies."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9.6, 3.9), gridspec_kw={"width_ratios": [1, 1.5]}
    )
    split = split_of(scene, "random")
    (row, column), size = crowded(split), 23
    left.imshow(false_colour(scene).mean(axis=2), cmap="gray")
    for r, c in split.train:
        left.add_patch(Rectangle((c - 0.5, r - 0.5), 1, 1, color=TRAIN))
    left.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color=CLEAN))
    corner = (column - WINDOW / 2, row - WINDOW / 2)
    left.add_patch(Rectangle(corner, WINDOW, WINDOW, fill=False, color="black", lw=2.5))
    left.set_xlim(column - size / 2, column + size / 2)
    left.set_ylim(row + size / 2, row - size / 2)
    left.set_xticks([])
    left.set_yticks([])
    left.set_title("A test pixel (blue), its window,\ntraining pixels (red)", fontsize=10)
    draw_gaps(right)
    figure.tight_layout()
    return figure


def crowded(split: Split) -> tuple[int, int]:
    """The test pixel with the most training pixels in its window, away from the edge."""
    trained = np.zeros((96, 96))
    trained[tuple(split.train.T)] = 1
    count = ndimage.uniform_filter(trained, WINDOW)
    rows, columns = split.test.T
    inside = (np.minimum(rows, columns) > 14) & (np.maximum(rows, columns) < 81)
    best = int(np.argmax(np.where(inside, count[rows, columns], 0)))
    return int(rows[best]), int(columns[best])


def draw_gaps(ax: Axes) -> None:
    """Mean accuracy of each method with random and with disjoint training pixels."""
    means = accuracies()
    for place, method in enumerate(reversed(METHODS)):
        random, disjoint = (means[kind][method] for kind in ("random", "disjoint"))
        ax.plot([disjoint, random], [place, place], color="#bbbbbb", lw=3, zorder=0)
        ax.scatter(random, place, color=SEES, label="random" if not place else None, s=45)
        ax.scatter(disjoint, place, color=CLEAN, label="disjoint" if not place else None, s=45)
    ax.set_yticks(range(len(METHODS)), list(METHODS.values())[::-1])
    ax.set_xlabel("overall accuracy in percent, mean of four scenes")
    ax.legend(frameon=False, loc="lower left")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title("The same methods, tested in two ways", fontsize=10)


def accuracies() -> dict[str, dict[str, float]]:
    """Mean overall accuracy over scenes and seeds, by kind of split and method."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in RECORDS.read_text(encoding="utf-8").splitlines()[1:]:
        run = json.loads(line)
        if "run.json" in run:
            _, _, kind, _, method, _ = run["path"].split("/")
            found[kind][method].append(run["run.json"]["metrics"]["oa"])
    return {k: {m: float(np.mean(v)) for m, v in one.items()} for k, one in found.items()}


def draw_adapters() -> Figure:
    """The weight of a 768 x 768 layer, and the factors of LoRA and KronA+, to scale."""
    figure, ax = plt.subplots(figsize=(8.8, 2.9))

    def box(x: float, rows: float, columns: float, colour: str, text: str, under: str) -> float:
        scale = 1 / 300
        wide, high = max(columns * scale, 0.05), max(rows * scale, 0.05)
        ax.add_patch(Rectangle((x, -high / 2), wide, high, color=colour))
        ax.text(x + wide / 2, 1.45, text, ha="center")
        ax.text(x + wide / 2, -1.6, under, ha="center", va="top", fontsize=9)
        return x + wide

    end = box(0, 768, 768, "#9e9e9e", "W, frozen", "768 x 768\n589,824")
    ax.text(end + 0.45, 0, "+", fontsize=20, ha="center", va="center")
    end = box(end + 1.0, 768, 8, TRAIN, "B", "768 x 8")
    end = box(end + 0.35, 8, 768, CLEAN, "A", "8 x 768\nLoRA, r = 8: 12,288")
    ax.text(end + 0.7, 0, "or", fontsize=13, ha="center", va="center")
    end = box(end + 1.6, 24, 24, CLEAN, "A", "24 x 24\n")
    ax.text(end + 0.5, 0, "⊗", fontsize=16, ha="center", va="center")
    end = box(end + 1.0, 32, 32, TRAIN, "B", "32 x 32\nKronA+: 1,600")
    ax.set_xlim(-0.4, end + 1.2)
    ax.set_ylim(-2.5, 1.8)
    ax.set_aspect("equal")
    ax.axis("off")
    figure.tight_layout()
    return figure


def draw_explanations(folder: Path) -> list[Path]:
    """The figures of docs/explanation as PNGs of at most 256 colours; their paths."""
    scene, written = demo_scene(), []
    figures = {
        "splits": draw_splits(scene),
        "leakage": draw_leakage(scene),
        "adapters": draw_adapters(),
    }
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=110, metadata={"Software": None})
        plt.close(figure)
        with Image.open(path) as image:
            small = image.convert("RGB").quantize(256)
        small.save(path, optimize=True)
        written.append(path)
    return written


def draw_maps(scene: Scene, runs: list[Path]) -> Figure:
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
        ax.set_title(f"{MAPPED.get(method, method)}\nOA {record.metrics['oa']:.1f} %", fontsize=10)
    for ax in axes:
        if ax.get_legend() is not None:
            ax.get_legend().remove()
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_xlabel("")
        ax.set_ylabel("")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    tasks = parser.add_subparsers(dest="task", required=True)
    explanations = tasks.add_parser("explanations", help="the figures of docs/explanation")
    explanations.add_argument("folder", nargs="?", type=Path, default=DOCS / "images")
    maps = tasks.add_parser("maps", help="the maps of several runs of one scene")
    maps.add_argument("picture", type=Path)
    maps.add_argument("runs", nargs="+", type=Path)
    options = parser.parse_args()
    if options.task == "explanations":
        draw_explanations(options.folder)
    else:
        scene = reopen(load_run(options.runs[0]).record, options.runs[0])
        draw_maps(scene, options.runs).savefig(options.picture, dpi=90)


if __name__ == "__main__":
    main()
