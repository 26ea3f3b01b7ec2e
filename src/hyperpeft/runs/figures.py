"""Pictures of a run: false colour, ground truth and class map, and the confusion matrix.

Figures are matplotlib objects drawn by the Agg canvas, without pyplot and its global state, so
they need no display and can be made from any thread.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text

from hyperpeft.errors import ConfigError
from hyperpeft.records import UNLABELLED, Scene
from hyperpeft.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 150
INVALID = 235  # light grey of false-colour pixels without data
UNLABELLED_COLOUR = (242, 242, 242)
NO_DATA_STRIPES = ((255, 255, 255), (176, 176, 176))
_WIDE_FONTS = (  # of scripts that matplotlib's own font lacks; what is installed of them is used
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "WenQuanYi Zen Hei",
    "Microsoft YaHei", "PingFang SC", "Hiragino Sans", "Yu Gothic", "Malgun Gothic",
    "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Thai", "Arial Unicode MS",
)  # fmt: skip
NUMBERED_CLASSES = 20  # above this the cells of a confusion matrix are too small for numbers


def false_colour(scene: Scene) -> np.ndarray:
    """Show the bands `scene.rgb`, each stretched from its 2nd to its 98th percentile.

    Parameters
    ----------
    scene : Scene

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
        Percentiles are over valid pixels; the others are light grey. A constant band is mid-grey.
    """
    picture = np.full((*scene.valid.shape, 3), INVALID, np.uint8)
    if not scene.valid.any():
        return picture
    for channel, band in enumerate(scene.rgb):
        values = scene.cube.isel(band=band).values[scene.valid].astype(np.float64)  # (n,)
        low, high = np.percentile(values, [2, 98])
        if high > low:
            level = np.clip((values - low) / (high - low), 0, 1)
        else:
            # Sparse or constant: what differs from the common value is still shown.
            level = (np.sign(values - low) + 1) / 2
        picture[scene.valid, channel] = np.round(255 * level).astype(np.uint8)
    return picture


def save_map(
    path: Path,
    predicted_ids: np.ndarray,
    classes: Mapping[int, str],
    colours: Mapping[int, tuple[int, int, int]],
    *,
    picture: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    title: str = "",
) -> None:
    """Draw false colour, ground truth and class map beside each other, with one legend.

    Scenes much wider than high are drawn below each other.

    Parameters
    ----------
    path : Path
        PNG, or another format that matplotlib knows by the suffix.
    predicted_ids : ndarray of int, shape (H, W)
        0 where there is no data, which is hatched in every panel, but for labels that lie there.
    classes : mapping of int to str
        Names; the legend shows those present in the map or the truth, in order of id.
    colours : mapping of int to (int, int, int)
        RGB, 0 to 255.
    picture : ndarray of uint8, shape (H, W, 3), optional
    truth : ndarray of int, shape (H, W), optional
        0 where there is no label, which is light grey.
    title : str, optional

    Raises
    ------
    ConfigError
        When shapes differ, a class has no colour or the path cannot be written.
    """
    shape = predicted_ids.shape
    for what, array in (("picture", picture), ("truth", truth)):
        if array is not None and array.shape[:2] != shape:
            raise ConfigError(f"{what} of the map", expected=shape, got=array.shape[:2])
    missing = predicted_ids == UNLABELLED
    panels: list[tuple[str, np.ndarray]] = []
    if picture is not None:
        panels.append(("False colour", _no_data_striped(picture.copy(), missing)))
    if truth is not None:
        labelled = _unlabelled_grey(_coloured(truth, colours), truth)
        empty = missing & (truth == UNLABELLED)
        panels.append(("Ground truth", _no_data_striped(labelled, empty)))
    panels.append(("Class map", _no_data_striped(_coloured(predicted_ids, colours), missing)))
    figure, axes = _panels(shape, len(panels))
    for ax, (name, image) in zip(axes, panels, strict=True):
        ax.imshow(image, interpolation="nearest", aspect="auto")
        ax.set_title(name, fontsize=10)
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set(color="0.4", linewidth=0.6)
    entries = _legend_entries(predicted_ids, truth, classes, colours)
    _legend(figure, entries, below=_wide(shape))
    if title:
        top = axes[0].get_position().y1 + 0.32 / figure.get_figheight()
        left = axes[0].get_position().x0
        figure.text(left, top, title, fontsize=12, weight="bold", va="bottom")
    panel = axes[0].get_position().height * figure.get_figheight()  # inches
    _save(figure, path, dpi=int(np.clip(shape[0] / panel, DPI, 2 * DPI)))


def save_confusion(path: Path, confusion: np.ndarray, names: Sequence[str]) -> None:
    """Draw a confusion matrix: colours and numbers are percent of the true class.

    Parameters
    ----------
    path : Path
    confusion : ndarray of int, shape (K, K)
        Rows true, columns predicted. The rows' labels give their pixels; a row without any is
        grey. Numbers are drawn for up to 20 classes.
    names : sequence of K str

    Raises
    ------
    ConfigError
        When there is not one name per class or the path cannot be written.
    """
    k = len(names)
    if confusion.shape != (k, k):
        raise ConfigError("confusion matrix", expected=(k, k), got=confusion.shape)
    total = confusion.sum(axis=1, keepdims=True)  # (K, 1)
    percent = np.divide(100 * confusion, total, out=np.full((k, k), np.nan), where=total > 0)
    cell = 0.46 if k <= NUMBERED_CLASSES else 0.22
    side = max(k * cell, 2.2)
    figure = Figure(figsize=(side + 0.6, side))
    ax = figure.add_axes((0, 0, side / (side + 0.6), 1))
    ax.set_facecolor("0.85")
    image = ax.imshow(percent, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    size = 9 if k <= NUMBERED_CLASSES else 7
    ax.set_xticks(range(k), list(names), rotation=45, ha="right", rotation_mode="anchor")
    counted = [f"{name} ({n:,})" for name, n in zip(names, total[:, 0].tolist(), strict=True)]
    ax.set_yticks(range(k), counted)
    ax.tick_params(labelsize=size, length=2)
    ax.set_xlabel("Predicted class", fontsize=10)
    ax.set_ylabel("True class (test pixels)", fontsize=10)
    ax.set_xticks(np.arange(k + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(k + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=0.8)
    ax.tick_params(which="minor", length=0)
    if k <= NUMBERED_CLASSES:
        _number_cells(ax, percent)
    bar = figure.add_axes(((side + 0.15) / (side + 0.6), 0, 0.14 / (side + 0.6), 1))
    figure.colorbar(image, cax=bar).set_label("% of true class", fontsize=9)
    bar.tick_params(labelsize=8)
    _save(figure, path)


def _number_cells(ax: Axes, percent: np.ndarray) -> None:
    """Write the percentages; empty cells stay empty, so that the eye finds the confusions."""
    for (row, column), value in np.ndenumerate(percent):
        if not value > 0:
            continue
        text = "<1" if value <= 0.5 else ">99" if 99.5 <= value < 100 else f"{value:.0f}"
        ax.text(
            column, row, text, ha="center", va="center", fontsize=8,
            color="white" if value > 55 else "0.15" if value > 0.5 else "0.6",
        )  # fmt: skip


def _wide(shape: tuple[int, ...]) -> bool:
    """Whether panels of this (H, W) are better below than beside each other."""
    return shape[1] > 2 * shape[0]


def _panels(shape: tuple[int, ...], count: int) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes of the scene's proportions, about 4 inches a side."""
    tall = shape[0] / shape[1]
    high = float(np.clip(3.8 * np.sqrt(tall), 1.0, 8.0))
    wide = float(np.clip(high / tall, 1.0, 9.0))
    high = min(high, max(wide * tall, 0.5))
    # Between panels there is a gap, or space for a title where they are stacked.
    right, down = (0.0, high + 0.35) if _wide(shape) else (wide + 0.15, 0.0)
    full = np.array([wide + (count - 1) * right, high + (count - 1) * down])
    figure = Figure(figsize=(full[0], full[1]))
    axes = []
    for i in range(count):
        left, bottom = np.array([i * right, full[1] - high - i * down]) / full
        axes.append(figure.add_axes((left, bottom, wide / full[0], high / full[1])))
    return figure, axes


def _legend(figure: Figure, entries: list[Any], *, below: bool) -> None:
    """Beside the panels, in as many columns as their height asks for, or below them."""
    wide, high = figure.get_size_inches().tolist()
    if below:
        anchor, columns = (0.0, -0.1 / high), max(1, int(wide / 1.9))
    else:
        anchor, columns = (1 + 0.15 / wide, 1.0), -(-len(entries) // max(6, int(high / 0.21)))
    figure.legend(
        handles=entries, loc="upper left", bbox_to_anchor=anchor, ncols=max(columns, 1),
        fontsize=9, frameon=False, borderaxespad=0, borderpad=0, labelspacing=0.35,
        handlelength=1.3, handleheight=1.0, columnspacing=1.2,
    )  # fmt: skip


def _legend_entries(
    predicted: np.ndarray,
    truth: np.ndarray | None,
    classes: Mapping[int, str],
    colours: Mapping[int, tuple[int, int, int]],
) -> list[Any]:
    """One patch per class present, in order of id, then those of pixels without a class."""
    present = set(np.unique(predicted).tolist())
    if truth is not None:
        present |= set(np.unique(truth).tolist())
    entries = [
        Patch(facecolor=_unit(colours[i]), edgecolor="0.4", linewidth=0.5, label=classes.get(i, i))
        for i in sorted(present - {UNLABELLED})
    ]
    if truth is not None and ((truth == UNLABELLED) & (predicted != UNLABELLED)).any():
        grey = _unit(UNLABELLED_COLOUR)
        entries.append(Patch(facecolor=grey, edgecolor="0.4", linewidth=0.5, label="Unlabelled"))
    if (predicted == UNLABELLED).any():
        light, dark = map(_unit, NO_DATA_STRIPES)
        entries.append(
            Patch(facecolor=light, edgecolor=dark, hatch="/////", linewidth=0.5, label="No data")
        )
    return entries


def _coloured(ids: np.ndarray, colours: Mapping[int, tuple[int, int, int]]) -> np.ndarray:
    """Image (H, W, 3) uint8 of ids; id 0 is black until it is painted over."""
    present, codes = np.unique(ids, return_inverse=True)
    missing = [i for i in present.tolist() if i not in colours and i != UNLABELLED]
    if missing:
        raise ConfigError(f"classes {missing} of the map have no colour")
    known = {**colours, UNLABELLED: (0, 0, 0)}
    table = np.array([known[i] for i in present.tolist()], np.uint8)  # (K, 3)
    image: np.ndarray = table[codes.reshape(ids.shape)]
    return image


def _unlabelled_grey(image: np.ndarray, ids: np.ndarray) -> np.ndarray:
    image[ids == UNLABELLED] = UNLABELLED_COLOUR
    return image


def _no_data_striped(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Paint diagonal stripes, which no class colour can be taken for."""
    rows, columns = np.nonzero(where)
    period = max(4, min(where.shape) // 20)
    dark = (rows + columns) % period < max(1, period // 4)
    image[rows, columns] = np.where(dark[:, None], NO_DATA_STRIPES[1], NO_DATA_STRIPES[0])
    return image


def _unit(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = rgb
    return red / 255, green / 255, blue / 255


def _save(figure: Figure, path: Path, dpi: int = DPI) -> None:
    suffix = Path(path).suffix.removeprefix(".")
    if suffix.lower() not in FigureCanvasAgg(figure).get_supported_filetypes():
        raise ConfigError(
            f"{path} cannot be drawn (format {suffix!r} is unknown)", hint="name it .png"
        )
    texts = figure.findobj(Text)
    for text in texts:
        text.set_parse_math(False)  # names of files and classes are no formulas, whatever $ is in
    if not all(text.get_text().isascii() for text in texts):
        installed = set(font_manager.get_font_names())
        more = [name for name in _WIDE_FONTS if name in installed]
        for text in texts:
            text.set_fontfamily([*text.get_fontfamily(), *more])
    with replacing(Path(path)) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # drawn as boxes
        figure.savefig(temporary, dpi=dpi, bbox_inches="tight", pad_inches=0.12)
