"""One cell of a benchmark: computed in a folder of its own, then given its name at once.

    DIR/bench.json                                     the configuration, and all cells planned
    DIR/cells/SCENE/SPLIT/BUDGET/METHOD/seed-N/        a finished cell: run.json, or failed.json
    DIR/work/...                                       cells that are being computed

A folder below `cells` is complete or not there: it is prepared below `work` and renamed. What
computes is imported when a cell is computed: the states of cells are read without torch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hyperpeft.benchmark.grid import Cell, complete
from hyperpeft.errors import BundleError, ConfigError, HyperpeftError, Interrupted
from hyperpeft.runs.config import make_config, set_by_labels
from hyperpeft.runs.file_names import CLASSES, FAILED, MAP, PICTURE, RUN
from hyperpeft.system.files import data_folders, read_json, replacing
from hyperpeft.system.output_folder import locked

if TYPE_CHECKING:
    from hyperpeft.runs.experiment import Progress

WORK = "work"
PATHS = ("scene", "labels", "backbone", "split")  # options that may name a file
State = Literal["open", "done", "failed"]


class Job(NamedTuple):
    """What a process needs to compute one cell; plain values, so that it travels.

    Attributes: `folder`, the benchmark's; `base`, the folder that relative paths start from;
    `keep` as in `BenchConfig`; `threads` of the cell, or None for as many as there are.
    """

    folder: str
    base: str
    path: str
    values: dict[str, Any]
    keep: str = "record"
    threads: int | None = None


class Outcome(NamedTuple):
    """What became of a cell. `seconds` is None where it had been finished before."""

    path: str
    state: State
    seconds: float | None = None
    oa: float | None = None
    reason: str = ""


def job_of(cell: Cell, folder: Path, keep: str, threads: int | None) -> Job:
    """A cell, to be computed from here."""
    return Job(str(folder.resolve()), str(Path.cwd()), cell.path, cell.values, keep, threads)


def state_of(folder: Path, path: str) -> State:
    """Whether a cell is finished, has failed, or is still to be computed."""
    if (folder / path / RUN).is_file():
        return "done"
    return "failed" if (folder / path / FAILED).is_file() else "open"


def compute(job: Job, progress: Progress | None = None) -> Outcome:
    """Compute a cell, unless it is finished; whatever goes wrong is recorded and returned.

    Raises
    ------
    Interrupted, KeyboardInterrupt
        After Ctrl-C; what was computed so far is kept where the method can resume from it.
    """
    folder = Path(job.folder)
    work = folder / WORK / job.path
    # A scheduler that has lost sight of a process gives its cell to another one.
    with locked(work.with_name(f"{work.name}.lock"), job.path, wait=True):
        if state_of(folder, job.path) == "done":
            return outcome_of(folder, job.path)
        started = time.perf_counter()
        try:
            if not _was_run(job, work):
                _run(job, work, progress)
            publish(job, work)
        except Interrupted:
            raise
        except Exception as error:
            return fail(job, error)
        spent = time.perf_counter() - started
    return outcome_of(folder, job.path)._replace(seconds=spent)


def outcome_of(folder: Path, path: str) -> Outcome:
    """A cell that was finished or has failed before."""
    state = state_of(folder, path)
    if state == "done":
        record = json.loads((folder / path / RUN).read_text(encoding="utf-8"))
        return Outcome(path, state, None, record["metrics"]["oa"])
    failed = json.loads((folder / path / FAILED).read_text(encoding="utf-8"))
    return Outcome(path, state, None, None, failed["reason"])


def _was_run(job: Job, work: Path) -> bool:
    """Whether a process was killed between the end of this very run and its getting a name."""
    if not (work / RUN).is_file():
        return False
    found = json.loads((work / RUN).read_text(encoding="utf-8"))["config"]
    config = complete(job.values)
    wanted = config.model_dump(mode="json")
    # A path may be written in two ways; what is open or "auto" the run has chosen.
    decided = {*PATHS, "out"} | {name for name, v in wanted.items() if v in (None, "auto")}
    decided |= set_by_labels(config, found)
    return all(found.get(name) == v for name, v in wanted.items() if name not in decided)


def _run(job: Job, work: Path, progress: Progress | None) -> None:
    import torch

    from hyperpeft.runs.experiment import run

    config = make_config({**resolved(job.values, Path(job.base)), "out": work})
    before = torch.get_num_threads()
    if job.threads:
        torch.set_num_threads(job.threads)  # of this thread: a dask worker computes in its own
    cut_before = work.is_dir() and any(work.iterdir())
    try:
        run(config, progress=progress)
    except (BundleError, ConfigError):
        if not cut_before:
            raise
        shutil.rmtree(work)  # the rest of an attempt with other options is of no use
        run(config, progress=progress)
    finally:
        torch.set_num_threads(before)


def publish(job: Job, work: Path) -> None:
    """Give what is kept of a finished run its name below `cells`."""
    record = json.loads((work / RUN).read_text(encoding="utf-8"))
    # Paths as they are in the configuration: a record is to be read on other machines.
    record["config"] |= complete(job.values).model_dump(mode="json", include={*PATHS})
    record["config"]["out"] = job.path
    if record["backbone"].get("name") is not None and "backbone" in job.values:
        record["backbone"]["name"] = job.values["backbone"]
    record["notes"] = [_anywhere(note, job) for note in record["notes"]]
    ready = work
    if job.keep != "run":
        record["files"] = None  # they are not kept
        ready = work.with_name(f"{work.name}.ready")
        shutil.rmtree(ready, ignore_errors=True)
        ready.mkdir()
        if (work / MAP).is_file():
            write_classes(work / MAP, ready / CLASSES, record["scene"])
        if job.keep == "picture" and (work / PICTURE).is_file():
            shutil.copyfile(work / PICTURE, ready / PICTURE)
    with replacing(ready / RUN) as temporary:
        temporary.write_text(short_json(record), encoding="utf-8")
    target = Path(job.folder) / job.path
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # an earlier failure
        shutil.rmtree(target)
    ready.rename(target)
    shutil.rmtree(work, ignore_errors=True)


def short_json(record: Mapping[str, Any]) -> str:
    """JSON with a line for each key and one for each row of numbers: half the size, and diffable.

    >>> print(short_json({"a": [[1, 2], [3.5, 4]]}), end="")
    {
     "a": [
      [1, 2],
      [3.5, 4]
     ]
    }
    """
    text = json.dumps(record, indent=1, allow_nan=False)
    rows = re.compile(r"\[\s+(-?[\d.e+-]+(?:,\s+-?[\d.e+-]+)*)\s+\]")
    return rows.sub(lambda row: f"[{' '.join(row[1].split())}]", text) + "\n"


def write_classes(tif: Path, png: Path, scene: Mapping[str, Any]) -> None:
    """The class map, one pixel a pixel, as a PNG with the classes' colours: a few kilobytes."""
    import numpy as np
    from PIL import Image

    from hyperpeft.scenes import open_raster

    with open_raster(tif) as file:
        ids = file.read(1)
    known = [0, *scene["class_ids"]]
    if len(known) > 256:  # more than a palette holds; the numbers are in the record
        return
    codes = np.searchsorted(known, ids).astype(np.uint8)
    image = Image.fromarray(codes)
    colours = [[255, 255, 255], *scene["colours"]]
    image.putpalette([value for colour in colours for value in colour])
    with replacing(png) as temporary:
        image.save(temporary, optimize=True, transparency=0)


def fail(job: Job, error: BaseException) -> Outcome:
    """Record why a cell failed. What the run has left is removed."""
    folder = Path(job.folder)
    reason = " ".join(str(error).split()) or type(error).__name__
    reason = _anywhere(reason, job)
    if not isinstance(error, HyperpeftError):
        frames = traceback.extract_tb(error.__traceback__)
        where = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        reason = f"{type(error).__name__}{where}: {reason}"
    record = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "error": type(error).__name__,
        "reason": reason,
        "config": complete(job.values).model_dump(mode="json"),
    }
    with replacing(folder / job.path / FAILED) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder / WORK / job.path, ignore_errors=True)
    return Outcome(job.path, "failed", None, None, reason)


def _anywhere(text: str, job: Job) -> str:
    """Text without the folders of this machine."""
    roots = [Path(job.folder), Path(job.base), *data_folders()]
    for root in sorted({str(root.absolute()) for root in roots}, key=len, reverse=True):
        text = text.replace(f"{root}{os.sep}", "")
    return text


def resolved(values: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """Options whose relative paths are below `base` or below a data folder, made absolute."""
    found = dict(values)
    for name in PATHS:
        if isinstance(values.get(name), str):
            parts = values[name].split(",") if name == "split" else [values[name]]
            found[name] = ",".join(_resolve(part.strip(), base) for part in parts)
    return found


def _resolve(text: str, base: Path) -> str:
    """A path that exists, with its :KEY if any; other text (a card, a size) as it is."""
    for place in (base, *data_folders()):
        for path, key in ((text, ""), *_keyed(text)):
            if path and not Path(path).is_absolute() and (place / path).is_file():
                return f"{place / path}{key}"
    return text


def _keyed(text: str) -> list[tuple[str, str]]:
    """The path and the :KEY at each colon, the first one first, as `split_spec` looks for it."""
    return [(text[:i], text[i:]) for i, letter in enumerate(text) if letter == ":"]


def time_left(cells: Sequence[Cell], folder: Path) -> float | None:
    """Seconds in one process for the cells without a record; None without any record.

    A cell takes what finished cells of the same method and scene took to train and predict; else
    of the same method, else of any.
    """
    took: dict[tuple[str, str], list[float]] = {}
    open_cells = []
    for cell in cells:
        path = folder / cell.path / RUN
        if not path.is_file():
            open_cells.append(cell)
            continue
        try:
            timing = read_json(path)["timing"]
            seconds = sum(timing.get(name) or 0.0 for name in ("train_seconds", "predict_seconds"))
        except (BundleError, OSError, KeyError, TypeError, AttributeError):
            continue  # the report says what is wrong
        for key in ((cell.scene, cell.method), ("", cell.method), ("", "")):
            took.setdefault(key, []).append(seconds)
    if not took:
        return None
    total = 0.0
    for cell in open_cells:
        keys = ((cell.scene, cell.method), ("", cell.method), ("", ""))
        known = next(took[key] for key in keys if key in took)
        total += sum(known) / len(known)
    return total
