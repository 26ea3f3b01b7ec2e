"""Class maps on disk whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio.raw
from rasterio.transform import from_origin

from hyperpeft.mapping.outputs.geotiff import write_class_map
from hyperpeft.records import palette

NAMES = {1: "water", 2: "forest", 4: "bare soil"}
CRS = "EPSG:32633"
TRANSFORM = from_origin(364_000, 5_810_000, 30, 30)


def truth_and_map(seed: int = 0, shape: tuple[int, int] = (120, 150), errors: float = 0.1):
    """Class ids of the ground, and a map that is wrong at a share of the pixels."""
    random = np.random.default_rng(seed)
    truth = np.full(shape, 2, np.uint8)
    truth[:20] = 1
    truth[60:, 100:] = 4
    mapped = truth.copy()
    wrong = random.random(shape) < errors
    mapped[wrong] = random.choice([1, 2, 4], wrong.sum())
    mapped[:, :5] = 0
    return truth, mapped


def write_map(path: Path, ids: np.ndarray, crs: str | None = CRS) -> Path:
    place = {} if crs is None else {"crs": crs, "transform": tuple(TRANSFORM)[:6]}
    write_class_map(path, ids, NAMES, palette(NAMES), **place)
    return path


def fill(points: Path, truth: np.ndarray, names: dict[int, str] | None = NAMES) -> Path:
    """Give every point its class on the ground, as a person does in a GIS."""
    _, _, _, table = pyogrio.raw.read(points, layer="design")
    at = dict(zip(table[0].tolist(), zip(table[3], table[4], strict=True), strict=True))
    meta, _, wkb, columns = pyogrio.raw.read(points, layer="points")
    fields = list(meta["fields"])
    ids = columns[fields.index("id")].tolist()
    found = [int(truth[at[i]]) for i in ids]
    texts = [str(i) if names is None else names[i] for i in found]
    columns[fields.index("reference")] = np.array(texts, dtype=object)
    pyogrio.raw.write(
        points, wkb, columns, fields, layer="points", geometry_type="Point", crs=meta["crs"],
        append=False, driver="GPKG",
    )  # fmt: skip
    return points
