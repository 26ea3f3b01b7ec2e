"""Start-up, throughput, adaptive maps, parity of the runtimes, the bench's default, scale, memory.

    python benchmarks/runtime.py                        everything, an hour or two, idle machine
    python benchmarks/runtime.py --only startup peak    some parts
    python benchmarks/runtime.py --table RECORD.json    the Markdown tables of a record

Runs of `auto` are trained on six scenes (HYPERPEFT_DATA), unless they lie in --runs already, and
exported. The record is one JSON file: what was measured, on which machine, with which versions.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

SCENES = (
    "salinas-a", "indian-pines", "indian-pines-10band", "enmap-potsdam", "jasper-ridge", "samson",
)  # fmt: skip
COMMAND = [sys.executable, "-c", "from hyperpeft.cli import main; main()"]
# A map that ends where its first tile would be read.
STARTED = """
import sys, time, json
sys.argv = ["hyperpeft", "map", *sys.argv[1:], "--out", "unused.tif", "--quiet"]
from hyperpeft.cli import main
import hyperpeft.runs.bundle as bundle
def stop(*words, **more):
    print(json.dumps(len(sys.modules)))
    raise SystemExit
bundle.map_to_files = stop
main()
"""


def child(words: list[str | Path]) -> dict[str, float]:
    """Wall and processor seconds of a process; the last number that it printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    last = (done.stdout.split() or ["0"])[-1]
    return {"wall": wall, "cpu": cpu, "modules": int(last) if last.isdecimal() else 0}


def best(times: int, words: list[str | Path]) -> dict[str, float]:
    """The call of the smallest wall time; the first one, which may write bytecode, is left out."""
    child(words)
    found = min((child(words) for _ in range(times)), key=lambda one: one["wall"])
    return {k: round(v, 3) for k, v in found.items()}


def startup(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds until the first tile is read, of `--help`, of the libraries alone."""
    run = trained(options, SCENES[0])
    begun: list[str | Path] = [sys.executable, "-c", STARTED]
    return {
        "help": best(5, [*COMMAND, "--help"]),
        "map onnx": best(5, [*begun, exported(run)]),
        "map torch": best(5, [*begun, run, "--runtime", "torch"]),
        "import torch": best(3, [sys.executable, "-c", "import torch"]),
        "import xarray": best(3, [sys.executable, "-c", "import xarray"]),
    }


def trained(options: argparse.Namespace, scene: str) -> Path:
    """The run of a scene, trained where it is not there."""
    run = options.runs / scene
    if not (run / "run.json").is_file():
        words = ["train", scene, "--per-class", "10", "--split", "random", "--quiet", "--out", run]
        subprocess.run([*COMMAND, *map(str, words)], check=True)
    return run


def exported(run: Path) -> Path:
    """The ONNX file of a run beside its folder."""
    path = run.with_suffix(".onnx")
    if not path.is_file():
        subprocess.run([*COMMAND, "export", str(run), "--to", str(path), "--quiet"], check=True)
    return path


def peak(options: argparse.Namespace) -> dict[str, Any]:
    """Thousands of millions of operations a second of one large product, and of the encoder."""
    from hyperpeft.mapping.mixture import window_part_of
    from hyperpeft.runs.load import load_run

    found: dict[str, Any] = {"threads": torch.get_num_threads()}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        matrix = torch.randn(2048, 2048).to(dtype)
        seconds = fastest(lambda m=matrix: m @ m)  # type: ignore[misc]
        found[f"product {name}"] = round(2 * 2048**3 / seconds / 1e9, 1)
    run = trained(options, SCENES[0])
    for runtime, bundle in (
        ("torch", load_run(run, runtime="torch")), ("onnx", load_run(exported(run)))
    ):  # fmt: skip
        part = window_part_of(bundle.predictor)
        names = ["fp32", "bf16"] if runtime == "torch" else ["fp32"]
        for precision in names:
            used = replace(part, precision=precision) if runtime == "torch" else part
            seconds, windows = encoder_seconds(used)
            share = 2 * macs_of(exported(run)) * windows / seconds / 1e9
            row = {"windows a second": round(windows / seconds), "operations": round(share, 1)}
            row["share of the product"] = round(share / found[f"product {precision}"], 3)
            found[f"{runtime} {precision}"] = row
    return found


def fastest(call: Callable[[], object], times: int = 8) -> float:
    """Seconds of the fastest of several calls."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def encoder_seconds(part: Any, side: int = 64) -> tuple[float, int]:
    """Seconds of the encoder on a square of random pixels, and how many windows it saw."""
    half = part.reach
    padded = np.random.default_rng(0).standard_normal((12, side + 2 * half, side + 2 * half))
    positions = np.argwhere(np.ones((side, side), bool))
    prepared = (padded.astype(np.float32), (0, 0))
    seconds = fastest(lambda: part.logits(prepared, positions), 4)
    return seconds, len(positions) * len(part.patch_sizes)


def macs_of(path: Path) -> float:
    """Multiplications of the encoder for one window."""
    import onnx

    texts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    shape = json.loads(texts["architecture"])
    sizes = {t.name: list(t.dims) for t in onnx.load(path).graph.initializer}
    count, width = sizes["backbone/positions"]
    hidden = sizes["backbone/block0.fc1.bias"][0]
    block = count * (4 * width**2 + 2 * width * hidden) + 2 * count**2 * width
    return 192.0 * width * count + shape["depth"] * block


def scenes(options: argparse.Namespace) -> dict[str, Any]:
    """Of each scene: parity of what executes the run, and seconds of exact and adaptive maps."""
    import hyperpeft

    found = {}
    for name in options.scenes:
        run = trained(options, name)
        path, scene = exported(run), hyperpeft.open_scene(name)
        found[name] = {"pixels": int(scene.valid.sum()), **parity(run, path, scene)}
        found[name] |= {"maps": maps(run, path, scene), "commands": commands(run, path)}
        print(name, json.dumps(found[name]), file=sys.stderr, flush=True)
    return found


def parity(run: Path, path: Path, scene: Any) -> dict[str, Any]:
    """Equal pixels and differences of probabilities, against torch in float32."""
    from hyperpeft.runs.load import load_run

    bundle = load_run(run, runtime="torch")
    others = {
        "onnx fp32": load_run(path),
        "torch bf16": with_part(bundle, lambda part: replace(part, precision="bf16")),
        "onnx int8": with_part(load_run(path), quantised),
    }
    plain = with_part(bundle, lambda part: replace(part, precision="fp32"))
    expected = plain.classify(scene, probabilities=True)
    found = {}
    for name, other in others.items():
        got = other.classify(scene, probabilities=True)
        valid = scene.valid
        differing = int((got.ids != expected.ids)[valid].sum())
        gaps = np.abs(got.probabilities - expected.probabilities)[:, valid]
        found[name] = {
            "differing pixels": differing,
            "equal %": round(100 - 100 * differing / int(valid.sum()), 3),
            "largest difference": float(f"{gaps.max():.2e}"),
        }
    return {"parity": found}


def with_part(bundle: Any, change: Callable[[Any], Any]) -> Any:
    """A bundle whose part on the backbone is changed."""
    from hyperpeft.mapping import WindowPredictor
    from hyperpeft.mapping.mixture import MixturePredictor

    predictor = bundle.predictor
    if isinstance(predictor, MixturePredictor):
        parts = tuple(change(p) if isinstance(p, WindowPredictor) else p for p in predictor.parts)
        return replace(bundle, predictor=replace(predictor, parts=parts))
    return replace(bundle, predictor=change(predictor))


def quantised(part: Any) -> Any:
    """The part with weights in 8 bits, and activations of linear layers as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from hyperpeft.graphs.session import Session

    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.onnx", Path(folder) / "made.onnx"
        given.write_bytes(part.session.content)
        quantize_dynamic(given, made, weight_type=QuantType.QInt8, per_channel=True)
        return replace(part, session=Session(made.read_bytes()))


def maps(run: Path, path: Path, scene: Any) -> dict[str, Any]:
    """Seconds of exact and adaptive maps in a process where everything is loaded."""
    from hyperpeft.runs.load import load_run

    found = {}
    bundles = {"torch": load_run(run, runtime="torch"), "onnx": load_run(path)}
    with tempfile.TemporaryDirectory() as folder:
        for name, bundle in bundles.items():
            exact, quick = (
                min(
                    (bundle.map(scene, Path(folder) / "m.tif", adaptive=way) for _ in range(2)),
                    key=lambda result: result.seconds,
                )
                for way in (False, True)
            )
            found[name] = {
                "exact s": round(exact.seconds, 2),
                "pixels a second": round(exact.pixels / exact.seconds),
                "adaptive s": round(quick.seconds, 2),
                "fewer windows": round(exact.pixels / quick.encoded, 2),
                "less time": round(exact.seconds / quick.seconds, 2),
            }
    return found


def commands(run: Path, path: Path) -> dict[str, Any]:
    """Wall seconds of the whole command, with all that it loads."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "map.tif"
        for name, words in (("torch", [run, "--runtime", "torch"]), ("onnx", [path])):
            for way in ([], ["--adaptive"]):
                call = [*COMMAND, "map", *words, "--out", out, "--quiet", *way]
                kind = "adaptive" if way else "exact"
                found[f"{name} {kind}"] = round(best(2, call)["wall"], 2)
    return found


def bench(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a grid of 8 cells: in one process, as it was, and by default."""
    grid = {
        "name": "default", "scenes": {"salinas-a": None}, "methods": {"krona+": None},
        "seeds": list(range(8)), "budgets": {"ten": {"per_class": 10}},
        "splits": {"random": {"split": "random"}}, "common": {"epochs": 20},
    }  # fmt: skip
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "grid.yaml"
        file.write_text(json.dumps(grid))
        for name, words in (("--workers 0", ["--workers", "0"]), ("default", [])):
            call = [*COMMAND, "bench", file, "--out", Path(folder) / name, "--quiet", *words]
            found[name] = round(child(call)["wall"], 1)
    found["ratio"] = round(found["--workers 0"] / found["default"], 2)
    return found


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
                    scene, Path(folder) / "m.tif", tile=64, scheduler=local.scheduler_address
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
        self.encoder = torch.nn.Identity()
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


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "startup": startup, "peak": peak, "scenes": scenes, "bench": bench, "cluster": cluster,
    "scale": scale, "memory": memory,
}  # fmt: skip


def machine() -> dict[str, Any]:
    """Processor, cores, versions, and how busy it was."""
    import onnxruntime

    import hyperpeft

    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(), "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2), "python": platform.python_version(),
        "hyperpeft": hyperpeft.__version__, "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }  # fmt: skip


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    lines = ["| start-up | wall s | processor s | modules |", "|---|---:|---:|---:|"]
    for name, row in record.get("startup", {}).items():
        lines.append(f"| {name} | {row['wall']} | {row['cpu']} | {row['modules'] or ''} |")
    lines += ["", "| against torch fp32 | " + " | ".join(record.get("scenes", {})) + " |"]
    lines.append("|---|" + "---:|" * len(record.get("scenes", {})))
    for kind in ("onnx fp32", "torch bf16", "onnx int8"):
        for key in ("equal %", "largest difference"):
            cells = [s["parity"][kind][key] for s in record.get("scenes", {}).values()]
            lines.append(f"| {kind}, {key} | " + " | ".join(map(str, cells)) + " |")
    heads = ["scene", "pixels", "runtime", "pixels / s", "exact s", "adaptive s", "fewer windows",
             "less time", "command exact s", "command adaptive s"]  # fmt: skip
    lines += ["", f"| {' | '.join(heads)} |", "|---|---:|---|" + "---:|" * 7]
    for name, scene in record.get("scenes", {}).items():
        for runtime, row in scene["maps"].items():
            whole = [scene["commands"][f"{runtime} {kind}"] for kind in ("exact", "adaptive")]
            cells = [name, f"{scene['pixels']:,}", runtime, row["pixels a second"], row["exact s"],
                     row["adaptive s"], row["fewer windows"], row["less time"], *whole]  # fmt: skip
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    for part in ("peak", "bench", "cluster", "scale", "memory"):
        if part in record:
            lines += ["", f"{part}: `{json.dumps(record[part])}`"]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the record."""
    if sys.argv[1:2] == ["region"]:
        map_region(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--scenes", nargs="+", default=list(SCENES))
    parser.add_argument("--runs", type=Path, default=Path("runs/runtime"))
    parser.add_argument("--folder", type=Path, default=None, help="for the generated scene")
    parser.add_argument("--side", type=int, default=2000, help="pixels of the generated scene")
    parser.add_argument("--adaptive", action="store_true", help="of the generated scene")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/records/runtime.json"))
    parser.add_argument("--table", type=Path, default=None)
    options = parser.parse_args()
    if options.table is not None:
        print(table(json.loads(options.table.read_text())))
        return
    record: dict[str, Any] = {"machine": machine()}
    if options.out.is_file():  # parts that were measured before stay
        record = {**json.loads(options.out.read_text()), **record}
    for name in options.only:
        record[name] = PARTS[name](options)
        options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(table(record))


if __name__ == "__main__":
    main()
