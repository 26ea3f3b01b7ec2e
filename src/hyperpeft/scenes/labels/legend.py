"""Pictures in colours as labels, by a legend beside them.

    map.png                       red, green, blue (and alpha: 0 has no class)
    map.legend.csv                colour,class          or  red,green,blue,class
                                  #ff0000,roof              255,0,0,roof
                                  #000000,                  a colour without a class

Also map.png.legend.csv. A column `id` gives the ids; without it classes are numbered in their
order, from 1. Several colours may have one class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hyperpeft.errors import LabelsError
from hyperpeft.records import Colour
from hyperpeft.scenes.labels.class_names import normal_form
from hyperpeft.scenes.labels.vectors import text_columns
from hyperpeft.system.text import whole_number

_HEX = re.compile(r"#?([0-9a-fA-F]{6})")
_COLUMNS = "the columns colour,class (such as #ff0000,roof) or red,green,blue,class"
_SHOWN = 6


class Legend(NamedTuple):
    """Class id of each colour, 0 for none, and the names of the ids."""

    ids: Mapping[int, int]  # 256 * (256 * red + green) + blue
    names: Mapping[int, str]

    @property
    def colours(self) -> dict[int, Colour]:
        """The first colour of each id."""
        found: dict[int, Colour] = {}
        for code, i in self.ids.items():
            if i:
                found.setdefault(i, (code >> 16, code >> 8 & 255, code & 255))
        return found


def legend_file(path: Path) -> Path | None:
    """The legend beside a picture."""
    named = path.with_name(f"{path.name}.legend.csv"), path.with_suffix(".legend.csv")
    return next((file for file in named if file.is_file()), None)


def read_legend(path: Path) -> Legend:
    """Read a legend.

    Raises
    ------
    LabelsError
        Columns or colours that are not understood, or a colour with two classes.
    """
    table = text_columns(path, f"{_COLUMNS}, and a line for each colour")
    lower = {name.lower(): column.tolist() for name, column in table.items()}
    named = next((lower[n] for n in ("class", "name", "label", "class_name") if n in lower), None)
    codes = _codes(path, lower)
    if named is None or codes is None:
        raise LabelsError(f"legend {path}", expected=_COLUMNS, got=", ".join(table))
    names = [normal_form(name) for name in named]
    numbers = _numbers(path, names, lower.get("id"))
    ids: dict[int, int] = {}
    for code, name in zip(codes, names, strict=True):
        if ids.setdefault(code, numbers.get(name, 0)) != numbers.get(name, 0):
            raise LabelsError(f"legend {path}: colour {_hex(code)} has two classes")
    return Legend(ids, {i: name for name, i in numbers.items()})


def ids_of_picture(path: Path, picture: np.ndarray, blank: np.ndarray) -> tuple[np.ndarray, Legend]:
    """Class ids (H, W) of a picture (3, H, W) of bytes; 0 where `blank` (H, W).

    Raises
    ------
    LabelsError
        There is no legend, or colours that it does not have.
    """
    red, green, blue = picture.astype(np.int32)
    codes = np.where(blank, -1, 256 * (256 * red + green) + blue)
    found, counts = np.unique(codes, return_counts=True)
    seen = {int(c): int(n) for c, n in zip(found, counts, strict=True) if c >= 0}
    file = legend_file(path)
    if file is None:
        raise LabelsError(
            f"label raster {path} is a picture in colours, not a map of class ids, and has no "
            "legend",
            expected=f"{path.with_suffix('.legend.csv').name} beside it with {_COLUMNS}",
            got=_listed(seen),
            hint="write the legend (no class behind a colour that means none), or give the classes "
            "as ids in one band, as polygons or as points",
        )
    legend = read_legend(file)
    unknown = {code: n for code, n in seen.items() if code not in legend.ids}
    if unknown:
        raise LabelsError(
            f"label raster {path} has colours that are not in {file.name}",
            got=_listed(unknown),
            hint="add them, without a class where they mean none; pictures that were resized or "
            "saved as JPEG have mixed colours: use the original",
        )
    table = np.array([legend.ids.get(int(code), 0) for code in found])
    ids: np.ndarray = table[np.searchsorted(found, codes)].astype(np.int32)
    return ids, legend


def _codes(path: Path, table: Mapping[str, list[Any]]) -> list[int] | None:
    texts = next((table[name] for name in ("colour", "color", "hex") if name in table), None)
    if texts is not None:
        matches = [_HEX.fullmatch(text) for text in texts]
        if None in matches:
            odd = texts[matches.index(None)]
            raise LabelsError(f"legend {path}", expected="colours such as #ff0000", got=repr(odd))
        return [int(match[1], 16) for match in matches if match]
    if not {"red", "green", "blue"} <= set(table):
        return None
    codes = []
    for line in zip(table["red"], table["green"], table["blue"], strict=True):
        parts = [whole_number(text) for text in line]
        if any(part is None or part > 255 for part in parts):
            raise LabelsError(f"legend {path}", expected="colours of 0 to 255", got=", ".join(line))
        red, green, blue = (part or 0 for part in parts)
        codes.append(256 * (256 * red + green) + blue)
    return codes


def _numbers(path: Path, names: list[str], given: list[Any] | None) -> dict[str, int]:
    """The id of each class."""
    if given is None:
        return {n: i for i, n in enumerate(dict.fromkeys(n for n in names if n), start=1)}
    numbers: dict[str, int] = {}
    for name, text in zip(names, given, strict=True):
        number = whole_number(text)
        if not name or number == 0:
            continue
        if number is None or numbers.setdefault(name, number) != number:
            raise LabelsError(f"legend {path}: id of {name}", expected="one number", got=repr(text))
    if len(set(numbers.values())) < len(numbers):
        raise LabelsError(f"legend {path}: two classes have the same id")
    return numbers


def _hex(code: int) -> str:
    return f"#{code:06x}"


def _listed(counts: Mapping[int, int]) -> str:
    most = sorted(counts, key=lambda code: -counts[code])
    shown = [f"{_hex(code)} ({counts[code]} pixels)" for code in most[:_SHOWN]]
    more = f" and {len(most) - _SHOWN} more" if len(most) > _SHOWN else ""
    return ", ".join(shown) + more
