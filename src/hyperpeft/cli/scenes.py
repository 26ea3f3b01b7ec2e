"""Scenes: list, look at, fetch, explore.

The command line imports what computes when it computes.
"""

from __future__ import annotations

import json
import sys
import webbrowser
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hyperpeft import explorer, scenes
from hyperpeft.cli.common import AsJson, Quiet
from hyperpeft.cli.console import Console, print_table
from hyperpeft.cli.run_options import option
from hyperpeft.runs.file_names import RUN
from hyperpeft.runs.inputs import located
from hyperpeft.runs.record import RunRecord


def scenes_list(as_json: AsJson = False) -> None:
    """List the scenes that can be opened by name.

    Example: `hyperpeft scenes list`
    """
    rows = scenes.list_scenes()
    if as_json:
        print(json.dumps([{**vars(row), "path": row.path and str(row.path)} for row in rows]))
        return
    print_table(
        ["name", "sensor", "rows x columns x bands", "classes", "labelled", "here"],
        [
            [
                row.name, row.sensor, " x ".join(map(str, row.shape)), str(row.classes),
                f"{row.labelled:,}", "yes" if row.path else "no",
            ]
            for row in rows
        ],
    )  # fmt: skip
    print("demo is a generated scene and needs no file")


def scenes_info(
    name: Annotated[str, typer.Argument(help="A card's name, or a file as for `train`.")],
    layout: Annotated[str | None, option("layout")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a card's classes and files, or what a file says of itself.

    Example: `hyperpeft scenes info scene.tif`
    """
    if not scenes.is_card(name) or Path(name).is_file() or name.lower() == "demo":
        _file_info(scenes.describe_file(name, layout), as_json)
        return
    card = scenes.get_card(name)
    if as_json:
        print(json.dumps(asdict(card)))
        return
    height, width, bands = card.shape
    print(f"{card.title}: {card.sensor}, {height} x {width} pixels, {bands} bands, {card.gsd} m")
    if card.note:
        print(card.note)
    print_table(
        ["id", "class", "pixels"],
        [[str(i), label, f"{count:,}"] for i, (label, count) in card.classes.items()],
    )
    for file in card.files:
        print(f"{file.role}: {scenes.find(file) or f'not here ({file.url or file.names[0]})'}")


def _file_info(found: scenes.FileDescription, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(found)))
        return
    kind = f" ({found.format})" if found.format else ""
    print(f"{found.name}{kind}: {found.rows} x {found.columns} pixels, {found.bands} bands")
    valid = "not counted" if found.valid_pixels is None else f"{found.valid_pixels:,}"
    rows = [["values", found.dtype], ["valid pixels", valid]]
    if found.levels is not None:
        low, mean, high = found.levels
        rows.append(["smallest, mean, largest", f"{low:.6g}, {mean:.6g}, {high:.6g}"])
    if found.wavelengths is not None:
        low, high = min(found.wavelengths), max(found.wavelengths)
        width = f", {min(found.fwhm):.4g} to {max(found.fwhm):.4g} nm wide" if found.fwhm else ""
        rows.append(["wavelengths", f"{low:g} to {high:g} nm{width}"])
    else:
        rows.append(["wavelengths", "none"])
    bad = ", ".join(map(str, found.bad_bands[:40])) + (" ..." if len(found.bad_bands) > 40 else "")
    rows.append(["bad bands", bad or "none"])
    rows.append(["nodata", ", ".join(f"{value:g}" for value in found.nodata) or "none"])
    code = f" (EPSG:{found.epsg})" if found.epsg else ""
    rows.append(["CRS", f"{found.crs}{code}" if found.crs else "none"])
    if found.transform is not None:
        rows.append(["transform", ", ".join(f"{value:.10g}" for value in found.transform)])
    if found.pixel_hectares is not None:
        rows.append(["pixel", f"{found.pixel_hectares:.6g} ha"])
    print_table(["", ""], rows)
    for note in found.notes:
        print(f"note: {note}")


def scenes_fetch(
    name: Annotated[str, typer.Argument(help="A card's name.")], quiet: Quiet = False
) -> None:
    """Download a scene into the cache and verify it.

    Example: `hyperpeft scenes fetch pavia-university`
    """
    card = scenes.get_card(name)
    with Console(quiet=quiet) as progress:
        paths = scenes.fetch(card, progress.fetched)
    if not quiet:
        print("\n".join(map(str, dict.fromkeys(paths))))


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
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the page; 0 for a free one.")
    ] = 0,
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
    spec, axes = _scene(scene, run)
    state = explorer.Explorer(spec, labels=labels, run=run, layout=layout or axes)
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


def _scene(scene: str | None, run: Path | None) -> tuple[str, str | None]:
    """The scene to open, as given, of the run, or the generated one; and the axes of the run's."""
    if scene is not None:
        return scene, None
    if run is None:
        return "demo", None
    config = located(RunRecord.from_file(run / RUN).config, run)
    return str(config["scene"]), config.get("layout")
