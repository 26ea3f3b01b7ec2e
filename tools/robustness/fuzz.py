"""Damaged files, opened by every reader: each is read, or refused in a sentence, and nothing else.

    python -m tools.robustness.fuzz [READER ...] [--minutes 1] [--seed 0] [--keep FOLDER]
        --out benchmarks/records/robustness.json
    python -m tools.robustness.fuzz --replay FOLDER READER
    python -m tools.robustness.fuzz --table benchmarks/records/robustness.json
    python -m tools.robustness.fuzz --coverage SECONDS READER

Small valid inputs of each reader (`fuzz_targets.py`) are damaged at random (`mutations.py`): bits,
numbers at their extremes, cuts, splices, lines and words of text, members of archives. A process
of its own opens one mutant after the other and reads a window; it is given 10 seconds of the
processor for each, and 2 GB above what it begins with. What is neither read nor refused with an
error of hyperpeft is a defect: another exception, a crash, a hang, a want of memory, a message of
more than a line. The process is replaced after a crash, and by and by. With `--keep` the first
mutant of every defect is put into a folder, for `--replay`.

A run adds to the record of earlier ones with other seeds, the part "fuzz" of its file. Linux.

`--coverage` is another way, for a reader of single files: atheris (`pip install atheris`) follows
the branches of our Python code, not those of the libraries below it, looks for inputs that reach
new ones, and stops at the first that ends otherwise than it should. It has run for 40 seconds on
YAML (1,759 inputs, after one defect was fixed) and on tables (2,709).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "5000")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import hyperpeft
from hyperpeft.errors import InputError
from hyperpeft.runs.sections import source_state
from hyperpeft.system.files import replacing
from tools.robustness.fuzz_targets import TARGETS
from tools.robustness.mutations import Files, mutate, read_files, write_files

SECONDS, BYTES = 10.0, 2 * 2**30  # of one mutant: of the processor, and above the beginning
PATIENCE = 120.0  # seconds of the clock, on a machine that is busy otherwise
MUTANTS_OF_A_PROCESS = 1500
LONGEST_MESSAGE = 2000
# What `--coverage` starts: atheris must see the package while it is imported.
INSTRUMENTED = """
import sys, atheris
with atheris.instrument_imports(include=["hyperpeft"]):
    from tools.robustness.fuzz import cover
cover(sys.argv[1], int(sys.argv[2]))
"""


@dataclass
class Tally:
    """What became of the mutants of one reader."""

    mutants: int = 0
    opened: int = 0
    refused: int = 0
    no_memory: int = 0  # refused in words, because a file asks for more than there is
    slowest: float = 0.0  # seconds of the processor
    seconds: float = 0.0  # of the processor, all mutants together
    defects: Counter[str] = field(default_factory=Counter)


class Worker:
    """A forked process that opens the mutants it is told the numbers of."""

    def __init__(self, name: str, samples: list[Files], seed: int, scratch: Path) -> None:
        to_child, self._orders = os.pipe()
        self._answers, from_child = os.pipe()
        self.opened = 0
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._orders)
            os.close(self._answers)
            _serve(name, samples, seed, scratch, to_child, from_child)
        os.close(to_child)
        os.close(from_child)

    def open(self, number: int) -> tuple[str, float]:
        """What became of a mutant ("opened", "refused" or what is wrong), and processor seconds."""
        self.opened += 1
        begun = self._spent()
        os.write(self._orders, number.to_bytes(8, "little"))
        answered = self._answers_in_time(begun)
        seconds = self._spent() - begun  # also of one that has ended: nobody has waited for it yet
        if not answered:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            return "hang", seconds
        answer = os.read(self._answers, 4096)
        if answer:
            return answer.decode(), seconds
        _, status = os.waitpid(self.pid, 0)
        if os.WIFSIGNALED(status):
            return f"crash: {signal.Signals(os.WTERMSIG(status)).name}", seconds
        return f"crash: exit {os.WEXITSTATUS(status)}", seconds

    def _answers_in_time(self, begun: float) -> bool:
        """Within so many seconds of the processor; or of the clock, should it wait for nothing."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._spent() - begun < SECONDS:
            if select.select([self._answers], [], [], 1.0)[0]:
                return True
        return False

    def _spent(self) -> float:
        """Processor seconds of the process and of its threads so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """Close the pipes; an idle process ends by that."""
        os.close(self._orders)
        os.close(self._answers)


def _serve(
    name: str, samples: list[Files], seed: int, scratch: Path, orders: int, answers: int
) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)  # C libraries say there what the exception says as well
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while order := os.read(orders, 8):
        folder = write_mutant(scratch, samples, name, seed, int.from_bytes(order, "little"))
        os.write(answers, judge(name, folder)[:4000].encode())
    os._exit(0)


def write_mutant(scratch: Path, samples: list[Files], name: str, seed: int, number: int) -> Path:
    """One mutant, decided by reader, seed and number, in a folder that is emptied before."""
    draw = random.Random(f"{name} {seed} {number}")
    folder = scratch / "mutant"
    shutil.rmtree(scratch, ignore_errors=True)
    os.environ["HYPERPEFT_CACHE"] = str(scratch / "cache")
    write_files(folder, mutate(draw, draw.choice(samples), samples))
    return folder


def judge(name: str, folder: Path) -> str:
    """Open a mutant."""
    try:
        TARGETS[name].open(folder)
    except InputError as error:
        text = str(error)
        if "\n" in text or not text or len(text) > LONGEST_MESSAGE:
            return f"message: {len(text)} characters, {text.count(chr(10))} line ends: {text[:200]}"
        return "no_memory" if "llocat" in text or "memory" in text else "refused"
    except BaseException as error:
        ours = [f for f in traceback.extract_tb(error.__traceback__) if "/hyperpeft/" in f.filename]
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "outside"
        return f"{type(error).__name__} in {place}: {' '.join(str(error).split())[:120]}"
    return "opened"


def make_samples(name: str, folder: Path) -> list[Files]:
    """The valid inputs, made in a child: libraries that start threads must not do so before it."""
    child = os.fork()
    if child == 0:
        try:
            for number, make in enumerate(TARGETS[name].make):
                place = folder / str(number)
                place.mkdir(parents=True)
                make(place)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError(f"the valid inputs of {name} cannot be made")
    samples = [read_files(place) for place in sorted(folder.iterdir())]
    check_samples(name, folder)
    return samples


def check_samples(name: str, folder: Path) -> None:
    """Nothing would be said by mutants of what is not valid."""
    child = os.fork()
    if child == 0:
        said = [judge(name, place) for place in sorted(folder.iterdir())]
        print(f"{name}: {said}" if set(said) != {"opened"} else "", end="", file=sys.stderr)
        os._exit(set(said) != {"opened"})
    if os.waitpid(child, 0)[1]:
        raise RuntimeError(f"the valid inputs of {name} are not opened")


def fuzz(name: str, seed: int, minutes: float, place: Path, keep: Path | None) -> Tally:
    """Open mutants until they have had so many minutes of the processor."""
    os.environ["FUZZ_SCENE"] = str(place / "scene.tif")
    samples = make_samples(name, place / name)
    scratch = place / f"{name}-scratch"
    tally = Tally()
    worker = Worker(name, samples, seed, scratch)
    while tally.seconds < 60 * minutes:
        number = tally.mutants
        answer, seconds = worker.open(number)
        tally.slowest = max(tally.slowest, round(seconds, 2))
        tally.seconds += seconds
        tally.mutants += 1
        if answer in ("opened", "refused", "no_memory"):
            setattr(tally, answer, getattr(tally, answer) + 1)
        else:
            key = answer.split(": ")[0] if answer.startswith("message") else answer
            if ":" in key and not key.startswith("crash"):
                key = ":".join(key.split(":")[:2])  # without the message
            if not tally.defects[key]:
                print(f"{name} {number}: {answer}", file=sys.stderr, flush=True)
                if keep is not None:
                    kept = keep / f"{name}-{seed}-{number}"
                    shutil.rmtree(kept, ignore_errors=True)
                    draw = random.Random(f"{name} {seed} {number}")
                    write_files(kept, mutate(draw, draw.choice(samples), samples))
            tally.defects[key] += 1
        gone = answer == "hang" or answer.startswith("crash")
        if gone or worker.opened >= MUTANTS_OF_A_PROCESS:
            worker.end()
            if not gone:
                os.waitpid(worker.pid, 0)
            worker = Worker(name, samples, seed, scratch)
    worker.end()
    os.waitpid(worker.pid, 0)
    return tally


def add(record: dict[str, Any], name: str, seed: int, tally: Tally) -> None:
    """One run of one reader into the record."""
    commit, dirty = source_state()
    runs = record.setdefault("readers", {}).setdefault(name, [])
    runs.append(
        {
            "seed": seed,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": commit,
            "dirty": dirty,
            "processor_minutes": round(tally.seconds / 60, 2),
            "mutants": tally.mutants,
            "opened": tally.opened,
            "refused": tally.refused,
            "refused_for_memory": tally.no_memory,
            "slowest_seconds": tally.slowest,
            "defects": dict(tally.defects),
        }
    )


def table(record: dict[str, Any]) -> str:
    """All runs of a record as Markdown, one line a reader."""
    lines = [
        "| reader | mutants | refused | for memory | opened | found | left |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name in TARGETS:
        runs = record["readers"].get(name, [])
        if runs:
            keys = ("mutants", "refused", "refused_for_memory", "opened")
            total = {key: sum(run[key] for run in runs) for key in keys}
            kinds = {kind for run in runs for kind in run["defects"]}
            left = len(runs[-1]["defects"])
            lines.append(
                f"| {name} | {total['mutants']:,} | {total['refused']:,} | "
                f"{total['refused_for_memory']:,} | {total['opened']:,} | "
                f"{len(kinds)} | {left} |"
            )
    return "\n".join(lines)


def cover(name: str, seconds: int) -> None:
    """Open what atheris makes of the valid inputs."""
    import atheris

    place = Path(tempfile.mkdtemp(dir="/dev/shm"))
    os.environ["FUZZ_SCENE"] = str(place / "scene.tif")
    os.environ["HYPERPEFT_CACHE"] = str(place / "cache")
    target, corpus = TARGETS[name], place / "corpus"
    corpus.mkdir()
    files = set()
    for number, make in enumerate(target.make):
        made = place / str(number)
        made.mkdir()
        make(made)
        (file,) = made.iterdir()  # no reader of several files
        files.add(file.name)
        shutil.copy(file, corpus / f"{number}-{file.name}")
    folder = place / "input"
    folder.mkdir()

    def open_one(data: bytes) -> None:
        for kind in sorted(files):  # one input for each kind of content
            for old in folder.iterdir():
                old.unlink() if old.is_file() else shutil.rmtree(old)
            (folder / kind).write_bytes(data)
            with suppress(InputError):
                target.open(folder)

    limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=6000"]
    artifacts = [f"-artifact_prefix={tempfile.gettempdir()}/atheris-{name}-"]
    atheris.Setup(["fuzz", *limits, *artifacts, str(corpus)], open_one)
    try:
        atheris.Fuzz()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("readers", nargs="*", help=f"of {', '.join(TARGETS)} [default: all]")
    parser.add_argument("--minutes", type=float, default=1.0, help="of the processor, for each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=None, help="for the mutants of defects")
    parser.add_argument("--out", type=Path, default=None, help="record to add to")
    parser.add_argument("--replay", type=Path, default=None, help="open what --keep has kept")
    parser.add_argument("--table", type=Path, default=None, help="print a record as Markdown")
    parser.add_argument("--coverage", type=int, metavar="SECONDS", help="with atheris, one reader")
    options = parser.parse_args()
    if unknown := set(options.readers) - set(TARGETS):
        parser.error(f"no reader {', '.join(sorted(unknown))}: {', '.join(TARGETS)}")
    if options.table:
        print(table(json.loads(options.table.read_text())["fuzz"]))
        return
    if options.coverage:
        (name,) = options.readers
        command = [sys.executable, "-c", INSTRUMENTED, name, str(options.coverage)]
        sys.exit(subprocess.run(command).returncode)
    found = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        if options.replay:
            os.environ["FUZZ_SCENE"] = str(Path(place) / "scene.tif")
            os.environ["HYPERPEFT_CACHE"] = str(Path(place) / "cache")
            (name,) = options.readers
            make_samples(name, Path(place) / name)
            TARGETS[name].open(options.replay)
            return
        for name in options.readers or TARGETS:
            tally = fuzz(name, options.seed, options.minutes, Path(place), options.keep)
            print(f"{name}: {tally}", file=sys.stderr, flush=True)
            found += sum(tally.defects.values())
            if options.out:
                parts = json.loads(options.out.read_text()) if options.out.is_file() else {}
                record: dict[str, Any] = parts.setdefault("fuzz", {})
                record |= {
                    "command": "python -m tools.robustness.fuzz",
                    "hyperpeft": hyperpeft.__version__,
                    "torch": torch.__version__,
                    "python": platform.python_version(),
                }
                add(record, name, options.seed, tally)
                with replacing(options.out) as temporary:
                    temporary.write_text(json.dumps(parts, indent=1) + "\n")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
