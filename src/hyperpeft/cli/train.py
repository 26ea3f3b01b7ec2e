"""Make a run: demo, train.

The command line imports what computes when it computes: torch takes seconds to load.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

import hyperpeft
from hyperpeft.cli.common import AsJson, Overwrite, Quiet
from hyperpeft.cli.console import Console, print_record
from hyperpeft.cli.run_options import values_of, with_run_options
from hyperpeft.runs.config import RunConfig, make_config
from hyperpeft.runs.config_files import read_config
from hyperpeft.runs.record import RunRecord


def demo(
    out: Annotated[Path, typer.Option(help="Run folder to write.")] = Path("runs/demo"),
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run the whole pipeline on a generated scene, offline.

    Example: `hyperpeft demo`
    """
    config = make_config({"scene": "demo", "per_class": 20, "out": out})
    record = _train(config, quiet=quiet or as_json, overwrite=overwrite)
    _show_record(record, out, quiet=quiet, as_json=as_json)
    if not (quiet or as_json):
        run = "uv run hyperpeft" if os.environ.get("UV_RUN_RECURSION_DEPTH") else "hyperpeft"
        print(
            "\nThe scene was generated. On your own file:\n"
            f"  {run} train SCENE.tif --labels LABELS.tif --per-class 20 --out runs/mine\n"
            f"  {run} map runs/mine --out map.tif"
        )


@with_run_options
def train(
    config: Annotated[
        Path | None,
        typer.Option(help="RUN.yaml with any of these options; the command line wins."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run.")] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """Adapt a backbone to a scene, test it, map the scene.

    Example: `hyperpeft train salinas-a --method krona+ --per-class 10 --out runs/sa`
    """
    options = values_of(given)
    values = read_config(config) if config is not None else {}
    if {"per_class", "fraction", "split"} & options.keys():  # they replace the file's choice
        values = {k: v for k, v in values.items() if k not in ("per_class", "fraction", "split")}
    record = _train(
        make_config({**values, **options}),
        quiet=quiet or as_json,
        resume=resume,
        overwrite=overwrite,
    )
    _show_record(record, Path(record.config["out"]), quiet=quiet, as_json=as_json)


def _train(
    config: RunConfig, *, quiet: bool, resume: bool = False, overwrite: bool = False
) -> RunRecord:
    with Console(quiet=quiet) as progress:
        return hyperpeft.run(config, resume=resume, overwrite=overwrite, progress=progress)


def _show_record(record: RunRecord, out: Path, *, quiet: bool, as_json: bool) -> None:
    if as_json:
        print(record.to_json(), end="")
    elif not quiet:
        print_record(record, out)
