"""Options that several commands have, and the progress that they show."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
ClassField = Annotated[
    str | None, typer.Option(help="Field of vector or CSV labels that holds the classes.")
]
AllTouched = Annotated[
    bool | None,
    typer.Option(
        "--all-touched/--centre", help="Pixels a polygon touches, or whose centre it covers."
    ),
]
ResampleLabels = Annotated[
    bool | None,
    typer.Option("--resample-labels", help="Nearest neighbour for a label raster of another grid."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]


def console(quiet: bool) -> Any:
    """Progress on stderr, or none; rich is loaded here."""
    from hyperpeft.cli.console import Console

    return Console(quiet=quiet)
