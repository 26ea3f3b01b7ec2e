"""A scene as a table and as figures, for notebooks.

`scene` is a `Scene`; its module imports this one, and so its name is not imported here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hyperpeft.records.labels import UNLABELLED, Labels
from hyperpeft.system.text import html_table

_NOTES = 6  # shown in a notebook
_STRETCH = (2, 98)  # percentiles that are drawn black and white
_LARGEST_SIDE = 1000  # pixels of a picture


def scene_table(scene: Any) -> str:
    """What a notebook shows of a scene."""
    height, width, bands = scene.shape
    valid = "" if scene.valid_pixels is None else f", {scene.valid_pixels:,} valid"
    rows: list[list[object]] = [
        ["pixels", f"{height} x {width}{valid}"],
        ["bands", f"{bands} ({scene.cube.dtype})"],
    ]
    if scene.wavelengths is not None:
        rows.append(
            ["wavelengths", f"{scene.wavelengths.min():g} to {scene.wavelengths.max():g} nm"]
        )
    rows.append(["CRS", _crs_name(scene.crs)])
    if scene.transform is not None:
        a, _, c, _, e, f = scene.transform
        rows.append(["pixel, corner", f"{abs(a):g} x {abs(e):g}, ({c:.10g}, {f:.10g})"])
    if scene.labels is not None:
        counts = scene.labels.counts()
        rows.append(["labelled", f"{sum(counts.values()):,} in {len(counts)} classes"])
    rows += [["note", note] for note in scene.notes[:_NOTES]]
    if len(scene.notes) > _NOTES:
        rows.append(["note", f"... and {len(scene.notes) - _NOTES} more"])
    return html_table(scene.name, [], rows)


def _crs_name(crs: str | None) -> str:
    if crs is None:
        return "none"
    return crs.split('"')[1] if '"' in crs else crs[:60]


def picture(scene: Any) -> np.ndarray:
    """False colours (h, w, 3) from 0 to 1, stretched; white where the scene is not valid."""
    step = -(-max(scene.valid.shape) // _LARGEST_SIDE)
    part = scene.cube.isel(
        band=list(scene.rgb), y=slice(None, None, step), x=slice(None, None, step)
    )
    values = np.moveaxis(part.values.astype(np.float32), 0, 2)
    valid = scene.valid[::step, ::step]
    image = np.ones_like(values)
    if valid.any():
        low, high = np.percentile(values[valid], _STRETCH, axis=0)
        spread = np.where(high > low, high - low, 1)
        image[valid] = np.clip((values[valid] - low) / spread, 0, 1)
    return image


def plot_scene(scene: Any, ax: Any, *, labels: bool) -> Any:
    """See `Scene.plot`."""
    from matplotlib import pyplot

    shown = scene.labels if labels else None
    if ax is None:
        count = 1 if shown is None else 2
        _, axes = pyplot.subplots(1, count, figsize=(5 * count, 5), layout="constrained")
    else:
        axes, shown = ax, None
    first = np.atleast_1d(axes)[0]
    first.imshow(picture(scene), extent=_extent(scene))
    first.set_title(_plain(scene.name))
    if shown is not None:
        draw_classes(np.atleast_1d(axes)[1], shown.ids, shown, _extent(scene))
        np.atleast_1d(axes)[1].set_title("labels")
    return axes


def draw_classes(ax: Any, ids: np.ndarray, labels: Labels, extent: Any = None) -> None:
    """Class ids (H, W) in the colours of the labels, with a legend of those that occur."""
    from matplotlib.patches import Patch

    image = np.ones((*ids.shape, 4), np.float32)
    image[ids == UNLABELLED, 3] = 0
    present = [i for i in np.unique(ids).tolist() if i != UNLABELLED]
    for i in present:
        image[ids == i, :3] = np.array(labels.colours[i]) / 255
    ax.imshow(image, extent=extent, interpolation="nearest")
    handles = []
    for i in present:
        r, g, b = (value / 255 for value in labels.colours[i])
        handles.append(Patch(color=(r, g, b), label=_plain(labels.classes[i])))
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)


def plot_spectra(scene: Any, ax: Any, most: int) -> Any:
    """See `Scene.plot_spectra`; without labels, of all valid pixels together."""
    from matplotlib import pyplot

    if ax is None:
        _, ax = pyplot.subplots(figsize=(7, 4), layout="constrained")
    _, _, bands = scene.shape
    axis = np.arange(1, bands + 1) if scene.wavelengths is None else scene.wavelengths
    random = np.random.default_rng(0)
    if scene.labels is None:
        groups: dict[int, tuple[str, Any]] = {1: ("valid pixels", "C0")}
        where = {1: np.argwhere(scene.valid)}
    else:
        groups = {
            i: (name, np.array(scene.labels.colours[i]) / 255)
            for i, name in scene.labels.classes.items()
        }
        where = {i: np.argwhere((scene.labels.ids == i) & scene.valid) for i in groups}
    order = np.argsort(axis, kind="stable")
    for i, (name, colour) in groups.items():
        if len(where[i]) == 0:
            continue
        chosen = where[i][np.sort(random.permutation(len(where[i]))[:most])]
        spectra = _spectra(scene, chosen)[:, order]
        mean, spread = spectra.mean(axis=0), spectra.std(axis=0)
        ax.plot(axis[order], mean, color=colour, label=_plain(name))
        ax.fill_between(axis[order], mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
    ax.set_xlabel("band" if scene.wavelengths is None else "wavelength / nm")
    ax.set_ylabel("value")
    ax.legend(frameon=False)
    return ax


def _spectra(scene: Any, pixels: np.ndarray) -> np.ndarray:
    """Values (n, B) of pixels (n, 2), read piece by piece."""
    where = np.zeros(scene.valid.shape, bool)
    where[tuple(pixels.T)] = True
    found = [values[:, where[window]].T for window, values in scene.pieces(where=where)]
    return np.concatenate(found)


def _extent(scene: Any) -> Any:
    """West, east, south, north of an unrotated grid; rows and columns elsewhere."""
    height, width = scene.valid.shape
    if scene.transform is None or scene.transform[1] or scene.transform[3]:
        return None
    a, _, c, _, e, f = scene.transform
    return c, c + a * width, f + e * height, f


def _plain(text: str) -> str:
    """A name without matplotlib's markup for formulas."""
    return text.replace("$", r"\$")
