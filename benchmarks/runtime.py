"""PyTorch and ONNX Runtime: start-up, throughput, parity, exact and adaptive maps; bench's default.

    python benchmarks/runtime.py                        everything, an hour or two, idle machine
    python benchmarks/runtime.py --only startup peak    some parts
    python benchmarks/runtime.py --table RECORD.json    the Markdown tables of a record

Runs of `auto` are trained on six scenes (HYPERPEFT_DATA), unless they lie in --runs already, and
exported. The record is one JSON file: what was measured, on which machine, with which versions.
What is compared is measured in turns, so that other work on the machine slows all of it alike.
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
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

SCENES = (
    "salinas-a", "indian-pines", "indian-pines-10band", "enmap-potsdam", "jasper-ridge", "samson",
)  # fmt: skip
TURNS = 2
SIDE = 32  # pixels of the square that the encoder is timed on
SOME = 2000  # pixels on which the backbone is compared alone
Words = list[str | Path]
COMMAND: Words = [sys.executable, "-c", "from hyperpeft.cli import main; main()"]
# An installation has bytecode, or keeps it from its first call on.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
# A map that ends where its first tile would be read.
STARTED = """
import sys, json
sys.argv = ["hyperpeft", "map", *sys.argv[1:], "--out", "unused.tif", "--quiet"]
from hyperpeft.cli import main
import hyperpeft.runs.bundle as bundle
def stop(*words, **more):
    print(json.dumps(len(sys.modules)))
    raise SystemExit
bundle.map_to_files = stop
main()
"""


def child(words: Words) -> dict[str, float]:
    """Wall and processor seconds of a process; the last number that it printed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    last = (done.stdout.split() or ["0"])[-1]
    return {"wall": wall, "cpu": cpu, "modules": int(last) if last.isdecimal() else 0}


def in_turns(calls: Mapping[str, Words], turns: int) -> dict[str, dict[str, float]]:
    """The fastest of several calls of each; a first one, which may write bytecode, is left out."""
    for words in calls.values():
        child(words)
    rows = [{name: child(words) for name, words in calls.items()} for _ in range(turns)]
    found = {name: min((row[name] for row in rows), key=lambda one: one["wall"]) for name in calls}
    return {name: {k: round(v, 3) for k, v in row.items()} for name, row in found.items()}


def startup(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds until the first tile is read, of `--help`, of the libraries alone."""
    run = trained(options, SCENES[0])
    begun: Words = [sys.executable, "-c", STARTED]
    calls: dict[str, Words] = {
        "help": [*COMMAND, "--help"],
        "map onnx": [*begun, exported(run)],
        "map torch": [*begun, run, "--runtime", "torch"],
        "import torch": [sys.executable, "-c", "import torch"],
        "import xarray": [sys.executable, "-c", "import xarray"],
    }
    return in_turns(calls, 5)


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
    """Thousands of millions of operations a second of one large product, and of the encoder.

    Both on one thread and by its processor seconds, to which other work adds little.
    On a Xeon with AVX-512, products of matrices took 82 % of the encoder's time with ONNX Runtime
    and 78 % with PyTorch in bf16; GELU took 6 %, copies in another order 5 to 7 %, normalisation 2
    to 4 %, sums 2 %.
    """
    from hyperpeft.mapping.predictor import window_part_of

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    run = trained(options, SCENES[0])
    parts = {name: window_part_of(b.predictor) for name, b in kinds(run, exported(run)).items()}
    matrices = {"fp32": torch.randn(2048, 2048), "bf16": torch.randn(2048, 2048).bfloat16()}
    calls: dict[str, Callable[[], object]] = {
        name: partial(torch.mm, matrix, matrix) for name, matrix in matrices.items()
    }
    calls |= {name: encoder_call(part) for name, part in parts.items()}
    seconds = dict.fromkeys(calls, float("inf"))
    for _ in range(4):
        for name, call in calls.items():
            for _ in range(8 if name in matrices else 1):
                start = time.process_time()
                call()
                seconds[name] = min(seconds[name], time.process_time() - start)
    torch.set_num_threads(threads)
    found: dict[str, Any] = {}
    product = {name: 2 * 2048**3 / seconds[name] / 1e9 for name in matrices}
    found |= {f"product {name}": round(rate, 1) for name, rate in product.items()}
    for name, part in parts.items():
        windows = SIDE**2 * len(part.patch_sizes) / seconds[name]
        rate = 2 * macs_of(exported(run)) * windows / 1e9
        found[name] = {"windows a second": round(windows), "operations": round(rate, 1)}
        precision = name.split()[1]
        if precision in product:
            found[name]["share of the product"] = round(rate / product[precision], 3)
    found["time of torch bf16, %"] = shares(calls["torch bf16"])
    return found


OPERATIONS = {
    "products of matrices": ("aten::addmm", "aten::mm", "aten::bmm"),
    "attention": ("aten::_scaled_dot_product_flash_attention_for_cpu",),
    "casts and copies": ("aten::copy_",),
    "GELU": ("aten::gelu",),
    "layer norm": ("aten::native_layer_norm",),
    "sums": ("aten::add", "aten::add_"),
}


def shares(call: Callable[[], object]) -> dict[str, float]:
    """Percent of a call's time that each kind of operation takes."""
    from torch.profiler import ProfilerActivity, profile

    call()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        call()
    kinds = {name: kind for kind, names in OPERATIONS.items() for name in names}
    spent = dict.fromkeys([*OPERATIONS, "all else"], 0.0)
    for event in found.key_averages():
        spent[kinds.get(event.key, "all else")] += event.self_cpu_time_total
    return {kind: round(100 * time / sum(spent.values()), 1) for kind, time in spent.items()}


def encoder_call(part: Any) -> Callable[[], object]:
    """The encoder on a square of random pixels."""
    padded = np.random.default_rng(0).standard_normal((12, *[SIDE + 2 * part.reach] * 2))
    positions = np.argwhere(np.ones((SIDE, SIDE), bool))
    return partial(part.logits, (padded.astype(np.float32), (0, 0)), positions)


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


def of_scenes(
    options: argparse.Namespace, part: Callable[[Path, Path, Any], dict[str, Any]]
) -> dict[str, Any]:
    """What a part finds for the run, its exported file and the scene of each name."""
    import hyperpeft

    found = {}
    for name in options.scenes:
        run, scene = trained(options, name), hyperpeft.open_scene(name)
        found[name] = {"pixels": int(scene.valid.sum()), **part(run, exported(run), scene)}
        print(name, json.dumps(found[name]), file=sys.stderr, flush=True)
    return found


def parity_of(run: Path, path: Path, scene: Any) -> dict[str, Any]:
    """Pixels and probabilities that differ from those of torch in float32, of whole maps."""
    maps = {n: b.classify(scene, probabilities=True) for n, b in kinds(run, path).items()}
    return differences(maps, scene.valid)


def alone_of(run: Path, path: Path, scene: Any) -> dict[str, Any]:
    """The same of the backbone without classic parts and refinement, on `SOME` of the pixels."""
    from hyperpeft.mapping import classify
    from hyperpeft.mapping.predictor import window_part_of

    places = np.argwhere(scene.valid)
    where = np.zeros_like(scene.valid)
    where[tuple(places[np.linspace(0, len(places) - 1, SOME).astype(int)].T)] = True
    parts = {name: window_part_of(b.predictor) for name, b in kinds(run, path).items()}
    maps = {n: classify(part, scene, where, probabilities=True) for n, part in parts.items()}
    return {"compared": int(where.sum()), **differences(maps, where)}


def kinds(run: Path, path: Path) -> dict[str, Any]:
    """Bundles of one run: what executes it, and in which precision."""
    from hyperpeft.runs.load import load_run

    bundle, other = load_run(run, runtime="torch"), load_run(path)
    return {
        "torch fp32": with_part(bundle, lambda part: replace(part, precision="fp32")),
        "onnx fp32": other,
        "torch bf16": with_part(bundle, lambda part: replace(part, precision="bf16")),
        "onnx int8": with_part(other, quantised),
    }


def differences(maps: dict[str, Any], where: np.ndarray) -> dict[str, Any]:
    """Pixels of another class, and the largest difference of a probability, from the first map."""
    expected, *others = maps.values()
    found = {}
    for name, got in zip(list(maps)[1:], others, strict=True):
        differing = int((got.ids != expected.ids)[where].sum())
        gaps = np.abs(got.probabilities - expected.probabilities)[:, where]
        found[name] = {
            "differing pixels": differing,
            "equal %": round(100 - 100 * differing / int(where.sum()), 3),
            "largest difference": float(f"{gaps.max():.2e}"),
        }
    return found


def with_part(bundle: Any, change: Callable[[Any], Any]) -> Any:
    """A bundle whose part on the backbone is changed."""
    from hyperpeft.mapping import WindowPredictor
    from hyperpeft.mapping.predictor import PooledPredictor

    predictor = bundle.predictor
    if isinstance(predictor, PooledPredictor):
        parts = tuple(change(p) if isinstance(p, WindowPredictor) else p for p in predictor.parts)
        return replace(bundle, predictor=replace(predictor, parts=parts))
    return replace(bundle, predictor=change(predictor))


def quantised(part: Any) -> Any:
    """The part with weights in 8 bits, and activations of linear layers as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    from hyperpeft.models.graphs.session import Session

    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.onnx", Path(folder) / "made.onnx"
        given.write_bytes(part.session.content)
        quantize_dynamic(
            given, made, weight_type=QuantType.QInt8, per_channel=True,
            nodes_to_exclude=["head.product"],  # a product of several heads at a time
        )  # fmt: skip
        return replace(part, session=Session(made.read_bytes()))


def maps_of(run: Path, path: Path, scene: Any) -> dict[str, Any]:
    """Seconds of exact and adaptive maps where everything is loaded, and of whole commands."""
    from hyperpeft.runs.load import load_run

    bundles = {"torch": load_run(run, runtime="torch"), "onnx": load_run(path)}
    ways = [(name, adaptive) for name in bundles for adaptive in (False, True)]
    results: dict[tuple[str, bool], Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "m.tif"
        for name, adaptive in ways * TURNS:
            result = bundles[name].map(scene, out, adaptive=adaptive)
            fastest = results.setdefault((name, adaptive), result)
            if result.seconds < fastest.seconds:
                results[name, adaptive] = result
    found = {}
    for name in bundles:
        exact, quick = results[name, False], results[name, True]
        found[name] = {
            "exact s": round(exact.seconds, 2),
            "pixels a second": round(exact.pixels / exact.seconds),
            "adaptive s": round(quick.seconds, 2),
            "fewer windows": round(exact.pixels / quick.encoded, 2),
            "less time": round(exact.seconds / quick.seconds, 2),
        }
    return {"maps": found, "commands": commands(run, path)}


def commands(run: Path, path: Path) -> dict[str, float]:
    """Wall seconds of the whole command, with all that it loads."""
    with tempfile.TemporaryDirectory() as folder:
        call = [*COMMAND, "map", "--out", Path(folder) / "map.tif", "--quiet"]
        given = {"torch": [run, "--runtime", "torch"], "onnx": [path]}
        calls = {f"{name} {kind}": [*call, *words, *way]
                 for name, words in given.items()
                 for kind, way in (("exact", []), ("adaptive", ["--adaptive"]))}  # fmt: skip
        return {name: row["wall"] for name, row in in_turns(calls, TURNS).items()}


def bench(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a grid of 8 cells: in one process, as it was, and by default."""
    grid = {
        "name": "default", "scenes": {"salinas-a": None}, "methods": {"krona+": None},
        "seeds": list(range(8)), "budgets": {"ten": {"per_class": 10}},
        "splits": {"random": "random"}, "common": {"epochs": 10},
    }  # fmt: skip
    found: dict[str, Any] = {"--workers 0": [], "default": []}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "grid.yaml"
        file.write_text(json.dumps(grid))
        for turn in range(TURNS):
            for name, words in (("--workers 0", ["--workers", "0"]), ("default", [])):
                out = Path(folder) / f"{name} {turn}"
                row = child([*COMMAND, "bench", file, "--out", out, "--quiet", *words])
                found[name].append(round(row["wall"], 1))
    found["ratio"] = round(sum(found["--workers 0"]) / sum(found["default"]), 2)
    return found


Part = Callable[[argparse.Namespace], dict[str, Any]]
PARTS: dict[str, Part] = {
    "startup": startup, "peak": peak, "parity": partial(of_scenes, part=parity_of),
    "alone": partial(of_scenes, part=alone_of), "maps": partial(of_scenes, part=maps_of),
    "bench": bench,
}  # fmt: skip


def machine() -> dict[str, Any]:
    """Processor, cores, threads, versions, and how busy it was."""
    import onnxruntime

    from hyperpeft.runs.sections import source_state

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(), "cores": os.cpu_count(),
        "threads": torch.get_num_threads(), "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(), "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__, "commit": source_state()[0],
    }  # fmt: skip


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    found = {name: part["found"] for name, part in record.items()}
    lines = ["| start-up | wall s | processor s | modules |", "|---|---:|---:|---:|"]
    for name, row in found.get("startup", {}).items():
        lines.append(f"| {name} | {row['wall']} | {row['cpu']} | {row['modules'] or ''} |")
    for part, what in (("parity", "whole maps"), ("alone", "the backbone alone")):
        scenes = found.get(part, {})
        lines += ["", f"| {what}, against torch fp32 | {' | '.join(scenes)} |"]
        lines.append("|---|" + "---:|" * len(scenes))
        for kind in ("onnx fp32", "torch bf16", "onnx int8"):
            for key in ("equal %", "largest difference"):
                cells = [str(scene[kind][key]) for scene in scenes.values()]
                lines.append(f"| {kind}, {key} | {' | '.join(cells)} |")
    heads = ["scene", "pixels", "runtime", "pixels / s", "exact s", "adaptive s", "fewer windows",
             "less time", "command exact s", "command adaptive s"]  # fmt: skip
    lines += ["", f"| {' | '.join(heads)} |", "|---|---:|---|" + "---:|" * 7]
    for name, scene in found.get("maps", {}).items():
        for runtime, row in scene["maps"].items():
            whole = [scene["commands"][f"{runtime} {kind}"] for kind in ("exact", "adaptive")]
            cells = [name, f"{scene['pixels']:,}", runtime, row["pixels a second"], row["exact s"],
                     row["adaptive s"], row["fewer windows"], row["less time"], *whole]  # fmt: skip
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    for part in ("peak", "bench"):
        if part in found:
            lines += ["", f"{part}: `{json.dumps(found[part])}`"]
    return "\n".join(lines)


def arguments(doc: str | None, parts: Iterable[str], name: str) -> argparse.ArgumentParser:
    """The options of a script that measures parts."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(parts), default=list(parts))
    parser.add_argument("--runs", type=Path, default=Path("runs/runtime"))
    parser.add_argument("--out", type=Path, default=Path(f"benchmarks/records/{name}.json"))
    parser.add_argument("--note", default=None, help="for the record, such as: other work ran")
    return parser


def measure(parts: Mapping[str, Part], options: argparse.Namespace) -> dict[str, Any]:
    """Measure the chosen parts; the record, in which parts that were measured before stay."""
    record = json.loads(options.out.read_text()) if options.out.is_file() else {}
    for name in options.only:
        before = machine()
        found = parts[name](options)
        record[name] = {"machine": before, "note": options.note, "found": found}
        options.out.write_text(json.dumps(record, indent=1) + "\n")
    return record


def main() -> None:
    """Measure, and write the record."""
    parser = arguments(__doc__, PARTS, "runtime")
    parser.add_argument("--scenes", nargs="+", default=list(SCENES))
    parser.add_argument("--table", type=Path, default=None, help="print the tables of a record")
    options = parser.parse_args()
    if options.table is not None:
        print(table(json.loads(options.table.read_text())))
        return
    print(table(measure(PARTS, options)))


if __name__ == "__main__":
    main()
