"""Trained adapters: list, export, merge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hyperpeft.cli.common import AsJson, Backbone, Quiet, Run
from hyperpeft.cli.console import print_table
from hyperpeft.export import peft_folders
from hyperpeft.system.text import megabytes


def adapters_list(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of run folders.")],
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """List trained runs: method, parameters, size, backbone, scene and accuracy.

    Example: `hyperpeft adapters list runs/sa runs/pu`
    """
    rows = peft_folders.list_runs(runs)
    if as_json:
        print(json.dumps([row._asdict() for row in rows]))
    elif not quiet:
        print_table(
            ["run", "method", "parameters", "MB", "backbone", "scene", "OA %"],
            [
                [
                    row.run, row.method, "" if row.parameters is None else f"{row.parameters:,}",
                    "" if row.megabytes is None else f"{row.megabytes:.2f}", row.backbone or "",
                    row.scene, "" if row.oa is None else f"{row.oa:.2f}",
                ]
                for row in rows
            ],
        )  # fmt: skip


def adapters_export(
    run: Run,
    to: Annotated[Path, typer.Option("--to", help="New folder to write.")],
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's adapter as a folder that stock PEFT loads, with head and model card.

    Example: `hyperpeft adapters export runs/sa --to sa-adapter`
    """
    files = [str(path) for path in peft_folders.export(run, to)]
    if as_json:
        print(json.dumps({"folder": str(to), "files": files}))
    elif not quiet:
        print("\n".join(files))


def adapters_merge(
    run: Run,
    out: Annotated[Path, typer.Option(help="File to write, .safetensors.")],
    backbone: Backbone = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write the encoder of a run with its adapter merged: plain weights for --backbone.

    Example: `hyperpeft adapters merge runs/sa --out sa.safetensors`
    """
    result = peft_folders.merge(run, out, backbone=backbone)
    if as_json:
        print(json.dumps(result))
    elif not quiet:
        print(f"{out}: {result['tensors']} tensors, {megabytes(result['bytes']):.1f} MB")
