"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace another run in --out.")]
Run = Annotated[Path, typer.Argument(help="Run folder.")]
RunOrFile = Annotated[
    Path, typer.Argument(help="Run folder, or a file that `export` wrote.", metavar="RUN")
]
Backbone = Annotated[str | None, typer.Option(help="Where the base checkpoint is now.")]
Runtime = Annotated[
    str,
    typer.Option(
        help="What executes the backbone: torch, onnx (a run that was exported), or auto, which is "
        "onnx where RUN holds model.onnx."
    ),
]
OtherScene = Annotated[str | None, typer.Argument(help="Another scene with the same bands.")]
