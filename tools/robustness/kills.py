"""Training, pretraining, bench and mapping, killed at random moments and started again.

    python -m tools.robustness.kills [train|pretrain|bench|map ...] [--kills 20] [--seed 0]
        --out benchmarks/records/robustness.json
    python -m tools.robustness.kills --table benchmarks/records/robustness.json

Each command runs once undisturbed, then again and again in a fresh folder: it gets SIGKILL, the
same command is started once more, gets SIGKILL, and so on until it ends, which closes a chain; new
chains begin until there are enough kills. Half of the moments are drawn over the whole life of the
process, an eighth of them over its start-up, and the others a hair after it has begun to write a
file. After each kill every file under a final name must be whole, and what was finished must still
be what it was; at the end of a chain weights, metrics and map pixels are those of the undisturbed
run, and nothing else is left in the folder.

The commands are those of a user, but checkpoints are written every half second, and only what is
killed in its start-up is a new interpreter: the others are forked from this process, which has
loaded the libraries already, because loading takes longer than the work. It takes some ten minutes
of one core. The record is the part "kills" of its file; other parts are kept.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("GOMP_SPINCOUNT", "5000")
os.environ["OMP_NUM_THREADS"] = "1"  # threads do not survive a fork

import numpy as np
import rasterio
import torch
import yaml
from PIL import Image
from rasterio.transform import from_origin
from safetensors.numpy import load_file

import hyperpeft
import hyperpeft.benchmark.run
import hyperpeft.pretraining.run
import hyperpeft.runs.experiment
import hyperpeft.training.loop
from hyperpeft.cli import main as hyperpeft_main
from hyperpeft.runs.sections import source_state
from hyperpeft.scenes import planted_scene
from hyperpeft.system.files import replacing

# `hyperpeft ...`, with more frequent checkpoints.
OFTEN = """
import hyperpeft.pretraining.run, hyperpeft.training.loop
hyperpeft.training.loop.CHECKPOINT_SECONDS = 0.5
hyperpeft.pretraining.run.pretrain.__kwdefaults__["every"] = 0.5
from hyperpeft.cli import main
main()
"""
SMALL = {"backbone": "tiny", "image_size": 16, "patch_size": 5, "per_class": 8}


class Command(NamedTuple):
    """What is started, and how its output is judged.

    Attributes: `words`, of the command line, with {0} for the folder of inputs and {1} for the
    output; `result`, everything that must be equal; `finished`, what must not change any more.
    """

    words: str
    result: Callable[[Path], dict[str, Any]]
    finished: Callable[[Path], dict[str, Any]]


class Chain(NamedTuple):
    """Kills of one output up to its end: moments in seconds, and what was wrong."""

    kills: list[float]
    at_a_write: int
    wrong: list[str]


def write_inputs(folder: Path) -> None:
    """A scene with labels, configurations, and a trained run to map with."""
    for name, size in (("small", 20), ("scene", 40), ("large", 96)):
        scene = planted_scene(height=size, width=size, classes=3, contrast=0.06)
        assert scene.labels is not None
        for path, array in (
            (folder / f"{name}.tif", np.asarray(scene.cube.values)),
            (folder / f"{name}_labels.tif", scene.labels.ids[None].astype(np.uint8)),
        ):
            with rasterio.open(
                path, "w", driver="GTiff", count=len(array), height=size, width=size,
                dtype=array.dtype, crs="EPSG:32633", transform=from_origin(364e3, 581e4, 30, 30),
            ) as file:  # fmt: skip
                file.write(array)
    scene_of = {"scene": f"{folder}/small.tif", "labels": f"{folder}/small_labels.tif"}
    configurations: dict[str, Any] = {
        "train": {**SMALL, "epochs": 60, "validation": 0.25},
        "pretrain": {
            "backbone": "tiny",
            "stages": [{"steps": 40, "image_size": 16}, {"steps": 20, "image_size": 16}],
            "episodes": {"scenes": 1, "ways": [2, 4], "shots": [3], "queries": 3},
            "masked": {"weight": 0.5, "windows": 32, "decoder_dim": 24,
                       "sources": [f"{folder}/scene.tif"]},
            "warmup": 5,
        },
        "bench": {
            "name": "kills", "common": {**SMALL, "epochs": 6}, "scenes": {"a": scene_of},
            "methods": ["krona+", "probe"], "budgets": [{"per_class": 8}], "seeds": [0, 1, 2],
            "threads": 1,
        },
    }  # fmt: skip
    del configurations["bench"]["common"]["per_class"]
    for name, values in configurations.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    finish(start(f"{COMMANDS['train'].words} --epochs 3", folder, folder / "run"))


class Forked:
    """The command line in a fork of this process; as much of Popen as is needed here."""

    def __init__(self, arguments: list[str]) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.returncode: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            os.dup2(self._said.fileno(), 2)
            status = 1
            try:
                sys.argv = ["hyperpeft", *arguments]
                hyperpeft_main()
                status = 0
            except SystemExit as stop:
                status = int(stop.code or 0)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self._said.seek(0)
        return "", self._said.read()


Process = Forked | subprocess.Popen[str]


def start(words: str, inputs: Path, out: Path, *, anew: bool = False) -> Process:
    """The command line, in a process group of its own."""
    arguments = [*(word.format(inputs, out) for word in words.split()), "--quiet"]
    if not anew:
        return Forked(arguments)
    return subprocess.Popen(
        [sys.executable, "-c", OFTEN, *arguments],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def finish(process: Process) -> None:
    """Wait for what must not fail."""
    said = process.communicate()[1]
    if said or process.returncode:
        raise RuntimeError(f"ended with {process.returncode}: {said}")


def whole(path: Path) -> dict[str, Any]:
    """The content of a file under a final name, for a comparison; an error where it is not whole.

    Without what no two runs share: times, and the order of keys in a header.
    """
    if path.suffix == ".tif":
        with rasterio.open(path) as file:
            return {"pixels": file.read().tobytes(), "grid": (str(file.crs), tuple(file.transform))}
    if path.suffix == ".safetensors":
        return {name: array.tobytes() for name, array in load_file(path).items()}
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name].tobytes() for name in arrays.files}
    if path.suffix == ".png":
        with Image.open(path) as image:
            return {"pixels": image.tobytes()}
    if path.suffix == ".pt":
        return {"state": bool(torch.load(path, map_location="cpu", weights_only=True))}
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return {"rows": [{**row, "seconds": 0} for row in csv.DictReader(file)]}
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        if "metrics" in content:
            return {name: content[name] for name in ("metrics", "split", "reducer", "scene")}
        if "last_100_steps" in content:
            return {
                "losses": content["last_100_steps"],
                "weights": content["backbone"]["weights_sha256"],
                "windows": content["windows"],
            }
        return {name: v for name, v in content.items() if name != "created"}
    return {"bytes": path.read_bytes()}


def final_files(out: Path) -> list[Path]:
    """Files that have their names: neither being written, nor below a folder of work."""
    return sorted(
        path
        for path in out.rglob("*")
        if path.is_file()
        and not path.name.startswith(".")
        and not any(part in ("work", "map.tif.work") for part in path.relative_to(out).parts)
    )


def contents(out: Path) -> dict[str, Any]:
    """All final files with what they hold."""
    return {str(path.relative_to(out)): whole(path) for path in final_files(out)}


def everything(out: Path) -> dict[str, Any]:
    """`contents`, and the names of all that is there, final or not."""
    return {**contents(out), "": sorted(str(p.relative_to(out)) for p in out.rglob("*"))}


def cells(out: Path) -> dict[str, Any]:
    """Finished cells of a benchmark, and when they were written: none is computed again."""
    return {
        str(path.relative_to(out)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in (out / "cells").rglob("run.json")
    }


def tiles(out: Path) -> dict[str, Any]:
    """Finished tiles, as long as the map has no name."""
    if (out / "map.tif").is_file():
        return {}
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in (out / "map.tif.work").glob("tile-*")
    }


def nothing(out: Path) -> dict[str, Any]:
    return {}


COMMANDS = {
    "train": Command(
        "train {0}/scene.tif --labels {0}/scene_labels.tif --config {0}/train.yaml --out {1}",
        everything, nothing,
    ),
    "pretrain": Command("pretrain {0}/pretrain.yaml --out {1}", everything, nothing),
    "bench": Command("bench {0}/bench.yaml --out {1}", everything, cells),
    "map": Command(
        "map {0}/run {0}/large.tif --out {1}/map.tif --tile 16 --probabilities --confidence",
        everything, tiles,
    ),
}  # fmt: skip


def kill_at(process: Process, out: Path, seconds: float, writes: int) -> bool:
    """SIGKILL after so many seconds, or earlier, at the so manieth file that is being written.

    Returns whether the process was at a write. `writes` 0 waits for the time alone.
    """
    end, seen = time.monotonic() + seconds, set[str]()
    while time.monotonic() < end and process.poll() is None:
        if writes:
            seen |= {str(path) for path in out.rglob(".*part-*")}
            if len(seen) >= writes:
                os.killpg(process.pid, signal.SIGKILL)
                return True
        time.sleep(0.002)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    return False


def run_chain(
    command: Command, inputs: Path, out: Path, draw: random.Random, reference: Reference, limit: int
) -> Chain:
    """Start, kill, look, and start again until the command ends or there were enough kills."""
    kills: list[float] = []
    at_a_write, wrong, before = 0, list[str](), dict[str, Any]()
    while not wrong:
        kind = draw.random() if len(kills) < limit else 1.0
        process = start(command.words, inputs, out, anew=kind < 0.125)
        begun = time.monotonic()
        seconds = draw.uniform(0, reference.start_up if kind < 0.125 else reference.seconds)
        writes = draw.randint(1, 6) if 0.5 <= kind < 1 else 0
        if kind < 1:
            hit = kill_at(process, out, 2 * reference.seconds if writes else seconds, writes)
        said = (process.communicate()[1] or "").strip()
        if process.returncode == 0:
            break
        if process.returncode != -signal.SIGKILL:
            wrong.append(f"status {process.returncode}: {said[-300:]}")
            break
        kills.append(round(time.monotonic() - begun, 2))
        at_a_write += hit
        try:
            contents(out)
            after = command.finished(out)
        except Exception as error:
            wrong.append(f"half-written: {type(error).__name__}: {error}")
            break
        lost = [n for n in before if after and after.get(n) != before[n]]
        wrong += [f"lost, or computed again: {name}" for name in lost]
        before = after
    if not wrong:
        after = command.finished(out)
        wrong += [f"computed again: {n}" for n in before if after and after.get(n) != before[n]]
        found = command.result(out)
        for name in sorted({*found, *reference.result}):
            if found.get(name) != reference.result.get(name):
                what = f"{found[name]} are left" if name == "" else f"{name} differs"
                wrong.append(what)
    return Chain(kills, at_a_write, wrong)


class Reference(NamedTuple):
    """The undisturbed run, how long it took, and how long it took to begin."""

    result: dict[str, Any]
    seconds: float
    start_up: float


def measure(name: str, inputs: Path, folder: Path, wanted: int, seed: int) -> dict[str, Any]:
    """All chains of one command, as a section of the record."""
    command, draw = COMMANDS[name], random.Random(f"{name} {seed}")
    begun = time.monotonic()
    finish(start(command.words, inputs, folder / "whole"))
    seconds = time.monotonic() - begun
    subprocess.run([sys.executable, "-c", OFTEN, "--version"], check=True, capture_output=True)
    start_up = time.monotonic() - begun - seconds
    reference = Reference(command.result(folder / "whole"), seconds, start_up)
    chains: list[Chain] = []
    while sum(len(chain.kills) for chain in chains) < wanted:
        left = wanted - sum(len(chain.kills) for chain in chains)
        out = folder / f"chain-{len(chains)}"
        chains.append(run_chain(command, inputs, out, draw, reference, left))
        print(f"{name}: {chains[-1]}", file=sys.stderr, flush=True)
        if len(chains) > 4 * wanted:
            raise RuntimeError(f"{name} ends before it can be killed")
    return {
        "command": command.words.format("IN", "OUT"),
        "seconds_undisturbed": round(seconds, 1),
        "seconds_of_start_up": round(start_up, 1),
        "kills": sum(len(c.kills) for c in chains),
        "at_a_write": sum(c.at_a_write for c in chains),
        "chains": len(chains),
        "resumed_equal": sum(len(c.kills) for c in chains if not c.wrong),
        "lost": sum(bool(c.wrong) for c in chains),
        "moments": [c.kills for c in chains],
        "wrong": [w for c in chains for w in c.wrong],
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "commit": source_state()[0],
    }


def table(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    lines = [
        "| command | kills | of them at a write | runs ended | resumed equal | lost | minutes |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| `hyperpeft {name}` | {s['kills']} | {s['at_a_write']} | {s['chains']} | "
        f"{s['resumed_equal']} | {s['lost']} | {s['minutes']} |"
        for name, s in record["commands"].items()
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("commands", nargs="*", choices=[*COMMANDS, []], help="[default: all]")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/records/robustness.json"))
    parser.add_argument("--table", type=Path, default=None, help="print a record as Markdown")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text())["kills"]))
        return
    hyperpeft.training.loop.CHECKPOINT_SECONDS = 0.5
    hyperpeft.pretraining.run.pretrain.__kwdefaults__["every"] = 0.5
    commit, dirty = source_state()
    record: dict[str, Any] = {
        "command": " ".join(["python", "-m", "tools.robustness.kills", *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "hyperpeft": hyperpeft.__version__,
        "commit": commit,
        "dirty": dirty,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.system(),
        "commands": {},
    }
    if options.commands and options.out.is_file():  # the others are kept
        record["commands"] = json.loads(options.out.read_text()).get("kills", record)["commands"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_inputs(folder)
        for name in options.commands or COMMANDS:
            (folder / name).mkdir()
            section = measure(name, folder, folder / name, options.kills, options.seed)
            record["commands"][name] = section
            parts = json.loads(options.out.read_text()) if options.out.is_file() else {}
            with replacing(options.out) as temporary:
                temporary.write_text(json.dumps({**parts, "kills": record}, indent=1) + "\n")
    print(table(record))
    if any(section["lost"] for section in record["commands"].values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
