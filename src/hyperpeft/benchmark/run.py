"""A benchmark from its configuration to its records: validated first, then computed once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hyperpeft.baselines import BASELINES
from hyperpeft.benchmark.cells import (
    PATHS,
    WORK,
    Job,
    Outcome,
    compute,
    job_of,
    outcome_of,
    resolved,
    state_of,
)
from hyperpeft.benchmark.config import BenchConfig
from hyperpeft.benchmark.grid import Cell, complete
from hyperpeft.errors import BundleError, ConfigError, InputError, Interrupted
from hyperpeft.records import Scene
from hyperpeft.runs import experiment
from hyperpeft.runs.config import AUTO, FOLLOW_LABELS, set_by_labels
from hyperpeft.runs.experiment import Progress
from hyperpeft.runs.file_names import BENCH, FAILED, RUN
from hyperpeft.runs.inputs import inputs_of
from hyperpeft.runs.labelled_scene import labelled_scene
from hyperpeft.system.files import read_json, replacing
from hyperpeft.system.output_folder import Inputs, InUse, output_folder
from hyperpeft.system.resources import available, has_gpu, processor_count

__all__ = ["Watch", "check_records", "check_scenes", "default_workers", "run_bench"]

_PLACES = {*PATHS, "out", "map"}
MEMORY = 2 * 2**30  # bytes that are free for each process of a benchmark


class Watch(Progress):
    """Progress callbacks of a benchmark; these do nothing."""

    def planned(self, cells: Sequence[Cell], finished: Sequence[Outcome], workers: int) -> None:
        """The grid, and what of it was finished before."""

    def started(self, path: str, where: str) -> None:
        """A process has taken a cell."""

    def ended(self, outcome: Outcome) -> None:
        """A cell is finished or has failed."""


def default_workers(cells: int) -> int:
    """Local processes for so many cells: one a processor, as far as memory allows.

    Two cells on a thread each take 0.8 of the time of one after the other on two: most of a
    step on a small backbone is too short to be shared. Cells of a GPU share that, in one process.

    Returns
    -------
    int
        0 for this process.
    """
    most = min(processor_count(), cells, int(available() // MEMORY))
    return most if most > 1 and not has_gpu() else 0


def run_bench(
    bench: BenchConfig,
    cells: Sequence[Cell],
    folder: Path,
    *,
    workers: int | None = 0,
    scheduler: str | None = None,
    retry_failed: bool = False,
    watch: Watch | None = None,
    inputs: Inputs = (),
) -> list[Outcome]:
    """Compute the cells that are not finished.

    Parameters
    ----------
    bench : BenchConfig
    cells : sequence of Cell
        From `expand`.
    folder : Path
        Of the benchmark. One that was begun with the same options is resumed.
    workers : int
        Local processes; with 0 the cells are computed one after the other in this one. None
        chooses, see `default_workers`.
    scheduler : str, optional
        Address of a dask scheduler instead, such as "tcp://host:8786". Its workers see `folder`
        and the data under the same paths.
    retry_failed : bool
        Compute cells that failed before once more.
    watch : Watch, optional
    inputs : iterable of (str, Path)
        Files that must not be written over, besides those that the cells read.

    Returns
    -------
    list of Outcome
        In the order of `cells`.

    Raises
    ------
    InputError
        A scene does not open, a method or its options are unknown, or the folder holds other
        results; nothing has been computed then.
    InUse
        Another benchmark is at work on this folder.
    Interrupted
        After Ctrl-C.
    """
    watch = watch or Watch()
    begun = folder.exists()
    try:
        return _run(bench, cells, folder, workers, scheduler, retry_failed, watch, inputs)
    except InUse:
        raise
    except InputError:  # before the first cell: nothing is left behind
        if not begun:
            (folder / BENCH).unlink(missing_ok=True)
        for empty in (folder / WORK, *([] if begun else [folder])):
            with suppress(OSError):
                empty.rmdir()
        raise


def _run(
    bench: BenchConfig,
    cells: Sequence[Cell],
    folder: Path,
    workers: int | None,
    scheduler: str | None,
    retry_failed: bool,
    watch: Watch,
    inputs: Inputs,
) -> list[Outcome]:
    left = _unfinished(folder, cells, retry_failed)
    guard = output_folder(
        folder,
        f"benchmark folder {folder}",
        outputs=[folder / BENCH, folder / WORK, *(folder / cell.path for cell in left)],
        inputs=[*inputs, *_inputs(left)],
        check=lambda _: check_records(folder, cells),
        lock=f"{WORK}/lock",
        leftovers=(".", "cells"),  # not where a worker that is still alive may be writing
    )
    with guard:
        todo = _unfinished(folder, cells, retry_failed)
        check_hashes(folder, cells, check_scenes(todo))
        _write_bench(bench, cells, folder)
        finished = {cell.path for cell in cells} - {cell.path for cell in todo}
        outcomes = {path: outcome_of(folder, path) for path in finished}
        if workers is None:
            workers = 0 if scheduler else default_workers(len(todo))
        threads = bench.threads or max(processor_count() // max(workers, 1), 1)
        jobs = [job_of(cell, folder, bench.keep, threads) for cell in todo]
        watch.planned(cells, list(outcomes.values()), max(workers, 1))
        try:
            for outcome in _outcomes(jobs, workers, scheduler, threads, watch):
                outcomes[outcome.path] = outcome
                watch.ended(outcome)
        except (Interrupted, KeyboardInterrupt):
            raise Interrupted(
                f"interrupted; {len(outcomes)} of {len(cells)} cells are finished",
                hint="the same command resumes",
            ) from None
        for leftover in folder.joinpath(WORK).iterdir():
            if leftover.is_dir():
                shutil.rmtree(leftover)
    with suppress(OSError):  # it has gone with the lock, or another benchmark has begun
        (folder / WORK).rmdir()
    return [outcomes[cell.path] for cell in cells]


def _unfinished(folder: Path, cells: Sequence[Cell], retry_failed: bool) -> list[Cell]:
    """The cells that are to be computed."""
    states = ("open", "failed") if retry_failed else ("open",)
    return [cell for cell in cells if state_of(folder, cell.path) in states]


def _outcomes(
    jobs: Sequence[Job], workers: int, scheduler: str | None, threads: int, watch: Watch
) -> Iterator[Outcome]:
    if not jobs:
        return
    if workers or scheduler:
        from hyperpeft.benchmark.dask_workers import spread  # dask, where it is used

        yield from spread(jobs, workers, scheduler, threads, watch.started)
        return
    for job in jobs:
        watch.started(job.path, "")
        yield compute(job, watch)


def check_scenes(cells: Iterable[Cell]) -> dict[str, str]:
    """Open every scene with its labels, and look up every method, before any work is done.

    Returns
    -------
    dict of str to str
        Scenes as the configuration has them, and the hashes of what they are now.

    Raises
    ------
    InputError
        With everything that is wrong, not only the first finding.
    """
    wrong: list[str] = []
    seen: set[str] = set()
    hashes: dict[str, str] = {}
    for cell in cells:
        values = resolved(cell.values, Path.cwd())
        config = complete(values)
        of_scene = ("scene", "labels", "layout", "class_field", "split")
        of_method = ("method", "options", "targets", "patch_size")
        for names, check in (
            (of_scene, labelled_scene),
            (of_method, experiment.check_options),
        ):
            key = json.dumps({name: values.get(name) for name in names}, default=str)
            if key in seen:
                continue
            seen.add(key)
            try:
                found = check(config)
                if isinstance(found, Scene):
                    hashes[str(cell.values["scene"])] = found.sha256
            except InputError as error:
                wrong.append(f"{cell.scene}, {cell.method}: {error}")
    if wrong:
        raise ConfigError(" | ".join(dict.fromkeys(wrong)))
    return hashes


def check_hashes(folder: Path, cells: Iterable[Cell], hashes: Mapping[str, str]) -> None:
    """Refuse to add to cells of scenes whose files have changed since (ConfigError)."""
    for cell in cells:
        now, path = hashes.get(str(cell.values["scene"])), folder / cell.path / RUN
        if now is None or not path.is_file():
            continue
        then = read_json(path).get("scene", {}).get("sha256")
        if then is not None and then != now:
            raise ConfigError(
                f"{path.parent} was computed on another file of scene {cell.scene}",
                expected=f"sha256 {then}",
                got=now,
                hint="choose another --out, or remove the cells of that scene",
            )


def _inputs(cells: Iterable[Cell]) -> Iterator[tuple[str, Path]]:
    seen = set()
    for cell in cells:
        values = {name: resolved(cell.values, Path.cwd()).get(name) for name in PATHS}
        if tuple(values.values()) not in seen:
            seen.add(tuple(values.values()))
            yield from inputs_of(values)


def check_records(folder: Path, cells: Iterable[Cell]) -> None:
    """Make sure that what is finished in the folder was computed with these options.

    Raises
    ------
    ConfigError
        Naming the first cell that was not, and the options that differ.
    """
    before = _read_plan(folder).get("options", {})
    for cell in cells:
        path = folder / cell.path / RUN
        if not path.is_file():
            path = path.with_name(FAILED)
            if not path.is_file():
                continue
        try:
            found = read_json(path)["config"]
        except (BundleError, OSError, KeyError, TypeError):
            raise ConfigError(f"{path} cannot be read", hint="remove its folder") from None
        wanted = cell.config.model_dump(mode="json")
        # Options that came with a later version are not in earlier records; what is open or "auto"
        # the run has chosen, and what its recipe has set by the labels.
        chosen = {"map"} | set_by_labels(cell.config, found)
        other = {
            name: f"{found[name]!r} is {value!r} now"
            for name, value in wanted.items()
            if name in found and found[name] != value and name not in chosen
            if value not in (None, "auto")
        }
        other |= {
            name: f"{value!r} is {wanted[name]!r} now"
            for name, value in before.get(cell.path, {}).items()
            if name in wanted and wanted[name] != value
        }
        # One that is given ends what its run does where it is left open, whatever its value.
        if cell.path in before and cell.config.method not in (*BASELINES, AUTO):
            new = _given(cell).keys() - before[cell.path].keys() - other.keys()
            other |= {n: f"left open is {wanted[n]!r} now" for n in FOLLOW_LABELS if n in new}
        if other and path.name == RUN:
            raise ConfigError(
                f"{path.parent} was computed with other options "
                f"({', '.join(f'{name} {what}' for name, what in other.items())})",
                hint="choose another --out, or remove that folder",
            )


def _write_bench(bench: BenchConfig, cells: Sequence[Cell], folder: Path) -> None:
    """The configuration and the cells asked for, with those of earlier starts."""
    before = _read_plan(folder)
    paths = [cell.path for cell in cells]
    paths += [path for path in before.get("cells", []) if path not in set(paths)]
    given = {cell.path: _given(cell) for cell in cells}
    content: dict[str, Any] = {
        "config": bench.model_dump(mode="json"),
        "cells": paths,
        "options": {**before.get("options", {}), **given},
    }
    with replacing(folder / BENCH) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _given(cell: Cell) -> dict[str, Any]:
    """The options of a cell that the configuration sets, but its files and whether it maps."""
    wanted = cell.config.model_dump(mode="json")
    return {name: wanted[name] for name in cell.values if name in wanted and name not in _PLACES}


def _read_plan(folder: Path) -> dict[str, Any]:
    """What an earlier start left as `bench.json`; nothing where it cannot be read."""
    try:
        content = read_json(folder / BENCH)
    except (BundleError, OSError):
        return {}
    parts = {"cells": list, "options": dict}
    return {
        name: content[name] for name, kind in parts.items() if isinstance(content.get(name), kind)
    }
