"""Small worlds for tests: tiny encoders, planted scenes, predictors, calls of the program.

Also class maps on disk whose truth is known.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
import xarray as xr
from rasterio.transform import from_origin
from safetensors.torch import save_file

from hyperpeft import adapters, spectral
from hyperpeft.mapping import EncoderPredictor, Mapper, classify
from hyperpeft.mapping.outputs.geotiff import write_class_map
from hyperpeft.models.spectralgpt import SpectralGPT, initialise
from hyperpeft.records import Scene, palette
from hyperpeft.runs.config import make_config
from hyperpeft.scenes import planted_scene
from hyperpeft.training.classifier import Classifier

DIM, DEPTH, HEADS = 48, 2, 3
NODATA = -9999.0
CRS = "EPSG:32633"
TRANSFORM = from_origin(364_000, 5_810_000, 30, 30)
PROGRAM = [sys.executable, "-c", "from hyperpeft.cli import main; main()"]


def encoder(seed: int = 0, **options: Any) -> SpectralGPT:
    """An encoder with 1/40 of the weights of `tiny`."""
    return initialise(SpectralGPT(DIM, DEPTH, HEADS, **options), seed).eval()


def checkpoint(path: Path, seed: int = 0) -> Path:
    """The same encoder as a file for `--backbone`."""
    save_file(encoder(seed).state_dict(), path)
    return path


def planted(**changes: Any) -> Scene:
    """24 x 24 pixels, 20 bands, two classes in blocks of 6 x 6 pixels."""
    sizes = {"height": 24, "width": 24, "block": 6, "bands": 20, "informative_band": 7}
    return planted_scene(**{**sizes, **changes})


def write_scene(
    folder: Path, scene: Scene, invalid: np.ndarray | None = None, name: str = "scene"
) -> tuple[Path, Path]:
    """The scene as georeferenced cube and label rasters; `invalid` pixels hold nodata."""
    folder.mkdir(parents=True, exist_ok=True)
    cube, ids = np.array(scene.cube.values), scene.labels.ids.astype(np.uint8)
    if invalid is not None:
        cube[:, invalid] = NODATA
    paths = folder / f"{name}.tif", folder / f"{name}_labels.tif"
    for path, array, nodata in ((paths[0], cube, NODATA), (paths[1], ids[None], 0)):
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=len(array),
            height=array.shape[1],
            width=array.shape[2],
            dtype=array.dtype,
            nodata=nodata,
            crs=CRS,
            transform=TRANSFORM,
        ) as file:
            file.write(array)
    return paths


def options(folder: Path, out: Path | str, **changes: Any) -> dict[str, Any]:
    """Options of a run of a second or two on the scene and encoder written to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    cube, labels, weights = (
        folder / "scene.tif",
        folder / "scene_labels.tif",
        folder / "e.safetensors",
    )
    if not cube.is_file():
        write_scene(folder, planted())
    if not weights.is_file():
        checkpoint(weights)
    return {
        "scene": str(cube),
        "labels": str(labels),
        "backbone": str(weights),
        "num_heads": HEADS,
        "method": "krona+",
        "per_class": 8,
        "patch_size": 5,
        "epochs": 4,
        "out": Path(out),
        **changes,
    }


def config(folder: Path, out: Path | str, **changes: Any):
    """A RunConfig with `options`."""
    return make_config(options(folder, out, **changes))


def yaml_file(path: Path, values: dict[str, Any]) -> Path:
    """Options as RUN.yaml (JSON is YAML)."""
    path.write_text(
        json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in values.items()})
    )
    return path


def strict_json(text: str) -> Any:
    """JSON as the standard has it: NaN and Infinity are refused."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in JSON")

    return json.loads(text, parse_constant=refuse)


IDS = np.array([1, 2], np.int32)
CLASSES = {1: "one", 2: "two"}
COLOURS = {1: (255, 0, 0), 2: (0, 0, 255)}


def holed(height: int, width: int, seed: int = 0):
    """A planted scene with some pixels that are not valid."""
    scene = planted(height=height, width=width, seed=seed)
    valid = np.random.default_rng(seed).random((height, width)) > 0.05
    return replace(scene, valid=valid)


def mapper_for(scene, patch_size: int = 5, **changes) -> Mapper:
    model = Classifier(encoder(image_size=8), 2).eval()
    with torch.no_grad():
        model.head.weight.mul_(50)  # so that classes follow the pixels
    reducer = spectral.fit(scene)
    predictor = EncoderPredictor(model, reducer, IDS, (patch_size,), "fp32", 8)
    return Mapper(predictor, **changes)


def in_memory(mapper: Mapper, scene):
    return classify(mapper.predictor, scene, probabilities=True)


def make_scene(cube, valid=None, wavelengths=None):
    cube = np.asarray(cube)
    valid = np.ones(cube.shape[1:], bool) if valid is None else valid
    array = xr.DataArray(cube, dims=("band", "y", "x"))
    return Scene("made", array, valid, wavelengths=wavelengths)


def correlated(bands=20, height=15, width=12, seed=0):
    """A cube whose bands depend on each other, with a falling spectrum of variances."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(bands, bands)) * 0.7 ** np.arange(bands)
    return np.einsum("bc,cyx->byx", mixing, rng.normal(size=(bands, height, width)))


def adapter_encoder(seed=0, dim=96, depth=2):
    """For tests of adapters: 96 = 8 x 12, factors that differ, and a rank of 4 that is low."""
    return initialise(SpectralGPT(dim, depth, 2), seed).eval()


def images(count=2, seed=1):
    return torch.randn(count, 12, 32, 32, generator=torch.Generator().manual_seed(seed))


def train_somehow(model, seed=2, deviation=0.3):
    """Random values for every A and B, as if training had moved them far from the start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for adapter in adapters.adapters_of(model).values():
            for _, parameter in adapter.own_parameters():
                noise = torch.empty(parameter.shape).normal_(0, deviation, generator=generator)
                parameter.copy_(noise)
    return model


def relative(a, b):
    """Largest difference over the largest value."""
    a, b = a.detach().double(), b.detach().double()
    return ((a - b).abs().max() / b.abs().max().clamp_min(1e-30)).item()


MAP_NAMES = {1: "water", 2: "forest", 4: "bare soil"}


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
    write_class_map(path, ids, MAP_NAMES, palette(MAP_NAMES), **place)
    return path


def fill_reference(
    points: Path, truth: np.ndarray, names: dict[int, str] | None = MAP_NAMES
) -> Path:
    """Give every point its class on the ground, as a person does in a GIS."""
    import pyogrio.raw  # few tests need another GDAL

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
