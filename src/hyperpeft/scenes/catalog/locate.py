"""Where scenes lie (the user's data folder, then the cache), and whether they are the card's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hyperpeft.errors import LabelsError, SceneError
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


_HINT = (
    "get the published file (`hyperpeft scenes fetch {name}`), or open another version by its path"
)


def verify_shape(card: Card, shape: tuple[int, int, int]) -> None:
    """Compare a cube's rows, columns and bands with the card.

    Raises
    ------
    SceneError
    """
    if shape != card.shape:
        raise SceneError(
            f"the cube found for {card.name} is another one",
            expected=f"{card.shape} (rows, columns, bands)",
            got=shape,
            hint=_HINT.format(name=card.name),
        )


def verify_counts(
    card: Card, counts: Mapping[int, int], expected: Mapping[int, int], what: str
) -> None:
    """Compare the pixels per class id with the card; only the ids that differ are reported.

    Raises
    ------
    LabelsError
    """
    ids = sorted({*counts, *expected})
    wrong = [i for i in ids if counts.get(i, 0) != expected.get(i, 0)]
    if wrong:
        raise LabelsError(
            f"the {what} found for {card.name} have other pixel counts",
            expected=", ".join(f"class {i}: {expected.get(i, 0)}" for i in wrong),
            got=", ".join(f"class {i}: {counts.get(i, 0)}" for i in wrong),
            hint=_HINT.format(name=card.name),
        )
