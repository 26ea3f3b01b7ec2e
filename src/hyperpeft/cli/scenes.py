"""Scenes: list, look at, fetch."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hyperpeft.cli.common import AsJson, Quiet, console


def scenes_list(as_json: AsJson = False) -> None:
    """List the scenes that can be opened by name.

    Example: `hyperpeft scenes list`
    """
    from hyperpeft.scenes import list_scenes

    rows = list_scenes()
    if as_json:
        print(json.dumps([{**vars(row), "path": row.path and str(row.path)} for row in rows]))
        return
    from hyperpeft.cli.console import print_table

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


def scenes_info(
    name: Annotated[str, typer.Argument(help="A card's name.")], as_json: AsJson = False
) -> None:
    """Show a scene's sensor, classes, counts and files.

    Example: `hyperpeft scenes info salinas-a`
    """
    from dataclasses import asdict

    from hyperpeft.scenes import find, get_card

    card = get_card(name)
    if as_json:
        print(json.dumps(asdict(card)))
        return
    from hyperpeft.cli.console import print_table

    height, width, bands = card.shape
    print(f"{card.title}: {card.sensor}, {height} x {width} pixels, {bands} bands, {card.gsd} m")
    if card.note:
        print(card.note)
    print_table(
        ["id", "class", "pixels"],
        [[str(i), label, f"{count:,}"] for i, (label, count) in card.classes.items()],
    )
    for file in card.files:
        print(f"{file.role}: {find(file) or f'not here ({file.url or file.names[0]})'}")


def scenes_fetch(
    name: Annotated[str, typer.Argument(help="A card's name.")], quiet: Quiet = False
) -> None:
    """Download a scene into the cache and verify it.

    Example: `hyperpeft scenes fetch pavia-university`
    """
    from hyperpeft.scenes import fetch, get_card

    card = get_card(name)
    with console(quiet) as progress:
        paths = fetch(card, progress.fetched)
    if not quiet:
        print("\n".join(map(str, dict.fromkeys(paths))))
