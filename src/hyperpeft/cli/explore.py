"""The explorer in a browser.

The command line imports what computes when it computes.
"""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from hyperpeft import explorer
from hyperpeft.cli.common import Quiet
from hyperpeft.runs.file_names import RUN
from hyperpeft.runs.record import RunRecord


def explore(
    scene: Annotated[
        str | None,
        typer.Argument(help="A card's name or a file; else the scene of --run, or demo."),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="Labels to start from; a GeoPackage of the explorer is continued."),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder to show.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; 0 for a free one.")] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
    layout: Annotated[
        str | None, typer.Option(help="Axes of an array file, such as h w b.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Look at a scene, label it, train, map and check, in the browser.

    Example: `hyperpeft explore salinas-a`
    """
    explorer.require_panel()
    state = explorer.Explorer(_scene(scene, run), labels=labels, run=run, layout=layout)
    try:
        served = explorer.serve(state, port)
        served.start()
        if not quiet:
            for note in state.notes:
                print(f"note: {note}")
            print(f"{state.view.name}: {served.url}")
            print(f"labels: {state.labels.path}; Ctrl-C ends the explorer")
            sys.stdout.flush()
        if browser:
            webbrowser.open(served.url)
        served.run()
    finally:
        state.close()


def _scene(scene: str | None, run: Path | None) -> str:
    """The scene to open: as given, of the run, or the generated one."""
    if scene is not None:
        return scene
    if run is None:
        return "demo"
    return str(RunRecord.from_file(run / RUN).config["scene"])
