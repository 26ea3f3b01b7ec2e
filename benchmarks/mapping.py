"""Memory, speed and adaptive mapping, measured.

    python benchmarks/mapping.py memory [--image-size 16] [--stand-in]
    python benchmarks/mapping.py adaptive RUN...
    python benchmarks/mapping.py exact RUN... [--tiles 64,200,512]

`memory` generates a GeoTIFF of 6000 x 6000 pixels x 200 bands (14 GB when read, small on disk) and
measures the peak memory of reading it, fitting PCA and mapping 1500 x 1500 and 3000 x 1500 pixels
of it, each in a process of its own. `--stand-in` puts a linear layer in the encoder's place:
everything but the encoder's own few MB is then as in the full run, which takes minutes and not an
hour. `adaptive` compares the adaptive with the exact map of trained runs, `exact` maps of several
tile sizes with the untiled one. All write Markdown to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

SIZE, BANDS, BLOCK = 6000, 200, 512
FILLED = (1536, 3072)  # rows and columns that hold a scene; the rest of the file is sparse


def generate(path: Path) -> None:
    """A landscape repeated over the filled part: noise in it, so that PCA finds 12 components."""
    import rasterio

    rng = np.random.default_rng(0)
    spectra = rng.integers(200, 6000, (8, BANDS))
    classes = np.kron(rng.integers(0, 8, (16, 16)), np.ones((32, 32), int))
    block = spectra[classes].transpose(2, 0, 1) + rng.integers(-60, 60, (BANDS, BLOCK, BLOCK))
    block = block.astype(np.int16)
    with rasterio.open(
        path, "w", driver="GTiff", width=SIZE, height=SIZE, count=BANDS, dtype="int16",
        tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress="zstd", zstd_level=1,
        predictor=2, sparse_ok=True, BIGTIFF="YES", INTERLEAVE="BAND", crs="EPSG:32633",
        transform=rasterio.Affine(4, 0, 364_000, 0, -4, 5_810_000),
    ) as file:  # fmt: skip
        for top in range(0, FILLED[0], BLOCK):
            for left in range(0, FILLED[1], BLOCK):
                window = rasterio.windows.Window(left, top, BLOCK, BLOCK)
                file.write(np.roll(block, (top, left), (1, 2)), window=window)


class StandIn(nn.Module):
    """The classes of a linear layer over the window's mean, in the place of encoder and head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = nn.Identity()
        self.head = nn.Linear(12, classes)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return self.head(windows.mean((2, 3)))


def crop(scene, height: int, width: int):
    """The upper left corner of a scene."""
    rows, columns = slice(0, height), slice(0, width)
    return replace(
        scene, cube=scene.cube.isel(y=rows, x=columns), valid=scene.valid[rows, columns].copy()
    )


def map_region(
    path: Path, height: int, width: int, image_size: int, stand_in: bool, tile: int, seconds: float
) -> None:
    """One region in this process; prints the peak memory after every stage as JSON."""
    from hyperpeft import spectral
    from hyperpeft.mapping import EncoderPredictor, Mapper, Outputs, map_to_files
    from hyperpeft.models import load_backbone
    from hyperpeft.scenes import open_scene
    from hyperpeft.training.classifier import Classifier

    os.environ.setdefault("GDAL_CACHEMAX", "256")  # as the command line does
    peaks, begun = {}, time.monotonic()

    def note(stage: str) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        peaks[stage] = [round(peak, 2), round(time.monotonic() - begun, 1)]

    note("libraries")
    scene = crop(open_scene(path), height, width)
    note("reading")
    reducer = spectral.fit(scene, normalise="sqrt")
    note("PCA")
    ids = np.arange(1, 9, dtype=np.int32)
    model = StandIn(8) if stand_in else Classifier(load_backbone("tiny", image_size), 8)
    model.requires_grad_(False).eval()
    mapper = Mapper(EncoderPredictor(model, reducer, ids, (9,)))
    colours = {int(i): (int(i) * 30, 90, 90) for i in ids}

    class Enough(Exception):
        pass

    start = time.monotonic()

    def watch(done: int, total: int) -> None:
        peaks["pixels"] = [done, total]
        if time.monotonic() - start > seconds:
            raise Enough

    with tempfile.TemporaryDirectory() as folder:
        try:
            result = map_to_files(
                mapper, scene, Outputs(Path(folder) / "map.tif"),
                {int(i): str(i) for i in ids}, colours, size=tile, watch=watch,
            )  # fmt: skip
            peaks["busy"] = [round(result.busy or 0, 3), round(result.seconds, 1)]
        except Enough:
            pass
    note("mapping")
    print(json.dumps(peaks))


def memory(options: argparse.Namespace) -> None:
    """Both regions, each in a process of its own."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "large.tif"
        generate(path)
        size = path.stat().st_size / 2**20
        print(f"{SIZE} x {SIZE} x {BANDS} int16, {size:.0f} MB on disk\n")
        print("| region | after reading GB | after PCA GB | after mapping GB | pixels | s |")
        print("|---|---:|---:|---:|---:|---:|")
        for width in (1500, 3000):
            words = [
                __file__, "region", str(path), "1500", str(width), str(options.image_size),
                str(int(options.stand_in)), str(options.tile), str(options.seconds),
            ]  # fmt: skip
            done = subprocess.run(
                [sys.executable, *words], check=True, stdout=subprocess.PIPE, text=True
            )
            peaks = json.loads(done.stdout)
            print(
                f"| {width} x 1500 | {peaks['reading'][0]} | {peaks['PCA'][0]} | "
                f"{peaks['mapping'][0]} | {peaks['pixels'][0]:,} of {peaks['pixels'][1]:,} | "
                f"{peaks['mapping'][1]} |",
                flush=True,
            )


def adaptive(options: argparse.Namespace) -> None:
    """Adaptive against exact, in windows, seconds and equal pixels."""
    import rasterio

    from hyperpeft.runs.evaluate import reopen
    from hyperpeft.runs.load import load_run

    print("| run | pixels | fewer windows | less time | equal % | audit | bound % | busy % |")
    print("|---|---:|---:|---:|---:|---|---:|---:|")
    for run in options.runs:
        bundle = load_run(run)
        scene = reopen(bundle.record)
        with tempfile.TemporaryDirectory() as folder:
            exact = bundle.map(scene, Path(folder) / "exact.tif")
            quick = bundle.map(scene, Path(folder) / "adaptive.tif", adaptive=True)
            maps = []
            for name in ("exact.tif", "adaptive.tif"):
                with rasterio.open(Path(folder) / name) as file:
                    maps.append(file.read(1)[scene.valid])
        print(
            f"| {run.name} | {exact.pixels:,} | {exact.pixels / quick.encoded:.1f} | "
            f"{exact.seconds / quick.seconds:.1f} | {100 * (maps[0] == maps[1]).mean():.2f} | "
            f"{quick.wrong} of {quick.audited} wrong | {100 * quick.bound:.2f} | "
            f"{100 * (exact.busy or 0):.0f} |",
            flush=True,
        )


def exact(options: argparse.Namespace) -> None:
    """Maps of several tile sizes against the map of one tile."""
    import rasterio

    from hyperpeft.runs.evaluate import reopen
    from hyperpeft.runs.load import load_run

    print("| run | pixels | tile | different pixels | busy % |\n|---|---:|---:|---:|---:|")
    for run in options.runs:
        bundle = load_run(run)
        scene = reopen(bundle.record)
        whole = None
        for tile in (max(scene.valid.shape), *map(int, options.tiles.split(","))):
            with tempfile.TemporaryDirectory() as folder:
                result = bundle.map(scene, Path(folder) / "map.tif", tile=tile)
                with rasterio.open(Path(folder) / "map.tif") as file:
                    ids = file.read(1)
            whole = ids if whole is None else whole
            print(
                f"| {run.name} | {result.pixels:,} | {tile} | {int((ids != whole).sum())} | "
                f"{100 * (result.busy or 0):.0f} |",
                flush=True,
            )


def main() -> None:
    """One of the measurements."""
    if sys.argv[1:2] == ["region"]:
        path, *numbers = sys.argv[2:]
        height, width, image_size, stand_in, tile = map(int, numbers[:5])
        map_region(Path(path), height, width, image_size, bool(stand_in), tile, float(numbers[5]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("memory")
    one.add_argument("--image-size", type=int, default=16)
    one.add_argument("--stand-in", action="store_true")
    one.add_argument("--tile", type=int, default=512)
    one.add_argument("--seconds", type=float, default=1e9, help="stop mapping a region after these")
    one.add_argument("--folder", type=Path, default=None, help="for the generated file")
    one.set_defaults(measure=memory)
    for name, measure in (("adaptive", adaptive), ("exact", exact)):
        one = commands.add_parser(name)
        one.add_argument("runs", type=Path, nargs="+")
        one.add_argument("--tiles", default="64,200,512")
        one.set_defaults(measure=measure)
    options = parser.parse_args()
    options.measure(options)


if __name__ == "__main__":
    main()
