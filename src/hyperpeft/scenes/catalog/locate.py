"""Where scenes lie: the user's data folder, then the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyperpeft.scenes.catalog.card import Card, File
from hyperpeft.scenes.catalog.cards import CARDS
from hyperpeft.system.files import Index, data_folders, find_file, index_folders


def find(file: File, index: Index | None = None) -> Path | None:
    """A file of a card in the data folders, by any of its names."""
    return find_file(file.names, index)


def where_to_put(card: Card, file: File) -> str:
    """What to put where by hand, in one sentence."""
    variable = f" (variable {' or '.join(file.key)})" if file.key else ""
    height, width, bands = card.shape
    what = f"{height} x {width} x {bands}" if file.role == "cube" else f"{height} x {width}"
    source = f" from {file.url}" if file.url else ""
    names = " or ".join(file.names)
    note = "" if file.url or not card.note else f" ({card.note})"
    return f"put {names}{variable}, {what}{source}, into {data_folders()[0] / card.name}{note}"


@dataclass(frozen=True)
class SceneRow:
    """One line of `hyperpeft scenes list`."""

    name: str
    title: str
    sensor: str
    shape: tuple[int, int, int]
    classes: int
    labelled: int
    path: Path | None


def list_scenes() -> list[SceneRow]:
    """All cards, with the cube's path where all of a card's files are here, else None."""
    index = index_folders()
    rows = []
    for card in CARDS.values():
        paths = [find(file, index) for file in card.files]
        path = paths[0] if all(paths) else None
        rows.append(
            SceneRow(
                card.name,
                card.title,
                card.sensor,
                card.shape,
                len(card.classes),
                card.labelled,
                path,
            )
        )
    return rows
