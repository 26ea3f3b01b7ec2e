"""Speed and memory of every method against stock PEFT and full fine-tuning.

    python benchmarks/adapters.py                    # measure, write a record, redraw the table
    python benchmarks/adapters.py --device cuda
    python benchmarks/adapters.py --table            # redraw docs/reference/speed.md from records

benchmarks/records/adapters.json has one record a machine; a run replaces that of its `--name`.

All contestants live in one process and take turns, round after round (A B C A B C ...), so that
a busy machine slows all of them alike; the figure of each is the median of its rounds. Peak memory
on a processor is that of a process of its own for each contestant, on a GPU what the allocator
counted. One step is forward, backward and AdamW on random windows; the random seed is fixed.

"An adapter that costs nothing" is the bound: the frozen layers alone, with the gradients that flow
through them, and no work for a delta. No exact adapter on Q and V of every block can be faster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # as the command line does, before torch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import hyperpeft
from hyperpeft.adapters.base import Adapter
from hyperpeft.models import SIZES, load_backbone
from hyperpeft.runs.sections import source_state
from hyperpeft.system.files import replacing
from hyperpeft.training.classifier import Classifier
from hyperpeft.training.optim import optimiser, parameter_groups
from hyperpeft.training.precision import autocast, held_in

HERE = Path(__file__).parent
RECORDS = HERE / "records" / "adapters.json"
TABLE = HERE.parent / "docs" / "reference" / "speed.md"
CLASSES = 12


@dataclass(frozen=True)
class Contestant:
    """A way to train.

    Attributes
    ----------
    method : str
        Of hyperpeft; "peft lora" and "peft krona" for stock PEFT doing the same job; "bound" for
        the frozen layers without a delta.
    blocks : "all" or int
    cached : bool
        The tokens that enter the first adapted block come from a cache that is already filled.
    """

    name: str
    method: str
    precision: str = "fp32"
    blocks: str | int = "all"
    cached: bool = False


CONTESTANTS = (
    Contestant("full fine-tuning", "full"),
    Contestant("linear probe", "probe"),
    Contestant("LoRA, r = 8", "lora"),
    Contestant("KronA+", "krona+"),
    Contestant("LoKr, r = 4", "lokr"),
    Contestant("an adapter that costs nothing", "bound"),
    Contestant("stock PEFT, LoRA r = 8", "peft lora"),
    Contestant("stock PEFT, LoKr with full factors (= KronA)", "peft krona"),
    Contestant("full fine-tuning, bf16", "full", "bf16"),
    Contestant("KronA+, bf16", "krona+", "bf16"),
    Contestant("KronA+, last 4 blocks, cached tokens", "krona+", blocks=4, cached=True),
)


def build(contestant: Contestant, size: str, device: torch.device) -> Classifier:
    """A classifier set up as the contestant trains it."""
    encoder = load_backbone(size)
    if contestant.method.startswith("peft "):
        encoder.requires_grad_(False)
        _attach_stock_peft(encoder, contestant.method)
    elif contestant.method == "bound":
        hyperpeft.attach(encoder, "krona+", ("q", "v"))
        for layer in encoder.modules():
            if isinstance(layer, Adapter):
                layer.forward = partial(_without_delta, layer)  # type: ignore[method-assign]
    else:
        hyperpeft.attach(encoder, contestant.method, ("q", "v"), blocks=contestant.blocks)
    return Classifier(encoder, CLASSES).to(device)


class _Frozen(torch.autograd.Function):
    """W x + b; B gets a gradient of zeros, so that what precedes it is computed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, B: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(weight, B)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # type: ignore[override]
        weight, B = ctx.saved_tensors
        into = gradient @ weight if ctx.needs_input_grad[0] else None
        return into, None, None, torch.zeros_like(B)


def _without_delta(layer: Any, x: Tensor) -> Tensor:
    return _Frozen.apply(x, layer.weight, layer.bias, layer.B)


def _attach_stock_peft(encoder: nn.Module, method: str) -> None:
    from peft import LoKrConfig, LoraConfig, inject_adapter_in_model

    config: Any
    if method == "peft lora":
        config = LoraConfig(r=8, lora_alpha=8, target_modules=["q", "v"])
    else:
        rank = 32  # from half of the larger factor on PEFT keeps both factors full
        config = LoKrConfig(r=rank, alpha=rank, target_modules=["q", "v"])
    inject_adapter_in_model(config, encoder)


def trainer_of(
    contestant: Contestant, size: str, batch: int, device: torch.device
) -> Callable[[], None]:
    """A function that takes one training step and waits for it to be done."""
    model = build(contestant, size, device).train()
    frozen = held_in(model, contestant.precision)
    frozen.__enter__()  # for as long as `step` lives, which keeps it
    groups = parameter_groups(model, lr=1e-3, lam=16, head_lr=1e-3, weight_decay=0.05)
    if contestant.method.startswith("peft "):
        groups = [{"params": [p for p in model.parameters() if p.requires_grad], "lr": 1e-3}]
    optimizer = optimiser(groups)
    generator = torch.Generator().manual_seed(0)
    windows = torch.randn(batch, 12, 32, 32, generator=generator).to(device)
    targets = torch.randint(CLASSES, (batch,), generator=generator).to(device)
    entering, x = None, windows
    if contestant.cached:
        assert isinstance(contestant.blocks, int)
        entering = model.encoder.depth - contestant.blocks
        with torch.no_grad():
            x = model.encoder.forward_to(windows, entering)

    def step() -> None:
        with autocast(device, contestant.precision):
            logits = model(x, entering)
        F.cross_entropy(logits.float(), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
        _wait(device)

    step.frozen = frozen  # type: ignore[attr-defined]  # a context that is dropped would end
    return step


def predictor_of(model: Classifier, batch: int, precision: str) -> Callable[[], None]:
    """A function that predicts one batch."""
    device = next(model.parameters()).device
    windows = torch.randn(batch, 12, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)
    model.eval()

    def predict() -> None:
        with torch.inference_mode(), autocast(device, precision):
            model(windows)
        _wait(device)

    return predict


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def take_turns(
    functions: dict[str, Callable[[], None]], rounds: int, per_round: int
) -> dict[str, list[float]]:
    """Seconds of each call, round by round; the first round warms up and does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(per_round):
                function()
            if number:
                seconds[name].append((time.perf_counter() - start) / per_round)
    return seconds


def peak_memory(contestant: Contestant, options: argparse.Namespace) -> float:
    """Peak MB of two training steps, in a process of its own."""
    command = [
        sys.executable, __file__, "--memory-of", contestant.name, "--size", options.size,
        "--batch", str(options.batch), "--device", options.device,
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(result.stdout.split()[-1])


def print_memory(name: str, options: argparse.Namespace) -> None:
    """What the process started by `peak_memory` does."""
    device = torch.device(options.device)
    contestant = next(c for c in CONTESTANTS if c.name == name)
    step = trainer_of(contestant, options.size, options.batch, device)
    step()
    step()
    if device.type == "cuda":
        print(torch.cuda.max_memory_allocated() / 2**20)
    else:
        print(_peak_rss())


def _peak_rss() -> float:
    """Peak MB of this process; Linux, whose getrusage would count the parent's peak as well."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmHWM:"))) / 2**10


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, as one record."""
    device = torch.device(options.device)
    steps = {c.name: trainer_of(c, options.size, options.batch, device) for c in CONTESTANTS}
    training = take_turns(steps, options.rounds, options.steps)
    del steps
    plain = build(Contestant("", "probe"), options.size, device)
    adapted = build(Contestant("", "krona+"), options.size, device)
    merged = build(Contestant("", "krona+"), options.size, device)
    hyperpeft.merge(merged.encoder)
    predicting = take_turns(
        {
            "plain backbone": predictor_of(plain, options.batch, "fp32"),
            "KronA+ merged": predictor_of(merged, options.batch, "fp32"),
            "KronA+ not merged": predictor_of(adapted, options.batch, "fp32"),
            "KronA+ merged, bf16": predictor_of(merged, options.batch, "bf16"),
        },
        options.rounds,
        options.steps,
    )
    memory = {c.name: peak_memory(c, options) for c in CONTESTANTS} if options.memory else {}
    commit, dirty = source_state()
    name = torch.cuda.get_device_name() if device.type == "cuda" else _processor()
    return {
        "command": " ".join(["python", "benchmarks/adapters.py", *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": name,
        "threads": torch.get_num_threads(),
        "size": options.size,
        "batch": options.batch,
        "rounds": options.rounds,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": commit,
        "dirty": dirty,
        "training_seconds_per_step": training,
        "predicting_seconds_per_batch": predicting,
        "peak_memory_mb": memory,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(record: dict[str, Any]) -> str:
    """A record as Markdown."""
    batch = record["batch"]
    training = {n: statistics.median(s) for n, s in record["training_seconds_per_step"].items()}
    full = training["full fine-tuning"]
    stock = training["stock PEFT, LoKr with full factors (= KronA)"]
    lines = [
        f"## {record['device']}, {record['threads']} threads, `{record['size']}`, "
        f"batches of {batch}",
        "",
        f"`{record['command']}`, {record['created']}, torch {record['torch']}, "
        f"median of {record['rounds']} rounds taken in turn.",
        "",
        "| training | samples/s | over full | over stock PEFT | peak MB |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, seconds in training.items():
        memory = record["peak_memory_mb"].get(name)
        lines.append(
            f"| {name} | {batch / seconds:.1f} | {full / seconds:.2f} | {stock / seconds:.2f} | "
            f"{'' if memory is None else f'{memory:.0f}'} |"
        )
    lines += ["", "| prediction | samples/s | over plain |", "|---|---:|---:|"]
    predicting = record["predicting_seconds_per_batch"]
    plain = statistics.median(predicting["plain backbone"])
    for name, times in predicting.items():
        seconds = statistics.median(times)
        lines.append(f"| {name} | {batch / seconds:.1f} | {plain / seconds:.2f} |")
    return "\n".join(lines)


def read_records() -> dict[str, dict[str, Any]]:
    """The record of each machine by its name."""
    return json.loads(RECORDS.read_text()) if RECORDS.is_file() else {}


def redraw() -> None:
    """Write docs/reference/speed.md from all records."""
    head = (
        "# Speed and memory\n\nWritten by `python benchmarks/adapters.py --table` from "
        "`benchmarks/records/adapters.json`. Stock PEFT does the same job with the same factors; "
        '"last 4 blocks" counts epochs after the first, when the cache of tokens is filled.\n'
    )
    TABLE.write_text("\n".join([head, *(table(one) + "\n" for one in read_records().values())]))


def main() -> None:
    """Measure and write, or only redraw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--size", default="base", choices=list(SIZES))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1, help="steps per turn")
    parser.add_argument("--no-memory", dest="memory", action="store_false")
    parser.add_argument("--name", default=None, help="of the record [default: the device]")
    parser.add_argument("--table", action="store_true", help="only redraw the table")
    parser.add_argument("--memory-of", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of is not None:
        print_memory(options.memory_of, options)
        return
    if not options.table:
        record = measure(options)
        records = read_records() | {options.name or options.device: record}
        with replacing(RECORDS) as temporary:
            temporary.write_text(json.dumps(dict(sorted(records.items())), indent=1) + "\n")
    redraw()


if __name__ == "__main__":
    main()
