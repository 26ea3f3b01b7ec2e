"""What a benchmark scene's card holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from hyperpeft.errors import ConfigError
from hyperpeft.records import Colour, palette
from hyperpeft.system.files import file_names

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

    Raises
    ------
    ConfigError
        A name that is no folder's, bands that are not there, ids below 1, files without a name.
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

    def __post_init__(self) -> None:
        """Refuse fields that opening or fetching the scene would stumble over (ConfigError)."""
        bands, what = self.shape[-1], f"card {self.name!r}"
        if file_names([self.name]) != [self.name]:
            raise ConfigError(f"{what}: name", expected="the name of a folder", got=self.name)
        if len(self.rgb) != 3 or not all(isinstance(b, int) and 0 <= b < bands for b in self.rgb):
            raise ConfigError(
                f"{what}: rgb", expected=f"three bands from 0 to {bands - 1}", got=self.rgb
            )
        odd = [i for i in self.classes if not isinstance(i, int) or i < 1]
        if odd:
            raise ConfigError(f"{what}: classes", expected="ids that are 1 or more", got=odd)
        if not all(file.names and file.role in get_args(Role) for file in self.files):
            raise ConfigError(
                f"{what}: files",
                expected=f"a name and a role ({', '.join(get_args(Role))}) each",
                got=[(file.role, file.names) for file in self.files],
            )

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
