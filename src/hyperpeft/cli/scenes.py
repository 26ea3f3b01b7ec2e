"""Scenes: list, look at, fetch."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from hyperpeft import scenes
from hyperpeft.cli.common import AsJson, Quiet
from hyperpeft.cli.console import Console, print_table


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


def scenes_info(
    name: Annotated[str, typer.Argument(help="A card's name.")], as_json: AsJson = False
) -> None:
    """Show a scene's sensor, classes, counts and files.

    Example: `hyperpeft scenes info salinas-a`
    """
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
