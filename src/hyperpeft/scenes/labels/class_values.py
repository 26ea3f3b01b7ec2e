"""Which values of a map of labels are classes, and which classes of two files are the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from hyperpeft.errors import LabelsError
from hyperpeft.records import LARGEST_ID, UNLABELLED, Colour, Labels, Scene, palette
from hyperpeft.scenes.catalog.card import ABUNDANCE_THRESHOLD
from hyperpeft.scenes.labels.class_names import normal_form
from hyperpeft.scenes.labels.maps import LabelMap

_IGNORED = (255, 999, 9999, 32767, 65535)  # what tools write for "ignore" or nodata
_GAP = 4  # times the next largest id
_NO_CLASS = (
    "", "none", "no class", "unclassified", "not classified", "unlabelled", "unlabeled",
    "background", "nodata", "no data", "ignore", "ignored", "undefined", "unknown", "void", "null",
    "na", "n/a", "nan", "masked", "outside", "class 0", "0",
)  # fmt: skip


def set_unlabelled(labels: LabelMap, classes: Mapping[int, str]) -> LabelMap:
    """The map with 0 for unlabelled pixels alone.

    The nodata value that the file declares is unlabelled, and so is what else it hides. Where 0 is
    another value and has a name of a class, it gets the first id that is free; without a name it is
    unlabelled, and a note says so. `classes` are names that are known otherwise.

    Raises
    ------
    LabelsError
        A value such as 255 beside small ids, which may be a class or not.
    """
    array, nodata = labels.array, labels.nodata
    names = {i: normal_form(name) for i, name in {**labels.names, **classes}.items()}
    blank = np.zeros(array.shape, bool) if labels.blank is None else labels.blank.copy()
    if nodata is not None:
        blank |= np.isnan(array) if nodata != nodata else array == nodata
    zeros = (array == 0) & ~blank
    zero_name = names.pop(0, None)
    is_named = zero_name is not None and zero_name.lower().replace("_", " ") not in _NO_CLASS
    notes = list(labels.notes)
    array = np.where(blank, 0, array)
    if zeros.any() and is_named:
        new = _free_id(array, names)
        array = np.where(zeros, new, array)
        names[new] = str(zero_name)
        notes.append(
            f"labels {labels.path.name}: class 0 ({zero_name}) has the id {new} here, because 0 "
            "means unlabelled"
        )
    elif zeros.any() and nodata not in (None, 0) and zero_name is None:
        notes.append(
            f"labels {labels.path.name}: {np.count_nonzero(zeros)} pixels of 0 are taken as "
            f"unlabelled, though the file declares {nodata:g} as nodata; if 0 is a class, number "
            "the classes from 1, or name it (tag CLASS_0)"
        )
    ids = np.unique(array)
    ask_about_ignored(f"labels {labels.path}", ids[ids > 0], names)
    return replace(labels, array=array, blank=None, names=names, notes=tuple(notes))


def _free_id(array: np.ndarray, names: Mapping[int, str]) -> int:
    """The first id behind those that are in use."""
    largest = np.nanmax(array) if array.dtype.kind == "f" else array.max()
    return int(max([largest, *names])) + 1


def ask_about_ignored(what: str, ids: np.ndarray, names: Mapping[int, str]) -> None:
    """Refuse a value such as 255 beside small ids, unless it has a name: it may mean "ignore"."""
    if len(ids) < 2 or ids[-1] not in _IGNORED or int(ids[-1]) in names:
        return
    largest, rest = int(ids[-1]), int(ids[-2])
    if _GAP * rest <= largest:
        raise LabelsError(
            f"{what} hold the value {largest} beside ids up to {rest}: it may be a class, or mean "
            "that a pixel has none",
            expected="class ids, and 0 or the declared nodata where there is none",
            hint=f"if it is no class, set it to 0 or declare it as nodata (gdal_edit -a_nodata "
            f"{largest}); if it is one, name it (tag CLASS_{largest}) or give it a smaller id",
        )


def make_labels(
    array: np.ndarray,
    classes: Mapping[int, str],
    colours: Mapping[int, Colour],
    source: str,
    scene: Scene | None = None,
) -> Labels:
    """Check an array of ids and complete its names ("class N") and colours."""
    ids = _to_ids(array, source)
    if scene is not None:
        scene.with_labels(Labels(np.zeros_like(ids), {}, {}, source))  # the grid, before counting
    found = [i for i in np.unique(ids).tolist() if i != 0]
    if not found:
        raise LabelsError(f"labels {source} hold no class", got="0 (unlabelled) everywhere")
    known = sorted({*found, *classes} - {0})
    names = {i: classes.get(i, f"class {i}") for i in known}
    complete = {**palette(known, names), **{i: c for i, c in colours.items() if i in names}}
    return Labels(ids, names, complete, source)


def from_abundances(array: np.ndarray, source: str) -> np.ndarray:
    """Class ids (H, W) from abundances (H, W, C): argmax + 1 where the largest exceeds 0.7."""
    if array.ndim != 3:
        raise LabelsError(
            f"abundances {source}", expected="3 dimensions (H, W, C)", got=array.shape
        )
    pure = array.max(axis=2) > ABUNDANCE_THRESHOLD
    ids: np.ndarray = np.where(pure, array.argmax(axis=2) + 1, 0).astype(np.int32)
    return ids


def _to_ids(array: np.ndarray, source: str) -> np.ndarray:
    """Whole, non-negative numbers as int32."""
    if array.ndim != 2:
        raise LabelsError(f"labels {source}", expected="2 dimensions", got=f"shape {array.shape}")
    if array.dtype.kind == "f" and not (np.isfinite(array).all() and (array % 1 == 0).all()):
        odd = array[~np.isfinite(array) | (array % 1 != 0)].ravel()[0]
        raise LabelsError(f"labels {source}", expected="whole numbers", got=f"{odd:g}")
    low, high = array.min(), array.max()
    if low < 0:
        raise LabelsError(
            f"labels {source} hold negative ids",
            expected="0 for unlabelled pixels and positive class ids",
            got=f"{low:g}",
            hint="set them to 0, or declare them as nodata",
        )
    if high > LARGEST_ID:
        raise LabelsError(f"labels {source}", expected=f"ids up to {LARGEST_ID}", got=f"{high:g}")
    return array.astype(np.int32)


def match_names(labels: Labels, classes: Mapping[int, str]) -> Labels:
    """The same labels, with the ids that the same names have in `classes`.

    Text classes are numbered within their own file, so the same class has another number in a
    file that lacks one. A name that `classes` does not have gets a number that it does not have
    either. Where one side has no names but "class 1" and the like, classes are the same by id.

    Raises
    ------
    LabelsError
        No name in common, or a name that stands for several classes.

    Examples
    --------
    >>> one = Labels(np.array([[1, 2]]), {1: "oak", 2: "yew"}, {})
    >>> match_names(one, {1: "ash", 2: "oak"}).ids
    array([[2, 3]])
    """
    known = {name: i for i, name in classes.items()}
    if not _named(labels.classes) or not _named(classes):
        return labels
    if not set(labels.classes.values()) & set(known):
        raise LabelsError(
            f"labels {labels.source} have no class in common",
            expected=f"some of {', '.join(known)}",
            got=", ".join(labels.classes.values()),
            hint="give labels with the same names, or without names, which are matched by number",
        )
    if len(known) < len(classes) or len(set(labels.classes.values())) < len(labels.classes):
        if all(classes.get(i, name) == name for i, name in labels.classes.items()):
            return labels
        names = [*classes.values()] if len(known) < len(classes) else [*labels.classes.values()]
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise LabelsError(
            f"labels {labels.source} cannot be matched by name",
            got=f"{', '.join(repeated)} for several classes",
            hint="give every class a name of its own",
        )
    fresh = max([*classes, *labels.classes])
    table: dict[int, int] = {}
    for i, name in labels.classes.items():
        if name in known:
            table[i] = known[name]
        elif i not in classes:
            table[i] = i
        else:
            fresh += 1
            table[i] = fresh
    if all(i == new for i, new in table.items()):
        return labels
    old = np.array([UNLABELLED, *table])
    order = np.argsort(old)
    new = np.array([UNLABELLED, *table.values()], labels.ids.dtype)[order]
    pairs = sorted((new_id, i) for i, new_id in table.items())
    return replace(
        labels,
        ids=new[np.searchsorted(old[order], labels.ids)],
        classes={new_id: labels.classes[i] for new_id, i in pairs},
        colours={new_id: labels.colours[i] for new_id, i in pairs if i in labels.colours},
    )


def _named(classes: Mapping[int, str]) -> bool:
    """Whether a class has a name of its own, not one made of its number."""
    return any(name != f"class {i}" for i, name in classes.items())
