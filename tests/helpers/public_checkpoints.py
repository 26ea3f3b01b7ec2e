"""The five public scenes of the paper as files in their published layouts, with invented pixels.

    python -m tests.helpers.public_checkpoints FOLDER     # full size: 600 MB in memory, 20 on disk
    HYPERPEFT_DATA=FOLDER hyperpeft bench paper ...

Names, variables, types, shapes and counts are those of the cards; spectra are smooth curves, one a
class, and labelled pixels of a class follow each other.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from scipy.io import savemat

from hyperpeft.scenes.catalog.card import Card
from hyperpeft.scenes.catalog.cards import CARDS

MATLAB = {  # card: type of the cube
    "indian-pines": "uint16",
    "pavia-university": "uint16",
    "whu-hi-longkou": "float32",
    "botswana": "uint16",
}
HOUSTON = "2013_IEEE_GRSS_DF_Contest"
PAPER = (*MATLAB, "houston-2013")


def smaller(card: Card, by: int = 8) -> Card:
    """The same card for a scene of 1/by of the side, with counts to match."""
    from dataclasses import replace

    height, width, bands = card.shape
    classes = {i: (name, max(8, n // by**2)) for i, (name, n) in card.classes.items()}
    train = tuple(max(3, n // by**2) for n in card.train_counts)
    needed = sum(n for _, n in classes.values())
    shape = (max(height // by, -(-needed // max(width // by, 16))), max(width // by, 16))
    return replace(card, shape=(*shape, bands), classes=classes, train_counts=train)


def write_public(folder: Path, cards: Mapping[str, Card] = CARDS) -> None:
    """Write the five scenes, each into a folder of its own, as downloads are kept."""
    for name in PAPER:
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        card = cards[name]
        labels = invented_labels(card)
        cube = invented_cube(card, labels)
        if name in MATLAB:
            for role, array in (("cube", cube.astype(MATLAB[name])), ("labels", labels)):
                file = card.file(role)  # type: ignore[arg-type]
                savemat(place / file.names[0], {file.key[0]: array}, do_compression=True)
        else:
            _write_houston(place, card, cube, labels)


def invented_labels(card: Card) -> np.ndarray:
    """(H, W) uint8: the counts of the card, class after class down the scene."""
    height, width, _ = card.shape
    flat = np.zeros(height * width, np.uint8)
    ids = np.repeat(list(card.classes), [n for _, n in card.classes.values()])
    flat[: len(ids)] = ids
    return flat.reshape(height, width)


def invented_cube(card: Card, labels: np.ndarray) -> np.ndarray:
    """(H, W, B) uint16: one smooth curve a class, and a step of brightness a pixel."""
    height, width, bands = card.shape
    x = np.linspace(0, 1, bands)
    number = np.arange(len(card.classes) + 1)[:, None]
    curves = 2000 + 800 * np.sin(3 * x * (1 + number / 3) + number) + 90 * number  # (K + 1, B)
    place = {i: k for k, i in enumerate(card.classes, start=1)}
    codes = np.vectorize(lambda i: place.get(i, 0))(np.arange(256))[labels]
    step = np.random.default_rng(0).integers(0, 120, (height, width, 1), dtype=np.uint16)
    cube: np.ndarray = curves.astype(np.uint16)[codes] + step
    return cube


def _write_houston(place: Path, card: Card, cube: np.ndarray, labels: np.ndarray) -> None:
    """A GeoTIFF, and the samples as ENVI's regions of interest: of each class the first n train."""
    with rasterio.open(
        place / f"{HOUSTON}_CASI.tif",
        "w",
        driver="GTiff",
        height=cube.shape[0],
        width=cube.shape[1],
        count=cube.shape[2],
        dtype="uint16",
        crs="EPSG:32615",
        transform=from_origin(271_460, 3_290_891, 2.5, 2.5),
        compress="deflate",
        interleave="band",
    ) as file:
        file.write(cube.transpose(2, 0, 1))
    parts: dict[str, dict[str, np.ndarray]] = {"TR": {}, "VA": {}}
    for (i, (name, _)), n in zip(card.classes.items(), card.train_counts, strict=True):
        pixels = np.argwhere(labels == i)
        parts["TR"][name], parts["VA"][name] = pixels[:n], pixels[n:]
    for part, regions in parts.items():
        lines = [
            "; ENVI Output of ROIs (4.8) [Thu Apr 11 2013]",
            f"; Number of ROIs: {len(regions)}",
        ]
        lines.append(f"; File Dimension: {labels.shape[1]} x {labels.shape[0]}")
        for name, pixels in regions.items():
            lines += ["", f"; ROI name: {name}", f"; ROI npts: {len(pixels)}"]
        lines.append(";   ID    X    Y")
        for pixels in regions.values():
            lines += [f"{k:6d}{x + 1:6d}{y + 1:6d}" for k, (y, x) in enumerate(pixels, start=1)]
        (place / f"{HOUSTON}_Samples_{part}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write_public(Path(sys.argv[1]))
