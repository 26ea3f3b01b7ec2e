"""One command for a machine with an accelerator.

    python -m tools.accelerator.run pretrain CONFIG --prepared DIR --out DIR [--seconds 480]
    python -m tools.accelerator.run compare VARIANTS --prepared DIR --out DIR [--seconds 20]

`pretrain` measures how long a step takes, sets the number of steps that fit into the seconds,
writes the configuration with it, and pretrains; the same command resumes where it was stopped.
`compare` pretrains the variants of a YAML (each a name and what it changes of `common`) for equal
times and judges their frozen features. Neither needs GDAL: the arrays come from
`tools.accelerator.prepare`. Where there is no accelerator both run on the processor.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from hyperpeft.models import load_backbone
from hyperpeft.models.spectralgpt import SpectralGPT
from hyperpeft.models.windows import Windows
from hyperpeft.pretraining.config import PretrainConfig
from hyperpeft.pretraining.run import WEIGHTS, pretrain
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.precision import autocast, choose_precision, processes

TRIAL_STEPS = 30  # of which the first half starts the device's libraries
JUDGED = (1, 5, 11)  # windows of the heads that frozen features are judged by


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    device = processes().device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "processor"
    return {"device": name, "torch": torch.__version__}


def configuration(values: Mapping[str, Any], prepared: Path) -> PretrainConfig:
    """The configuration with the prepared arrays where it names a library and cubes."""
    values = {**values, "scenes": dict(values["scenes"])}
    for name in ("library", "cubes"):
        if values["scenes"].get(name):
            values["scenes"][name] = [str(prepared / f"{name}.npz")]
    return PretrainConfig(**values)


def fitted_steps(config: PretrainConfig, out: Path, options: argparse.Namespace) -> PretrainConfig:
    """The same configuration with as many steps as fit into the seconds, one stage."""
    times: list[float] = []

    def watch(done: int, total: int, figures: dict[str, float]) -> None:
        times.append(time.perf_counter())

    count, warm = options.trial_steps, options.trial_steps // 2
    trial = _with_steps(config, count)
    shutil.rmtree(out, ignore_errors=True)
    pretrain(trial, out, watch=watch)
    shutil.rmtree(out)
    a_step = (times[-1] - times[warm]) / (count - 1 - warm)
    return _with_steps(config, max(count, int(options.seconds / a_step)))


def _with_steps(config: PretrainConfig, steps: int) -> PretrainConfig:
    stage = config.stages[-1].model_copy(update={"steps": steps})
    warmup = min(config.warmup, steps // 10)
    return config.model_copy(update={"stages": (stage,), "warmup": warmup})


def run_pretrain(options: argparse.Namespace) -> None:
    """Pretrain once, within the time."""
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = options.out / "config.yaml"
    if not chosen.is_file():
        values = yaml.safe_load(options.config.read_text())
        config = configuration(values, options.prepared)
        if options.seconds:
            config = fitted_steps(config, options.out / "trial", options)
        chosen.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    config = PretrainConfig(**yaml.safe_load(chosen.read_text()))
    record = pretrain(config, options.out / "run", watch=_Printer(config.steps))
    record = {
        **record,
        "machine": machine(),
        "judged": _judged(config, options.out / "run", options),
    }
    (options.out / "accelerator.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({k: record[k] for k in ("windows", "timing", "last_100_steps", "judged")}))


def run_compare(options: argparse.Namespace) -> None:
    """Pretrain every variant for the same time and judge it."""
    options.out.mkdir(parents=True, exist_ok=True)
    plan = yaml.safe_load(options.config.read_text())
    rows = options.out / "compare.jsonl"
    done = (
        {json.loads(line)["name"] for line in rows.read_text().splitlines()}
        if rows.is_file()
        else set()
    )
    for name, changes in plan["variants"].items():
        if name in done:
            continue
        try:
            row = _variant(name, merged(plan["common"], changes or {}), options)
        except Exception as problem:  # one failure must not cost the others their time
            row = {"name": name, "failed": repr(problem)[:500]}
        with rows.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(
            json.dumps({k: row.get(k) for k in ("name", "windows", "timing", "judged", "failed")}),
            flush=True,
        )


def _variant(name: str, values: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    folder = options.out / "work" / name
    if not values.get("stages"):  # nothing is trained: named weights or a start
        config = None
        encoder = load_backbone(
            values["backbone"], values["image_size"], pretrained=values["pretrained"]
        )
        return {"name": name, "windows": 0, "judged": _frozen(encoder, options)}
    config = configuration(values, options.prepared)
    config = fitted_steps(config, folder / "trial", options)
    record = pretrain(config, folder / "run")
    shutil.copy(folder / "run" / WEIGHTS, options.out / f"{name}.safetensors")
    return {
        "name": name,
        **record,
        "machine": machine(),
        "judged": _judged(config, folder / "run", options),
    }


def merged(common: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`common` with the changes, one level deep."""
    values = dict(common)
    for name, value in changes.items():
        old = values.get(name)
        values[name] = (
            {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return values


def _judged(config: PretrainConfig, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    size = config.stages[-1].image_size
    return _frozen(load_backbone(folder / WEIGHTS, size), options)


def _frozen(encoder: Any, options: argparse.Namespace) -> dict[str, float]:
    device = processes().device
    return judge(encoder.to(device).eval(), options.prepared / "judge.npz", device)


def judge(encoder: SpectralGPT, prepared: Path, device: torch.device) -> dict[str, float]:
    """What frozen features are worth: ridge heads of three windows on prepared scenes.

    Overall accuracy in percent by "scene/kind", the mean over seeds, and by kind. The scores of
    the windows' heads are averaged, as a run of several windows does.
    """
    precision = choose_precision("auto", device)
    found: dict[str, list[float]] = {}
    with np.load(prepared, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    cubes = {name.split("/")[0]: a for name, a in arrays.items() if name.endswith("/cube")}
    for key in sorted(name[: -len("/train")] for name in arrays if name.endswith("/train")):
        scene, kind, _ = key.split("/")
        targets = torch.from_numpy(arrays[f"{key}/train_classes"]).to(device)
        classes = int(targets.max()) + 1
        model = Classifier(encoder, classes, centre=True).to(device).eval()
        scores = torch.zeros(len(arrays[f"{key}/test"]), classes, device=device)
        for size in JUDGED:
            windows = Windows(cubes[scene], size, device)
            with autocast(device, precision):
                train, test = (
                    model.features_of(windows, torch.from_numpy(arrays[f"{key}/{part}"]), 2048)
                    for part in ("train", "test")
                )
            head = model.fit_head(train.float(), targets)
            scores += test.float() @ head.weight.T + head.bias
        right = scores.argmax(1).cpu().numpy() == arrays[f"{key}/test_classes"]
        found.setdefault(f"{scene}/{kind}", []).append(100 * float(right.mean()))
    means = {name: round(float(np.mean(values)), 2) for name, values in found.items()}
    for kind in ("random", "disjoint"):
        of_kind = [value for name, value in means.items() if name.endswith(kind)]
        means[kind] = round(float(np.mean(of_kind)), 2)
    return means


class _Printer:
    """A line a second of time would be too many: one every 5 percent."""

    def __init__(self, total: int) -> None:
        self.every = max(1, total // 20)

    def __call__(self, done: int, total: int, figures: dict[str, float]) -> None:
        if done % self.every == 0:
            print(done, total, {k: round(v, 3) for k, v in figures.items()}, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("task", choices=("pretrain", "compare"))
    parser.add_argument("config", type=Path)
    parser.add_argument("--prepared", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument(
        "--trial-steps",
        type=int,
        default=TRIAL_STEPS,
        help="timed first, at least 4",
    )
    options = parser.parse_args()
    {"pretrain": run_pretrain, "compare": run_compare}[options.task](options)


if __name__ == "__main__":
    main()
