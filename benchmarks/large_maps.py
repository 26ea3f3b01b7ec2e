"""Large maps: a scene of millions of pixels end to end, dask workers, peak memory.

    python benchmarks/large_maps.py                     everything, two hours, idle machine, 20 GB
    python benchmarks/large_maps.py --only memory       one part

The run of `auto` on Salinas-A is that of `benchmarks/runtime.py`, and so is the form of the record.
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
from typing import Any

import numpy as np
import torch
from runtime import SCENES, arguments, exported, measure, trained

from hyperpeft.models.spectralgpt import SpectralGPT


def scale(options: argparse.Namespace) -> dict[str, Any]:
    """A large generated scene: the estimate after a tenth, and what it took."""
    import hyperpeft

    run = trained(options, SCENES[0])
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        scene = generated(run, Path(folder) / "large.tif", options.side)
        bundle, marks = hyperpeft.load_run(exported(run)), []
        start = time.monotonic()

        def watch(done: int, total: int) -> None:
            if not marks and done >= total / 10:
                marks.append((time.monotonic() - start) * total / done)

        result = bundle.map(scene, Path(folder) / "map.tif", watch=watch, adaptive=options.adaptive)
        return {
            "side": options.side, "bands": scene.shape[2], "adaptive": options.adaptive,
            "seconds": round(result.seconds, 1), "encoded": result.encoded,
            "pixels a second": round(result.pixels / result.seconds),
            "estimate after a tenth": round(marks[0], 1),
            "estimate over truth": round(marks[0] / result.seconds, 3),
            "peak GB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        }  # fmt: skip


def generated(run: Path, path: Path, side: int) -> Any:
    """The run's own scene repeated over side x side pixels, as a tiled GeoTIFF."""
    import rasterio

    import hyperpeft
    from hyperpeft.runs.evaluate import reopen
    from hyperpeft.runs.load import load_run

    cube = np.asarray(reopen(load_run(run).record, run).cube.values)
    high, wide = cube.shape[1:]
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=len(cube), dtype=cube.dtype,
        tiled=True, blockxsize=256, blockysize=256, BIGTIFF="YES", INTERLEAVE="BAND",
        crs="EPSG:32633", transform=rasterio.Affine(30, 0, 364_000, 0, -30, 5_810_000),
    ) as file:  # fmt: skip
        for top in range(0, side, 256):
            rows = np.arange(top, min(top + 256, side)) % high
            strip = cube[:, rows][:, :, np.arange(side) % wide]
            file.write(strip, window=rasterio.windows.Window(0, top, side, len(rows)))
    return hyperpeft.open_scene(path)


def cluster(options: argparse.Namespace) -> dict[str, Any]:
    """Pixels a second on local dask workers of one thread each, over those of one worker."""
    from distributed import LocalCluster

    import hyperpeft

    run = trained(options, SCENES[0])
    rates = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        scene, bundle = generated(run, Path(folder) / "s.tif", 384), hyperpeft.load_run(run)
        for workers in (1, 2, 4):
            with LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=None
            ) as local:
                result = bundle.map(
                    scene, Path(folder) / "m.tif", tile=96, scheduler=local.scheduler_address
                )
            rates[workers] = result.pixels / result.seconds
    return {
        str(n): {"pixels a second": round(rate), "efficiency": round(rate / n / rates[1], 2)}
        for n, rate in rates.items()
    }


SIZE, BANDS, BLOCK = 6000, 200, 512
FILLED = (1536, 3072)  # rows and columns that hold a scene; the rest of the file is sparse


def large_file(path: Path) -> None:
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


class StandIn(torch.nn.Module):
    """The classes of a linear layer over the window's mean, in the place of encoder and head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.encoder = SpectralGPT(12, 0, 1, image_size=16)  # not called
        self.head = torch.nn.Linear(12, classes)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return self.head(windows.mean((2, 3)))


def crop(scene, height: int, width: int):
    """The upper left corner of a scene."""
    rows, columns = slice(0, height), slice(0, width)
    return replace(
        scene, cube=scene.cube.isel(y=rows, x=columns), valid=scene.valid[rows, columns].copy()
    )


def map_region(path: Path, height: int, width: int) -> None:
    """One region in this process; prints the peak memory after every stage as JSON."""
    from hyperpeft import spectral
    from hyperpeft.mapping import EncoderPredictor, Mapper, Outputs, map_to_files
    from hyperpeft.scenes import open_scene

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
    model = StandIn(8).requires_grad_(False).eval()
    mapper = Mapper(EncoderPredictor(model, reducer, ids, (9,)))
    colours = {int(i): (int(i) * 30, 90, 90) for i in ids}

    with tempfile.TemporaryDirectory() as folder:
        result = map_to_files(
            mapper, scene, Outputs(Path(folder) / "map.tif"), {int(i): str(i) for i in ids}, colours
        )
    peaks["pixels"] = [result.pixels, round(result.busy or 0, 3)]
    note("mapping")
    print(json.dumps(peaks))


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peak memory of two regions of a file of 14 GB, each in a process of its own.

    A linear layer stands in the encoder's place: everything but its few MB is as in the full run.
    """
    found = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "large.tif"
        large_file(path)
        for width in (1500, 3000):
            words = [__file__, "region", path, "1500", str(width)]
            done = subprocess.run(
                [sys.executable, *map(str, words)], check=True, stdout=subprocess.PIPE, text=True
            )
            found[f"{width} x 1500"] = json.loads(done.stdout)
    return found


PARTS = {"cluster": cluster, "scale": scale, "memory": memory}


def main() -> None:
    """Measure, and write the record."""
    if sys.argv[1:2] == ["region"]:
        map_region(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
        return
    parser = arguments(__doc__, PARTS, "large-maps")
    parser.add_argument("--folder", type=Path, default=None, help="for the generated scene")
    parser.add_argument("--side", type=int, default=2000, help="pixels of the generated scene")
    parser.add_argument("--adaptive", action="store_true", help="of the generated scene")
    print(json.dumps(measure(PARTS, parser.parse_args()), indent=1))


if __name__ == "__main__":
    main()
