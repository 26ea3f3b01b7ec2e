"""Pretrain a backbone.

The command line imports what computes when it computes: torch takes seconds to load.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hyperpeft.cli.common import AsJson, Quiet
from hyperpeft.cli.console import Console
from hyperpeft.runs.file_names import BACKBONE


def pretrain(
    config: Annotated[Path, typer.Argument(help="YAML, such as configs/pretrain-tiny.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder to write, or to continue in.")],
    workers: Annotated[int, typer.Option(min=0, help="Processes that prepare the data.")] = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Pretrain a backbone; the same command resumes an interrupted run.

    Example: `hyperpeft pretrain configs/pretrain-tiny.yaml --out runs/pretrain-tiny`
    """
    from hyperpeft.pretraining.config import read_pretrain_config
    from hyperpeft.pretraining.run import pretrain as pretrain_backbone

    with Console(quiet=quiet or as_json) as progress:
        options = read_pretrain_config(config)
        progress.stage("Pretraining")
        record = pretrain_backbone(
            options, out, workers=workers, watch=progress.pretrained,
            inputs=[("the configuration", config)],
        )  # fmt: skip
    if as_json:
        print(json.dumps(record))
    elif not quiet:
        rate = record["timing"]["windows_per_second"] or 0
        print(f"{record['windows']:,} windows, {rate:.0f} a second: {out / BACKBONE}")
