"""Reports of benchmarks and of folders of runs; nothing here loads torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hyperpeft.cli.common import AsJson, Quiet
from hyperpeft.report import study, write_report


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
    files = write_report(source, out or folder / "report", reference=reference, pack=pack)
    if as_json:
        print(json.dumps({"files": [str(path) for path in files]}))
    elif not quiet:
        print(f"{len(files)} files; open {files[0]}")
