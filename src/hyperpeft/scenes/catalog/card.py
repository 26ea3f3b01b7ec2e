"""What a benchmark scene's card holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hyperpeft.records import Colour, palette

Role = Literal["cube", "labels", "train", "test"]
ABUNDANCE_THRESHOLD = 0.7  # of the largest abundance, for a pixel to count as pure


@dataclass(frozen=True)
class File:
    """One variable of one file that a card needs.

    Attributes
    ----------
    role : {"cube", "labels", "train", "test"}
    names : tuple of str
        Accepted file names, any case; the first one is the name after a download.
    key : tuple of str
        Accepted variable names; where none is in the file, the variable is found by its shape.
    url : str or None
        Where it is downloaded from; a .zip is unpacked.
    sha256 : str or None
        Of the download, where known.
    rule : {"ids", "abundances"}
        Labels are class ids, or abundances (H, W, C) turned into ids where the largest
        exceeds `ABUNDANCE_THRESHOLD`.
    """

    role: Role
    names: tuple[str, ...]
    key: tuple[str, ...] = ()
    url: str | None = None
    sha256: str | None = None
    rule: Literal["ids", "abundances"] = "ids"


@dataclass(frozen=True)
class Card:
    """A benchmark scene.

    Attributes
    ----------
    name, title, sensor : str
    shape : (int, int, int)
        Rows, columns and bands after dropping the bands flagged as bad.
    gsd : float
        Ground sampling distance in metres.
    range : str
        Spectral range, with its unit.
    classes : dict of int to (str, int)
        Name and number of labelled pixels of each class id.
    rgb : (int, int, int)
        Bands (from 0) of the false-colour image.
    files : tuple of File
    layout : str or None
        Axes of the cube in its file, see `hyperpeft.scenes.cubes.layouts`.
    note : str
        What the user has to know about these labels or files.
    train_counts : tuple of int
        Official training pixels per class, where the benchmark has official masks.
    """

    name: str
    title: str
    sensor: str
    shape: tuple[int, int, int]
    gsd: float
    range: str
    classes: dict[int, tuple[str, int]]
    rgb: tuple[int, int, int]
    files: tuple[File, ...]
    layout: str | None = None
    note: str = ""
    train_counts: tuple[int, ...] = ()

    @property
    def labelled(self) -> int:
        """Number of labelled pixels."""
        return sum(count for _, count in self.classes.values())

    @property
    def colours(self) -> dict[int, Colour]:
        """RGB of each class."""
        return palette(self.classes, self.class_names)

    @property
    def class_names(self) -> dict[int, str]:
        """Name of each class id."""
        return {i: name for i, (name, _) in self.classes.items()}

    def file(self, role: Role) -> File | None:
        """The file of that role, or None."""
        return next((file for file in self.files if file.role == role), None)
