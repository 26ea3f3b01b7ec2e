"""Points and polygons with a class each, before they meet a grid; their class field and its ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hyperpeft.errors import LabelsError
from hyperpeft.records import LARGEST_ID, Colour
from hyperpeft.scenes.labels.class_names import normal_form
from hyperpeft.scenes.labels.class_values import ask_about_ignored
from hyperpeft.system.text import is_no_value

CLASS_NAMES = (
    "class", "classes", "class_id", "classid", "class_name", "classname", "label", "labels",
    "landcover", "land_cover", "landuse", "land_use", "category", "klasse",
)  # fmt: skip
_COUNTERS = ("fid", "id", "ogc_fid", "objectid", "gid", "uid", "index", "nr", "number")
_DECIMAL = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_SHOWN = 6  # values of a field in a message


@dataclass(frozen=True)
class Features:
    """Geometries and their classes.

    Attributes
    ----------
    geometries : ndarray of shapely geometries, shape (n,)
        None where a feature has none.
    ids : ndarray of int32, shape (n,)
        Class of each; 0 where its class field is empty or says that it is.
    classes : dict of int to str
    crs : str or None
        As WKT, "EPSG:..." or the like; None where the file does not say.
    in_pixels : bool
        Coordinates are column and row, whole numbers at the corners of pixels.
    source : str
    notes : tuple of str
    colours : dict of int to RGB
        Of the classes that have one.
    """

    geometries: np.ndarray
    ids: np.ndarray
    classes: Mapping[int, str]
    crs: str | None
    source: str
    in_pixels: bool = False
    notes: tuple[str, ...] = ()
    colours: Mapping[int, Colour] = field(default_factory=dict)


def read_classes(
    what: str, table: Mapping[str, np.ndarray], asked: str | None
) -> tuple[str, np.ndarray, dict[int, str], list[str]]:
    """The class field of a table, its class ids (n,), their names, and notes.

    Parameters
    ----------
    what : str
        The labels, for messages and notes.
    table : mapping of str to ndarray (n,)
    asked : str or None
        The field; guessed where it is None.

    Raises
    ------
    LabelsError
        See `_choose_field` and `_to_ids`.
    """
    field, notes = _choose_field(what, table, asked)
    ids, classes = _to_ids(what, field, table)
    return field, ids, classes, [*notes, *_alike(what, classes)]


def _choose_field(
    what: str, table: Mapping[str, np.ndarray], asked: str | None
) -> tuple[str, list[str]]:
    """The class field of a table, and a note where it was guessed.

    Guessed is the only field whose name says so ("class", "label", ...), or the only field of
    text or whole numbers that has at least two values and is no counter.

    Raises
    ------
    LabelsError
        There is no such field, or none or several could be meant: all are listed.
    """
    if asked is not None:
        exact = [name for name in table if name == asked] or [
            name for name in table if name.lower() == asked.lower()
        ]
        if len(exact) != 1:
            raise LabelsError(
                f"{what} has no field {asked!r}", expected=f"one of {_listing(table)}"
            )
        return exact[0], []
    found = [name for name in table if name.lower() in CLASS_NAMES]
    if len(found) != 1:
        found = [n for n, v in table.items() if n.lower() not in _COUNTERS and _could_be(v)]
    if len(found) != 1:
        raise LabelsError(
            f"{what}: it is not clear which field holds the classes",
            got=_listing(table) or "no field at all",
            hint="name it with --class-field NAME",
        )
    return found[0], [f"{what}: field {found[0]} was taken for the classes; --class-field chooses"]


def _to_ids(
    what: str, field: str, table: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict[int, str]]:
    """Class ids (n,) and names of a field.

    Whole numbers are the ids, also where they are written as text in plain decimals; a text field
    that names every one of them differently gives the names. Other texts are sorted and numbered
    from 1. Empty values, and words for them such as NA and null, are 0.

    Raises
    ------
    LabelsError
        Fractions, negative numbers, 0 as a class, or nothing at all.
    """
    values = [_plain(value) for value in table[field].tolist()]
    given = {value for value in values if value is not None}
    if not given:
        raise LabelsError(f"{what}: field {field} is empty in every feature")
    numbers = {value: _whole(value) for value in given}
    if any(number is None for number in numbers.values()):
        if all(isinstance(value, int | float) for value in given):
            odd = next(value for value, number in numbers.items() if number is None)
            raise LabelsError(
                f"{what}: field {field}", expected="whole numbers or text as classes", got=odd
            )
        texts = sorted(map(str, given))
        codes = {text: i for i, text in enumerate(texts, start=1)}
        ids = [0 if value is None else codes[str(value)] for value in values]
        return np.array(ids, np.int32), {i: text for text, i in codes.items()}
    low = min(number for number in numbers.values() if number is not None)
    if low < 1:
        raise LabelsError(
            f"{what}: field {field}",
            expected="class numbers from 1 (0 means unlabelled)",
            got=low,
            hint="renumber the classes, leave the field empty where there is none, or name a text "
            "field with --class-field",
        )
    found = [0 if value is None else numbers[value] or 0 for value in values]
    if max(found) > LARGEST_ID:
        raise LabelsError(
            f"{what}: field {field}", expected=f"ids up to {LARGEST_ID}", got=max(found)
        )
    ids_array = np.array(found, np.int32)
    names = _names_beside(ids_array, field, table)
    used = np.unique(ids_array)
    own = {i: name for i, name in names.items() if name != f"class {i}"}
    ask_about_ignored(f"{what}: field {field}", used[used > 0], own)
    return ids_array, names


def _alike(what: str, classes: Mapping[int, str]) -> list[str]:
    """A note on classes whose names differ in nothing but capitals."""
    groups: dict[str, list[str]] = {}
    for name in classes.values():
        groups.setdefault(name.casefold(), []).append(name)
    found = [" and ".join(names) for names in groups.values() if len(names) > 1]
    return [f"{what}: {', '.join(found)} are separate classes"] if found else []


def _names_beside(ids: np.ndarray, field: str, table: Mapping[str, np.ndarray]) -> dict[int, str]:
    """Names from the one text field that has exactly one text, and another one, for each id."""
    classes = sorted(set(ids.tolist()) - {0})
    partners = []
    for name, column in table.items():
        texts = [_plain(value) for value in column.tolist()]
        pairs = {(i, text) for i, text in zip(ids.tolist(), texts, strict=True) if i}
        if (
            name != field
            and all(isinstance(text, str) and _whole(text) is None for _, text in pairs)
            and len(pairs) == len(classes) == len({text for _, text in pairs})
        ):
            partners.append({i: str(text) for i, text in pairs})
    names = partners[0] if len(partners) == 1 else {}
    return {i: names.get(i, f"class {i}") for i in classes}


def _plain(value: Any) -> Any:
    """Text without spaces around it; None for what is empty or a word for it."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, str):
        text = normal_form(value)
        return None if is_no_value(text) else text
    return value if isinstance(value, int | float) else str(value)


def _whole(value: object) -> int | None:
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        return None  # 1_1 and 1e3 are names, whatever Python makes of them
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() else None


def _could_be(column: np.ndarray) -> bool:
    """Text or whole numbers, at least two of them."""
    values = {_plain(value) for value in column.tolist()} - {None}
    if any(isinstance(value, float | bool) for value in values):
        return False
    return len(values) > 1


def _listing(table: Mapping[str, np.ndarray]) -> str:
    """Fields with some of their values."""
    return "; ".join(f"{name} ({_some(column)})" for name, column in table.items())


def _some(column: np.ndarray) -> str:
    values: Sequence[str] = sorted({str(_plain(v)) for v in column.tolist()} - {"None"})
    shown = [value if len(value) <= 24 else f"{value[:21]}..." for value in values[:_SHOWN]]
    more = [f"... {len(values)} values"] if len(values) > _SHOWN else []
    return ", ".join([*shown, *more]) or "empty"
