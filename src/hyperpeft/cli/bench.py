"""Benchmarks, which are grids of runs, and reports of them.

The command line imports what computes when it computes: torch takes seconds to load.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from hyperpeft.benchmark.cells import state_of, time_left
from hyperpeft.benchmark.config import BenchConfig
from hyperpeft.benchmark.grid import Cell, check_folder_name, expand, find_config, read_bench
from hyperpeft.cli.common import AsJson, Quiet
from hyperpeft.cli.console import BenchConsole, print_table
from hyperpeft.errors import ConfigError, HyperpeftError
from hyperpeft.progress import told_to
from hyperpeft.report import study, write_report
from hyperpeft.runs.config_files import field_names, read_options
from hyperpeft.system.files import printable


def bench(
    config: Annotated[str, typer.Argument(help="BENCH.yaml, or the name of a shipped one.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the records [default: runs/NAME].")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Local processes; 0 computes in this one [default: one a processor, where memory "
            "allows; 0 with a GPU].",
        ),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask scheduler, such as tcp://host:8786.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of a cell [default: cores / workers].")
    ] = None,
    scene: Annotated[
        list[str] | None, typer.Option(help="Only this scene of the grid; repeatable.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="Only this method of the grid; repeatable.")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Only this split of the grid; repeatable.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Only these seeds, such as 0,1,2.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Option of every cell, NAME=VALUE, such as epochs=5."),
    ] = None,
    maps: Annotated[
        str | None, typer.Option(help="Seeds whose whole scene is mapped: none, first or all.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Compute cells that failed once more.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the options, count the cells, stop.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a grid of scenes, methods, budgets, splits and seeds, or resume it.

    Example: `hyperpeft bench offline --workers 2 --out runs/offline`
    """
    changes = {name: v for name, v in (("threads", threads), ("maps", maps)) if v is not None}
    plan = read_bench(config, changes)
    try:
        only = tuple(int(seed) for seed in seeds.split(",")) if seeds else ()
    except ValueError:
        raise ConfigError("--seeds", expected="numbers such as 0,1,2", got=seeds) from None
    try:
        options = field_names(read_options(set_ or []))
    except ValueError as error:
        raise ConfigError(f"--set: {error}") from None
    cells = expand(
        plan, scenes=scene or (), methods=method or (), splits=split or (), seeds=only,
        options=options,
    )  # fmt: skip
    if out is None:
        what = f"name {plan.name!r} of the benchmark"
        check_folder_name(what, plan.name, hint="choose a folder with --out")
    folder = out or Path("runs") / plan.name
    if dry_run:
        _show_plan(plan, cells, folder, quiet=quiet, as_json=as_json)
        return
    from hyperpeft.benchmark.run import run_bench

    watch: Any
    with BenchConsole(quiet=quiet or as_json) as watch:
        outcomes = run_bench(
            plan, cells, folder, workers=workers, scheduler=scheduler,
            retry_failed=retry_failed, watch=watch,
            inputs=[("the configuration", find_config(config))],
        )  # fmt: skip
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if as_json:
        print(json.dumps({"folder": str(folder), "cells": [o._asdict() for o in outcomes]}))
    elif not quiet:
        print(f"{len(outcomes) - len(failed)} cells finished in {folder}")
        print(shlex.join(["hyperpeft", "report", str(folder)]))
    if failed:
        raise HyperpeftError(
            f"{len(failed)} of {len(outcomes)} cells failed, the first ({failed[0].path}) because "
            f"{failed[0].reason}",
            hint="see failed.json in their folders, and start again with --retry-failed",
        )


def _show_plan(
    plan: BenchConfig, cells: list[Cell], folder: Path, *, quiet: bool, as_json: bool
) -> None:
    states: list[str] = [state_of(folder, cell.path) for cell in cells]
    guess = time_left(cells, folder)
    if as_json:
        rows = [
            {"path": cell.path, "state": state, "options": cell.values}
            for cell, state in zip(cells, states, strict=True)
        ]
        print(json.dumps({"name": plan.name, "cells": rows, "seconds_left": guess}))
    elif not quiet:
        print_table(
            ["scene", "split", "budget", "methods", "seeds", "cells", "finished"],
            _plan_rows(cells, states),
        )
        counts = {state: states.count(state) for state in ("done", "failed", "open")}
        print(
            f"{plan.name}: {len(cells)} cells in {folder}: {counts['done']} finished, "
            f"{counts['failed']} failed, {counts['open']} to compute"
        )
        if guess is not None:
            print(f"about {guess / 3600:.1f} h in one process, judged by the finished ones")


def _plan_rows(cells: list[Cell], states: list[str]) -> list[list[str]]:
    groups: dict[tuple[str, str, str], list[int]] = {}
    for i, cell in enumerate(cells):
        groups.setdefault((cell.scene, cell.split, cell.budget), []).append(i)
    return [
        [
            *key,
            str(len({cells[i].method for i in members})),
            str(len({cells[i].seed for i in members})),
            str(len(members)),
            str(sum(states[i] == "done" for i in members)),
        ]
        for key, members in groups.items()
    ]


def report(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="Folder of a benchmark or of run folders, or a study file."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="[default: FOLDER/report, or the study file's name without .jsonl]"),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="The method that the others are compared with.")
    ] = None,
    pack: Annotated[
        Path | None,
        typer.Option(help="A study file (.jsonl) to write: all records of FOLDER in one."),
    ] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Turn records into tables, figures and one HTML page; nothing is computed again.

    Example: `hyperpeft report runs/offline`
    """
    folder = source.with_suffix("") if source.suffix == study.SUFFIX else source
    notes: list[str] = []
    with told_to(notes.append):
        files = write_report(source, out or folder / "report", reference=reference, pack=pack)
    if as_json:
        print(json.dumps({"files": [str(path) for path in files], "notes": notes}))
    elif not quiet:
        for note in notes:
            print(f"note: {printable(note)}")
        print(f"{len(files)} files; open {files[0]}")
